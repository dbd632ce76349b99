"""The recorded answer of the legacy `/completions`."""

from __future__ import annotations

from .answer import TEXT, Answer, Frame, Take, compact
from .chat import CREATED, USAGE


def completions_answer(take: Take) -> Answer:
    """The text answer of the legacy `/completions`."""
    envelope = {
        "id": take.id("cmpl-"),
        "object": "text_completion",
        "created": CREATED,
        "model": take.model,
        "system_fingerprint": "fp_6a1c0e9b2d",
    }
    said = take.say(TEXT)
    pieces = [*((piece, None) for piece in take.split(said)), ("", "stop")]
    choices = [{"text": piece, "index": 0, "logprobs": None, "finish_reason": finish} for piece, finish in pieces]
    frames = [Frame(compact({**envelope, "choices": [one]})) for one in choices]
    whole = {"text": said, "index": 0, "logprobs": None, "finish_reason": "stop"}
    return Answer((*frames, Frame("[DONE]")), 0, {**envelope, "choices": [whole], "usage": USAGE})

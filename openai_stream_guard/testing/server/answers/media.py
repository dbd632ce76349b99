"""Recorded answers of the image and audio endpoints: one small healthy answer each.

Invariant: an answer ends with its API's own last event, which carries the complete result; no `[DONE]` follows.
"""

from __future__ import annotations

import base64
from typing import Final

from .answer import TEXT, Answer, AnswerVariant, Frame, Json, compact, first_visible
from .chat import CREATED

# Neither real pictures nor real sound: no test decodes them.
PICTURES: Final = [base64.b64encode(bytes([shade]) * 300).decode() for shade in (1, 2, 3)]
SOUND: Final = bytes(range(256)) * 3
IMAGE_USAGE: Final[Json] = {
    "input_tokens": 19,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 19},
    "output_tokens": 272,
    "total_tokens": 291,
}
AUDIO_USAGE: Final[Json] = {"input_tokens": 30, "output_tokens": 14, "total_tokens": 44}


def _answer(events: list[Json], plain: Json | bytes, *, named: bool = False) -> Answer:
    frames = tuple(Frame(compact(event), event["type"] if named else None) for event in events)
    return Answer(frames, first_visible([True] * len(events)), plain)


def images_answer(variant: AnswerVariant, kind: str) -> Answer:
    """Return two partial images, then the complete one. `kind` is the prefix of the event types: `image_generation`."""
    properties = {"size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"}
    *partial, complete = PICTURES
    events: list[Json] = [
        {
            "type": f"{kind}.partial_image",
            "b64_json": picture,
            "created_at": CREATED,
            **properties,
            "partial_image_index": index,
        }
        for index, picture in enumerate(partial)
    ]
    ended = {
        "type": f"{kind}.completed",
        "b64_json": complete,
        "created_at": CREATED,
        **properties,
        "usage": IMAGE_USAGE,
    }
    plain = {"created": CREATED, "data": [{"b64_json": complete}], **properties, "usage": IMAGE_USAGE}
    return _answer([*events, ended], plain, named=True)


def transcription_answer(variant: AnswerVariant) -> Answer:
    """Return a transcript in deltas, then the complete text."""
    words = variant.say(TEXT)
    usage = {"type": "tokens", **AUDIO_USAGE, "input_token_details": {"audio_tokens": 30, "text_tokens": 0}}
    deltas: list[Json] = [{"type": "transcript.text.delta", "delta": piece} for piece in variant.split(words)]
    ended = {"type": "transcript.text.done", "text": words, "usage": usage}
    return _answer([*deltas, ended], {"text": words, "usage": usage})


def speech_answer(variant: AnswerVariant) -> Answer:
    """Return sound in three parts; without streaming it is the sound itself."""
    size = len(SOUND) // 3
    deltas: list[Json] = [
        {"type": "speech.audio.delta", "audio": base64.b64encode(SOUND[start : start + size]).decode()}
        for start in range(0, len(SOUND), size)
    ]
    return _answer([*deltas, {"type": "speech.audio.done", "usage": AUDIO_USAGE}], SOUND)

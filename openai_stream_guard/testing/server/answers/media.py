"""Recorded answers of the image and audio endpoints: one small healthy one each.

The law: an answer ends with its API's own last event, which carries the whole, and no `[DONE]` follows.
"""

from __future__ import annotations

import base64
from typing import Final

from .answer import TEXT, Answer, AnswerVariant, Frame, Json, compact, first_visible
from .chat import CREATED

# Not pictures and no sound: nobody looks or listens.
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


def images_answer(take: AnswerVariant, kind: str) -> Answer:
    """Two partial images, then the whole one. `kind` begins the names of the events, such as `image_generation`."""
    look = {"size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"}
    *partial, whole = PICTURES
    events: list[Json] = [
        {
            "type": f"{kind}.partial_image",
            "b64_json": picture,
            "created_at": CREATED,
            **look,
            "partial_image_index": index,
        }
        for index, picture in enumerate(partial)
    ]
    ended = {"type": f"{kind}.completed", "b64_json": whole, "created_at": CREATED, **look, "usage": IMAGE_USAGE}
    plain = {"created": CREATED, "data": [{"b64_json": whole}], **look, "usage": IMAGE_USAGE}
    return _answer([*events, ended], plain, named=True)


def transcription_answer(take: AnswerVariant) -> Answer:
    """What was said, in deltas, then as a whole."""
    said = take.say(TEXT)
    usage = {"type": "tokens", **AUDIO_USAGE, "input_token_details": {"audio_tokens": 30, "text_tokens": 0}}
    deltas: list[Json] = [{"type": "transcript.text.delta", "delta": piece} for piece in take.split(said)]
    ended = {"type": "transcript.text.done", "text": said, "usage": usage}
    return _answer([*deltas, ended], {"text": said, "usage": usage})


def speech_answer(take: AnswerVariant) -> Answer:
    """Sound in three parts; asked for without events it is the sound itself."""
    size = len(SOUND) // 3
    deltas: list[Json] = [
        {"type": "speech.audio.delta", "audio": base64.b64encode(SOUND[start : start + size]).decode()}
        for start in range(0, len(SOUND), size)
    ]
    return _answer([*deltas, {"type": "speech.audio.done", "usage": AUDIO_USAGE}], SOUND)

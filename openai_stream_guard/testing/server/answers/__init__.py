"""Selects the recorded answer for a request, by the API that its path names and by the answer's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from ....config.fields import suggestion
from .answer import Answer, AnswerVariant
from .assistants import assistants_answer
from .chat import CHAT, chat_answer, completions_answer
from .media import images_answer, speech_answer, transcription_answer
from .responses import RESPONSES, responses_answer

Api: TypeAlias = Literal[
    "chat", "completions", "responses", "assistants", "images", "image_edits", "transcription", "speech"
]

ANSWERS: Final[Mapping[Api, tuple[str, ...]]] = {
    "chat": tuple(CHAT),
    "completions": ("text",),
    "responses": tuple(RESPONSES),
    "assistants": ("text",),
    "images": ("image",),
    "image_edits": ("image",),
    "transcription": ("text",),
    "speech": ("speech",),
}


def api_from(path: str) -> Api | None:
    """Return the API that a request path names, whatever its prefix (Azure's deployments have one), or None."""
    match _segments(path):
        case [*_, "chat", "completions"]:
            return "chat"
        case [*_, "completions"]:
            return "completions"
        case [*_, "responses"]:
            return "responses"
        case [*_, "threads", "runs"] | [*_, "threads", _, "runs"]:
            return "assistants"
        case [*_, "images", "generations"]:
            return "images"
        case [*_, "images", "edits"]:
            return "image_edits"
        case [*_, "audio", "transcriptions"]:
            return "transcription"
        case [*_, "audio", "speech"]:
            return "speech"
    return None


def stored_id(path: str) -> str | None:
    """Return the id of the stored response that a request path names, or None."""
    match _segments(path):
        case [*_, "responses", response_id]:
            return response_id
    return None


def cancelled_id(path: str) -> str | None:
    """Return the id of the stored response that a request path is to cancel, or None."""
    match _segments(path):
        case [*_, "responses", response_id, "cancel"]:
            return response_id
    return None


def _segments(path: str) -> list[str]:
    return path.partition("?")[0].rstrip("/").split("/")


def build_answer(api: Api, name: str, variant: AnswerVariant) -> Answer:
    """
    Return a variant of the answer with this name.

    If this API has no answer of the name, its first one is returned, so that one server can serve several APIs.
    Raises `ValueError` if no API has one.
    """
    check_answer(name)
    name = name if name in ANSWERS[api] else ANSWERS[api][0]
    match api:
        case "chat":
            return chat_answer(name, variant)
        case "completions":
            return completions_answer(variant)
        case "responses":
            return responses_answer(name, variant)
        case "assistants":
            return assistants_answer(variant)
        case "images":
            return images_answer(variant, "image_generation")
        case "image_edits":
            return images_answer(variant, "image_edit")
        case "transcription":
            return transcription_answer(variant)
        case "speech":
            return speech_answer(variant)


def check_answer(name: str) -> None:
    """Raise `ValueError`, which suggests the nearest name, unless some API has an answer of this name."""
    known = sorted({name for names in ANSWERS.values() for name in names})
    if name not in known:
        raise ValueError(f"unknown answer {name!r}{suggestion(name, known)}")

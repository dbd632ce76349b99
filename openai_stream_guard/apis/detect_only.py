"""APIs that are watched and never asked again, since their requests may create things.

`DetectOnlyAdapter` is for any API without rules of its own: complete at `[DONE]`, or where the body ends and no event
is unfinished; its errors are left to the SDK. `EndMarkAdapter` is for APIs that end with an event of a certain type:
assistants' runs, images, speech, transcription.
https://platform.openai.com/docs/api-reference/assistants-streaming/events
"""

from __future__ import annotations

import re
from typing import Final

from ..decoding.payload import Payload
from .adapter import KEEP_ALIVE, UNKNOWN_EVENT, ApiAdapter, ApiEvent, api_error, is_keep_alive
from .request import EndRule, StreamRequest

RUN_ENDS: Final = re.compile(r"thread\.run\.(completed|failed|cancelled|expired|incomplete|requires_action)|done")
MEDIA_ENDS: Final = re.compile(r"(image_generation|image_edit)\.completed|(transcript\.text|speech\.audio)\.done")


class DetectOnlyAdapter(ApiAdapter):
    """One attempt at an API without rules of its own: every default of the base class."""


class EndMarkAdapter(ApiAdapter):
    """One attempt at an API whose last event is known by its type or name.

    Args:
        ends: matches the types and names that end an answer.
    """

    def __init__(self, request: StreamRequest, ends: re.Pattern[str]) -> None:
        super().__init__(request)
        self._ends = ends

    def read(self, payload: Payload) -> ApiEvent:
        """Look for errors, keep-alives and the end mark; everything else is an event to deliver."""
        value = payload.value
        kind = payload.event
        if isinstance(value, dict):
            if (value.get("error") or kind == "error") and not self._request.errors_are_values:
                return api_error(value.get("error") or value)
            if kind is None and isinstance(value.get("type"), str):
                kind = str(value["type"])
        if kind is not None and is_keep_alive(kind):
            return KEEP_ALIVE
        if kind is not None and self._ends.fullmatch(kind):
            self.answer_complete = True
        return UNKNOWN_EVENT

    def is_complete(self, rule: EndRule, *, done: bool) -> bool:
        """Whether an end mark or `[DONE]` came."""
        return self.answer_complete or done

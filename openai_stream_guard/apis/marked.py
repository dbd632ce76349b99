"""APIs whose stream ends with an event of a certain type: assistants' runs, images, speech, transcription.

Their requests create things, so none is sent a second time.
https://platform.openai.com/docs/api-reference/assistants-streaming/events
"""

from __future__ import annotations

import re
from typing import Final

from ..decoding.payload import Payload
from .adapter import Asked, Broken, EndRule, Item, Ping, Reading, is_keep_alive
from .detect_only import Other

RUN_ENDS: Final = re.compile(r"thread\.run\.(completed|failed|cancelled|expired|incomplete|requires_action)|done")
MEDIA_ENDS: Final = re.compile(r"(image_generation|image_edit)\.completed|(transcript\.text|speech\.audio)\.done")
_ITEM = Item()
_PING = Ping()


class Marked(Other):
    """One attempt at an API that says its end by an event's type or name."""

    def __init__(self, asked: Asked, ends: re.Pattern[str]) -> None:
        super().__init__(asked)
        self._ends = ends
        self._errors_are_values = asked.errors_are_values

    def read(self, payload: Payload) -> Reading:
        """Look for the end and for errors; all else is an item."""
        value = payload.value
        kind = payload.event
        if isinstance(value, dict):
            if (value.get("error") or kind == "error") and not self._errors_are_values:
                return Broken(
                    "upstream_error", "the API reported an error inside the stream", value.get("error") or value
                )
            if kind is None and isinstance(value.get("type"), str):
                kind = str(value["type"])
        if kind is not None and is_keep_alive(kind):
            return _PING
        if kind is not None and self._ends.fullmatch(kind):
            self.settled = True
        return _ITEM

    def whole(self, rule: EndRule, *, done: bool) -> bool:
        """The end was said, or `[DONE]` came."""
        return self.settled or done

"""Any API without rules of its own: whole at `[DONE]`, or at an end with no unfinished event.

Its requests may create things, so none is ever sent a second time, and its errors are left to the SDK.

APIs whose stream ends with an event of a certain type: assistants' runs, images, speech, transcription.

Their requests create things, so none is sent a second time.
https://platform.openai.com/docs/api-reference/assistants-streaming/events
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..decoding.payload import Payload
from .adapter import ApiEvent, DataEvent, FaultEvent, KeepAlive, is_keep_alive
from .request import EndRule, StreamRequest
from .second_answer import SecondAnswer
from .transcript import TextDelta, Transcript

_ITEM = DataEvent()


class DetectOnlyAdapter:
    """The rule for all that no other dialect claims."""

    reissuable = False
    has_finished: Final = False
    tool_call_open: Final = False
    response_id: str | None = None
    answer_complete = False
    over = False
    missing = False
    resume_after = None

    def __init__(self, request: StreamRequest) -> None:
        """Nothing of the request matters here."""

    def in_sequence(self, payload: Payload) -> tuple[Payload]:
        """Nothing is known of numbers."""
        return (payload,)

    def append(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Nothing is known of texts."""
        return start

    def read(self, payload: Payload) -> ApiEvent:
        """Everything is an item."""
        return _ITEM

    def whole(self, rule: EndRule, *, done: bool) -> bool:
        """The session has seen to unfinished events."""
        return True

    def trim(self, payload: Payload, replay: SecondAnswer) -> Payload | None:
        """Never asked, since nothing is re-issued."""
        return payload

    def whole_texts(self, payload: Payload) -> Sequence[TextDelta]:
        """This API says no text twice."""
        return ()

    def may_replay(self, transcript: Transcript) -> bool:
        """Nothing is known of the effects."""
        return False

    def may_continue(self, transcript: Transcript) -> None:
        """This API knows no continuation."""

    def partial_text(self, transcript: Transcript) -> str:
        """No text is known as such."""
        return ""

    def partial(self, transcript: Transcript) -> dict[str, object] | None:
        """No answer object is known."""
        return None


RUN_ENDS: Final = re.compile(r"thread\.run\.(completed|failed|cancelled|expired|incomplete|requires_action)|done")


MEDIA_ENDS: Final = re.compile(r"(image_generation|image_edit)\.completed|(transcript\.text|speech\.audio)\.done")


_PING = KeepAlive()


class EndMarkAdapter(DetectOnlyAdapter):
    """One attempt at an API that says its end by an event's type or name."""

    def __init__(self, request: StreamRequest, ends: re.Pattern[str]) -> None:
        super().__init__(request)
        self._ends = ends
        self._errors_are_values = request.errors_are_values

    def read(self, payload: Payload) -> ApiEvent:
        """Look for the end and for errors; all else is an item."""
        value = payload.value
        kind = payload.event
        if isinstance(value, dict):
            if (value.get("error") or kind == "error") and not self._errors_are_values:
                return FaultEvent(
                    "upstream_error", "the API reported an error inside the stream", value.get("error") or value
                )
            if kind is None and isinstance(value.get("type"), str):
                kind = str(value["type"])
        if kind is not None and is_keep_alive(kind):
            return _PING
        if kind is not None and self._ends.fullmatch(kind):
            self.answer_complete = True
        return _ITEM

    def whole(self, rule: EndRule, *, done: bool) -> bool:
        """The end was said, or `[DONE]` came."""
        return self.answer_complete or done

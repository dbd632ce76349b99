"""APIs that are watched and never asked again, since their requests may create things.

`DetectOnlyAdapter` is for any API without rules of its own: complete at `[DONE]`, or where the body ends and no event
is unfinished; its errors are left to the SDK. `RunAdapter` and `MediaAdapter` are for APIs that say their end by the
type or name of an event: assistants' runs; images, speech and transcriptions.
https://platform.openai.com/docs/api-reference/assistants-streaming/events
"""

from __future__ import annotations

import re

from ..decoding.payload import Payload
from .adapter import KEEP_ALIVE, UNKNOWN_EVENT, ApiAdapter, ApiEvent, DataEvent, is_keep_alive
from .completion import EndMarks
from .error_shapes import has_error
from .request import EndRule, StreamRequest
from .transcript import TextDelta, Transcript

_RUN_ENDS = r"thread\.run\.(completed|failed|cancelled|expired|incomplete|requires_action)|done"
_MEDIA_ENDS = r"(image_generation|image_edit)\.completed|(transcript\.text|speech\.audio)\.done"
_MEDIA_TYPES = r"(image_generation|image_edit|transcript|speech)\..*"
"""Types of OpenAI's own: a stream that has one has to have an end mark too."""
_WITH_A_RESULT = r".*\.(done|completed)"
"""What other servers call the event that carries the whole result."""


class DetectOnlyAdapter(ApiAdapter):
    """One attempt at an API without rules of its own: every default of the base class."""


class RunAdapter(ApiAdapter):
    """One attempt at a run of an assistant."""

    end_marks = "terminal_event"

    def __init__(self, request: StreamRequest) -> None:
        super().__init__(request)
        self._marks = EndMarks()

    def may_report_error(self, payload: Payload) -> bool:
        """One that looks like an event of the API is no error, unless it has an `error`; nor is a value."""
        if self._request.errors_are_values:
            return payload.is_plain_text
        return has_error(payload) or not self.items.fits(payload)

    def read(self, payload: Payload) -> ApiEvent:
        """Look for errors, keep-alives and end marks; everything else is an event to deliver."""
        if (fault := self.fault_in(payload)) is not None:
            return fault
        value, kind = payload.value, payload.event
        if kind is None and isinstance(value, dict) and isinstance(value.get("type"), str):
            kind = str(value["type"])
        if kind is not None and is_keep_alive(kind):
            return KEEP_ALIVE
        self._marks.events += 1
        text_deltas: list[TextDelta] = []
        if kind is not None:
            self._read_kind(kind, value)
            text_deltas = self._texts(kind, value)
        self.answer_complete = self._marks.complete
        return DataEvent(text_deltas) if text_deltas else UNKNOWN_EVENT

    def _read_kind(self, kind: str, value: object) -> None:
        self._marks.came += re.fullmatch(_RUN_ENDS, kind) is not None

    def _texts(self, kind: str, value: object) -> list[TextDelta]:
        """Return the texts of a message's delta, each by the message and its place in that."""
        match kind, value:
            case "thread.message.delta", {"delta": {"content": [*parts]}, **rest}:
                return [(("message", str(rest.get("id")), place), text) for place, text in map(_part, parts) if text]
        return []

    def is_complete(self, rule: EndRule, *, done: bool) -> bool:
        """Whether every end mark, or `[DONE]`, came."""
        return self.answer_complete or done

    def partial_text(self, transcript: Transcript) -> str:
        """The text of all messages, or of the transcription."""
        return "".join(map(transcript.text, transcript.text_channels))


class MediaAdapter(RunAdapter):
    """One attempt at images, speech or a transcription."""

    def __init__(self, request: StreamRequest) -> None:
        super().__init__(request)
        self._marks.expected = request.choices

    def _read_kind(self, kind: str, value: object) -> None:
        marks = self._marks
        marks.known_types = marks.known_types or re.fullmatch(_MEDIA_TYPES, kind) is not None
        has_result = isinstance(value, dict) and any(isinstance(value.get(name), str) for name in ("text", "b64_json"))
        ends = re.fullmatch(_MEDIA_ENDS, kind) or (has_result and re.fullmatch(_WITH_A_RESULT, kind))
        marks.came += bool(ends)

    def _texts(self, kind: str, value: object) -> list[TextDelta]:
        """Return the text of a transcription's delta."""
        match kind, value:
            case "transcript.text.delta", {"delta": str() as text} if text:
                return [(("transcript",), text)]
        return []

    def is_complete(self, rule: EndRule, *, done: bool) -> bool:
        """The same; the end of the body is enough where no event has a type that is known."""
        marks = self._marks
        if super().is_complete(rule, done=done):
            return True
        if marks.events and not marks.known_types and not marks.came:
            self.end_note = "the stream ended without any mark, and none of its events has a type that is known"
            return True
        return False


def _part(part: object) -> tuple[str, str]:
    """Return place and text of a part of a message's delta; empty where it has none."""
    match part:
        case {"text": {"value": str() as text}, **rest}:
            return str(rest.get("index")), text
    return "", ""

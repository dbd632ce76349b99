"""The values that the decoding layer returns: payloads, the fault that ended the reading, and the names of repairs."""

from __future__ import annotations

import json
from typing import Literal

from ..records import Record

REPAIRS = {
    "missing_blank_line": "an event began though no blank line had ended the one before",
    "unterminated_event": "the body ended after a whole payload but before its blank line",
    "blank_line_not_empty": "white space or NUL stood on the line that ended an event",
    "glued_prefix": "white space, NUL or a byte order mark stood before a field name",
    "glued_values": "several payloads stood in the data of one event",
    "repeated_prefix": "data held a field name `data:` of its own before the payload",
    "wrapped_line": "data held a comment or an `event`, `id` or `retry` line",
    "bare_json": "a JSON text stood outside any field",
    "bare_done": "`[DONE]` stood outside any field",
    "error_line": "an `error` field, which SSE does not have, held a JSON object",
}
"""What each repair found. All of them move framing; none touches the text of a payload."""


class Payload:
    """
    One payload of a stream, with the surface of the SDK's ServerSentEvent: `event`, `data`, `id`, `retry`, `json()`.

    `event` is the name as it was sent, None where the event had none. `raw` is the JSON text in UTF-8, `value` its
    parsed value; the end sentinel has `raw == b"[DONE]"` and the value None. `id` is the last event ID of the stream,
    None before the first. `retry` is in milliseconds.
    """

    __slots__ = ("event", "id", "raw", "retry", "value")

    outside_field: bool = False
    """Whether it stood on a line that no SSE field begins."""
    is_plain_text: bool = False
    """Whether it is the text of an `error` event that is not JSON: `raw` is the text as sent, `value` is decoded."""
    http_status: int | None = None
    """The status that a comment of the same event named, as DashScope writes it: `:HTTP_STATUS/429`."""

    def __init__(self, event: str | None, raw: bytes, value: object, id: str | None, retry: int | None) -> None:
        self.event = event
        self.raw = raw
        self.value = value
        self.id = id
        self.retry = retry

    @property
    def data(self) -> str:
        """The JSON text."""
        return self.raw.decode()

    def json(self) -> object:
        """Return the parsed value, the same object every time."""
        return self.value

    @property
    def is_done(self) -> bool:
        """Whether this is the end sentinel `[DONE]`, which is not JSON."""
        return self.raw == b"[DONE]"

    def replace(self, value: object) -> Payload:
        """Return a payload with another value and its JSON text, all else the same."""
        return Payload(self.event, json.dumps(value).encode(), value, self.id, self.retry)

    def __repr__(self) -> str:
        return f"<Payload event={self.event!r} {len(self.raw)} bytes>"  # never the text


class IrregularPayload(Payload):
    """A payload that did not come as the data of a plain event. A class of its own, so that others hold no more."""

    __slots__ = ("http_status", "is_plain_text", "outside_field")

    def __init__(
        self,
        event: str | None,
        raw: bytes,
        value: object,
        id: str | None,
        retry: int | None,
        *,
        outside_field: bool = False,
        is_plain_text: bool = False,
        http_status: int | None = None,
    ) -> None:
        super().__init__(event, raw, value, id, retry)
        self.outside_field = outside_field
        self.is_plain_text = is_plain_text
        self.http_status = http_status


class DecodeFault(Record):
    """
    Why no more payloads can be read.

    `reason` is a sentence without payload text. `offset` is where the damaged event or line begins in the body, in
    bytes. `error` is the exception that `bytes.decode` or `json.loads` raises for its data, if any: it holds the text.
    `payload` is a whole JSON text that is no payload of the stream but may tell what happened: an object that was
    written into the unfinished event, or an array, number, string or literal outside any event.
    """

    kind: Literal["malformed", "not_a_stream", "oversized"]
    reason: str
    offset: int
    error: Exception | None = None
    payload: Payload | None = None

    def __repr__(self) -> str:
        return f"<DecodeFault {self.kind} at byte {self.offset}: {self.reason}>"  # not the error, which holds text

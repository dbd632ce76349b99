"""What the decoding layer hands on: payloads, the defect that ended it, and the names of its repairs.

This module holds values. It must not know how they were read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

REPAIRS = {
    # safe: only framing was moved
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
    # lenient: the payload's text itself was not what it should have been
    "replaced_bytes": "bytes that are not UTF-8 became U+FFFD",
    "raw_control": "a string held control characters that JSON wants escaped",
    "raw_newline": "a string ran over a line end",
    "escaped_newline": "line ends between payloads were written as backslash and letter",
    "bytes_repr": "a payload was wrapped as Python writes bytes: b'...'",
    "joined_events": "one JSON text was spread over several events",
    "json_array": "the body was a JSON array, its elements the payloads",
}


class Payload:
    """
    One payload of a stream, with the surface of the SDK's ServerSentEvent: `event`, `data`, `id`, `retry`, `json()`.

    `event` is the name as it was sent, None when unnamed. `raw` is the JSON text in UTF-8, `value` what it is worth;
    the end sentinel has `raw == b"[DONE]"` and the value None. `id` is the last event ID, None before there was one.
    `retry` is in milliseconds.
    """

    __slots__ = ("event", "id", "raw", "retry", "value")

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
        """The parsed value: the same object every time."""
        return self.value

    @property
    def is_done(self) -> bool:
        """Whether this is the end sentinel `[DONE]`, which is no JSON."""
        return self.raw == b"[DONE]"

    def replace(self, value: object) -> Payload:
        """The same payload with another value, and its text written anew."""
        return Payload(self.event, json.dumps(value).encode(), value, self.id, self.retry)

    def __repr__(self) -> str:
        return f"<Payload event={self.event!r} {len(self.raw)} bytes>"  # never the text


@dataclass(frozen=True)
class DecodeFault:
    """
    Why no more payloads can be read.

    `reason` is a sentence without payload text. `offset` is that of the first byte of the event or line at fault.
    `error` is what `bytes.decode` or `json.loads` raise for its data, where they raise; it does hold the text.
    """

    kind: Literal["malformed", "not_a_stream", "oversized"]
    reason: str
    offset: int
    error: Exception | None = None

    def __repr__(self) -> str:
        return f"<Defect {self.kind} at byte {self.offset}: {self.reason}>"  # not the error, which holds text

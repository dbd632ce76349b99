"""Server-sent events, read exactly as WHATWG HTML says (9.2.5 "Parsing an event stream", 9.2.6 "Interpreting an event
stream": https://html.spec.whatwg.org/multipage/server-sent-events.html). `Decoder` is the public reader.

This module knows lines, fields and events, and nothing of JSON, `[DONE]`, repairs or any API: `decoding` builds those
on its `Lines`.

Invariant, held by tests: however the bytes are cut into reads, the same events come out, each from the read that held
its last byte, in time linear in the bytes.
"""

from __future__ import annotations

from typing import NamedTuple

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_INT_DIGITS = 4300  # CPython's int() refuses longer text, and so does printing a longer int
_MAX_RETRY: int = 10**_INT_DIGITS - 1


class Line(NamedTuple):
    """One line without its line end. `start` is its offset in bytes, `after` the line end that came before it."""

    text: bytes
    start: int
    after: bytes


class Lines:
    """
    Splits a body into lines at LF, CR or CRLF, and drops one byte order mark at its start (WHATWG HTML 9.2.5).

    A CR ends its line at once: an LF that begins the next read belongs to it. Only after the next line is it certain
    which of the three line ends it was, which is why a `Line` carries the end of the line *before* it.
    """

    __slots__ = ("_after", "_parts", "_pending", "start")

    def __init__(self) -> None:
        self.start = 0  # offset of the unfinished last line
        self._parts: list[bytes] = []
        self._pending = 0
        self._after = b""  # empty only until the first line has ended

    def feed(self, data: bytes) -> list[Line]:
        """Return the lines that end in `data`."""
        if self._after == b"\r" and not self._pending and data[:1] == b"\n":
            self._after = b"\r\n"
            self.start += 1
            data = data[1:]
        lines = []
        for piece in data.splitlines(keepends=True):  # of bytes: CR, LF and CRLF, no other separator
            text = piece.rstrip(b"\r\n")
            if len(text) == len(piece):
                self._parts.append(piece)
                self._pending += len(piece)
                break
            end = piece[len(text) :]
            if self._parts:
                self._parts.append(text)
                text = b"".join(self._parts)
                self._parts.clear()
            lines.append(Line(text, self.start, self._after) if self._after else self._first(text))
            self.start += self._pending + len(piece)
            self._after = end
            self._pending = 0
        return lines

    def rest(self) -> Line:
        """Return the unfinished last line, once the body has ended."""
        text = b"".join(self._parts)
        return Line(text, self.start, self._after) if self._after else self._first(text)

    @property
    def pending(self) -> int:
        """Bytes of the unfinished last line."""
        marked = not self._after and b"".join(self._parts[:3]).startswith(BYTE_ORDER_MARK)
        return self._pending - len(BYTE_ORDER_MARK) * marked

    @property
    def at_line_start(self) -> bool:
        """Whether the next byte begins a line, and cannot be the LF of a CRLF."""
        return not self._pending and self._after != b"\r"

    def skip(self, count: int) -> None:
        """Advance past `count` bytes of whole LF or CRLF lines that the caller has read. Only at a line start."""
        if count:
            self.start += count
            self._after = b"\n"

    def _first(self, text: bytes) -> Line:
        return Line(text.removeprefix(BYTE_ORDER_MARK), self.start, self._after)


def split_field(line: bytes) -> tuple[bytes, bytes]:
    """
    Return name and value of a line that is not blank (WHATWG HTML 9.2.6).

    One space after the colon does not belong to the value. A comment has an empty name.
    """
    name, _, value = line.partition(b":")
    return name, value[1:] if value[:1] == b" " else value


def parse_retry(value: bytes) -> int | None:
    """
    Return the milliseconds of a `retry` field; None where it is not all ASCII digits (WHATWG HTML 9.2.6: ignore it).

    WHATWG sets no limit, but Python does: a number of more than 4,300 digits becomes the largest of 4,300.
    """
    if not value.isdigit():
        return None
    digits = value.lstrip(b"0") or b"0"
    if len(digits) > _INT_DIGITS:
        return _MAX_RETRY
    try:
        return int(digits)
    except ValueError:  # the interpreter was started with a lower limit
        return _MAX_RETRY


class Event(NamedTuple):
    """
    One dispatched event (WHATWG HTML 9.2.6).

    `event` is its name, None where it has none or an empty one: a browser dispatches it as `message` then. `data` is
    its data lines joined by LF. `id` is the stream's last event ID as of this event. `retry` is the reconnection time
    in milliseconds that this event set, None where it set none.
    """

    event: str | None
    data: str
    id: str
    retry: int | None


class Decoder:
    """
    Reads one event stream, as WHATWG HTML 9.2.6 says, and repairs nothing.

    Bytes that are not UTF-8 become U+FFFD. No input makes it raise. `last_event_id` and `reconnection_time`
    (milliseconds, None until a `retry` field set it) are what an EventSource would reconnect with (9.2.3).
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.reconnection_time: int | None = None
        self._lines = Lines()
        self._event: str | None = None
        self._data: list[str] = []
        self._id = ""
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take the bytes of one read, and return the events that they complete."""
        events = []
        for line in self._lines.feed(data):
            if line.text:
                self._field(line.text)
                continue
            self.last_event_id = self._id  # also where a block has no data and is not dispatched
            if self._data:
                events.append(Event(self._event, "\n".join(self._data), self._id, self._retry))
                self._data = []
            self._event = self._retry = None
        return events

    def finish(self) -> list[Event]:
        """End the stream. An event without its blank line is discarded (9.2.6), so the list is always empty."""
        self._data = []
        return []

    def _field(self, line: bytes) -> None:
        name, value = split_field(line)  # a comment has an empty name, and is ignored
        match name:
            case b"data":
                self._data.append(value.decode("utf-8", "replace"))
            case b"event":
                self._event = value.decode("utf-8", "replace") or None
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
            case b"retry":
                milliseconds = parse_retry(value)
                if milliseconds is not None:
                    self._retry = self.reconnection_time = milliseconds

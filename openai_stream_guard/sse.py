"""Bytes to server-sent events, as WHATWG HTML 9.2.6 reads them and nothing more.

This module knows lines, fields and events. It must not know JSON, `[DONE]`, repairs or any API: `repair`
builds on its `Lines` and decides those.

The law its tests keep: any cut of the bytes into reads gives the same events, each one in the read that held its
last byte, in time linear in the bytes whatever the size of the reads.
"""

from __future__ import annotations

from typing import NamedTuple

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_INT_DIGITS = 4300  # CPython's int() refuses longer text, and so does printing a longer int
_MAX_RETRY: int = 10**_INT_DIGITS - 1


class Line(NamedTuple):
    """One line without its end. `start` is its offset in the stream, `after` the end of the line before it."""

    text: bytes
    start: int
    after: bytes


class Lines:
    """
    Cuts a stream into lines at LF, CR or CRLF, wherever the reads fall, and drops one byte order mark at its start.

    A CR ends its line at once; the LF that may follow in a later read is counted to it then. That is why a line
    carries the end of the line *before* it: only now is it certain which of the three it was.
    """

    __slots__ = ("_after", "_parts", "_pending", "start")

    def __init__(self) -> None:
        self.start = 0  # offset of the unfinished last line
        self._parts: list[bytes] = []
        self._pending = 0
        self._after = b""  # empty only until the first line has ended

    def feed(self, data: bytes) -> list[Line]:
        """The lines that end in `data`."""
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
        """The unfinished last line, which no line end will come for."""
        text = b"".join(self._parts)
        return Line(text, self.start, self._after) if self._after else self._first(text)

    @property
    def pending(self) -> int:
        """Bytes of the unfinished last line."""
        marked = not self._after and b"".join(self._parts[:3]).startswith(BYTE_ORDER_MARK)
        return self._pending - len(BYTE_ORDER_MARK) * marked

    @property
    def between(self) -> bool:
        """Whether the next byte begins a line, and cannot be the LF of a CRLF."""
        return not self._pending and self._after != b"\r"

    def skip(self, count: int) -> None:
        """Count `count` bytes of whole LF or CRLF lines that somebody else has read. Only when `between`."""
        if count:
            self.start += count
            self._after = b"\n"

    def _first(self, text: bytes) -> Line:
        return Line(text.removeprefix(BYTE_ORDER_MARK), self.start, self._after)


def split_field(line: bytes) -> tuple[bytes, bytes]:
    """Name and value of a line that is neither blank nor a comment; one space after the colon is not the value's."""
    name, _, value = line.partition(b":")
    return name, value[1:] if value[:1] == b" " else value


def parse_retry(value: bytes) -> int | None:
    """
    Milliseconds of a `retry` field, or None where it is not all ASCII digits and has to be ignored.

    WHATWG sets no limit, Python does: a number of more than 4,300 digits becomes the largest of 4,300.
    """
    if not value.isdigit():
        return None
    digits = value.lstrip(b"0") or b"0"
    if len(digits) > _INT_DIGITS:
        return _MAX_RETRY
    try:
        return int(digits)
    except ValueError:  # the interpreter was started with a lower limit still
        return _MAX_RETRY


class Event(NamedTuple):
    """
    One dispatched event.

    `event` is None when unnamed or named emptily, `id` the stream's last event ID as of this event, `retry` the
    milliseconds this event's own block set, None where it set none.
    """

    event: str | None
    data: str
    id: str
    retry: int | None


class Decoder:
    """
    Reads one stream. Bytes that are not UTF-8 become U+FFFD, as WHATWG has it; nothing raises.

    `last_event_id` and `reconnection_time` (milliseconds, None until a `retry` field set it) are those an
    EventSource would reconnect with.
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
        """The events whose last byte is in `data`."""
        events = []
        for line in self._lines.feed(data):
            if line.text:
                self._field(line.text)
                continue
            self.last_event_id = self._id  # also for a block without data, which is no event
            if self._data:
                events.append(Event(self._event, "\n".join(self._data), self._id, self._retry))
                self._data = []
            self._event = self._retry = None
        return events

    def finish(self) -> list[Event]:
        """End the stream: what an unfinished event holds is discarded, so this is always empty."""
        self._data = []
        return []

    def _field(self, line: bytes) -> None:
        name, value = split_field(line)  # the name of a comment is empty
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

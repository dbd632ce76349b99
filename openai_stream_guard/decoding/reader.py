"""Bytes become payloads, repaired where that is safe. The way of the data:

1. `Reader.feed` takes the bytes of one read. Most of a healthy body is *frames*, events of one data line with one JSON
   object: a regular expression finds them, and they are done.
2. All else goes line by line (`sse.Lines`) to `blocks.BlockParser`, which decides what belongs to one event.
3. `dispatch.Dispatcher` turns an event that has ended into payloads or a fault, and `event_data.EventData` finds the
   JSON values in its data.

This module chooses between the two paths and keeps the size limits. It knows no API: what a payload means, and whether
the answer is complete, is decided in `apis` and `engine`.

Invariants, held by tests: both paths return the same; the same bytes give the same payloads, repairs and fault however
they are cut into reads, in time linear in the bytes; a payload is returned by the read that shows it to be whole.
"""

from __future__ import annotations

import re
from functools import cache

from ..diagnosis.evidence import opening_from
from ..sse import Lines
from .blocks import BlockParser
from .dispatch import RepairMode
from .json_text import loads, undecodable
from .payload import REPAIRS, DecodeFault, IrregularPayload, Payload

__all__ = ["REPAIRS", "DecodeFault", "Payload", "Reader", "RepairMode"]

_MAX_HEAD = 4
_TAIL = 1152
_CR, _LF = b"\r\n"
_EVENT_LINE = rb"(?:event: ?([^\r\n:]*)%b)?"


class _Frames:
    """What frames look like in a stream whose lines end so."""

    __slots__ = ("begins", "blank", "match", "matches")

    def __init__(self, end: bytes) -> None:
        self.blank = end * 2
        frame = re.compile((_EVENT_LINE + rb"data: ?(\{.*)%b%b") % (end, end, end))
        self.match, self.matches = frame.match, frame.fullmatch
        """Find a frame, with its event name, if any, and its object: at the beginning, or alone."""
        begins = re.compile((_EVENT_LINE + rb"(?:data: ?\{[^\r\n]*%b?|[^\r\n]*)|event: ?[^\r\n:]*\r") % (end, end))
        self.begins = begins.fullmatch
        """Finds the beginning of what may become a frame, of which the line-by-line path could not return anything yet
        either."""


_frames = cache(_Frames)


class Reader:
    """
    Reads the body of one response. No input makes it raise.

    Args:
        repair: `"safe"` moves framing where that is unambiguous. `"off"` reads as WHATWG HTML 9.2.6 says, and only
            detects damage.
        max_event_bytes: The most bytes that one event, or one line, may hold.

    `events` counts the payloads returned, without `[DONE]`.
    """

    __slots__ = (
        "_at_boundary", "_blocks", "_bytes", "_frames", "_head", "_limit", "_lines", "_out", "_partial_frame",
        "_repairing", "_tail", "_uncounted", "error", "events", "over",
    )  # fmt: skip

    def __init__(self, repair: RepairMode = "safe", max_event_bytes: int = 256 * 1024 * 1024) -> None:
        self._bytes = 0  # without those of `_partial_frame`
        self.events = 0
        self.over = False
        """Whether nothing more will be read: a fault or `[DONE]` came."""
        self.error: Exception | None = None
        """What the SDK raises for a body that ends inside a character; known after `finish`."""
        self._repairing = repair == "safe"
        self._limit = max_event_bytes
        self._lines = Lines()
        self._blocks = BlockParser(repair)
        self._out = self._blocks.out
        self._head = b""
        self._tail = b""
        self._frames = _frames(b"\n")  # by the line end that the stream used last
        self._at_boundary = False  # between two events, and not over: a frame may begin
        self._partial_frame = bytearray()  # kept until the rest of it comes, and counted then
        self._uncounted = 0  # bytes of frames that `_lines` has not counted yet

    @property
    def bytes_fed(self) -> int:
        """How many bytes were fed."""
        return self._bytes + len(self._partial_frame)

    @property
    def fault(self) -> DecodeFault | None:
        """Why nothing more is read. Payloads that were whole before it have been returned."""
        return self._out.fault

    @property
    def done(self) -> bool:
        """Whether `[DONE]` was the last payload. What comes after it is ignored."""
        return self._out.done

    @property
    def unfinished(self) -> bool:
        """Whether the body ended inside an event; known after `finish`."""
        return self._out.unfinished

    @property
    def event_begun(self) -> bool:
        """Whether the body ended behind the beginning of an event, if only a field or a piece of a line."""
        return self._out.event_begun

    @property
    def repairs(self) -> dict[str, int]:
        """How often each repair of `REPAIRS` was made."""
        return dict(self._out.repairs)

    @property
    def head(self) -> bytes:
        """The first bytes of the body, at most 4."""
        return self._head

    @property
    def tail(self) -> bytes:
        """The last bytes that were fed, at most 1,152: more than is shown, so that the label of a key is there."""
        return (self._tail + self._partial_frame[-_TAIL:])[-_TAIL:]

    def feed(self, data: bytes) -> list[Payload]:
        """Take the bytes of one read, and return the payloads that they complete."""
        partial = self._partial_frame
        if partial:
            partial += data
            if len(partial) <= self._limit and (
                (_LF not in data and _CR not in data)
                or (self._frames.blank not in data and self._frames.begins(partial) is not None)
            ):
                return []  # most reads of a few bytes
            data = bytes(partial)
            partial.clear()
        if self._at_boundary and data.endswith(self._frames.blank):
            found = self._frames.matches(data)
            if found is not None and (payload := self._payload_in(found)) is not None:  # most reads of an event
                self._count(data)
                self._uncounted += len(data)
                self.events += 1
                return [payload]
        position = self._read_frames(data, 0, data.rfind(self._frames.blank)) if self._at_boundary else 0
        if position < len(data):
            self._read_mixed(data, position)
        self._count(data[: -len(partial)] if partial else data)
        return self._take_payloads()

    def _count(self, data: bytes) -> None:
        """Note bytes that were read, and are not kept for a frame."""
        self._bytes += len(data)
        self._tail = (self._tail + data[-_TAIL:])[-_TAIL:]

    def finish(self) -> list[Payload]:
        """End the body, and return the payloads that were whole but for their blank line."""
        if self._partial_frame:
            data = bytes(self._partial_frame)
            self._partial_frame.clear()
            self._count(data)
            self._read_mixed(data, 0)
        if not self.over:
            last = self._lines.rest()
            self.error = undecodable(last.text)
            self._blocks.finish(last)
            self._read_lone_value()
            self.over = self._has_ended()
        payloads = self._take_payloads()
        if not self.over and not self.events and (error := self._blocks.undecodable) is not None:
            self._out.fault = DecodeFault("not_a_stream", "the body is neither events nor text", 0, error)
            self.over = True
        return payloads

    def _read_lone_value(self) -> None:
        """A whole body that is a JSON number, string or literal is a page, as an object or array is."""
        nothing_came = not (self._out.payloads or self.events or self._has_ended())
        if not (nothing_came and self._repairing and 0 < self.bytes_fed <= _TAIL):
            return
        try:
            value = loads(self._tail)
        except (ValueError, RecursionError):
            return
        payload = IrregularPayload(None, self._tail, value, None, None, outside_field=True)
        self._out.fault = DecodeFault("not_a_stream", "the body is one JSON value", 0, payload=payload)

    def _has_ended(self) -> bool:
        return self._out.fault is not None or self._out.done

    def _take_payloads(self) -> list[Payload]:
        payloads = self._out.payloads
        if not payloads:
            return []
        self._out.payloads = []
        self.events += len(payloads) - self._out.done
        return payloads

    def _read_mixed(self, data: bytes, position: int) -> None:
        """Read line by line up to the next boundary between events, frames from there on, and so in turn."""
        if len(self._head) < _MAX_HEAD:
            self._read_head(data)
        while position < len(data) and not self._has_ended():
            position = self._read_lines(data, position)
            self._at_boundary = self._lines.at_line_start and self._blocks.is_idle and not self._has_ended()
            if self._at_boundary:
                position = self._read_frames(data, position, len(data))
        self.over = self._has_ended()

    def _read_head(self, data: bytes) -> None:
        self._head += data[: _MAX_HEAD - len(self._head)]
        if opening_from(self._head) == "compressed":
            reason = "the body is compressed, and nobody has undone that"
            self._out.fault = DecodeFault("not_a_stream", reason, 0, undecodable(self._head))

    def _read_frames(self, data: bytes, start: int, last: int) -> int:
        """
        Read frames up to the first event that is anything else, and return the offset where that begins.

        Call it only between two events. No frame begins from `last` on. The beginning of a frame at the end of `data`
        is kept.
        """
        payloads, match = self._out.payloads, self._frames.match
        position = start
        while position < last and (found := match(data, position)) is not None:
            payload = self._payload_in(found)
            if payload is None:
                break
            payloads.append(payload)
            position = found.end()
        self._uncounted += position - start
        size = len(data)
        if not position < size <= position + self._limit:
            return position
        has_line_end = data.find(_LF, position) >= 0 or data.find(_CR, position) >= 0
        if has_line_end and self._frames.begins(data, position) is None:
            return position
        self._partial_frame += data[position:]
        return size

    def _payload_in(self, frame: re.Match[bytes]) -> Payload | None:
        """Return the payload of a frame; None where it has to be read line by line."""
        name, text = frame.groups()
        if _CR in text or frame.end() - frame.start() > self._limit:
            return None
        try:
            value = loads(text)
        except (ValueError, RecursionError):
            return None
        if name is not None:
            name = name.decode("utf-8", "replace") or None
        return Payload(name, text, value, self._out.last_id, None)

    def _read_lines(self, data: bytes, start: int) -> int:
        """Read line by line up to where the current event may end, and return that offset."""
        self._lines.skip(self._uncounted)
        self._uncounted = 0
        blank = self._frames.blank
        found = data.find(blank, start)
        end = len(data) if found < 0 else found + len(blank)
        blocks = self._blocks
        if data[start] == _LF and blocks.is_idle:  # as after a carriage return at the end of the read before
            end = start + 1
        for line in self._lines.feed(data[start:end]):
            if blocks.held_bytes + len(line.text) > self._limit:
                self._fail_oversized(line.start)
                break
            blocks.feed(line)
            if self._has_ended():
                break
            if not line.text and line.after.endswith(b"\n"):
                self._frames = _frames(line.after)
        else:
            if blocks.held_bytes + self._lines.pending > self._limit:
                self._fail_oversized(self._lines.start)
        return end

    def _fail_oversized(self, line_start: int) -> None:
        """End the reading: the event that has begun is too large, or if none has, the line at that offset."""
        block_start = self._blocks.block_start
        reason = f"an event of more than {self._limit} bytes"
        self._out.fault = DecodeFault("oversized", reason, line_start if block_start is None else block_start)

"""Bytes to payloads, repaired where that is safe.

This module decides which of two ways the bytes take: the fast one, for the frames that nearly every stream consists
of, or `blocks`, for everything else. And it keeps the limits. It must not know any API: what a payload means, and
whether the answer is whole, is for the dialects and the session.

The laws its tests keep: both ways give the same; the same bytes give the same payloads, repairs and defect however
they are cut into reads, in time linear in the bytes; a payload is there in the read that shows it to be whole.
"""

from __future__ import annotations

import re

from ..diagnosis.evidence import opening_from
from ..sse import Lines
from .blocks import Blocks
from .dispatch import Mode
from .json_text import loads, undecodable
from .payload import REPAIRS, DecodeFault, Payload

__all__ = ["REPAIRS", "DecodeFault", "Mode", "Payload", "Reader"]

_MAX_MAGIC = 4
_TAIL = 4096
_CR, _LF = b"\r\n"
_LINE_ENDS = (b"\n", b"\r\n")
_NAME = rb"(?:event: ?([^\r\n:]*)%b)?"
_FRAME = {end: re.compile((_NAME + rb"data: ?(\{.*)%b%b") % (end, end, end)) for end in _LINE_ENDS}
"""An event of one JSON object, named or not, by the line end of the stream: its name, and the object."""
_BEGUN = {end: re.compile((_NAME + rb"(?:data: ?\{[^\r\n]*%b|[^\r\n]*)") % (end, end)) for end in _LINE_ENDS}
"""A frame as far as it has come, of which `blocks` would not make anything yet, by the line end of the stream."""


class Reader:
    """
    Reads the body of one response. Whatever it is fed, it does not raise.

    Args:
        mode: `"safe"` moves framing where that is unambiguous; `"lenient"` also takes the liberties that REPAIRS
            lists as such; `"off"` reads as WHATWG HTML 9.2.6 has it, and only detects.
        max_event_bytes: how much one event, or one line, may hold.

    `bytes` counts those fed, `events` the payloads returned but for `[DONE]`.
    """

    def __init__(self, mode: Mode = "safe", max_event_bytes: int = 256 * 1024 * 1024) -> None:
        self.bytes = 0
        self.events = 0
        self._limit = max_event_bytes
        self._lines = Lines()
        self._blocks = Blocks(mode)
        self._out = self._blocks.out
        self._head = b""
        self._tail = bytearray()
        self._line_end = b"\n"  # which the stream has used last
        self._between = False  # nothing is pending below, nothing has ended the reading: a frame may begin
        self._begun = bytearray()  # of that frame, as far as it has come
        self._noted = 0  # bytes of it that are in the tail
        self._skipped = 0  # bytes of frames that `_lines` has not been told of
        self.over = False
        """Whether nothing more will be read."""
        self.error: Exception | None = None
        """What the SDK raises for a last line that ends inside a character; known after `finish`."""

    @property
    def fault(self) -> DecodeFault | None:
        """Why nothing more is read; what was whole before it has been returned."""
        return self._out.fault

    @property
    def done(self) -> bool:
        """Whether `[DONE]` was the last payload; what comes after it is ignored."""
        return self._out.done

    @property
    def unfinished(self) -> bool:
        """Whether the body ended inside an event; known after `finish`."""
        return self._out.unfinished

    @property
    def tail(self) -> bytes:
        """The last bytes that were fed, at most 4,096: more than is shown, so that no key is cut in two."""
        return bytes((self._tail + self._begun[self._noted :])[-_TAIL:])

    @property
    def repairs(self) -> dict[str, int]:
        """How often the reading departed from WHATWG's, by the kinds of REPAIRS."""
        return dict(self._out.repairs)

    @property
    def head(self) -> bytes:
        """The first bytes of the body, at most 4."""
        return self._head

    def feed(self, data: bytes) -> list[Payload]:
        """The payloads that `data` shows to be whole."""
        self.bytes += len(data)
        new, begun = data, self._begun
        if begun:
            if _LF not in data and _CR not in data and len(begun) + len(data) <= self._limit:
                begun += data  # all that is done for most reads of a few bytes, which makes them cost a third
                return []
            data = b"".join((begun, data))
            new = data[self._noted :]
            begun.clear()
        self._tail += new
        if len(self._tail) > 2 * _TAIL:  # seldom, since it moves bytes
            del self._tail[:-_TAIL]
        position = self._read_frames(data, 0) if self._between else 0
        if position < len(data):
            self._read_on(data, position)
        return self._hand_out()

    def finish(self) -> list[Payload]:
        """End the body: the payloads that were whole but for their blank line."""
        if self._begun:
            self._read_on(bytes(self._begun), 0)
        if not self.over:
            last = self._lines.rest()
            self.error = undecodable(last.text)
            self._blocks.finish(last)
            self.over = self._ended()
        payloads = self._hand_out()
        if not self.over and not self.events and (error := self._blocks.undecodable) is not None:
            self._out.fault = DecodeFault("not_a_stream", "the body is neither events nor text", 0, error)
            self.over = True
        return payloads

    def _ended(self) -> bool:
        return self._out.fault is not None or self._out.done

    def _hand_out(self) -> list[Payload]:
        payloads = self._out.payloads
        if not payloads:
            return []
        self._out.payloads = []
        self.events += len(payloads) - self._out.done
        return payloads

    def _read_on(self, data: bytes, position: int) -> None:
        """Read what is no frame, and the frames after it."""
        if len(self._head) < _MAX_MAGIC:
            self._look_at_head(data)
        while position < len(data) and not self._ended():
            position = self._read_lines(data, position)
            self._between = self._lines.between and self._blocks.idle and not self._ended()
            if self._between:
                position = self._read_frames(data, position)
        self.over = self._ended()

    def _look_at_head(self, data: bytes) -> None:
        self._head += data[: _MAX_MAGIC - len(self._head)]
        if opening_from(self._head) == "compressed":
            reason = "the body is compressed, and nobody has undone that"
            self._out.fault = DecodeFault("not_a_stream", reason, 0, undecodable(self._head))

    def _read_frames(self, data: bytes, start: int) -> int:
        """
        Read whole events of one JSON object each, named or not, up to the first that is anything else.

        Nothing may be pending. Returns where the reading stopped; a frame that has only begun is kept.
        """
        out, match = self._out, _FRAME[self._line_end].match
        position, size = start, len(data)
        while position < size and (found := match(data, position)):
            name, text = found.groups()
            end = found.end()
            if _CR in text or end - position > self._limit:
                break
            try:
                value = loads(text)
            except (ValueError, RecursionError):
                break
            if name is not None:
                name = name.decode("utf-8", "replace") or None
            out.payloads.append(Payload(name, text, value, out.last_id, None))
            position = end
        self._skipped += position - start
        if position < size <= position + self._limit and _BEGUN[self._line_end].fullmatch(data, position):
            self._begun += data[position:]
            self._noted = len(self._begun)
            return size
        return position

    def _read_lines(self, data: bytes, start: int) -> int:
        """Read line by line to where an event may have ended, and return that place."""
        self._lines.skip(self._skipped)
        self._skipped = 0
        blank = self._line_end * 2
        found = data.find(blank, start)
        end = len(data) if found < 0 else found + len(blank)
        blocks = self._blocks
        for line in self._lines.feed(data[start:end]):
            if blocks.held + len(line.text) > self._limit:
                self._refuse_size(line.start)
                break
            blocks.line(line)
            if self._ended():
                break
            if not line.text and line.after.endswith(b"\n"):
                self._line_end = line.after
        else:
            if blocks.held + self._lines.pending > self._limit:
                self._refuse_size(self._lines.start)
        return end

    def _refuse_size(self, line: int) -> None:
        """Fail because of the event that has begun, or if none has, of the line at that offset."""
        start = self._blocks.start
        reason = f"an event of more than {self._limit} bytes"
        self._out.fault = DecodeFault("oversized", reason, line if start is None else start)

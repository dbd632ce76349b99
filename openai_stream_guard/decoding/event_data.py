"""The data of one event: the JSON values in it, and the framing that may stand between them.

A healthy event holds one JSON value. A broken gateway may leave several in it, or leave field names of its own before
them. This module finds where one value ends and the next begins. It does not parse: text that looks whole here can
still be refused by the parser. Fields, faults and the end of the stream are the business of `blocks` and `dispatch`.

Invariant, held by tests: framing is looked for only *between* values, never inside one, so that no byte of a value is
moved, dropped or mistaken for framing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeAlias

from ..records import Record
from .json_text import Scanner

DONE = b"[DONE]"

_LINE_COST = 64  # bytes of memory that Python takes for one more line, however short
_SPACE = rb"[ \t\r\n]+"
_WRAPPED_FIELD = rb"(event|id|retry|):([^\r\n]*)"
_PAYLOAD_START = rb'data:|\{"|\[DONE\]'


class Value(Record):
    """The text of one JSON value as it was sent, or `DONE`. `event` is the name from a wrapped `event:` line."""

    text: bytes
    event: str | None


Position: TypeAlias = Literal["between_values", "inside_value", "other_text"]
"""Where in the data the last line ended.

`between_values`: nothing came yet, or whole values and framing that may follow them. `inside_value`: an object or array
is not closed yet. `other_text`: a number, string or literal, which has no closing bracket, or text that is not JSON.
"""


class EventData:
    """
    The data lines of one event, each looked at once, and the values found in them.

    `count_repair` is called with a key of `REPAIRS` for every departure from data that is one JSON value. Lines are not
    examined before something is asked about them: most data is one line with one value, which the parser alone handles
    faster.
    """

    event: str | None = None
    """The name from a wrapped `event:` line after the last value: it belongs to the next value."""
    _position: Position = "between_values"

    def __init__(self, count_repair: Callable[[str], None]) -> None:
        self.size = 0
        self._count_repair = count_repair
        self._lines: list[bytes] = []
        self._examined = 0
        self._values: list[Value] = []
        self._open: list[bytes] = []
        """The parts of the unfinished value, or of the other text."""

    def add_line(self, line: bytes) -> None:
        """Add the value of the next `data` field, or the next line of JSON outside any field."""
        if self._lines:
            self.size += 1 + _LINE_COST
        self._lines.append(line)
        self.size += len(line)

    @property
    def text(self) -> bytes:
        """All lines, joined by LF as WHATWG HTML 9.2.6 has it."""
        return b"\n".join(self._lines)

    @property
    def single_line(self) -> bytes | None:
        """The text, if it is one line that was not examined yet."""
        return self._lines[0] if len(self._lines) == 1 and not self._examined else None

    @property
    def last_part(self) -> bytes:
        """What may have been written over an unfinished value: the last line, or what follows a `data:` inside it."""
        last = self._lines[-1] if self._lines else b""
        return last.rpartition(b"data:")[2] if len(self._lines) == 1 or b"data:" in last else last

    @property
    def position(self) -> Position:
        """Where the last line ended."""
        self._examine()
        return self._position

    @property
    def is_whole(self) -> bool:
        """Whether the data could end here: one or more values and nothing unfinished."""
        return self.position == "between_values" and bool(self._values)

    @property
    def has_done(self) -> bool:
        """Whether the last value is the end sentinel."""
        self._examine()
        return bool(self._values) and self._values[-1].text == DONE

    @property
    def in_string(self) -> bool:
        """Whether the last line ended inside a JSON string."""
        return self.position == "inside_value" and self._scanner.in_string

    @property
    def rest(self) -> bytes:
        """The text after the last whole value."""
        self._examine()
        return b"".join(self._open)

    def take_values(self) -> list[Value]:
        """Return the values found since the last call."""
        self._examine()
        values, self._values = self._values, []
        return values

    def _examine(self) -> None:
        while self._examined < len(self._lines):
            line = self._lines[self._examined]
            self._examined += 1
            if self._position != "between_values":
                self._open.append(b"\n")
            self._examine_line(line)

    def _examine_line(self, line: bytes) -> None:
        offset = 0
        while offset < len(line):
            match self._position:
                case "between_values":
                    offset = self._skip_framing(line, offset)
                case "inside_value":
                    end = self._scanner.scan(line, offset)
                    if end < 0:
                        self._open.append(line[offset:])
                        return
                    self._open.append(line[offset:end])
                    self._add_value(b"".join(self._open))
                    offset = end
                case "other_text":
                    self._open.append(line[offset:])
                    return

    def _add_value(self, text: bytes) -> None:
        if self._values:
            self._count_repair("glued_values")
        self._values.append(Value(text, self.event))
        self.event = None
        self._open.clear()
        self._position: Position = "between_values"

    def _skip_framing(self, line: bytes, start: int) -> int:
        """Read one token between values. Return the offset after it, or `start` where a value or other text begins."""
        if space := re.compile(_SPACE).match(line, start):
            return space.end()
        if self._values and self._values[-1].text == DONE:
            self._position = "other_text"
        elif line.startswith(DONE, start):
            self._add_value(DONE)
            return start + len(DONE)
        elif line[start] in b"{[":
            self._position, self._scanner = "inside_value", Scanner()
        elif line.startswith(b"data:", start):
            if not self._values:
                self._count_repair("repeated_prefix")
            return start + len(b"data:")
        elif (wrapped := re.compile(_WRAPPED_FIELD).match(line, start)) and not re.search(_PAYLOAD_START, wrapped[2]):
            self._count_repair("wrapped_line")
            if wrapped[1] == b"event":
                self.event = wrapped[2].removeprefix(b" ").decode("utf-8", "replace") or None
            return wrapped.end()
        else:  # also a field or comment that a lost line end has glued a payload to
            self._position = "other_text"
        return start

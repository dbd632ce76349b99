"""The text of an event's data: JSON values, and what may stand between them.

This module decides where one value ends and the next begins. It must not know blocks, the event name in force, faults
or the end of a stream: `dispatch` does. Nor does it parse: what looks whole here can still be refused there.

The law its tests keep: framing is looked for only *between* values, never inside one, so no byte of a value is moved,
dropped or taken for anything else.
"""

from __future__ import annotations

import ast
import enum
import re
from collections.abc import Callable
from typing import NamedTuple

from .json_text import Scanner

DONE = b"[DONE]"

_LINE_COST = 64  # bytes that Python takes to keep one more line, however short
_SPACE = re.compile(rb"[ \t\r\n]+")
_WRAPPED_LINE = re.compile(rb"(event|id|retry|):([^\r\n]*)")
_ESCAPED_NEWLINES = re.compile(rb"(?:\\r\\n|\\n)+")
_SWALLOWED = re.compile(rb'data:|\{"|\[DONE\]')
# In a JSON array of objects, which bytes may come after which; an element counts as its closing brace.
_AFTER_IN_ARRAY = {b"": b"[", b"[": b"{]", b"}": b",]", b",": b"{", b"]": b""}
_REPR_ESCAPE = re.compile(rb"""\\(?:[\\'"nrt]|x[0-9a-f]{2})""")
_PRINTABLE = re.compile(rb"[ -~]*")


class Value(NamedTuple):
    """One value as it was sent, or `DONE`; `event` is the name that a wrapped `event:` line gave it."""

    text: bytes
    event: str | None


class Where(enum.Enum):
    """What the text ends with, as far as it has been read."""

    BETWEEN = "nothing, or whole values and what may follow them"
    INSIDE = "a container that has not been closed"
    JUNK = "something else: a number, string or literal, which do not end by themselves, or no JSON at all"


class DataText:
    """
    Reads text line by line, each once, and collects its values.

    `note` is told the kind of every departure from a text that is one JSON value. `lenient` allows line ends written
    as backslash and n between values; `array` reads the elements of one JSON array instead. Lines are not looked into
    before something is asked about them: a text of one line mostly is one value, which its parser sees faster.
    """

    event: str | None = None  # named after the last value, for one that has not come
    _where = Where.BETWEEN
    _array: bytes | None = None  # the last byte of the array's own, of those in `_AFTER_IN_ARRAY`

    def __init__(self, note: Callable[[str], None], *, lenient: bool = False, array: bool = False) -> None:
        self.size = 0
        self._note = note
        self._lenient = lenient
        self._parts: list[bytes] = []
        self._unread: list[tuple[bytes, bytes]] = []
        self._values: list[Value] = []
        self._open: list[bytes] = []
        if array:
            self._array = b""

    def add(self, line: bytes, joint: bytes = b"\n") -> None:
        """Take the next line; `joint` stands for the line end before it."""
        if self._parts:
            self._parts.append(joint)
            self.size += _LINE_COST
        self._parts.append(line)
        self._unread.append((joint, line))
        self.size += len(joint) + len(line)

    @property
    def text(self) -> bytes:
        """All of it, as sent."""
        return b"".join(self._parts)

    @property
    def single(self) -> bytes | None:
        """The text, if it is one line that has not been looked into."""
        return self._parts[0] if len(self._parts) == 1 and self._unread else None

    @property
    def where(self) -> Where:
        """What the text ends with."""
        self._catch_up()
        return self._where

    @property
    def whole(self) -> bool:
        """Whether the text could end here: one or more values and nothing unfinished."""
        return self.where is Where.BETWEEN and bool(self._values)

    @property
    def ended(self) -> bool:
        """Whether the last value is the end sentinel, or the array is closed."""
        self._catch_up()
        return self._array == b"]" or (bool(self._values) and self._values[-1].text == DONE)

    @property
    def in_string(self) -> bool:
        """Whether the last line ended inside a JSON string."""
        return self.where is Where.INSIDE and self._scanner.in_string

    @property
    def in_escape(self) -> bool:
        """Whether the last line ended on a backslash inside a JSON string."""
        return self.in_string and self._scanner.in_escape

    @property
    def rest(self) -> bytes:
        """What comes after the last value and is none."""
        self._catch_up()
        return b"".join(self._open)

    @property
    def tail(self) -> bytes:
        """The last line that is not blank."""
        return next((part for part in reversed(self._parts) if part.strip()), b"")

    def take(self) -> list[Value]:
        """The values found since the last time."""
        self._catch_up()
        values, self._values = self._values, []
        if self._array is not None and values:  # an endless array must not be kept
            self._parts = [self.rest]
            self.size = len(self._parts[0])
        return values

    def _catch_up(self) -> None:
        unread, self._unread = self._unread, []
        for joint, line in unread:
            if self._where is not Where.BETWEEN:
                self._open.append(joint)
            self._read(line)

    def _read(self, line: bytes) -> None:
        position = 0
        while position < len(line):
            match self._where:
                case Where.BETWEEN:
                    position = self._between(line, position)
                case Where.INSIDE:
                    end = self._scanner.scan(line, position)
                    if end < 0:
                        self._open.append(line[position:])
                        return
                    self._open.append(line[position:end])
                    self._found(b"".join(self._open))
                    position = end
                case Where.JUNK:
                    self._open.append(line[position:])
                    return

    def _found(self, text: bytes) -> None:
        if self._values and self._array is None:
            self._note("glued_values")
        self._values.append(Value(text, self.event))
        self.event = None
        self._open.clear()
        self._where = Where.BETWEEN

    def _between(self, line: bytes, start: int) -> int:
        """Move over one token between values, and return where it ends."""
        if space := _SPACE.match(line, start):
            return space.end()
        if self._array is not None:
            return self._in_array(line, start)
        if self._lenient and (newlines := _ESCAPED_NEWLINES.match(line, start)):
            self._note("escaped_newline")
            return newlines.end()
        if self._values and self._values[-1].text == DONE:
            self._where = Where.JUNK
        elif line.startswith(DONE, start):
            self._found(DONE)
            return start + len(DONE)
        elif line[start] in b"{[":
            self._where, self._scanner = Where.INSIDE, Scanner()
        elif line.startswith(b"data:", start):
            if not self._values:
                self._note("repeated_prefix")
            return start + len(b"data:")
        elif wrapped := _WRAPPED_LINE.match(line, start):
            return self._wrapped(wrapped)
        else:
            self._where = Where.JUNK
        return start

    def _wrapped(self, line: re.Match[bytes]) -> int:
        name, content = line.groups()
        if self._lenient and (newlines := _ESCAPED_NEWLINES.search(content)):
            content = content[: newlines.start()]
        if _SWALLOWED.search(content):  # a lost line end has glued a payload to this line
            self._where = Where.JUNK
            return line.start()
        self._note("wrapped_line")
        if name == b"event":
            self.event = content.removeprefix(b" ").decode("utf-8", "replace") or None
        return line.start(2) + len(content)

    def _in_array(self, line: bytes, start: int) -> int:
        byte = line[start : start + 1]
        if byte not in _AFTER_IN_ARRAY[self._array or b""] or not byte:
            self._where = Where.JUNK
            return start
        if byte == b"{":
            self._array = b"}"
            self._where, self._scanner = Where.INSIDE, Scanner()
            return start
        self._array = byte
        return start + 1


def undo_bytes_repr(text: bytes) -> bytes | None:
    """The bytes that Python writes as `text`, such as `b'data: {}\\n\\n'`; None where `text` is no such thing."""
    if len(text) < 3 or text[:2] not in (b"b'", b'b"') or text[-1] != text[1]:
        return None
    plain = _REPR_ESCAPE.sub(b"", text[2:-1])
    if not _PRINTABLE.fullmatch(plain) or b"\\" in plain or text[1] in plain:
        return None
    inner: bytes = ast.literal_eval(text.decode("ascii"))
    return inner

"""Lines to blocks: what each line belongs to, and where an event begins and ends.

This module decides which lines make up an event or a payload outside any, and which repairs of framing that takes.
It must not know reads, limits or any API, nor what the text of an event is worth: `dispatch` does.

The law its tests keep: only framing is moved, unless `lenient` was asked for; what cannot be repaired is a
`DecodeFault`, after the whole payloads before it.

Lines that no SSE field begins, and what they turn out to be.

WHATWG ignores such lines, and so do we unless one is plainly something. This module decides that by the look of the
one line. It must not know what came before it, nor what is done about it: `blocks` does.

The law its tests keep: what looks like ordinary text is `unknown`.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ..sse import Line, parse_retry, split_field
from .dispatch import CUT_SHORT, NOT_JSON, Block, Dispatcher, Fields, Mode
from .event_data import DONE, DataText, Where
from .json_text import may_continue, undecodable
from .payload import DecodeFault

_FIELDS = (b"data", b"event", b"id", b"retry")
_ESCAPED = {b"\n": rb"\n", b"\r": rb"\r", b"\r\n": rb"\r\n"}
_LINE_END = "a line ends inside a JSON string"


class Blocks:
    """
    Reads one stream line by line, and hands what has ended to `out`.

    `undecodable` is the error of an ignored line that was not UTF-8. After `out` has a fault or is
    done, no line may follow.
    """

    def __init__(self, mode: Mode) -> None:
        self.out = Dispatcher(mode)
        self.undecodable: UnicodeDecodeError | None = None
        self._plain = mode == "off"
        self._lenient = mode == "lenient"
        self._block: Block | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing has begun that has not ended."""
        return self._block is None

    @property
    def held(self) -> int:
        """Bytes of data kept of what has begun."""
        return 0 if self._block is None else self._block.text.size

    @property
    def start(self) -> int | None:
        """Offset of the first byte of what has begun."""
        return None if self._block is None else self._block.start

    def line(self, line: Line) -> None:
        """Read the next line."""
        block = self._block
        if not line.text:
            self._blank()
            return
        name, value = self._field(line.text)
        if block is None or self._plain:
            self._ordinary(line, name, value)
        elif block.text.in_string:
            self._in_string(block, line, name)
        elif block.waits and name != b"data":
            self.out.fail(CUT_SHORT, block)
        elif block.bare:
            self._more_bare(block, line, name)
        else:
            self._ordinary(line, name, value)

    def finish(self, last: Line) -> None:
        """The body has ended, with `last` as its unfinished line."""
        # Of a field that is not data nobody knows where it was cut; a lone bracket may be the start of [DONE].
        if last.text.strip() not in (b"", b"[") and self._field(last.text)[0] in (b"data", None):
            self.line(last)
        block = self._block
        if block is None or self.out.fault is not None or self.out.done:
            return
        if self._plain or block.bare:
            self.out.unfinished = block.bare is not None or bool(block.text.text.strip())
            return
        before = len(self.out.payloads)
        self.out.dispatch(block, at_end=True)
        if len(self.out.payloads) > before:
            self.out.note("unterminated_event")

    # What a line is.

    def _field(self, text: bytes) -> tuple[bytes | None, bytes]:
        """Name and value of a field, an empty name for a comment, None for any other line."""
        name, value = split_field(text)
        if name in _FIELDS or not name:
            return name, value
        if not self._plain:
            text = unpadded(text)
            name, value = split_field(text)
            if name in _FIELDS and name != text:  # a bare word, though padded, may be just that
                return name, value
        return None, b""

    def _ordinary(self, line: Line, name: bytes | None, value: bytes) -> None:
        if name and not line.text.startswith(name):
            self.out.note("glued_prefix")
        match name:
            case b"":
                pass
            case b"data":
                self._data(line, value)
            case None:
                self._stray(line)
            case _:
                self._meta(line, name, value)

    def _blank(self) -> None:
        block = self._block
        if block is None:
            return
        if block.bare:  # between the tokens of a JSON text outside any event
            if block.text.in_string:
                self.out.fail(_LINE_END, block)
            return
        block.fields |= block.late
        self.out.last_id = block.fields.get("id", self.out.last_id)  # also of a block without data
        self.out.dispatch(block)
        if not block.waits:
            self._block = None

    def _data(self, line: Line, value: bytes) -> None:
        block = self._block or self._begin(line)
        if block.waits:
            self._join(block, value)
            return
        if not self._plain and block.text.whole and value.strip():
            if block.text.ended and value.strip() == DONE:
                return
            room = self._room(line)
            if room is None:
                return
            block = room
        block.text.add(value)

    def _meta(self, line: Line, name: bytes, value: bytes) -> None:
        block = self._block or self._begin(line)
        fields = block.late if not self._plain and block.text.whole else block.fields
        match name:
            case b"event" if b"data:" in value and not self._plain:
                self.out.fail("a line end is missing between an event name and its data", block)
            case b"event":
                fields["event"] = value.decode("utf-8", "replace") or None
            case b"id" if b"\0" not in value:
                fields["id"] = value.decode("utf-8", "replace")
            case b"retry" if (milliseconds := parse_retry(value)) is not None:
                fields["retry"] = milliseconds

    def _stray(self, line: Line) -> None:
        """A line that WHATWG ignores."""
        found = stray(line.text)
        match found.kind:
            case "html":
                self._html(line)
            case "unknown":
                self._ignore(line)
            case _ if self._plain:
                self._ignore(line)
            case "blank":
                if self._block is not None and self._block.text.whole:
                    self.out.note("blank_line_not_empty")
                    self._blank()
            case _:
                self._bare(line, found)

    def _ignore(self, line: Line) -> None:
        self.undecodable = self.undecodable or undecodable(line.text)

    def _html(self, line: Line) -> None:
        block = self._block
        if self._plain or block is None or not block.text.whole or self.out.deliver(block):
            self.out.fault = DecodeFault("not_a_stream", "an HTML page stands where events should", line.start)

    # Payloads outside any field.

    def _bare(self, line: Line, found: Stray) -> None:
        if found.kind == "bare_done" and self._block is not None and self._block.text.ended:
            self.out.deliver(self._block)
            return
        block = self._room(line)
        if block is None:
            return
        if found.kind == "json_array":
            if not self._lenient:
                self.out.fault = DecodeFault("not_a_stream", "the body is a JSON array", line.start)
                return
            block.text = DataText(self.out.note, array=True)
        if found.kind != "bytes_repr":  # or else that is counted when it has been undone
            self.out.note(found.kind)
        block.bare = found.kind
        block.text.add(found.text)
        self._bare_progress(block)

    def _more_bare(self, block: Block, line: Line, name: bytes | None) -> None:
        """A line within a JSON text that stands outside any field: more of it, or it was cut short."""
        if name in _FIELDS or stray(line.text).kind in ("html", "bare_done"):
            self.out.fail(CUT_SHORT, block)
            return
        block.text.add(line.text)
        self._bare_progress(block)

    def _bare_progress(self, block: Block) -> None:
        """Hand out what is whole: no blank line has to come."""
        text = block.text
        if block.bare == "json_array":
            if self.out.deliver(block) and text.where is Where.JUNK:
                self.out.fail(NOT_JSON, block)
            elif text.ended:
                self._block = None
        elif self.out.dispatch_single(block, at_end=True):
            self._block = None
        elif text.where is not Where.INSIDE:
            self.out.dispatch(block)
            self._block = None

    # Liberties that only `lenient` takes.

    def _in_string(self, block: Block, line: Line, name: bytes | None) -> None:
        """A line that comes while a JSON string is open: a raw line end was in the string, or the string was cut."""
        if not self._lenient or name is not None or not is_content(line.text) or block.text.in_escape:
            self.out.fail(_LINE_END, block)
            return
        self.out.note("raw_newline")
        block.text.add(line.text, _ESCAPED[line.after])
        if block.bare:
            self._bare_progress(block)

    def _join(self, block: Block, value: bytes) -> None:
        alone = DataText(lambda _: None)
        alone.add(value)
        if alone.whole or not may_continue(block.text.tail, value):
            self.out.fail(CUT_SHORT, block)
            return
        self.out.note("joined_events")
        block.waits = False
        block.pieces += 1
        block.text.add(value, joint=b"")

    def _begin(self, line: Line, fields: Fields | None = None) -> Block:
        self._block = Block(line.start, DataText(self.out.note, lenient=self._lenient), fields or {})
        return self._block

    def _room(self, line: Line) -> Block | None:
        """The block for a payload that begins here, after the one before it; None where that one is not whole."""
        block = self._block
        if block is None:
            return self._begin(line)
        if block.text.where is not Where.BETWEEN:
            self.out.fail(CUT_SHORT, block)
            return None
        if not block.text.whole:
            return self._begin(line, block.fields)
        self.out.note("missing_blank_line")
        if not self.out.deliver(block, last=False):
            return None
        return self._begin(line, {"event": block.text.event} | block.late)


Kind = Literal["blank", "html", "bare_done", "bare_json", "error_line", "json_array", "bytes_repr", "unknown"]


_PADDING = re.compile(rb"(?:[ \t\v\f\0]|\xef\xbb\xbf)*")


_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]+[ \t]*(?:;.*)?")


_LOOKS: tuple[tuple[Kind, re.Pattern[bytes]], ...] = (
    ("blank", re.compile(rb"$")),
    ("html", re.compile(rb"<!doctype|<html", re.IGNORECASE)),
    ("bare_done", re.compile(rb"\[DONE\][ \t\0]*$")),
    ("bare_json", re.compile(rb"(?=\{)")),
    ("error_line", re.compile(rb"error:[ \t]*(?=\{)")),
    ("json_array", re.compile(rb"(?=\[[ \t]*(?:\{|$))")),
    ("bytes_repr", re.compile(rb"""(?=b['"](?:data:|event:|id:|retry:|:|\{|\[DONE\]))""")),
)


class Stray(NamedTuple):
    """What a line is, and the text of the payload in it or that begins in it."""

    kind: Kind
    text: bytes


def unpadded(line: bytes) -> bytes:
    """The line without what keep-alives may have left before it: white space, NUL, a byte order mark."""
    padding = _PADDING.match(line)
    return line[padding.end() :] if padding else line


def stray(line: bytes) -> Stray:
    """What the line is."""
    text = unpadded(line)
    for kind, look in _LOOKS:
        if found := look.match(text):
            return Stray(kind, DONE if kind == "bare_done" else text[found.end() :])
    return Stray("unknown", text)


def is_content(line: bytes) -> bool:
    """Whether the line, come while a JSON string is open, is likely to be more of that string.

    The count of a chunked body is all hexadecimal digits, and so is many a word: not even a reader that takes
    liberties can tell them apart.
    """
    return stray(line).kind not in ("blank", "html", "bare_done", "error_line") and not _CHUNK_SIZE.fullmatch(
        unpadded(line).rstrip()
    )

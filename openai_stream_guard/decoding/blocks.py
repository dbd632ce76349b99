"""Lines become blocks: which lines belong to one event, and where the event begins and ends.

WHATWG HTML 9.2.6 ends an event at a blank line and ignores lines that are not fields. Where a gateway has lost or added
line ends, this module finds the boundaries that were meant: an object whose closing bracket came ends an event as well
as a blank line does, and a line of JSON without a field name is a payload. What the data of a block is worth is decided
in `dispatch`; reads and limits are the business of `reader`.

Invariant, held by tests: only framing is moved. What cannot be repaired is a `DecodeFault`, after the whole payloads
before it.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ..sse import Line, parse_retry, split_field
from .dispatch import CUT_SHORT, Block, Dispatcher, Fields, RepairMode
from .event_data import DONE, EventData, Position
from .json_text import undecodable
from .payload import DecodeFault

StrayKind = Literal["blank", "html", "bare_done", "bare_json", "error_line", "json_array", "bytes_repr", "ignored"]

_FIELD_NAMES = (b"data", b"event", b"id", b"retry")
_PADDING = re.compile(rb"(?:[ \t\v\f\0]|\xef\xbb\xbf)*")
_STRAY_LINES: tuple[tuple[StrayKind, re.Pattern[bytes]], ...] = (
    ("blank", re.compile(rb"$")),
    ("html", re.compile(rb"<!doctype|<html", re.IGNORECASE)),
    ("bare_done", re.compile(rb"\[DONE\][ \t\0]*$")),
    ("bare_json", re.compile(rb"(?=\{)")),
    ("error_line", re.compile(rb"error:[ \t]*(?=\{)")),
    ("json_array", re.compile(rb"(?=\[[ \t]*(?:\{|$))")),
    ("bytes_repr", re.compile(rb"""(?=b['"](?:data:|event:|id:|retry:|:|\{|\[DONE\]))""")),
)
"""Lines that no SSE field begins: the first pattern that matches names the kind. All others are `ignored`."""


class StrayLine(NamedTuple):
    """A line that no SSE field begins: its kind, and the text of the payload that it holds or begins."""

    kind: StrayKind
    text: bytes


class BlockParser:
    """
    Reads the lines of one body, and dispatches each block through `out` when it ends.

    After `out` has a fault or is done, no line may follow.
    """

    def __init__(self, repair: RepairMode) -> None:
        self.out = Dispatcher(repair)
        self.undecodable: UnicodeDecodeError | None = None
        """What decoding the first ignored line that is not UTF-8 raises."""
        self._repairing = repair == "safe"
        self._block: Block | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no block has begun."""
        return self._block is None

    @property
    def held_bytes(self) -> int:
        """Bytes of data kept for the block that has begun."""
        return 0 if self._block is None else self._block.data.size

    @property
    def block_start(self) -> int | None:
        """Offset of the first byte of the block that has begun."""
        return None if self._block is None else self._block.start

    def feed(self, line: Line) -> None:
        """Read the next line."""
        block = self._block
        if not line.text:
            self._end_block()
            return
        name, value = self._parse_field(line.text)
        if block is not None and self._repairing:
            if block.data.in_string:
                self._fail_inside_string(block)
                return
            if block.found_as:
                self._continue_bare_json(block, line, name)
                return
        if name and not line.text.startswith(name):
            self.out.count_repair("glued_prefix")
        match name:
            case b"":
                pass
            case b"data":
                self._add_data(line, value)
            case None:
                self._take_stray_line(line)
            case _:
                self._set_field(line, name, value)

    def finish(self, last: Line) -> None:
        """End the body; `last` is its unfinished line."""
        # Fields other than data are dropped: they may be cut anywhere. A lone bracket may be the start of [DONE].
        if last.text.strip() not in (b"", b"[") and self._parse_field(last.text)[0] in (b"data", None):
            self.feed(last)
        block = self._block
        if block is None or self.out.fault is not None or self.out.done:
            return
        if not self._repairing or block.found_as:
            self.out.unfinished = block.found_as is not None or bool(block.data.text.strip())
            return
        before = len(self.out.payloads)
        self.out.dispatch(block, body_ended=True)
        if len(self.out.payloads) > before:
            self.out.count_repair("unterminated_event")

    def _parse_field(self, text: bytes) -> tuple[bytes | None, bytes]:
        """Name and value of a field. The name of a comment is empty; that of any other line is None."""
        name, value = split_field(text)
        if name in _FIELD_NAMES or not name:
            return name, value
        if self._repairing:
            text = without_padding(text)
            name, value = split_field(text)
            if name in _FIELD_NAMES and name != text:  # a padded word without a colon is no field
                return name, value
        return None, b""

    # Fields.

    def _add_data(self, line: Line, value: bytes) -> None:
        block = self._block or self._begin_block(line)
        if self._repairing and block.data.is_whole and value.strip():
            if block.data.has_done and value.strip() == DONE:
                return
            next_block = self._begin_next_block(line)
            if next_block is None:
                return
            block = next_block
        block.data.add_line(value)

    def _set_field(self, line: Line, name: bytes, value: bytes) -> None:
        block = self._block or self._begin_block(line)
        fields = block.late_fields if self._repairing and block.data.is_whole else block.fields
        match name:
            case b"event" if b"data:" in value and self._repairing:
                self.out.fail("a line end is missing between an event name and its data", block)
            case b"event":
                fields["event"] = value.decode("utf-8", "replace") or None
            case b"id" if b"\0" not in value:
                fields["id"] = value.decode("utf-8", "replace")
            case b"retry" if (milliseconds := parse_retry(value)) is not None:
                fields["retry"] = milliseconds

    # Lines that no field begins.

    def _take_stray_line(self, line: Line) -> None:
        stray = classify_stray_line(line.text)
        match stray.kind:
            case "html":
                self._fail_not_a_stream("an HTML page stands where events should", line)
            case "ignored":
                self._ignore(line)
            case _ if not self._repairing:
                self._ignore(line)
            case "blank":
                if self._block is not None and self._block.data.is_whole:
                    self.out.count_repair("blank_line_not_empty")
                    self._end_block()
            case "bare_done" if self._block is not None and self._block.data.has_done:
                self.out.dispatch_values(self._block)
            case "json_array":
                if self._begin_next_block(line):
                    self.out.fault = DecodeFault("not_a_stream", "the body is a JSON array", line.start)
            case "bytes_repr":
                if block := self._begin_next_block(line):
                    block.data.add_line(stray.text)
                    self.out.dispatch(block)
            case _:
                self._begin_bare_json(line, stray)

    def _ignore(self, line: Line) -> None:
        self.undecodable = self.undecodable or undecodable(line.text)

    def _fail_not_a_stream(self, reason: str, line: Line) -> None:
        block = self._block
        if not self._repairing or block is None or not block.data.is_whole or self.out.dispatch_values(block):
            self.out.fault = DecodeFault("not_a_stream", reason, line.start)

    def _begin_bare_json(self, line: Line, stray: StrayLine) -> None:
        if block := self._begin_next_block(line):
            block.found_as = stray.kind
            self.out.count_repair(stray.kind)
            self._add_bare_json(block, stray.text)

    def _continue_bare_json(self, block: Block, line: Line, name: bytes | None) -> None:
        if name in _FIELD_NAMES or classify_stray_line(line.text).kind in ("html", "bare_done"):
            self.out.fail(CUT_SHORT, block)
        else:
            self._add_bare_json(block, line.text)

    def _add_bare_json(self, block: Block, text: bytes) -> None:
        """Add a line to a JSON text outside any field. Once it is whole it is dispatched, without a blank line."""
        block.data.add_line(text)
        if self.out.dispatch_single(block, needs_bracket=True):
            self._block = None
        elif block.data.position is not Position.INSIDE_VALUE:
            self.out.dispatch(block)
            self._block = None

    # Where blocks begin and end.

    def _begin_block(self, line: Line, fields: Fields | None = None) -> Block:
        self._block = Block(line.start, EventData(self.out.count_repair), fields or {})
        return self._block

    def _begin_next_block(self, line: Line) -> Block | None:
        """End the block before this line and begin another; None where the one before is not whole, or was the last."""
        block = self._block
        if block is None:
            return self._begin_block(line)
        if block.data.position is not Position.BETWEEN_VALUES:
            self.out.fail(CUT_SHORT, block)
            return None
        if not block.data.is_whole:
            return self._begin_block(line, block.fields)
        self.out.count_repair("missing_blank_line")
        if not self.out.dispatch_values(block, is_end=False):
            return None
        return self._begin_block(line, {"event": block.data.event} | block.late_fields)

    def _end_block(self) -> None:
        block = self._block
        if block is None:
            return
        if block.found_as:  # JSON outside any field may have blank lines between its tokens
            if block.data.in_string:
                self._fail_inside_string(block)
            return
        block.fields |= block.late_fields
        self.out.last_id = block.fields.get("id", self.out.last_id)  # also for a block without data
        self.out.dispatch(block)
        self._block = None

    def _fail_inside_string(self, block: Block) -> None:
        self.out.fail("a line ends inside a JSON string", block)


def without_padding(line: bytes) -> bytes:
    """Return the line without what a keep-alive may have left before it: white space, NUL, a byte order mark."""
    padding = _PADDING.match(line)
    return line[padding.end() :] if padding else line


def classify_stray_line(line: bytes) -> StrayLine:
    """Return what a line is that no SSE field begins, judged by this line alone."""
    text = without_padding(line)
    for kind, pattern in _STRAY_LINES:
        if found := pattern.match(text):
            return StrayLine(kind, DONE if kind == "bare_done" else text[found.end() :])
    return StrayLine("ignored", text)

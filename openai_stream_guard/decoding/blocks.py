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
from typing import Literal

from ..records import Record
from ..sse import Line, parse_retry, split_field
from .dispatch import CUT_DONE, CUT_SHORT, Block, Dispatcher, Fields, RepairMode, error_object
from .event_data import DONE, EventData
from .json_text import closes_more_than_it_opens, stock_error, undecodable
from .payload import DecodeFault

StrayKind = Literal["blank", "page", "bare_done", "bare_json", "error_line", "json_array", "fragment", "ignored"]

_FIELD_NAMES = (b"data", b"event", b"id", b"retry")
_LINE_ENDS_INSIDE = "a line ends inside a JSON string"
_PADDING = rb"(?:[ \t\v\f\0]|\xef\xbb\xbf)*"
_STRAY_LINES: tuple[tuple[StrayKind, bytes], ...] = (
    ("blank", rb"$"),
    ("page", rb"(?i)<!doctype|<html|<\?xml"),
    ("bare_done", rb"\[DONE\][ \t\0]*$"),
    ("bare_json", rb"(?=\{)"),
    ("error_line", rb"error:[ \t]*(?=\{)"),
    ("json_array", rb"(?=\[[ \t]*(?:\{|$))"),
    ("fragment", rb"""(?=b['"](?:data:|event:|id:|retry:|:|\{|\[DONE\]))"""),  # as Python writes bytes
    ("fragment", rb"""(?s)(?=.*":)|(?=.*[}\]][ \t\0]*$)"""),
)
"""Lines that no SSE field begins: the first pattern that matches names the kind. All others are `ignored`."""
_UNKNOWN_FIELD = rb"(?s)(?!a:|ta:|ata:)[A-Za-z][\w.-]*:(.*)"
"""A field that SSE does not have. What is left of `data:` when its beginning was lost is none."""
_HTTP_STATUS = rb"\s*HTTP_STATUS/([0-9]{3})"


class StrayLine(Record):
    """A line that no SSE field begins: its kind, and the text of the payload that it holds or begins."""

    kind: StrayKind
    text: bytes


class BlockParser:
    """
    Reads the lines of one body, and dispatches each block through `out` when it ends.

    After `out` has a fault or is done, no line may follow.
    """

    __slots__ = ("_block", "_http_status", "_repairing", "out", "undecodable")

    def __init__(self, repair: RepairMode) -> None:
        self.out = Dispatcher(repair)
        self.undecodable: UnicodeDecodeError | None = None
        """What decoding the first ignored line that is not UTF-8 raises."""
        self._repairing = repair == "safe"
        self._block: Block | None = None
        self._http_status: int | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no block has begun, and neither an interrupted one nor a status waits for what comes next."""
        return self._block is None and self._http_status is None and not self.out.is_interrupted

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
                self._interrupt(block, line, name, value)
                return
            if block.found_as:
                self._continue_bare_json(block, line, name)
                return
        if name and not line.text.startswith(name):
            self.out.count_repair("glued_prefix")
        match name:
            case b"":
                self._read_comment(line, value)
            case b"data":
                self._add_data(line, value)
            case None:
                self._take_stray_line(line)
            case _:
                self._set_field(line, name, value)

    def finish(self, last: Line) -> None:
        """End the body; `last` is its unfinished line."""
        before = len(self.out.payloads)
        # Fields other than data are dropped: they may be cut anywhere. A lone bracket may be the start of [DONE].
        if last.text.strip() not in (b"", b"[") and self._parse_field(last.text)[0] in (b"data", None):
            self.feed(last)
        block = self._block
        if block is not None and self.out.fault is None and not self.out.done:
            self._finish_block(block, last)
        self.out.fail_interrupted()
        cut_line = without_padding(last.text)
        begun = cut_line if block is None else block.data.text.strip() or b"event"
        is_comment_or_done = begun.startswith(b":") or begun in (b"", b"[", *CUT_DONE)
        self.out.event_begun = not is_comment_or_done and len(self.out.payloads) == before

    def _finish_block(self, block: Block, last: Line) -> None:
        before = len(self.out.payloads)
        if last.text or not self.out.dispatch_error_text(block):
            if block.found_as == "json_array":
                self.out.fail_with_array(block)
                return
            if not self._repairing or block.found_as:
                self.out.unfinished = block.found_as is not None or bool(block.data.text.strip())
                return
            self.out.dispatch(block, body_ended=True)
        if len(self.out.payloads) > before and self._repairing:
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

    def _read_comment(self, line: Line, value: bytes) -> None:
        """Look for a status that DashScope writes. What begins with `:` may also be the rest of an event."""
        if status := re.match(_HTTP_STATUS, value):
            self._http_status = int(status[1])
        elif value.rstrip().endswith((b"}", b"]")) and closes_more_than_it_opens(value):
            self._take_fragment(line, line.text)

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
            case "page":
                self._fail_not_a_stream("an HTML page stands where events should", line)
            case "ignored":
                self._ignore(line)
            case "fragment":
                self._take_fragment(line, stray.text)
            case _ if not self._repairing:
                self._ignore(line)
            case "blank":
                if self._block is not None and self._block.data.is_whole:
                    self.out.count_repair("blank_line_not_empty")
                    self._end_block()
            case "bare_done" if self._block is not None and self._block.data.has_done:
                self.out.dispatch_values(self._block)
            case _:
                self._begin_bare_json(line, stray)

    def _take_fragment(self, line: Line, text: bytes) -> None:
        """A piece of JSON whose beginning is lost, or a whole JSON text that is not an object."""
        is_json = stock_error(text) is None
        if is_json and not self._repairing:
            self._ignore(line)
        elif is_json:
            self._begin_bare_json(line, StrayLine("json_array", text))
        elif self._block is None or not self._repairing or self._begin_next_block(line):
            error = stock_error(text)
            self.out.fault = DecodeFault("malformed", "a piece of JSON stands outside any event", line.start, error)

    def _ignore(self, line: Line) -> None:
        self.undecodable = self.undecodable or undecodable(line.text)

    def _fail_not_a_stream(self, reason: str, line: Line) -> None:
        block = self._block
        if not self._repairing or block is None or not block.data.is_whole or self.out.dispatch_values(block):
            self.out.fault = DecodeFault("not_a_stream", reason, line.start)

    def _begin_bare_json(self, line: Line, stray: StrayLine) -> None:
        if block := self._begin_next_block(line):
            block.found_as = stray.kind
            if stray.kind != "json_array":  # which is an item of no API, and is not handed out
                self.out.count_repair(stray.kind)
            self._add_bare_json(block, stray.text)

    def _continue_bare_json(self, block: Block, line: Line, name: bytes | None) -> None:
        if name in _FIELD_NAMES or classify_stray_line(line.text).kind in ("page", "bare_done"):
            self.out.fail(CUT_SHORT, block)
        else:
            self._add_bare_json(block, line.text)

    def _add_bare_json(self, block: Block, text: bytes) -> None:
        """Add a line to a JSON text outside any field. Once it is whole it is dispatched, without a blank line."""
        block.data.add_line(text)
        if block.found_as == "json_array":
            if block.data.position != "inside_value":
                self.out.fail_with_array(block)
        elif self.out.dispatch_single(block, needs_bracket=True):
            self._block = None
        elif block.data.position != "inside_value":
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
        if block.data.position != "between_values":
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
            self._http_status = None
            return
        if block.found_as:  # JSON outside any field may have blank lines between its tokens
            if block.data.in_string:
                self.out.fail(_LINE_ENDS_INSIDE, block)
            return
        block.fields |= block.late_fields
        self.out.last_id = block.fields.get("id", self.out.last_id)  # also for a block without data
        self._block = None
        block.http_status, self._http_status = self._http_status, None
        self.out.dispatch(block)

    # An unfinished event that something else was written into.

    def _interrupt(self, block: Block, line: Line, name: bytes | None, value: bytes) -> None:
        """A line came inside a JSON string. It may hold an error of the API, whose server could not go on."""
        if name == b"event" and value.strip() == b"error":
            self.out.interrupt(_LINE_ENDS_INSIDE, block)
            self._begin_block(line, {"event": "error"})
            return
        text = value if name == b"data" else b""
        if name is None:
            stray = classify_stray_line(line.text)
            text = error_object(stray.text) if stray.kind == "error_line" else stray.text
        self.out.fail(_LINE_ENDS_INSIDE, block, self.out.object_payload(block, text))


def without_padding(line: bytes) -> bytes:
    """Return the line without what a keep-alive may have left before it: white space, NUL, a byte order mark."""
    padding = re.match(_PADDING, line)
    return line[padding.end() :] if padding else line


def classify_stray_line(line: bytes) -> StrayLine:
    """Return what a line is that no SSE field begins, judged by this line alone."""
    text = without_padding(line)
    for kind, pattern in _STRAY_LINES:
        if found := re.match(pattern, text):
            if kind == "fragment" and (unknown := re.match(_UNKNOWN_FIELD, text)) and stock_error(unknown[1]) is None:
                break
            return StrayLine(kind, DONE if kind == "bare_done" else text[found.end() :])
    return StrayLine("ignored", text)

"""From the text of an event to its payloads, or to the defect that ends the reading.

This module decides what an event amounts to once it has ended: payloads, nothing, a fault, or a JSON text that has
to wait for more. It must not know lines and fields: `blocks` sorts those into the `Block` of an event.

The law its tests keep: whatever was whole before a fault is handed out first, and nothing after it.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypedDict

from .event_data import DONE, DataText, Where, undo_bytes_repr
from .json_text import is_prefix, loads, loads_loosely, stock_error
from .payload import DecodeFault, Payload

Mode = Literal["off", "safe", "lenient"]

CUT_SHORT = "a JSON text ends too early"
NOT_JSON = "the data is not JSON"

# What the end of the body can have left of a field name or of [DONE]; of [DONE] two bytes at least, as a bracket
# might be the start of an array.
_CUT_NAMES = {name[:length] for name in (b"data", b"event", b"id", b"retry") for length in range(1, len(name) + 1)}
_CUT_DONE = {DONE[:length] for length in range(2, len(DONE))}


class Fields(TypedDict, total=False):
    """The fields of an event but for its data."""

    event: str | None
    id: str
    retry: int


class Block:
    """What is known of an event, or of a payload outside any, from its first line on."""

    __slots__ = ("bare", "fields", "late", "pieces", "start", "text", "waits")

    def __init__(self, start: int, text: DataText, fields: Fields) -> None:
        self.start = start
        self.text = text
        self.fields = fields
        self.late: Fields = {}  # came after whole data: the next payload's, unless a blank line says otherwise
        self.bare: str | None = None  # the kind of repair, if the text stands outside any field
        self.waits = False  # a blank line came inside the JSON text, and the next event may go on with it
        self.pieces = 1  # how many events the JSON text is spread over


class Dispatcher:
    """
    Turns blocks into `payloads`, which the caller takes away.

    Its other attributes are the Reader's. After `fault` or `done` nothing more may be asked of it.
    """

    def __init__(self, mode: Mode) -> None:
        self.payloads: list[Payload] = []
        self.fault: DecodeFault | None = None
        self.done = False
        self.unfinished = False
        self.repairs: Counter[str] = Counter()
        self.last_id: str | None = None
        self._plain = mode == "off"
        self._lenient = mode == "lenient"

    def note(self, kind: str) -> None:
        """Count a repair."""
        self.repairs[kind] += 1

    def fail(self, reason: str, block: Block) -> None:
        """The block cannot be repaired."""
        error = stock_error(block.text.text)
        if reason == NOT_JSON and isinstance(error, UnicodeDecodeError):
            reason = "the data is not UTF-8"
        self.fault = DecodeFault("malformed", reason, block.start, error)

    def dispatch(self, block: Block, *, at_end: bool = False) -> None:
        """The event has ended; or, `at_end`, the body has, and the event had no blank line."""
        if self.dispatch_single(block, at_end=at_end):
            return
        if self._plain:
            self.fail(NOT_JSON, block)
            return
        text = block.text
        before = len(self.payloads)
        if not self.deliver(block):
            return
        delivered = len(self.payloads) > before
        match text.where:
            case Where.INSIDE if at_end:
                self.unfinished = text.rest not in _CUT_DONE
            case Where.INSIDE if not delivered and self._may_wait(block):
                block.waits = True
            case Where.INSIDE:
                self.fail(CUT_SHORT, block)
            case Where.JUNK if delivered and at_end and text.rest in _CUT_NAMES:
                pass  # of a field that was to come
            case Where.JUNK if delivered:
                self.fail("text that is no payload follows one", block)
            case Where.JUNK if at_end:
                self.unfinished = True
            case Where.JUNK:
                self._dispatch_lone(block)

    def dispatch_single(self, block: Block, *, at_end: bool) -> bool:
        """
        Try the quick way, which fits a text of one value. Says whether that was it.

        `at_end` only a container will do: it shows by itself that nothing of it is missing.
        """
        text = block.text.text if self._plain else block.text.single
        if text is None:
            return False
        stripped = text.strip()
        if not stripped:
            return True
        if stripped == DONE:
            self._emit(block, DONE, None)
            return True
        if at_end and stripped[:1] not in (b"{", b"["):
            return False
        try:
            value = loads(text)
        except (ValueError, RecursionError):
            return False
        self._emit(block, text, value)
        return True

    def deliver(self, block: Block, *, last: bool = True) -> bool:
        """Hand out the values found so far. Says whether the reading goes on.

        `last` says that nothing else belongs to the block; other text after [DONE] makes it a forgery.
        """
        last = last and block.text.where is Where.BETWEEN
        for value in block.text.take():
            if value.text == DONE:
                if last:
                    self._emit(block, DONE, None, value.event)
                else:
                    self.fail("other text follows [DONE]", block)
                return False
            try:
                text, parsed = self._loads(value.text)
            except (ValueError, RecursionError):
                self.fail(NOT_JSON, block)
                return False
            self._emit(block, text, parsed, value.event)
        return True

    def _may_wait(self, block: Block) -> bool:
        """Whether the next event may go on with a JSON text that a blank line broke into."""
        if not self._lenient or block.text.in_string:
            return False
        return block.pieces > 1 or is_prefix(block.text.text)  # the first piece only, or reading were quadratic

    def _dispatch_lone(self, block: Block) -> None:
        """Data that is no container: a number, string or literal by itself, or no JSON."""
        text = block.text.rest
        inner = undo_bytes_repr(text.strip()) if self._lenient else None
        if inner is not None:
            self._dispatch_inner(block, inner)
            return
        try:
            # Nobody can say what a line end within a string stands for: not even the lenient reader takes one here.
            text, value = (text, loads(text)) if b"\n" in text else self._loads(text)
        except (ValueError, RecursionError):
            self.fail(NOT_JSON, block)
        else:
            self._emit(block, text, value)

    def _dispatch_inner(self, block: Block, inner: bytes) -> None:
        """What a payload wrapped as Python writes bytes held."""
        self.note("bytes_repr")
        block.text = text = DataText(lambda _: None, lenient=True)
        for line in inner.splitlines():
            if text.in_string:
                break
            text.add(line)
        if self.deliver(block) and text.where is not Where.BETWEEN:
            self.fail(NOT_JSON, block)

    def _loads(self, text: bytes) -> tuple[bytes, object]:
        try:
            return text, loads(text)
        except (ValueError, RecursionError):
            if not self._lenient:
                raise
        return loads_loosely(text, self.note)

    def _emit(self, block: Block, text: bytes, value: object, event: str | None = None) -> None:
        fields = block.fields
        self.last_id = fields.get("id", self.last_id)
        if block.bare == "error_line":
            text, value = b'{"error": ' + text + b"}", {"error": value}
        self.payloads.append(Payload(event or fields.get("event"), text, value, self.last_id, fields.get("retry")))
        self.done = text == DONE

"""A block that has ended becomes payloads, nothing, or a fault.

`blocks` collects the lines of an event into a `Block`. This module decides what the block is worth: "dispatch" is
WHATWG HTML's word for it. It knows neither lines nor field names.

Invariant, held by tests: whatever was whole before a fault is handed out first, and nothing after it.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypedDict

from .event_data import DONE, EventData
from .json_text import is_beginning, loads, stock_error
from .payload import DecodeFault, IrregularPayload, Payload

RepairMode = Literal["safe", "off"]

CUT_SHORT = "a JSON text ends too early"
NOT_JSON = "the data is not JSON"

# What a cut at the end of the body can leave of a field name or of [DONE]. Of [DONE] two bytes at least: a bracket
# alone may be the start of an array.
_CUT_FIELD_NAMES = {
    name[:length] for name in (b"data", b"event", b"id", b"retry") for length in range(1, len(name) + 1)
}
CUT_DONE = {DONE[:length] for length in range(2, len(DONE))}


def error_object(text: bytes) -> bytes:
    """Return the payload that the value of an `error` line stands for, as llama.cpp writes it."""
    return b'{"error": ' + text + b"}"


class Fields(TypedDict, total=False):
    """The fields of an event besides its data."""

    event: str | None
    id: str
    retry: int


class Block:
    """An event, or a payload outside any field, as far as its lines have come."""

    __slots__ = ("data", "fields", "found_as", "http_status", "late_fields", "start")

    def __init__(self, start: int, data: EventData, fields: Fields) -> None:
        self.start = start
        """Offset of its first byte in the body."""
        self.data = data
        self.fields = fields
        self.late_fields: Fields = {}
        """Fields after whole data. They belong to the next event, unless a blank line ends this one first."""
        self.found_as: str | None = None
        """For a JSON text outside any field: the kind of its first line."""
        self.http_status: int | None = None


class Dispatcher:
    """
    Turns blocks into `payloads`, which the caller takes away.

    `fault`, `done`, `unfinished`, `event_begun` and `repairs` mean what they mean on `Reader`. After `fault` or `done`
    nothing may be dispatched.
    """

    __slots__ = (
        "_interrupted", "_repairing", "done", "event_begun", "fault", "last_id", "payloads", "repairs", "unfinished",
    )  # fmt: skip

    def __init__(self, repair: RepairMode) -> None:
        self.payloads: list[Payload] = []
        self.fault: DecodeFault | None = None
        self.done = False
        self.unfinished = self.event_begun = False
        self.repairs: Counter[str] = Counter()
        self.last_id: str | None = None
        self._interrupted: tuple[str, Block] | None = None
        """What is wrong with the block that was interrupted, and that block."""
        self._repairing = repair == "safe"

    def count_repair(self, kind: str) -> None:
        """Count one repair; `kind` is a key of `REPAIRS`."""
        self.repairs[kind] += 1

    @property
    def is_interrupted(self) -> bool:
        """Whether a block is damaged, and the next payload is waited for."""
        return self._interrupted is not None

    def interrupt(self, reason: str, block: Block) -> None:
        """This block is damaged, but the next payload may be an error of the API that tells why: wait for that."""
        self._interrupted = self._interrupted or (reason, block)

    def fail_interrupted(self, written: Payload | None = None) -> None:
        """End the reading for the block that was interrupted, if there is one; `written` came behind it."""
        if self._interrupted is not None and self.fault is None:
            self.fail(*self._interrupted, written)

    def fail(self, reason: str, block: Block, interrupted_by: Payload | None = None) -> None:
        """End the reading: this block, or the interrupted one before it, is damaged beyond repair."""
        if self._interrupted is not None:
            reason, block = self._interrupted
        error = stock_error(block.data.text)
        if reason == NOT_JSON and isinstance(error, UnicodeDecodeError):
            reason = "the data is not UTF-8"
        if interrupted_by is None:
            interrupted_by = self.object_payload(block, block.data.last_part)
        self.fault = DecodeFault("malformed", reason, block.start, error, interrupted_by)

    def fail_with_array(self, block: Block) -> None:
        """End the reading: a JSON array outside any field is no item of any API. It may hold an error."""
        text = block.data.text
        try:
            payload = self._payload(block, text, loads(text))
        except (ValueError, RecursionError):
            payload = None
        self.fault = DecodeFault("not_a_stream", "the body is a JSON array", block.start, payload=payload)

    def object_payload(self, block: Block, text: bytes) -> Payload | None:
        """Return a payload with the fields of a block and this text as its data, if that is one JSON object."""
        try:
            value = loads(text)
        except (ValueError, RecursionError):
            return None
        return self._payload(block, text, value) if isinstance(value, dict) else None

    def dispatch(self, block: Block, *, body_ended: bool = False) -> None:
        """Hand out what the block holds. It was ended by a blank line, or by the end of the body."""
        if self.dispatch_single(block, needs_bracket=body_ended):
            return
        if not body_ended and self.dispatch_error_text(block):
            return
        if not self._repairing:
            self.fail(NOT_JSON, block)
            return
        data = block.data
        before = len(self.payloads)
        if not self.dispatch_values(block):
            return
        delivered = len(self.payloads) > before
        match data.position:
            case "inside_value" if body_ended:
                self.unfinished = data.rest not in CUT_DONE
            case "inside_value" if is_beginning(data.rest) and not self.object_payload(block, data.last_part):
                self.interrupt(CUT_SHORT, block)
            case "inside_value":
                self.fail(CUT_SHORT, block)
            case "other_text" if delivered:
                if not (body_ended and data.rest in _CUT_FIELD_NAMES):
                    self.fail("text that is no payload follows one", block)
            case "other_text" if body_ended:
                self.unfinished = True
            case "other_text":
                self._dispatch_other_text(block)

    def dispatch_single(self, block: Block, *, needs_bracket: bool) -> bool:
        """
        Try the fast path, for data that is empty or one value. Return whether that was all of it.

        `needs_bracket` accepts only `[DONE]`, an object or an array: they show by themselves that nothing is missing,
        where a number or a string may have been cut.
        """
        text = block.data.single_line if self._repairing else block.data.text
        if text is None:
            return False
        stripped = text.strip()
        if not stripped:
            return True
        if stripped == DONE:
            self._emit(block, DONE, None)
            return True
        if needs_bracket and stripped[:1] not in (b"{", b"["):
            return False
        try:
            value = loads(text)
        except (ValueError, RecursionError):
            return False
        self._emit(block, text, value)
        return True

    def dispatch_error_text(self, block: Block) -> bool:
        """Hand out the data of an `error` event if it is plain text. Return False where it is, or may be cut, JSON."""
        text = block.data.text.strip()
        if block.fields.get("event") != "error" or not text or text.startswith((b"{", b'"', b"[{", b"[DONE]")):
            return False
        if stock_error(text) is None:
            return False
        decoded, status = text.decode("utf-8", "replace"), block.http_status
        payload = IrregularPayload("error", text, decoded, self.last_id, None, is_plain_text=True, http_status=status)
        self._hand_out(payload)
        return True

    def dispatch_values(self, block: Block, *, is_end: bool = True) -> bool:
        """
        Hand out the values found so far. Return False where that ended the reading, by `[DONE]` or by a fault.

        `is_end` says that nothing more belongs to the block. A `[DONE]` that more text follows is a fault: text of the
        answer may contain it.
        """
        is_end = is_end and block.data.position == "between_values"
        for value in block.data.take_values():
            if value.text == DONE:
                if is_end:
                    self._emit(block, DONE, None, value.event)
                else:
                    self.fail("other text follows [DONE]", block)
                return False
            try:
                parsed = loads(value.text)
            except (ValueError, RecursionError):
                self.fail(NOT_JSON, block)
                return False
            self._emit(block, value.text, parsed, value.event)
            if self.fault is not None:
                return False
        return True

    def _dispatch_other_text(self, block: Block) -> None:
        """Data that is not an object or array: a number, string or literal by itself, or no JSON."""
        text = block.data.rest
        try:
            value = loads(text)
        except (ValueError, RecursionError):
            self.fail(NOT_JSON, block)
        else:
            self._emit(block, text, value)

    def _emit(self, block: Block, text: bytes, value: object, event: str | None = None) -> None:
        self.last_id = block.fields.get("id", self.last_id)
        self._hand_out(self._payload(block, text, value, event))

    def _hand_out(self, payload: Payload) -> None:
        if self._interrupted is not None:
            self.fail_interrupted(payload)
            return
        self.payloads.append(payload)
        self.done = payload.is_done

    def _payload(self, block: Block, text: bytes, value: object, event: str | None = None) -> Payload:
        event, retry, status = event or block.fields.get("event"), block.fields.get("retry"), block.http_status
        if not block.found_as and status is None:
            return Payload(event, text, value, self.last_id, retry)
        if block.found_as == "error_line":
            text, value = error_object(text), {"error": value}
        outside_field = block.found_as is not None
        return IrregularPayload(
            event, text, value, self.last_id, retry, outside_field=outside_field, http_status=status
        )

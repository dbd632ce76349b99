"""Where in a body a fault strikes: after so many events or bytes, counted from its start or from a tool call.

Bytes in, bytes out; it makes no difference in which reads they come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

Landmark = Literal["tool_call"]
LANDMARKS: Final = ("tool_call",)

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DATA = re.compile(rb"(?:^|[\r\n])data:([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Point:
    """So many events, or so many bytes if `bytes` is given, after the start or after the landmark has passed."""

    events: int = 0
    bytes: int | None = None
    on: Landmark | None = None


class Blocks:
    """Finds where blocks end, which are events and comments with the blank line behind them."""

    def __init__(self) -> None:
        self._open = b""

    def ends(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """For each block that ends in these bytes: how many of them belong to it or come before it; and the block."""
        before = len(self._open)
        joined, start = self._open + data, 0
        for found in _BLANK_LINE.finditer(joined, max(0, before - 3)):  # which may fall on the seam of two reads
            block, start = joined[start : found.end()], found.end()
            yield found.end() - before, block
        self._open = joined[start:]


class Gauge:
    """Divides a body at a point."""

    def __init__(self, point: Point) -> None:
        self._point = point
        self._events = point.events
        self._bytes = point.bytes
        self._waiting = point.on is not None
        self._blocks = Blocks()
        self.reached = not self._waiting and not (self._events if self._bytes is None else self._bytes)
        """Whether the point lies behind."""

    def divide(self, data: bytes) -> tuple[bytes, bytes]:
        """What of these bytes comes before the point, and what behind it."""
        if self.reached:
            return b"", data
        place = self._place(data)
        self.reached = place is not None
        return data[:place], data[len(data) if place is None else place :]

    def _place(self, data: bytes) -> int | None:
        """How many of these bytes come before the point; None if all do and it is not reached."""
        start = 0
        if self._waiting or self._bytes is None:
            for end, block in self._blocks.ends(data):
                if self._waiting:
                    if not is_tool_call(block):
                        continue
                    self._waiting, start = False, end
                    if self._bytes is not None:
                        break
                elif is_event(block):
                    self._events -= 1
                if self._events == 0:
                    return end
        if self._waiting or self._bytes is None:
            return None
        within = min(self._bytes, len(data) - start)
        self._bytes -= within
        return start + within if self._bytes == 0 else None


def is_event(block: bytes) -> bool:
    """Whether a block carries data: a comment or a bare `retry:` is no event."""
    return _DATA.search(block) is not None


def is_tool_call(block: bytes) -> bool:
    """Whether an event brings part of a tool call (chat), or a function call's item or arguments (Responses)."""
    if b"call" not in block:
        return False
    try:
        payload = json.loads(b"\n".join(_DATA.findall(block)))
    except ValueError:
        return False
    return isinstance(payload, dict) and (_in_chat(payload) or _in_responses(payload))


def _in_chat(payload: dict[str, Any]) -> bool:
    deltas = [one.get("delta") or {} for one in payload.get("choices") or () if isinstance(one, dict)]
    return any(delta.get("tool_calls") or delta.get("function_call") for delta in deltas)


def _in_responses(payload: dict[str, Any]) -> bool:
    kind, item = str(payload.get("type", "")), payload.get("item")
    of_item = str(item.get("type", "")) if isinstance(item, dict) else ""
    return "_call_arguments" in kind or "_call_input" in kind or of_item.endswith("_call")

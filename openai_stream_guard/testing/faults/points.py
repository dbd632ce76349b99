"""Where in a body a fault takes effect: after a number of events or bytes, from its start or from a tool call.

It makes no difference in which reads the bytes arrive.
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
    """After `events` events, or `bytes` bytes if given, counted from the start of a body or from the landmark `on`."""

    events: int = 0
    bytes: int | None = None
    on: Landmark | None = None


class BlockFinder:
    """Finds the ends of blocks: an event or a comment, with the blank line that ends it."""

    def __init__(self) -> None:
        self._open = b""

    def ends(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """For each block that ends in `data`: where it ends there, and the whole block."""
        before = len(self._open)
        joined, start = self._open + data, 0
        for found in _BLANK_LINE.finditer(joined, max(0, before - 3)):  # a blank line may be divided between reads
            block, start = joined[start : found.end()], found.end()
            yield found.end() - before, block
        self._open = joined[start:]


class PointFinder:
    """Divides a body at a point."""

    def __init__(self, point: Point) -> None:
        self._events = point.events
        self._bytes = point.bytes
        self._awaits_landmark = point.on is not None
        self._blocks = BlockFinder()
        self.reached = not self._awaits_landmark and not (self._events if self._bytes is None else self._bytes)
        """Whether the point has passed."""

    def divide(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the part of `data` before the point and the part behind it."""
        if self.reached:
            return b"", data
        place = self._find(data)
        self.reached = place is not None
        return data[:place], data[len(data) if place is None else place :]

    def _find(self, data: bytes) -> int | None:
        """How many bytes of `data` come before the point; None if the point is not in `data`."""
        start = 0
        if self._awaits_landmark or self._bytes is None:
            for end, block in self._blocks.ends(data):
                if self._awaits_landmark:
                    if not is_tool_call(block):
                        continue
                    self._awaits_landmark, start = False, end
                    if self._bytes is not None:
                        break
                elif is_event(block):
                    self._events -= 1
                if self._events == 0:
                    return end
        if self._awaits_landmark or self._bytes is None:
            return None
        within = min(self._bytes, len(data) - start)
        self._bytes -= within
        return start + within if self._bytes == 0 else None


def is_event(block: bytes) -> bool:
    """Whether a block carries data: a comment or a lone `retry:` is not an event."""
    return _DATA.search(block) is not None


def is_tool_call(block: bytes) -> bool:
    """Whether an event brings part of a tool call (chat), or a function call's item or arguments (Responses)."""
    if b"call" not in block:
        return False
    try:
        payload = json.loads(b"\n".join(_DATA.findall(block)))
    except ValueError:
        return False
    return isinstance(payload, dict) and (_is_chat_tool_call(payload) or _is_responses_tool_call(payload))


def _is_chat_tool_call(payload: dict[str, Any]) -> bool:
    deltas = [choice.get("delta") or {} for choice in payload.get("choices") or () if isinstance(choice, dict)]
    return any(delta.get("tool_calls") or delta.get("function_call") for delta in deltas)


def _is_responses_tool_call(payload: dict[str, Any]) -> bool:
    event_type, item = str(payload.get("type", "")), payload.get("item")
    item_type = str(item.get("type", "")) if isinstance(item, dict) else ""
    return "_call_arguments" in event_type or "_call_input" in event_type or item_type.endswith("_call")

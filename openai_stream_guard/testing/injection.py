"""Faults put between the transport and the decoder of the streams that follow: no server has to misbehave for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class CutTap:
    """Ends a body, in good order, after so many events or bytes."""

    def __init__(self, after_events: int | None, after_bytes: int | None) -> None:
        self._events_left = after_events
        self._bytes_left = after_bytes
        self._last = b""
        self._over = after_events == 0 or after_bytes == 0

    def ended(self) -> bool:
        """Whether the cut has been reached."""
        return self._over

    def passing(self, data: bytes) -> bytes:
        """What still gets through of a read."""
        if self._bytes_left is not None:
            data = data[: self._bytes_left]
            self._bytes_left -= len(data)
            self._over = self._bytes_left == 0
        if self._events_left is not None:
            joined = self._last + data  # a blank line may fall on the seam of two reads
            for found in _BLANK_LINE.finditer(joined):
                if found.end() > len(self._last):
                    self._events_left -= 1
                    if self._events_left == 0:
                        self._over = True
                        return data[: found.end() - len(self._last)]
            self._last = joined[-3:] if not _BLANK_LINE.search(joined[-3:]) else b""
        return data


@dataclass
class _Planned:
    after_events: int | None
    after_bytes: int | None
    times: int


@dataclass
class Faults:
    """The faults planned for the responses to come, in order; each response gets at most one."""

    _planned: list[_Planned] = field(default_factory=list)

    def cut(self, *, after_events: int | None = None, after_bytes: int | None = None, times: int = 1) -> None:
        """End the next stream early, in good order, as a proxy does whose upstream died.

        Args:
            after_events: how many events get through; 0 without `after_bytes`.
            after_bytes: how many bytes of the body get through.
            times: for how many responses, re-issues included.
        """
        if after_events is not None and after_bytes is not None:
            raise ValueError("cut() takes after_events or after_bytes, not both")
        for name, count, least in (
            ("after_events", after_events, 0),
            ("after_bytes", after_bytes, 0),
            ("times", times, 1),
        ):
            if count is not None and count < least:
                raise ValueError(f"cut() was given {name}={count}; allowed are whole numbers from {least}")
        if after_events is None and after_bytes is None:
            after_events = 0
        self._planned.append(_Planned(after_events, after_bytes, times))

    def tap(self, response: Any) -> CutTap | None:
        """The fault for this response, if one is planned."""
        if not self._planned:
            return None
        planned = self._planned[0]
        planned.times -= 1
        if planned.times == 0:
            del self._planned[0]
        return CutTap(planned.after_events, planned.after_bytes)


@contextmanager
def injected() -> Iterator[Faults]:
    """Inside the `with` block, guarded streams suffer the faults that are planned on the returned object."""
    from .. import exchange

    faults, before = Faults(), exchange.tap_for
    exchange.tap_for = faults.tap
    try:
        yield faults
    finally:
        exchange.tap_for = before

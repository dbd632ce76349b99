"""The test clock: what would be waited for is over at once, and is counted.

It is the real clock plus an offset, which grows by every wait that is skipped. So nothing has to wait, while a server
that really hangs is still given up in real time.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from .faults.response_patch import injected_faults

if TYPE_CHECKING:
    import anyio

    from ..transport.http import HttpResponse
    from ..transport.timeouts import SocketDeadline


class Clock:
    """
    A clock that skips every wait of the guard, of the SDK's own retries, and of injected faults.

    Real waiting, such as that on a socket of a server that hangs, takes as long as it takes. Safe to use from many
    threads.
    """

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        """The waits before requests were sent again, in seconds, that were skipped."""
        self._offset = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the time in seconds; it never goes back."""
        return time.monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass. Raises `ValueError` for a negative or infinite number."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"advance() was given {seconds!r}; it must be a finite number of seconds, 0 or more")
        with self._lock:
            self._offset += seconds

    def slept(self, seconds: float) -> None:
        """Skip a wait before a request is sent again, and count it."""
        self.advance(seconds)
        self.sleeps.append(seconds)


MOMENT = 1.0
"""Seconds of real time that a stream waits for another one."""


class SkippedTime:
    """The `Timing` of streams that run by a test clock. Backoffs have no jitter, so that tests can predict them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.clock: Callable[[], float] = clock.now

    @staticmethod
    def consumer_clock() -> float:
        """Return 0: time that a test lets pass between two items counts as silence of the stream."""
        return 0.0

    @staticmethod
    def jitter() -> float:
        """Return 0."""
        return 0.0

    @property
    def for_faults(self) -> FaultTime:
        """The timing of injected faults: the same clock, but their waits are not counted as sleeps."""
        return FaultTime(self._clock)

    def sleep(self, wake: threading.Event, seconds: float) -> None:
        """Count a backoff as slept."""
        self._clock.slept(seconds)

    async def asleep(self, wake: anyio.Event, seconds: float) -> None:
        """Count a backoff as slept; the task can be cancelled here, and other tasks run."""
        import anyio.lowlevel

        await anyio.lowlevel.checkpoint()
        self._clock.slept(seconds)

    def wait_for_call(self, wake: threading.Event, seconds: float) -> None:
        """Give the other stream a moment of real time; then it counts as slept."""
        if not wake.wait(min(seconds, MOMENT)):
            self._clock.slept(seconds)

    async def await_call(self, wake: anyio.Event, seconds: float) -> None:
        """Give the other stream a moment of real time; then it counts as slept."""
        import anyio

        with anyio.move_on_after(min(seconds, MOMENT)):
            await wake.wait()
            return
        self._clock.slept(seconds)

    def socket_deadline(self, response: HttpResponse, deadline: Callable[[float], float]) -> SocketDeadline:
        """Apply the deadline to real reads, and pass it to injected faults, whose silence is not real."""
        from ..transport.timeouts import SocketDeadline

        injected = injected_faults(response)
        if injected is not None:
            method = weakref.WeakMethod(deadline)  # the exchange, whose method it is, holds the response
            injected.deadline = lambda now: (method() or _never)(now)
        return SocketDeadline(response, deadline, self.clock)


def _never(now: float) -> float:
    return math.inf


class FaultTime(SkippedTime):
    """The time that injected faults wait by."""

    def sleep(self, wake: threading.Event, seconds: float) -> None:
        """Let the seconds pass."""
        self._clock.advance(seconds)

    async def asleep(self, wake: anyio.Event, seconds: float) -> None:
        """Let the seconds pass."""
        import anyio.lowlevel

        await anyio.lowlevel.checkpoint()
        self._clock.advance(seconds)

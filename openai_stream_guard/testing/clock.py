"""The test clock: what would be waited for is over at once, and is counted.

It is the real clock and a lead over it, which grows by all that would have been slept. So nothing has to wait, while
a server that really hangs is still given up when real time says so.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .faults.response_patch import line_from

if TYPE_CHECKING:
    import anyio

    from ..transport.timeouts import SocketDeadline


class Clock:
    """A clock that jumps over every wait of the guard's, of the SDK's retries, and of injected faults.

    Real waiting, such as that of a socket on a server that hangs, takes as long as it takes. Safe to use from many
    threads.
    """

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        """What would have been slept before requests were sent again, in seconds."""
        self._lead = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds, on a clock that never goes back."""
        return time.monotonic() + self._lead

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass. Raises `ValueError` for less than none."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"advance() was given {seconds!r}; allowed is a finite number of seconds, 0 or more")
        with self._lock:
            self._lead += seconds

    def slept(self, seconds: float) -> None:
        """Let pass, and count, what would have been slept."""
        self.advance(seconds)
        self.sleeps.append(seconds)


class SkippedTime:
    """The timing of streams that run on a test clock. Backoffs have no jitter there, so that they can be foretold."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.clock: Callable[[], float] = clock.now

    @staticmethod
    def consumer_clock() -> float:
        """None: what a test lets pass between two items is the stream's."""
        return 0.0

    @staticmethod
    def jitter() -> float:
        """None."""
        return 0.0

    @property
    def for_faults(self) -> FaultTime:
        """What faults wait by: on the same clock, and not counted as slept."""
        return FaultTime(self._clock)

    def sleep(self, wake: threading.Event, seconds: float) -> None:
        """Count a backoff as slept."""
        self._clock.slept(seconds)

    async def asleep(self, wake: anyio.Event, seconds: float) -> None:
        """Count a backoff as slept; the task can be cancelled here, and others have their turn."""
        import anyio.lowlevel

        await anyio.lowlevel.checkpoint()
        self._clock.slept(seconds)

    def socket_deadline(self, response: Any, deadline: Callable[[float], float]) -> SocketDeadline:
        """Bound real reads by the deadline, and tell it to the faults, whose silence is not real."""
        from ..transport.timeouts import SocketDeadline

        line = line_from(response)
        if line is not None:
            held = weakref.WeakMethod(deadline)  # or the response would hold what holds it
            line.deadline = lambda now: (held() or _never)(now)
        return SocketDeadline(response, deadline, self.clock)


def _never(now: float) -> float:
    return math.inf


class FaultTime(SkippedTime):
    """The time that faults wait by."""

    def sleep(self, wake: threading.Event, seconds: float) -> None:
        """Let the seconds pass."""
        self._clock.advance(seconds)

    async def asleep(self, wake: anyio.Event, seconds: float) -> None:
        """Let the seconds pass."""
        import anyio.lowlevel

        await anyio.lowlevel.checkpoint()
        self._clock.advance(seconds)

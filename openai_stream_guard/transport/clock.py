"""The time that streams run by: the clock, what waits, and the dice of a backoff.

All that waits in this package waits here, so that a test can put a time of its own in its place; see
`openai_stream_guard.testing`. A stream takes the timing that is current when it is opened, and keeps it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import anyio

from .timeouts import SocketDeadline


class Timing(Protocol):
    """A time to run by. Seconds everywhere."""

    @property
    def clock(self) -> Callable[[], float]:
        """The time now, on a clock that never goes back. (Called once a read: no layer in between.)"""

    @property
    def consumer_clock(self) -> Callable[[], float]:
        """The same clock, for the time that the program takes for itself; 0 where that is the stream's too."""

    @property
    def jitter(self) -> Callable[[], float]:
        """A number from 0 to 1, by which a backoff is shortened."""

    def sleep(self, wake: threading.Event, seconds: float) -> None:
        """Wait, unless woken."""

    async def asleep(self, wake: anyio.Event, seconds: float) -> None:
        """The same for a task, of asyncio or trio."""

    def patience(self, response: Any, deadline: Callable[[float], float]) -> SocketDeadline:
        """Make reads of this response end at a deadline."""


class RealTime:
    """The time of the world."""

    clock = staticmethod(time.monotonic)
    consumer_clock = staticmethod(time.monotonic)
    jitter = staticmethod(random.random)

    def sleep(self, wake: threading.Event, seconds: float) -> None:
        """Wait, unless woken."""
        wake.wait(seconds)

    async def asleep(self, wake: anyio.Event, seconds: float) -> None:
        """Wait, unless woken."""
        with anyio.move_on_after(seconds):
            await wake.wait()

    def patience(self, response: Any, deadline: Callable[[float], float]) -> SocketDeadline:
        """Make reads of this response end at a deadline."""
        return SocketDeadline(response, deadline, self.clock)


current: Timing = RealTime()

"""The time that streams run by: a clock, the waits, and the jitter of a backoff.

Every wait of the guard goes through here, so that tests can replace the time; see `openai_stream_guard.testing`. A
stream takes the timing that is current when it is opened, and keeps it.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import anyio

from .timeouts import SocketDeadline

if TYPE_CHECKING:
    from .http import HttpResponse


class Timing(Protocol):
    """The time that a stream runs by, in seconds."""

    @property
    def clock(self) -> Callable[[], float]:
        """A clock that never goes back. A property, since it is called for each read: a method would be a layer."""

    @property
    def consumer_clock(self) -> Callable[[], float]:
        """The clock for the time that the program takes between two events; always 0 where that counts as silence."""

    @property
    def jitter(self) -> Callable[[], float]:
        """Returns a number from 0 to 1, by which a backoff is shortened."""

    def sleep(self, wake: threading.Event, seconds: float) -> None:
        """Wait until the time is over or the event is set."""

    async def asleep(self, wake: anyio.Event, seconds: float) -> None:
        """Wait until the time is over or the event is set, in a task of asyncio or trio."""

    def wait_for_call(self, wake: threading.Event, seconds: float) -> None:
        """The same for what another stream sets: even where time is skipped, that stream needs some of it."""

    async def await_call(self, wake: anyio.Event, seconds: float) -> None:
        """The same in a task of asyncio or trio."""

    def socket_deadline(self, response: HttpResponse, deadline: Callable[[float], float]) -> SocketDeadline:
        """Let reads of this response end at a deadline."""


class RealTime:
    """The time of the system."""

    clock = staticmethod(time.monotonic)
    consumer_clock = staticmethod(time.monotonic)
    jitter = staticmethod(random.random)

    def sleep(self, wake: threading.Event, seconds: float) -> None:
        """Wait until the time is over or the event is set."""
        wake.wait(seconds)

    async def asleep(self, wake: anyio.Event, seconds: float) -> None:
        """Wait until the time is over or the event is set."""
        with anyio.move_on_after(seconds):
            await wake.wait()

    wait_for_call = sleep
    await_call = asleep

    def socket_deadline(self, response: HttpResponse, deadline: Callable[[float], float]) -> SocketDeadline:
        """Let reads of this response end at a deadline."""
        return SocketDeadline(response, deadline, self.clock)


def setter_from_threads(event: anyio.Event) -> Callable[[], None]:
    """Return a function that sets an event of the running task from any thread, as `threading.Event.set` would."""
    try:
        loop = asyncio.get_running_loop() if asyncio.current_task() is not None else None
    except RuntimeError:
        loop = None
    schedule: Callable[[Callable[[], object]], object]
    if loop is not None:
        schedule = loop.call_soon_threadsafe
    else:
        schedule = sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon

    def set_event() -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it the task
            schedule(event.set)

    return set_event


current: Timing = RealTime()

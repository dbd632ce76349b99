"""Calls a task's read off at a deadline, where no socket can be told to wait no longer: over aiohttp, HTTP/2, a mock.

A timer for every read would cost more than all else that is done with it. So one timer stands for many reads: it looks
whether a read is under way and its deadline has come, and is set again where it has not.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from operator import methodcaller
from typing import Any

import anyio

_EVERY = 0.25
"""Seconds until the timer looks again, at most: so late is noticed that a deadline has come nearer."""
_LEAST = 0.001
"""Seconds that a read may take in any case."""


class Watchdog:
    """Reads by `read`, and raises what `late` makes where a read passes its deadline.

    Args:
        begun: told the time of a read that begins, if not of each; gives its deadline.
        deadline: gives that of the read that is under way.
        clock: the time now, in seconds.
    """

    active = True  # as a Patience says of itself

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        begun: Callable[[float], float],
        deadline: Callable[[], float],
        clock: Callable[[], float],
        late: Callable[[], Exception],
    ) -> None:
        self._read = read
        self._begun = begun
        self._deadline = deadline
        self._clock = clock
        self._late = late
        self._reading: asyncio.Task[Any] | None = None
        """The task that waits for a read."""
        self._called_off = False
        self._late_before = False
        """The deadline had come when the timer last looked."""
        self._before = 0
        """How many others had asked to cancel that task when its read began."""
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """The bytes of one read. What is done here is done for each, and costs some 0.4 µs."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        if task is None:  # trio, also as a guest of asyncio; it has nothing cheaper than a scope
            return await self._read_in_scope()
        self._before = _cancelling(task)
        if self._timer is None:
            self._called_off = self._late_before = False
            self._set(task, self._begun(self._clock()))
        self._reading = task
        try:
            return await self._read()
        except asyncio.CancelledError:
            if not self._called_off or _uncancelled(task) > self._before:
                raise
            raise self._late() from None
        finally:
            self._reading = None

    async def _read_in_scope(self) -> bytes:
        now = self._clock()
        with anyio.move_on_after(max(self._begun(now) - now, _LEAST)):
            return await self._read()
        raise self._late()

    def _set(self, task: asyncio.Task[Any], deadline: float) -> None:
        left = max(deadline - self._clock(), _LEAST)
        self._timer = task.get_loop().call_later(min(left, _EVERY), self._look)

    def _look(self) -> None:
        self._timer = None
        task = self._reading
        if task is None:  # the next read sets it
            return
        deadline = self._deadline()
        late, late_before = self._clock() >= deadline, self._late_before
        self._late_before = late
        if late and _cancelling(task) > self._before:  # by somebody else, to whom this read is left
            self._reading = None
        if late and late_before and self._reading is not None:
            self._called_off = True
            task.cancel()
        else:  # once more if it is late: a loop that was held up may have the bytes, and not have handed them on yet
            self._set(task, deadline)

    def end(self) -> None:
        """Let go of the timer: the next read sets another."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


if sys.version_info >= (3, 11):
    _cancelling: Callable[[asyncio.Task[Any]], int] = methodcaller("cancelling")  # called for each read
    """How many have asked to cancel a task, and not taken it back."""

    def _uncancelled(task: asyncio.Task[Any]) -> int:
        """The same once one has taken it back."""
        return task.uncancel()

else:

    def _cancelling(task: asyncio.Task[Any]) -> int:
        """Not counted by this Python."""
        return 0

    def _uncancelled(task: asyncio.Task[Any]) -> int:
        """Not counted by this Python."""
        return 0

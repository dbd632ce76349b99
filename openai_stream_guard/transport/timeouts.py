"""How long reads may wait: by the socket's own timeout, or by cancelling the task that reads.

Calls a task's read off at a deadline, where no socket can be told to wait no longer: over aiohttp, HTTP/2, a mock.

A timer for every read would cost more than all else that is done with it. So one timer stands for many reads: it looks
whether a read is under way and its deadline has come, and is set again where it has not.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from operator import methodcaller
from typing import Any

import anyio

from ..engine.decisions import Timeouts

MIN_DEFAULT_IDLE = 300.0
"""Seconds. Healthy models think for minutes, and the SDK's own default read timeout is 600 s."""


def request_timeouts(request: Any) -> dict[str, float | None]:
    """How long a request may take to `connect`, `read`, `write` and get a connection of the `pool`, in seconds."""
    return request.extensions.get("timeout") or {}


def stream_timeouts(response: Any, first_event: float | None, idle: float | None) -> Timeouts:
    """The clocks a stream runs by: those of its policy, or derived from the request's read timeout."""
    read = request_timeouts(response.request).get("read")
    if idle is None:
        idle = math.inf if read is None else max(float(read), MIN_DEFAULT_IDLE)
    return Timeouts(
        first_event=idle if first_event is None else first_event,
        idle=idle,
        read=math.inf if read is None else float(read),
    )


class SocketDeadline:
    """Makes the socket of a response wait no longer than a deadline that may change between two reads.

    A request's read timeout is fixed when its body is first read, starts anew with every byte, and so can neither
    tell a keep-alive from an event nor get shorter once an answer has finished. Not in HTTP/2, where the socket is
    other streams' as well, and not where none is shown, as by aiohttp: there a task's read is called off instead, see
    `watchdog.py`, and a thread's deadline is looked at when bytes arrive.
    """

    def __init__(self, response: Any, deadline: Callable[[float], float], clock: Callable[[], float]) -> None:
        stream = response.extensions.get("network_stream")
        self.active = hasattr(stream, "read") and response.http_version in ("HTTP/1.1", "HTTP/1.0")
        if not self.active:
            return
        wait = type(stream).read  # of the class: whatever stands on the instance is another response's patience

        def read(max_bytes: int, timeout: float | None = None) -> Any:
            if not response.is_closed:  # else the connection already serves somebody else
                now = clock()
                left = max(deadline(now) - now, 0.001)
                if timeout is None or left < timeout:
                    timeout = None if left == math.inf else left
            return wait(stream, max_bytes, timeout=timeout)

        stream.read = self._read = read
        self._stream = stream

    def end(self) -> None:
        """Leave the socket as it was."""
        if self.active and self._stream.__dict__.get("read") is self._read:
            del self._stream.read
        self.active = False


_EVERY = 0.25


"""Seconds until the timer looks again, at most: so late is noticed that a deadline has come nearer."""


_MIN = 0.001


"""Seconds that a read may take in any case."""


class TaskDeadline:
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
        with anyio.move_on_after(max(self._begun(now) - now, _MIN)):
            return await self._read()
        raise self._late()

    def _set(self, task: asyncio.Task[Any], deadline: float) -> None:
        left = max(deadline - self._clock(), _MIN)
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

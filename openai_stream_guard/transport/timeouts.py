"""How long a read may wait: ended by the timeout of the socket, or by cancelling the task that reads."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from operator import methodcaller
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from ..engine.decisions import Timeouts

if TYPE_CHECKING:
    from .http import HttpRequest, HttpResponse

_Taken = TypeVar("_Taken")

MIN_DEFAULT_IDLE = 300.0
"""Seconds. Healthy models think for minutes, and the SDK's own default read timeout is 600 s."""
MAX_DEFAULT_FIRST_EVENT = 1800.0
"""Seconds that comments may put the first event off. DeepSeek queues requests for that long."""
_MIN_WAIT = 0.001
"""Seconds that a read may wait in any case."""
_MAX_TIMER = 0.25
"""Seconds until a `TaskDeadline` looks again, at most: how late it notices that its deadline has moved closer."""


def request_timeouts(request: HttpRequest) -> dict[str, float | None]:
    """Return how long a request may take to `connect`, `read`, `write` and get a connection of the `pool`, in seconds.

    The dictionary is the request's own: changes apply to its reads, if they are made before the body is first read.
    """
    return request.extensions.get("timeout") or {}


def stream_timeouts(
    response: HttpResponse, first_event: float | None, idle: float | None, linger: float = math.inf
) -> Timeouts:
    """Return the timeouts of a stream: those of its policy, or derived from the read timeout of its request."""
    read = request_timeouts(response.request).get("read")
    if idle is None:
        idle = math.inf if read is None else max(float(read), MIN_DEFAULT_IDLE)
    first_byte = math.inf
    if first_event is None:
        first_event, first_byte = (math.inf, math.inf) if read is None else (MAX_DEFAULT_FIRST_EVENT, float(read))
    return Timeouts(
        first_event=first_event,
        idle=idle,
        first_byte=first_byte,
        linger=linger,
        read=math.inf if read is None else float(read),
    )


class SocketDeadline:
    """Lets the socket of a response wait no longer than a deadline that may change between two reads.

    The read timeout of a request does not serve for that: it is fixed when the body is first read and starts anew with
    every byte, so a keep-alive postpones it as an event does. A socket of HTTP/2 is shared with other streams, and
    aiohttp shows none (`active` is False then). For those, the read of a task is cancelled instead (`TaskDeadline`),
    and the deadline of a thread is checked when bytes arrive.
    """

    __slots__ = ("_clock", "_deadline", "_read", "_response", "_stream", "_wait", "active")

    def __init__(self, response: HttpResponse, deadline: Callable[[float], float], clock: Callable[[], float]) -> None:
        stream: Any = response.extensions.get("network_stream")
        self.active = hasattr(stream, "read") and response.http_version in ("HTTP/1.1", "HTTP/1.0")
        if not self.active:
            return
        self._response = response
        self._deadline = deadline
        self._clock = clock
        self._stream = stream
        self._wait = type(stream).read  # the class's: the instance may still have the deadline of another response
        stream.read = self._read = self._read_in_time

    def _read_in_time(self, max_bytes: int, timeout: float | None = None) -> Any:
        """Replaces `read` of the socket."""
        if not self._response.is_closed:  # else the connection already serves another request
            now = self._clock()
            left = max(self._deadline(now) - now, _MIN_WAIT)
            if timeout is None or left < timeout:
                timeout = None if left == math.inf else left
        return self._wait(self._stream, max_bytes, timeout=timeout)

    def end(self) -> None:
        """Leave the socket as it was."""
        if self.active and self._stream.__dict__.get("read") is self._read:
            del self._stream.read
        self.active = False


class TaskDeadline:
    """Cancels a read of a task at its deadline: over aiohttp, HTTP/2 or a mock, where there is no socket to bound.

    A timer for each read would cost more than everything else that is done for it. So one timer serves many reads: it
    checks whether a read is under way past its deadline, and is set again where that is not so.

    Args:
        read: the read that is bounded.
        on_read: is given the time when a read begins that has no timer yet, and returns its deadline.
        deadline: returns the deadline of the read that is under way.
        clock: returns the time, in seconds.
        timeout_error: makes the exception to raise at the deadline.
    """

    active = True  # as `SocketDeadline.active`

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        on_read: Callable[[float], float],
        deadline: Callable[[], float],
        clock: Callable[[], float],
        timeout_error: Callable[[], Exception],
    ) -> None:
        self._read = read
        self._on_read = on_read
        self._deadline = deadline
        self._clock = clock
        self._timeout_error = timeout_error
        self._reading: asyncio.Task[Any] | None = None
        """The task that waits for a read."""
        self._cancelled_by_us = False
        self._was_late = False
        """The deadline had passed when the timer last fired."""
        self._cancelled_before = 0
        """How many others had cancelled that task when its read began."""
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """Return the bytes of one read."""
        return await self.until(lambda data: data)

    async def until(self, take: Callable[[bytes], _Taken | None]) -> _Taken:
        """Read until `take` makes something of the bytes of a read, and return that.

        What is done here is done once for all these reads: for each of a few bytes it would be a third of their time.
        """
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        if task is None:  # trio, also as a guest of asyncio; it has nothing cheaper than a scope
            while (taken := take(await self._read_in_scope())) is None:
                pass
            return taken
        self._cancelled_before = _cancelling(task)
        if self._timer is None:
            self._cancelled_by_us = self._was_late = False
            self._set_timer(task, self._on_read(self._clock()))
        self._reading = task
        read = self._read
        try:
            while (taken := take(await read())) is None:
                pass
            return taken
        except asyncio.CancelledError as error:
            if not self._cancelled_by_us or _is_also_cancelled_elsewhere(task, error, self._cancelled_before):
                raise
            raise self._timeout_error() from None
        finally:
            self._reading = None

    async def _read_in_scope(self) -> bytes:
        now = self._clock()
        with anyio.move_on_after(max(self._on_read(now) - now, _MIN_WAIT)):
            return await self._read()
        raise self._timeout_error()

    def _set_timer(self, task: asyncio.Task[Any], deadline: float) -> None:
        left = max(deadline - self._clock(), _MIN_WAIT)
        self._timer = task.get_loop().call_later(min(left, _MAX_TIMER), self._check)

    def _check(self) -> None:
        self._timer = None
        task = self._reading
        if task is None:  # the next read sets it
            return
        deadline = self._deadline()
        is_late, was_late = self._clock() >= deadline, self._was_late
        self._was_late = is_late
        if is_late and _cancelling(task) > self._cancelled_before:  # somebody else has cancelled it: leave it to them
            self._reading = None
        if is_late and was_late and self._reading is not None:
            self._cancelled_by_us = True
            _cancel(task)
        else:  # if late, once more: an event loop that was held up may have the bytes without having delivered them
            self._set_timer(task, deadline)

    def end(self) -> None:
        """Cancel the timer; the next read sets another."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


if sys.version_info >= (3, 11):
    _cancelling: Callable[[asyncio.Task[Any]], int] = methodcaller("cancelling")  # called for each read
    """Returns how many have cancelled a task and not taken it back."""

    def _cancel(task: asyncio.Task[Any]) -> None:
        task.cancel()

    def _is_also_cancelled_elsewhere(
        task: asyncio.Task[Any], error: asyncio.CancelledError, cancelled_before: int
    ) -> bool:
        """Take the guard's cancellation back; return whether there is another one."""
        return task.uncancel() > cancelled_before

else:
    _MESSAGE = "a read of openai-stream-guard has passed its deadline"

    def _cancelling(task: asyncio.Task[Any]) -> int:
        """Python 3.10 does not count."""
        return 0

    def _cancel(task: asyncio.Task[Any]) -> None:
        task.cancel(_MESSAGE)

    def _is_also_cancelled_elsewhere(
        task: asyncio.Task[Any], error: asyncio.CancelledError, cancelled_before: int
    ) -> bool:
        """Python 3.10 does not count cancellations: their messages say whose they were."""
        cancellation: BaseException | None = error
        while isinstance(cancellation, asyncio.CancelledError):
            if cancellation.args != (_MESSAGE,):
                return True
            cancellation = cancellation.__context__
        return False

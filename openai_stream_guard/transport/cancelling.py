"""Asks the API to cancel background responses that nobody reads any more, without a consumer that waits for it.

    sync     one daemon thread a process, which the interpreter's exit waits for
    asyncio  one task an event loop, which `asyncio.run` waits for as it ends
    trio     in the call that closes the stream, since trio has no tasks without an owner

Thread and task live while such streams are open, since they cannot be started where a stream may end: the garbage
collector ends some, at any line of the program, and `asyncio.run` cancels what is left. They end with the last one.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ClassVar, Protocol

import anyio

CANCEL_SECONDS = 5.0
"""How long one request to cancel may take, and how long the interpreter's exit waits for all of them."""
CLOSING_SECONDS = 1.0
"""The same for an event loop that is closing, and for a call that closes a stream under trio."""
GRACE_SECONDS = 0.05
"""How long an event loop waits before a request is sent. Many a program ends with the stream that it leaves, and
`asyncio.run` cancels the tasks by which a connection is being opened then."""
MAX_AT_ONCE = 16
"""How many requests an event loop sends at the same time."""


class BackgroundStream(Protocol):
    """A stream whose response the API goes on making when nobody reads it."""

    def leave(self) -> None:
        """End it as left by its consumer, if it has not ended."""

    def cancel(self) -> None:
        """Ask the API to cancel the response. Raises what the SDK raises."""

    async def acancel(self) -> None:
        """The same by an asynchronous client."""

    def report_cancel(self, error: BaseException | None) -> None:
        """Report what became of the request to cancel."""


class Canceller(Protocol):
    """Cancels the responses of streams that were left."""

    in_call: bool
    """Whether the call that closes a stream has to cancel its response by itself."""

    def opened(self, stream: BackgroundStream) -> None:
        """Watch a stream that is about to be read. Called by the program that reads it."""

    def ended(self, stream: BackgroundStream, *, due: bool) -> None:
        """Take the end of a stream; `due`: its response is to be cancelled. May be called anywhere, at any time."""


class _OpenStreams:
    """Streams that are watched, held weakly: a stream that nobody holds is to be collected, and so left.

    Args:
        on_end: called when one was collected without an end.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._streams: dict[int, weakref.ref[BackgroundStream]] = {}

    def __bool__(self) -> bool:
        return bool(self._streams)

    def add(self, stream: BackgroundStream) -> None:
        key = id(stream)

        def collected(_: object) -> None:
            if self._streams.pop(key, None) is not None:
                self._on_end()

        self._streams[key] = weakref.ref(stream, collected)

    def remove(self, stream: BackgroundStream) -> bool:
        """Forget a stream; return whether it was watched here: not in a forked child, whose parent reads it."""
        return self._streams.pop(id(stream), None) is not None

    def leave_all(self) -> None:
        """End those that are left."""
        for held in list(self._streams.values()):
            if (stream := held()) is not None:
                stream.leave()


class ThreadCanceller:
    """Cancels by one daemon thread of this process."""

    in_call = False

    def __init__(self) -> None:
        self.forget()
        atexit.register(self.finish)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Start anew, as in a new process."""
        self._lock = threading.Lock()  # never taken by `ended`, which the garbage collector may call while it is held
        self._due: queue.SimpleQueue[BackgroundStream | None] = queue.SimpleQueue()
        self._open = _OpenStreams(lambda: self._due.put(None))
        self._thread: threading.Thread | None = None

    def opened(self, stream: BackgroundStream) -> None:
        """Watch a stream that is about to be read."""
        with self._lock:
            self._open.add(stream)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="openai-stream-guard-cancel", daemon=True)
                with suppress(RuntimeError):  # the interpreter is about to exit
                    thread.start()
                    self._thread = thread

    def ended(self, stream: BackgroundStream, *, due: bool) -> None:
        """Take the end of a stream."""
        if self._open.remove(stream):
            self._due.put(stream if due else None)

    def _run(self) -> None:
        while True:
            stream = self._due.get()
            if stream is not None:
                _cancel(stream)
                stream = None
            with self._lock:
                if not self._open and self._due.empty():
                    self._thread = None
                    return

    def finish(self, seconds: float = CANCEL_SECONDS) -> None:
        """Leave the streams that are still open, and wait until all is cancelled. Called when the interpreter exits."""
        self._open.leave_all()
        self.wait(seconds)

    def wait(self, seconds: float = CANCEL_SECONDS) -> None:
        """Wait for what is being cancelled, unless streams are open."""
        thread = self._thread
        if thread is not None and not self._open:
            thread.join(seconds)


class TaskCanceller:
    """Cancels by one task of an event loop of asyncio."""

    in_call = False
    _of_loops: ClassVar[dict[asyncio.AbstractEventLoop, TaskCanceller]] = {}
    """Those with a task, or about to have one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open = _OpenStreams(self._wake_from_anywhere)
        self._due: deque[BackgroundStream] = deque()
        self._sending: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._hurry = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> TaskCanceller:
        """Return that of an event loop."""
        for closed in [known for known in cls._of_loops if known.is_closed()]:
            del cls._of_loops[closed]
        return cls._of_loops.setdefault(loop, cls(loop))

    def opened(self, stream: BackgroundStream) -> None:
        """Watch a stream that is about to be read."""
        self._open.add(stream)
        self._ensure_task()

    def ended(self, stream: BackgroundStream, *, due: bool) -> None:
        """Take the end of a stream."""
        if self._open.remove(stream):
            if due:
                self._due.append(stream)
            self._wake_from_anywhere(GRACE_SECONDS if due else 0.0)

    def _wake_from_anywhere(self, later: float = 0.0) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nothing can be sent by it any more
            self._loop.call_soon_threadsafe(self._ensure_task, later)

    def _ensure_task(self, later: float = 0.0) -> None:
        self._loop.call_later(later, self._wake.set) if later else self._wake.set()
        if (self._task is None or self._task.done()) and (self._open or self._due):
            self._task = _LastingTask(self._run(), self._loop, self._hurry_up)
            TaskCanceller._of_loops[self._loop] = self

    def _hurry_up(self) -> None:
        """The event loop is about to close: leave what is open, and be done soon."""
        self._hurry = True
        self._open.leave_all()
        self._wake.set()

    async def _run(self) -> None:
        while self._open or self._due or self._sending:
            self._wake.clear()
            while self._due and (self._hurry or len(self._sending) < MAX_AT_ONCE):
                task = _LastingTask(_acancel(self._due.popleft(), CANCEL_SECONDS, self._is_closing), self._loop)
                self._sending.add(task)
                task.add_done_callback(self._sent)
            if self._hurry:
                await self._finish()
                break
            await self._wake.wait()
        TaskCanceller._of_loops.pop(self._loop, None)

    async def _finish(self) -> None:
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=CLOSING_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _is_closing(self) -> bool:
        return self._hurry

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._wake.set()


class _LastingTask(asyncio.Task[None]):
    """A task that `asyncio.run` does not cancel as it ends, but waits for as for all that it cancels.

    Args:
        on_closing: called when it would be cancelled.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, None],
        loop: asyncio.AbstractEventLoop,
        on_closing: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(coroutine, loop=loop)
        self._log_destroy_pending = False  # where a loop is closed without it, that is no error of the program
        self._on_closing = on_closing

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it from inside of the running loop only, as timeouts do."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._on_closing()
            return False
        return super().cancel(msg)


class CallCanceller:
    """Leaves it to the call that closes a stream."""

    in_call = True

    def opened(self, stream: BackgroundStream) -> None:
        """Nothing is to be prepared."""

    def ended(self, stream: BackgroundStream, *, due: bool) -> None:
        """What is due is done by the caller."""


def _cancel(stream: BackgroundStream) -> None:
    try:
        stream.cancel()
    except Exception as error:  # best effort: whatever it is, it is reported
        stream.report_cancel(error)
    else:
        stream.report_cancel(None)


async def _acancel(stream: BackgroundStream, seconds: float, is_closing: Callable[[], bool]) -> None:
    """Cancel the response of an asynchronous stream.

    Args:
        is_closing: says whether the event loop is about to close. That cancels the tasks by which a connection is
            opened, and so the request is sent again.
    """
    try:
        try:
            with anyio.fail_after(seconds, shield=True):
                await stream.acancel()
        except Exception as error:
            if not is_closing() or hasattr(error, "status_code"):
                raise
            with anyio.fail_after(CLOSING_SECONDS, shield=True):
                await stream.acancel()
    except BaseException as error:
        stream.report_cancel(error)
        if not isinstance(error, Exception):
            raise
    else:
        stream.report_cancel(None)


async def acancel_in_call(stream: BackgroundStream) -> None:
    """Cancel the response of a stream in the call that closes it."""
    await _acancel(stream, CLOSING_SECONDS, lambda: False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=TaskCanceller._of_loops.clear)

THREAD = ThreadCanceller()
_CALL = CallCanceller()


def canceller_for(*, is_async: bool) -> Canceller:
    """Return who cancels the response of a stream that is opened here and now."""
    if not is_async:
        return THREAD
    try:
        return TaskCanceller.of(asyncio.get_running_loop())
    except RuntimeError:
        return _CALL

"""One logical request, and the HTTP response that answers it now: what the drivers read, close and send again.

The SDK holds the first response for as long as the stream lives. After a re-issue another response is alive. Closing
the first one closes whichever is alive, and says that the consumer has gone: an abandoned stream is never re-issued.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, ClassVar, Protocol

import anyio

from ..decoding.payload import Payload
from ..diagnosis.causes import CLOSED
from ..diagnosis.evidence import ResponseHead
from ..engine.decisions import Fail, Refusal, Reissue, StreamFault, Wait
from ..engine.session import Session
from . import clock as timing
from .exceptions import add_context, fault_from, is_read_of_closed
from .http import HttpResponse, MethodOverride, body_of, read_timeout_error, response_head
from .timeouts import SocketDeadline, TaskDeadline

DRAIN_SECONDS = 0.1
"""How long the end of a body is waited for once the answer is complete, so that its connection can be used again."""


class SdkSide(Protocol):
    """What an exchange asks of the SDK's side of its stream."""

    notifying: bool
    """A listener to the notices, such as `on_event`, is being called; what it closes is closed by the consumer."""

    def credentials(self) -> Collection[str]:
        """What the request was authenticated with."""

    def reissue(self, decision: Reissue) -> HttpResponse:
        """Send the request again by a synchronous client. Raises what the SDK raises."""

    async def areissue(self, decision: Reissue) -> HttpResponse:
        """Send the request again by an asynchronous client. Raises what the SDK raises."""

    def refusal(self, error: Exception) -> Refusal | None:
        """Return what an exception of a re-issue means; None where it is the program's own."""

    def error(self, session: Session, decision: Fail) -> Exception:
        """Make the exception to raise for the first failure."""

    def closed_error(self) -> Exception:
        """Make the exception that the SDK raises in a reader whose stream somebody else closes."""

    async def cancel_in_call(self) -> None:
        """Cancel the response of an asynchronous stream that was left, where nobody else does."""

    def add_note(self, error: Exception, note: str) -> None:
        """Add a line to the traceback of an exception."""


@contextmanager
def _ignore_transport_errors() -> Iterator[None]:
    """Suppress the transport's exceptions: aiohttp raises what broke a body once more when the response is closed."""
    try:
        yield
    except Exception as error:
        if fault_from(error) is None:
            raise


class _Exchange:
    """What the synchronous and the asynchronous exchange have in common.

    Args:
        chunks: the body of the first response, where it is not to be read by its own reader.
        has_deadlines: False for a stream that is only observed: its reads wait as long as they do without the guard.
    """

    _close_method: ClassVar[str]

    def __init__(
        self,
        response: HttpResponse,
        session: Session,
        sdk: SdkSide,
        *,
        chunks: Any = None,
        has_deadlines: bool = True,
    ) -> None:
        self.clock, self.consumer_clock = timing.current.clock, timing.current.consumer_clock
        self.abandoned = False
        """The consumer has closed the stream."""
        self._timing = timing.current
        self.session = session
        self._sdk = sdk
        self._first = response
        self._has_deadlines = has_deadlines
        self._drain_until: float | None = None
        self._closing = False
        self._driver: Callable[[], Any] = lambda: None
        self._attach(response, chunks)
        self._override = MethodOverride(response, self._close_method, self._closed_by_holder)

    def _attach(self, response: HttpResponse, chunks: Any = None) -> None:
        self._response = response
        self._read_deadline: SocketDeadline | TaskDeadline
        self._read_deadline = self._timing.socket_deadline(response, self._begin_read)
        self._close: Callable[[], Any] = getattr(response, self._close_method)

    @property
    def head(self) -> ResponseHead:
        """Status and headers of the response that is alive."""
        return response_head(self._response, self._sdk.credentials())

    def _closed_by_holder(self) -> Any:
        raise NotImplementedError

    def _begin_read(self, now: float) -> float:
        """Tell the session that the program waits for bytes; return the deadline of the read."""
        if self._drain_until is None:
            self.session.asked_for_more(now)
        return self._deadline()

    def _deadline(self) -> float:
        if not self._has_deadlines:
            return math.inf
        return self.session.deadline if self._drain_until is None else self._drain_until

    def _take(self, data: bytes) -> list[Payload] | None:
        """Hand the bytes of one read to the session; None where nothing is to be delivered or decided yet."""
        session = self.session
        events = session.receive(data, self.clock())
        return events if events or session.decision is not None else None

    def driven_by(self, driver: Callable[[], Any]) -> None:
        """Set a weak reference to the generator that drives this exchange, which the consumer may drop at any time."""
        self._driver = driver

    def _is_closed_by_library(self) -> bool:
        """Whether the HTTP library closes the response, as it does at the end of a body, and not the consumer.

        It does so inside a read, which a thread or task of the consumer may interrupt as well. Only the stack tells
        them apart. It is walked when a response is closed; a flag would have to be set for every read.
        """
        if self._sdk.notifying:
            return False
        driver = self._driver()
        reading = getattr(driver, "gi_frame", None) or getattr(driver, "ag_frame", None)
        frame = None if reading is None else sys._getframe(1)
        while frame is not None and frame is not reading and not self._is_reader(frame):
            frame = frame.f_back
        return self._closing or frame is not None

    def _is_reader(self, frame: FrameType) -> bool:
        """Whether the response itself is reading: an exception that asyncio throws into a wait bypasses the driver."""
        return frame.f_code.co_name in ("iter_raw", "aiter_raw") and frame.f_locals.get("self") is self._first

    def _leave(self) -> None:
        """End the session: the consumer has closed the stream, and perhaps nobody reads on to notice it."""
        self.abandoned = self.session.outcome != "failed"  # else its error is about to be raised
        self._read_deadline.end()
        driver = self._driver()
        if not (getattr(driver, "gi_running", False) or getattr(driver, "ag_running", False)):
            self.session.abandon(self.clock())

    def fault(self, error: Exception) -> StreamFault | None:
        """Return the fault that an exception of a read stands for; None where it is not about the connection."""
        fault = None if self.abandoned else fault_from(error)
        if self._has_deadlines and (self.abandoned or is_read_of_closed(error)):
            self._sdk.add_note(error, CLOSED)
        if fault is not None:
            # Without the guard's frames: the session keeps the error, the frames keep the session, and a stream in a
            # reference cycle would not be closed when the last reference to it is dropped.
            while (at := error.__traceback__) is not None and at.tb_frame.f_globals.get("__package__") == __package__:
                error.__traceback__ = at.tb_next
        return fault

    def refusal(self, error: Exception) -> Refusal | None:
        """Return what an exception of a re-issue means; None where it is the program's own, to be raised as it is."""
        refusal = self._sdk.refusal(error)
        failure = self.session.first_failure
        if refusal is None and failure is not None:
            add_context(error, self._sdk.error(self.session, Fail(failure, "not_retryable")))
        return refusal

    def closed_error(self) -> Exception:
        """Make the exception for a reader that waits for a re-issue while somebody else closes its stream."""
        return self._sdk.closed_error()

    def error(self, decision: Fail) -> Exception:
        """Make the exception to raise for the first failure."""
        return self._sdk.error(self.session, decision)


class SyncExchange(_Exchange):
    """An exchange of a synchronous client."""

    _close_method = "close"
    _wake: threading.Event | None = None  # made before a wait: most streams never wait

    def _attach(self, response: HttpResponse, chunks: Iterator[bytes] | None = None) -> None:
        super()._attach(response)
        self._chunks: Iterator[bytes] = body_of(response, "iter_raw", "iter_bytes") if chunks is None else chunks
        self.read = self._chunks.__next__
        """Returns the bytes of one read. Raises StopIteration where the body ends. (Bound: it is called each read.)"""

    def receive(self) -> list[Payload]:
        """Read until there is something to deliver or to decide. Raises StopIteration where the body ends."""
        read, take = self.read, self._take
        while (events := take(read())) is None:  # most reads of a few bytes
            pass
        return events

    def close(self) -> None:
        """Close the response that is alive."""
        self._read_deadline.end()
        self._closing = True
        try:
            if isinstance(self._chunks, Generator):
                with _ignore_transport_errors():
                    self._chunks.close()
        finally:  # also after a KeyboardInterrupt
            with _ignore_transport_errors():
                self._close()
            self._closing = False

    def release(self) -> None:
        """Close for good, and let go of the response, so that what holds it is not in a reference cycle."""
        self.close()
        self._override.remove()
        self.session.abandon(self.clock())

    def _closed_by_holder(self) -> None:
        """Replaces `close` of the first response: called by the consumer, and by the library as it reads."""
        if not self._is_closed_by_library():
            self._leave()
            if self._wake is not None:
                self._wake.set()
        self._close()

    def drain(self) -> None:
        """Read on to the end of the body for a moment, so that the connection can be used again."""
        if not self._read_deadline.active:
            return
        self._drain_until = self.clock() + DRAIN_SECONDS
        with _ignore_transport_errors(), suppress(StopIteration):
            while self.clock() < self._drain_until:
                self.read()

    def sleep(self, seconds: float) -> None:
        """Wait, unless the stream is closed meanwhile or has been already."""
        self._wake = threading.Event()
        if self.abandoned:
            return
        self._timing.sleep(self._wake, seconds)

    def wait(self, decision: Wait) -> None:
        """Wait until the ticket is called, unless the stream is closed meanwhile or has been already."""
        wait = self._timing.sleep if decision.probes else self._timing.wait_for_call
        self._wake = threading.Event()
        decision.ticket.on_call(self._wake.set)
        try:
            if not self.abandoned:
                wait(self._wake, decision.seconds)
        finally:
            decision.ticket.on_call(None)

    def reopen(self, decision: Reissue) -> None:
        """Send the request again, and read from its response."""
        self._attach(self._sdk.reissue(decision))


class AsyncExchange(_Exchange):
    """An exchange of an asynchronous client, under asyncio or trio."""

    _close_method = "aclose"
    _wake_task: anyio.Event | None = None

    def _attach(self, response: HttpResponse, chunks: AsyncIterator[bytes] | None = None) -> None:
        super()._attach(response)
        self._chunks: AsyncIterator[bytes]
        self._chunks = body_of(response, "aiter_raw", "aiter_bytes") if chunks is None else chunks
        self.read: Callable[[], Awaitable[bytes]] = self._chunks.__anext__
        """Returns the bytes of one read. Raises StopAsyncIteration where the body ends."""
        if not self._read_deadline.active:
            self._read_deadline = TaskDeadline(
                self.read, self._begin_read, self._deadline, self.clock, partial(read_timeout_error, response)
            )
            self.read = self._read_deadline.read

    async def receive(self) -> list[Payload]:
        """Read until there is something to deliver or to decide. Raises StopAsyncIteration where the body ends."""
        read, take = self.read, self._take
        if isinstance(self._read_deadline, TaskDeadline):
            return await self._read_deadline.until(take)
        while (events := take(await read())) is None:  # most reads of a few bytes
            pass
        return events

    async def close(self) -> None:
        """Close the response that is alive, also when cancelled."""
        self._read_deadline.end()
        self._closing = True
        with anyio.CancelScope(shield=True):
            try:
                if isinstance(self._chunks, AsyncGenerator):
                    # An event loop that ends closes all its generators at the same time.
                    with _ignore_transport_errors(), suppress(RuntimeError):
                        await self._chunks.aclose()
            finally:  # also when the task is cancelled again, which asyncio lets through the shield
                with _ignore_transport_errors():
                    await self._close()
                self._closing = False

    async def release(self) -> None:
        """Close for good, and let go of the response, so that what holds it is not in a reference cycle."""
        await self.close()
        self._override.remove()
        self.session.abandon(self.clock())
        await self._sdk.cancel_in_call()

    async def _closed_by_holder(self) -> None:
        """Replaces `aclose` of the first response: called by the consumer, and by the library as it reads."""
        if not self._is_closed_by_library():
            self._leave()
            if self._wake_task is not None:
                self._wake_task.set()
        try:
            await self._close()
        finally:
            await self._sdk.cancel_in_call()

    async def drain(self) -> None:
        """Read on to the end of the body for a moment, so that the connection can be used again."""
        if self.abandoned:
            return
        self._drain_until = self.clock() + DRAIN_SECONDS
        if isinstance(self._read_deadline, TaskDeadline):
            self._read_deadline.end()  # its timer is set for a later time
        with _ignore_transport_errors(), suppress(StopAsyncIteration):
            while self.clock() < self._drain_until:
                await self.read()

    async def sleep(self, seconds: float) -> None:
        """Wait, unless the stream is closed meanwhile or has been already."""
        self._wake_task = anyio.Event()
        if self.abandoned:
            return
        await self._timing.asleep(self._wake_task, seconds)

    async def wait(self, decision: Wait) -> None:
        """Wait until the ticket is called, unless the stream is closed meanwhile or has been already."""
        wait = self._timing.asleep if decision.probes else self._timing.await_call
        self._wake_task = anyio.Event()
        decision.ticket.on_call(timing.setter_from_threads(self._wake_task))
        try:
            if not self.abandoned:
                await wait(self._wake_task, decision.seconds)
        finally:
            decision.ticket.on_call(None)

    async def reopen(self, decision: Reissue) -> None:
        """Send the request again, and read from its response."""
        self._attach(await self._sdk.areissue(decision))

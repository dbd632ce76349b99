"""One logical request and the HTTP response that answers it now: what the drivers read, close and send again.

The response that the SDK holds is the first one. Once a request was sent again another is alive, so closing the first
closes whichever that is, and says that the consumer has gone: an abandoned stream is never asked for again.
"""

from __future__ import annotations

import math
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, TypeAlias, TypeVar

import anyio

from ..diagnosis.causes import CLOSED
from ..engine.decisions import Fail, Refusal, Reissue, StreamFault
from ..engine.session import Session
from ..errors import explain, stream_error
from ..observability.publish import publish
from ..sdk.requests import refusal_from
from . import clock as timing
from .http import credentials_from, fault_from, is_read_of_closed, read_timeout_error, response_head
from .timeouts import SocketDeadline, TaskDeadline

DRAIN_SECONDS = 0.1
"""How long the end of a body is waited for once the answer is whole, so that its connection can be used again."""

SdkExceptionFor: TypeAlias = Callable[[Exception], Exception | None]
"""What the SDK alone raises in the place of a transport's exception; None where it lets it out as it is."""

_Driver = TypeVar("_Driver")


_HTTP = ("httpx._models", "httpx2._models")


def _body(response: Any, raw: str, decoded: str) -> Any:
    """Read a response's body: raw where that is the same, which spares two layers a read: of 16 bytes, 5 % of the time.

    Not where it is encoded, was read before, or somebody has put a reader of his own in the place of the library's.
    """
    kind = type(response)
    reader = getattr(kind, decoded)
    plain = "content-encoding" not in response.headers and reader.__module__ in _HTTP
    return getattr(kind, raw if plain and not response.is_stream_consumed else decoded)(response)


@contextmanager
def _no_news() -> Iterator[None]:
    """Let no error of the transport out: aiohttp raises what broke a body once more when the response is closed."""
    try:
        yield
    except Exception as error:
        if fault_from(error) is None:
            raise


class _Exchange:
    """What both colours share."""

    def __init__(self, response: Any, session: Session, sdk_exception_for: SdkExceptionFor) -> None:
        self._timing = timing.current
        self.clock, self.consumer_clock = self._timing.clock, self._timing.consumer_clock
        self.abandoned = False
        self._first = response
        self._session = session
        self._drain_until: float | None = None
        self._only_looking = False
        self._closing = False
        self._credentials = credentials_from(response.request)
        self._driver: Callable[[], Any] = lambda: None
        self._sdk_exception_for = sdk_exception_for
        self._attach(response)

    def _attach(self, response: Any) -> None:
        self.head = response_head(response, self._credentials)
        self._read_deadline: SocketDeadline | TaskDeadline = self._timing.patience(response, self._begin_read)

    def _begin_read(self, now: float) -> float:
        """Tell the session that the program waits for bytes, and say how long the read may last."""
        if self._drain_until is None:
            self._session.asked_for_more(now)
        return self._deadline()

    def _deadline(self) -> float:
        if self._only_looking:
            return math.inf
        return self._session.deadline if self._drain_until is None else self._drain_until

    def only_look_on(self) -> None:
        """Let reads wait as long as they did: what is only observed has no clock of ours."""
        self._only_looking = True

    def read_by(self, driver: _Driver) -> _Driver:
        """Know the generator that drives this exchange, which the consumer may leave suspended for ever."""
        self._driver = weakref.ref(driver)
        return driver

    def _closed_by_library(self) -> bool:
        """Whether it is the HTTP library that closes, as it does where a body ends, and not the consumer.

        It does so inside a read of ours, which a thread or task of the consumer's may interrupt as well. Only the
        stack tells: it is looked at when a response is closed, where a mark would have to be set for every read.
        """
        driver = self._driver()
        reading = getattr(driver, "gi_frame", None) or getattr(driver, "ag_frame", None)
        frame = None if reading is None else sys._getframe(1)
        while frame is not None and frame is not reading and not self._is_reader(frame):
            if frame.f_code is publish.__code__:  # one who listens to the notices is a consumer too
                return False
            frame = frame.f_back
        return self._closing or frame is not None

    def _is_reader(self, frame: FrameType) -> bool:
        """Whether the response itself is reading: an error that asyncio throws into a wait passes the driver by."""
        return frame.f_code.co_name in ("iter_raw", "aiter_raw") and frame.f_locals.get("self") is self._first

    def _leave(self) -> None:
        """The consumer has closed the stream: there may be nobody left to read what that means."""
        self.abandoned = self._session.outcome != "failed"  # else its error is on the way, and is raised
        self._read_deadline.end()
        driver = self._driver()
        if not (getattr(driver, "gi_running", False) or getattr(driver, "ag_running", False)):
            self._session.abandon(self.clock())

    def fault(self, error: Exception) -> StreamFault | None:
        """What an exception of the transport means for the stream, unless the consumer closed it."""
        fault = None if self.abandoned else fault_from(error)
        if not self._only_looking and (self.abandoned or is_read_of_closed(error)):
            explain(error, CLOSED)
        if fault is not None and error.__traceback__ is not None:
            # Without the driver's own frame: the session keeps this error, the frame keeps the session, and a
            # stream in a reference cycle would not be closed when its last user drops it.
            error.__traceback__ = error.__traceback__.tb_next
        return fault

    def raise_as_sdk(self, error: Exception) -> None:
        """Raise what the SDK alone makes of an exception that is none of ours."""
        sdk_exception_for = self._sdk_exception_for(error)
        if sdk_exception_for is not None:
            raise sdk_exception_for from error

    def refusal(self, error: Exception) -> Refusal:
        """What the failure of a re-issue means."""
        return refusal_from(error)

    def error(self, session: Session, decision: Fail) -> Exception:
        """The exception for the first failure."""
        return stream_error(
            decision.first_failure,
            decision.stopped_by,
            attempts=session.report().attempts,
            partial_text=session.adapter.partial_text(session.transcript),
            partial=session.adapter.partial(session.transcript),
            request=self._first.request,
            credentials=self._credentials,
            keep_cause="threads" not in session.request.steps,  # the SDK's handler of these raises a cause in its place
        )


class SyncExchange(_Exchange):
    """An exchange of a synchronous client."""

    def __init__(
        self,
        response: Any,
        session: Session,
        reissue: Callable[[Reissue], Any],
        *,
        chunks: Iterator[bytes] | None = None,
        sdk_exception_for: SdkExceptionFor = lambda error: None,
    ) -> None:
        self._given = chunks
        super().__init__(response, session, sdk_exception_for)
        self._reissue = reissue
        self._wake = threading.Event()
        response.close = self._closed_by_holder

    def _attach(self, response: Any) -> None:
        super()._attach(response)
        self._chunks = self._given or _body(response, "iter_raw", "iter_bytes")
        self._given = None
        self.read = self._chunks.__next__
        """The bytes of one read; StopIteration where the body ends."""
        self._close = response.close

    def close(self) -> None:
        """Close the response that is alive."""
        self._read_deadline.end()
        self._closing = True
        try:
            if isinstance(self._chunks, Generator):
                with _no_news():
                    self._chunks.close()
        finally:  # after a KeyboardInterrupt in the midst of it
            with _no_news():
                self._close()
            self._closing = False

    def release(self) -> None:
        """Close for good, and let go of the response: what holds it need not be collected as a cycle."""
        self.close()
        self._first.__dict__.pop("close", None)

    def _closed_by_holder(self) -> None:
        """Stands for the first response's `close`: called by the consumer, or by the library as it reads."""
        if not self._closed_by_library():
            self._leave()
            self._wake.set()
        self._close()

    def drain(self) -> None:
        """Read to the end of the body for a moment, so that the connection can be used again."""
        if not self._read_deadline.active:
            return
        self._drain_until = self.clock() + DRAIN_SECONDS
        with _no_news(), suppress(StopIteration):
            while self.clock() < self._drain_until:
                self.read()

    def sleep(self, seconds: float) -> None:
        """Wait, unless the stream is closed meanwhile."""
        self._timing.sleep(self._wake, seconds)

    def reopen(self, decision: Reissue) -> None:
        """Send the request again and read from its response."""
        self._attach(self._reissue(decision))


class AsyncExchange(_Exchange):
    """An exchange of an asynchronous client, under asyncio or trio."""

    def __init__(
        self,
        response: Any,
        session: Session,
        reissue: Callable[[Reissue], Awaitable[Any]],
        *,
        chunks: AsyncIterator[bytes] | None = None,
        sdk_exception_for: SdkExceptionFor = lambda error: None,
    ) -> None:
        self._given = chunks
        super().__init__(response, session, sdk_exception_for)
        self._reissue = reissue
        self._wake: anyio.Event | None = None
        response.aclose = self._closed_by_holder

    def _attach(self, response: Any) -> None:
        super()._attach(response)
        self._chunks = self._given or _body(response, "aiter_raw", "aiter_bytes")
        self._given = None
        self.read: Callable[[], Awaitable[bytes]] = self._chunks.__anext__
        """The bytes of one read; StopAsyncIteration where the body ends."""
        if not self._read_deadline.active:
            self._read_deadline = TaskDeadline(
                self.read, self._begin_read, self._deadline, self.clock, partial(read_timeout_error, response)
            )
            self.read = self._read_deadline.read
        self._close = response.aclose

    async def close(self) -> None:
        """Close the response that is alive, also when cancelled."""
        self._read_deadline.end()
        self._closing = True
        with anyio.CancelScope(shield=True):
            try:
                if isinstance(self._chunks, AsyncGenerator):
                    # An event loop that ends closes all its generators at the same time.
                    with _no_news(), suppress(RuntimeError):
                        await self._chunks.aclose()
            finally:  # a task that is cancelled again, which asyncio lets through the shield
                with _no_news():
                    await self._close()
                self._closing = False

    async def release(self) -> None:
        """Close for good, and let go of the response: what holds it need not be collected as a cycle."""
        await self.close()
        self._first.__dict__.pop("aclose", None)

    async def _closed_by_holder(self) -> None:
        """Stands for the first response's `aclose`: called by the consumer, or by the library as it reads."""
        if not self._closed_by_library():
            self._leave()
            if self._wake is not None:
                self._wake.set()
        await self._close()

    async def drain(self) -> None:
        """Read to the end of the body for a moment, so that the connection can be used again."""
        if self.abandoned:
            return
        self._drain_until = self.clock() + DRAIN_SECONDS
        if isinstance(self._read_deadline, TaskDeadline):
            self._read_deadline.end()  # its timer is set for a later time
        with _no_news(), suppress(StopAsyncIteration):
            while self.clock() < self._drain_until:
                await self.read()

    async def sleep(self, seconds: float) -> None:
        """Wait, unless the stream is closed meanwhile, or already."""
        self._wake = anyio.Event()
        if self.abandoned:
            return
        await self._timing.asleep(self._wake, seconds)

    async def reopen(self, decision: Reissue) -> None:
        """Send the request again and read from its response."""
        self._attach(await self._reissue(decision))

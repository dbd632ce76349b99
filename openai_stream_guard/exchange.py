"""One logical request and the HTTP response that answers it now: what the drivers read, close and send again.

The response that the SDK holds is the first one. Once a request was sent again another is alive, so closing the first
closes whichever that is, and says that the consumer has gone: an abandoned stream is never asked for again.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import anyio

from .errors import refusal_of, stream_error
from .session import Session
from .transport import Patience, clock, trouble_of
from .verdicts import GiveUp, Refusal, Reopen, Trouble

DRAIN_SECONDS = 0.1
"""How long the end of a body is waited for once the answer is whole, so that its connection can be used again."""

_Driver = TypeVar("_Driver")


class Tap(Protocol):
    """A fault to inject between the transport and the decoder, see `openai_stream_guard.testing`."""

    def ended(self) -> bool:
        """Whether the body is over here; raises what the transport would raise."""

    def passing(self, data: bytes) -> bytes:
        """The bytes that arrive instead of `data`."""


tap_for: Callable[[Any], Tap | None] | None = None
"""Set while faults are injected: the tap for a response, if it gets one."""


class _Exchange:
    """What both colours share."""

    clock = staticmethod(clock)

    def __init__(self, response: Any, session: Session) -> None:
        self.abandoned = False
        self._first = response
        self._session = session
        self._drain_until: float | None = None
        self._closing = False
        self._driver: Callable[[], Any] = lambda: None
        self._attach(response)

    def _attach(self, response: Any) -> None:
        self._response = response
        self.status: int | None = response.status_code
        self.request_id: str | None = response.headers.get("x-request-id")
        self._patience = Patience(response, self._deadline)
        self._tap = None if tap_for is None else tap_for(response)

    def _deadline(self) -> float:
        return self._session.deadline if self._drain_until is None else self._drain_until

    def only_look_on(self) -> None:
        """Let the socket wait as long as it did: what is only observed has no clock of ours."""
        self._patience.end()

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
        while frame is not None and frame is not reading:
            frame = frame.f_back
        return self._closing or frame is not None

    def _leave(self) -> None:
        """The consumer has closed the stream: there may be nobody left to read what that means."""
        self.abandoned = True
        self._patience.end()
        driver = self._driver()
        if not (getattr(driver, "gi_running", False) or getattr(driver, "ag_running", False)):
            self._session.abandon(clock())

    def trouble(self, error: Exception) -> Trouble | None:
        """What an exception of the transport means for the stream, unless the consumer closed it."""
        trouble = None if self.abandoned else trouble_of(error)
        if trouble is not None and error.__traceback__ is not None:
            # Without the driver's own frame: the session keeps this error, the frame keeps the session, and a
            # stream in a reference cycle would not be closed when its last user drops it.
            error.__traceback__ = error.__traceback__.tb_next
        return trouble

    def refusal(self, error: Exception) -> Refusal:
        """What the failure of a re-issue means."""
        return refusal_of(error)

    def error(self, session: Session, verdict: GiveUp) -> Exception:
        """The exception for the first failure."""
        return stream_error(
            verdict.failure,
            verdict.stopped_by,
            attempts=session.report().attempts,
            partial_text=session.dialect.partial_text(session.transcript),
            partial=session.dialect.partial(session.transcript),
            request=self._first.request,
            keep_cause="threads" not in session.asked.steps,  # the SDK's handler of these raises a cause in its place
        )


class SyncExchange(_Exchange):
    """An exchange of a synchronous client."""

    def __init__(
        self,
        response: Any,
        session: Session,
        reissue: Callable[[Reopen], Any],
        *,
        chunks: Iterator[bytes] | None = None,
    ) -> None:
        self._given = chunks
        super().__init__(response, session)
        self._reissue = reissue
        self._wake = threading.Event()
        response.close = self._closed_by_holder

    def _attach(self, response: Any) -> None:
        super()._attach(response)
        self._chunks = self._given or type(response).iter_bytes(response)
        self._given = None
        self.read = self._chunks.__next__ if self._tap is None else self._read_tapped
        """The bytes of one read; StopIteration where the body ends."""
        self._close = response.close

    def _read_tapped(self) -> bytes:
        tap = self._tap
        assert tap is not None
        if tap.ended():
            raise StopIteration
        return tap.passing(next(self._chunks))

    def close(self) -> None:
        """Close the response that is alive."""
        self._patience.end()
        self._closing = True
        if isinstance(self._chunks, Generator):
            self._chunks.close()
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
        if not self._patience.active:
            return
        self._drain_until = clock() + DRAIN_SECONDS
        try:
            while clock() < self._drain_until:
                self.read()
        except StopIteration:
            return
        except Exception as error:
            if trouble_of(error) is None:
                raise

    def sleep(self, seconds: float) -> None:
        """Wait, unless the stream is closed meanwhile."""
        self._wake.wait(seconds)

    def reopen(self, verdict: Reopen) -> None:
        """Send the request again and read from its response."""
        self._attach(self._reissue(verdict))


class AsyncExchange(_Exchange):
    """An exchange of an asynchronous client, under asyncio or trio."""

    def __init__(
        self,
        response: Any,
        session: Session,
        reissue: Callable[[Reopen], Awaitable[Any]],
        *,
        chunks: AsyncIterator[bytes] | None = None,
    ) -> None:
        self._given = chunks
        super().__init__(response, session)
        self._reissue = reissue
        self._wake: anyio.Event | None = None
        response.aclose = self._closed_by_holder

    def _attach(self, response: Any) -> None:
        super()._attach(response)
        self._chunks = self._given or type(response).aiter_bytes(response)
        self._given = None
        self.read = self._chunks.__anext__ if self._tap is None else self._read_tapped
        """The bytes of one read; StopAsyncIteration where the body ends."""
        self._close = response.aclose

    async def _read_tapped(self) -> bytes:
        tap = self._tap
        assert tap is not None
        if tap.ended():
            raise StopAsyncIteration
        return tap.passing(await self._chunks.__anext__())

    async def close(self) -> None:
        """Close the response that is alive, also when cancelled."""
        self._patience.end()
        self._closing = True
        with anyio.CancelScope(shield=True):
            if isinstance(self._chunks, AsyncGenerator):
                with suppress(RuntimeError):  # an event loop that ends closes all its generators at the same time
                    await self._chunks.aclose()
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
        if not self._patience.active:
            return
        self._drain_until = clock() + DRAIN_SECONDS
        try:
            while clock() < self._drain_until:
                await self.read()
        except StopAsyncIteration:
            return
        except Exception as error:
            if trouble_of(error) is None:
                raise

    async def sleep(self, seconds: float) -> None:
        """Wait, unless the stream is closed meanwhile."""
        self._wake = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._wake.wait()

    async def reopen(self, verdict: Reopen) -> None:
        """Send the request again and read from its response."""
        self._attach(await self._reissue(verdict))

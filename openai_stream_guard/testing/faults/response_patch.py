"""Puts faults between the body of a response and whatever reads it.

The class of the response is replaced by a subclass that overrides only the methods that read the body. So every reader
meets the same faults: the guard, the SDK without the guard, `iter_lines()` of a raw response; and it makes no
difference whether a socket, a mock transport or a cassette is behind it.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing, suppress
from typing import TYPE_CHECKING, Any, Final, cast

from .transforms import BodyEnd, BodyPart, ConnectionLost, Pause, TransformChain

if TYPE_CHECKING:
    from ...transport.clock import Timing
    from ...transport.http import HttpResponse

LOST: Final = "peer closed connection without sending complete message body (incomplete chunked read)"
LOST_WITH_AIOHTTP: Final = (
    "Response payload is not completed: "
    "<TransferEncodingError: 400, message='Not enough data to satisfy transfer length header.'>"
)
"""What h11 and aiohttp say about the same lost connection."""
_EXTENSION: Final = "openai_stream_guard.testing"


class InjectedFaults:
    """The faults of one response, and the time by which its reader waits."""

    def __init__(self, chain: TransformChain, timing: Timing) -> None:
        self.chain = chain
        self.timing = timing
        self.deadline: Callable[[float], float] = lambda now: math.inf
        """Given the time, returns when the guard stops waiting for a read."""
        self._claimed = False

    def claim(self) -> bool:
        """Return True to the first caller only: readers call each other, and one of them applies the faults."""
        claimed, self._claimed = self._claimed, True
        return not claimed

    def read_timeout(self, response: HttpResponse) -> float:
        """For how many seconds the reader waits for a read: the timeout of the request, or less if the guard's ends."""
        from ...transport import timeouts

        read = timeouts.request_timeouts(response.request).get("read")
        now = self.timing.clock()
        return float(min(math.inf if read is None else read, max(self.deadline(now) - now, 0.0)))

    def wait(self, response: HttpResponse, seconds: float) -> tuple[float, bool]:
        """
        Return for how many of these seconds the reader waits, and whether it times out then.

        Raises `RuntimeError` if it would wait for ever.
        """
        timeout = self.read_timeout(response)
        if min(seconds, timeout) == math.inf:
            raise RuntimeError(
                "a stall was injected that no timeout ends: the request has no read timeout, "
                "and the guard is off or its idle_timeout is none"
            )
        return min(seconds, timeout), timeout <= seconds


def injected_faults(response: HttpResponse) -> InjectedFaults | None:
    """Return the faults injected into this response."""
    return cast("InjectedFaults | None", response.extensions.get(_EXTENSION))


def inject(response: HttpResponse, chain: TransformChain, timing: Timing) -> None:
    """Make the readers of this response meet these faults, after those that it already has."""
    injected = injected_faults(response)
    if injected is not None:
        injected.chain = TransformChain((*injected.chain.transforms, *chain.transforms))
        return
    response.extensions[_EXTENSION] = InjectedFaults(chain, timing)
    kind: Any = type(response)
    response.__class__ = _with_faults(kind)


@functools.cache
def _with_faults(kind: Any) -> Any:
    """Return the subclass for a class of responses, of httpx or httpx2."""

    class Faulty(kind):  # type: ignore[misc] # a class that is known at run time only
        """A response whose readers meet faults."""

        def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
            """The body, with the faults."""
            return _read(self, lambda: super(Faulty, self).iter_bytes(chunk_size))

        def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
            """The body, with the faults."""
            return _read(self, lambda: super(Faulty, self).iter_raw(chunk_size))

        def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            """The body, with the faults."""
            return _aread(self, lambda: super(Faulty, self).aiter_bytes(chunk_size))

        def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            """The body, with the faults."""
            return _aread(self, lambda: super(Faulty, self).aiter_raw(chunk_size))

    Faulty.__name__, Faulty.__qualname__, Faulty.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Faulty


def _read(response: HttpResponse, body: Callable[[], Generator[bytes, None, None]]) -> Iterator[bytes]:
    injected = injected_faults(response)
    if injected is None or not injected.claim():
        return body()
    return _apply(response, injected, body())


def _aread(response: HttpResponse, body: Callable[[], AsyncGenerator[bytes, None]]) -> AsyncIterator[bytes]:
    injected = injected_faults(response)
    if injected is None or not injected.claim():
        return body()
    return _aapply(response, injected, body())


def _apply(response: HttpResponse, injected: InjectedFaults, body: Generator[bytes, None, None]) -> Iterator[bytes]:
    with closing(body):
        chain, body_ended = injected.chain, False
        parts: Iterable[BodyPart] = chain.start()
        while True:
            for part in parts:
                match part:
                    case bytes():
                        yield part
                    case Pause(seconds):
                        wait, times_out = injected.wait(response, seconds)
                        injected.timing.sleep(threading.Event(), wait)
                        if times_out:
                            raise _timed_out(response)
                    case BodyEnd():
                        if not body_ended:  # at the real end the library has closed it
                            response.close()
                        return
                    case ConnectionLost():
                        raise _connection_lost(response)
            data = next(body, None)
            body_ended = data is None
            parts = chain.finish() if data is None else chain.feed(data)


async def _aapply(
    response: HttpResponse, injected: InjectedFaults, body: AsyncGenerator[bytes, None]
) -> AsyncIterator[bytes]:
    import anyio

    async with aclosing(body):
        chain, body_ended = injected.chain, False
        parts: Iterable[BodyPart] = chain.start()
        while True:
            for part in parts:
                match part:
                    case bytes():
                        yield part
                    case Pause(seconds):
                        wait, times_out = injected.wait(response, seconds)
                        await injected.timing.asleep(anyio.Event(), wait)
                        if times_out:
                            await _drop(response, body)
                            raise _timed_out(response)
                    case BodyEnd():
                        if not body_ended:  # at the real end the library has closed it
                            await _drop(response, body)
                        return
                    case ConnectionLost():
                        await _drop(response, body)
                        raise _connection_lost(response)
            data = await anext(body, None)
            body_ended = data is None
            parts = chain.finish() if data is None else chain.feed(data)


async def _drop(response: HttpResponse, body: AsyncGenerator[bytes, None]) -> None:
    """Close the response, and read what is left of its body: nothing.

    Else the HTTP library's own generators would stay half-read, of which trio warns: closing the outer one ends none.
    """
    await response.aclose()
    with suppress(library_from(response).TransportError, library_from(response).StreamError):
        async for _ in body:
            pass


def _connection_lost(response: HttpResponse) -> Exception:
    library = library_from(response)
    if _is_read_by_aiohttp(response):
        return cast("Exception", library.ReadError(LOST_WITH_AIOHTTP, request=response.request))
    return cast("Exception", library.RemoteProtocolError(LOST, request=response.request))


def _is_read_by_aiohttp(response: HttpResponse) -> bool:
    """Whether the SDK's transport on aiohttp is behind it, be that a package of its own or part of the SDK."""
    body = getattr(response, "stream", None)
    while body is not None and "aiohttp" not in type(body).__module__:
        body = getattr(body, "_stream", None)  # httpx wraps what a transport returns
    return body is not None


def _timed_out(response: HttpResponse) -> Exception:
    library = library_from(response)
    return cast("Exception", library.ReadTimeout("The read operation timed out", request=response.request))


def library_from(message: Any) -> Any:
    """Return the library, httpx or httpx2, of this request or response. Raises `RuntimeError` for any other."""
    from ...transport import http

    library = http.library_from(message)
    if library is None:
        raise RuntimeError(f"{type(message).__module__} is not an HTTP library that is known here")
    return library

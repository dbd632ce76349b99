"""Puts a chain of faults between a response's body and whatever reads it.

The response becomes one of a subclass that differs in its readers alone. So every reader meets the same faults: the
guard, the SDK without it, `iter_lines()` of a raw response; and it makes no difference whether a socket, a mock
transport or a cassette stands behind it.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, cast

from .transforms import Broken, Chain, Over, Pause

if TYPE_CHECKING:
    from ...transport.clock import Timing

BROKEN = "peer closed connection without sending complete message body (incomplete chunked read)"
BROKEN_BY_AIOHTTP = (
    "Response payload is not completed: "
    "<TransferEncodingError: 400, message='Not enough data to satisfy transfer length header.'>"
)
"""The words of h11 and of aiohttp for the same break."""
_KEY = "openai_stream_guard.testing"


class Line:
    """What a struck response knows: its faults, and the time by which it is silent."""

    def __init__(self, chain: Chain, timing: Timing) -> None:
        self.chain = chain
        self.timing = timing
        self.deadline: Callable[[float], float] = lambda now: math.inf
        """When the guard loses its patience."""
        self._taken = False

    def take(self) -> bool:
        """Whether the faults are still to be met: readers are built on each other."""
        taken, self._taken = self._taken, True
        return not taken

    def patience(self, response: Any) -> float:
        """For how many seconds a read is waited for."""
        from ...transport import timeouts

        read = timeouts.request_timeouts(response.request).get("read")
        waits = math.inf if read is None else read
        now = self.timing.clock()
        return float(min(waits, max(self.deadline(now) - now, 0.0)))

    def wait(self, response: Any, seconds: float) -> tuple[float, bool]:
        """For how many of these seconds the reader waits, and whether it has lost its patience then.

        Raises `RuntimeError` where it would wait for ever.
        """
        patience = self.patience(response)
        if min(seconds, patience) == math.inf:
            raise RuntimeError(
                "a stall was injected that no clock ends: the request has no read timeout, "
                "and the guard is off or its idle_timeout is none"
            )
        return min(seconds, patience), patience <= seconds


def line_from(response: Any) -> Line | None:
    """The line of a struck response."""
    return cast("Line | None", response.extensions.get(_KEY))


def strike(response: Any, chain: Chain, timing: Timing) -> None:
    """Let whoever reads this response meet these faults, after those that it already has to meet."""
    line = line_from(response)
    if line is not None:
        line.chain = Chain((*line.chain.stages, *chain.stages))
        return
    response.extensions[_KEY] = Line(chain, timing)
    kind: Any = type(response)
    response.__class__ = _struck(kind)


@functools.cache
def _struck(kind: Any) -> Any:
    """The class of struck responses for a class of responses, of httpx or httpx2."""

    class Struck(kind):  # type: ignore[misc] # a class that is known at run time only
        """A response whose readers meet faults."""

        def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
            """The body, after the faults."""
            return _read(self, lambda: super(Struck, self).iter_bytes(chunk_size))

        def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
            """The body, after the faults."""
            return _read(self, lambda: super(Struck, self).iter_raw(chunk_size))

        def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            """The body, after the faults."""
            return _aread(self, lambda: super(Struck, self).aiter_bytes(chunk_size))

        def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            """The body, after the faults."""
            return _aread(self, lambda: super(Struck, self).aiter_raw(chunk_size))

    Struck.__name__, Struck.__qualname__, Struck.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Struck


def _read(response: Any, body: Callable[[], Generator[bytes, None, None]]) -> Iterator[bytes]:
    line = line_from(response)
    if line is None or not line.take():
        return body()
    return _meet(response, line, body())


def _aread(response: Any, body: Callable[[], AsyncGenerator[bytes, None]]) -> AsyncIterator[bytes]:
    line = line_from(response)
    if line is None or not line.take():
        return body()
    return _ameet(response, line, body())


def _meet(response: Any, line: Line, body: Generator[bytes, None, None]) -> Iterator[bytes]:
    with closing(body):
        chain, signals, over = line.chain, line.chain.start(), False
        while True:
            for signal in signals:
                match signal:
                    case bytes():
                        yield signal
                    case Pause(seconds):
                        wait, in_vain = line.wait(response, seconds)
                        line.timing.sleep(threading.Event(), wait)
                        if in_vain:
                            raise _timed_out(response)
                    case Over():
                        if not over:  # at its own end the library has closed it
                            response.close()
                        return
                    case Broken():
                        raise _broken(response)
            data = next(body, None)
            over = data is None
            signals = chain.finish() if data is None else chain.feed(data)


async def _ameet(response: Any, line: Line, body: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    import anyio

    async with aclosing(body):
        chain, signals, over = line.chain, line.chain.start(), False
        while True:
            for signal in signals:
                match signal:
                    case bytes():
                        yield signal
                    case Pause(seconds):
                        wait, in_vain = line.wait(response, seconds)
                        await line.timing.asleep(anyio.Event(), wait)
                        if in_vain:
                            raise _timed_out(response)
                    case Over():
                        if not over:  # at its own end the library has closed it
                            await response.aclose()
                        return
                    case Broken():
                        raise _broken(response)
            data = await anext(body, None)
            over = data is None
            signals = chain.finish() if data is None else chain.feed(data)


def _broken(response: Any) -> Exception:
    library = library_from(response)
    if _is_read_by_aiohttp(response):
        return cast("Exception", library.ReadError(BROKEN_BY_AIOHTTP, request=response.request))
    return cast("Exception", library.RemoteProtocolError(BROKEN, request=response.request))


def _is_read_by_aiohttp(response: Any) -> bool:
    """Whether the SDK's transport on aiohttp stands behind it, be it a package of its own or part of the SDK."""
    body = getattr(response, "stream", None)
    while body is not None and "aiohttp" not in type(body).__module__:
        body = getattr(body, "_stream", None)  # httpx wraps what a transport has returned
    return body is not None


def _timed_out(response: Any) -> Exception:
    return cast(
        "Exception", library_from(response).ReadTimeout("The read operation timed out", request=response.request)
    )


def library_from(message: Any) -> Any:
    """The library, httpx or httpx2, whose request or response this is."""
    from ...transport import http

    library = http.library_from(message)
    if library is None:
        raise RuntimeError(f"{type(message).__module__} is no HTTP library that is known here")
    return library

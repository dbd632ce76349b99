"""Readers of a response's own bytes: `iter_lines`, `iter_text`, `iter_bytes`, `iter_raw`, `read`.

They get every byte unchanged. What they cannot see in the bytes, that some are missing, is raised as the typed error.
All of them read by `iter_bytes` or `iter_raw` of the response, which are replaced on the instance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import openai

from ..engine.decisions import Fail
from ..transport import clock as timing
from ..transport.drivers import awatch, watch
from ..transport.exchange import AsyncExchange, SyncExchange
from ..transport.http import HttpResponse, MethodOverride
from .streams import GuardedStream, Opening

READERS = ("iter_bytes", "iter_raw", "aiter_bytes", "aiter_raw")


def watch_reads(response: HttpResponse, guarded: GuardedStream) -> None:
    """Watch the body of a response, by whichever reader it is read."""
    guarded.reader_overrides = [_WatchedReader(response, name, guarded) for name in READERS]


def stop_watching(guarded: GuardedStream) -> None:
    """Restore the readers of the response."""
    overrides, guarded.reader_overrides = guarded.reader_overrides, ()
    for override in overrides:
        override.remove()


def examine_read_body(response: Any, guarded: GuardedStream) -> None:
    """Judge a body that the HTTP library has read already.

    Raises:
        OpenAIStreamParseError: if it is incomplete, and the stream is not only observed.
    """
    session, clock = guarded.open_session(response, raw=True), timing.current.clock
    session.receive(response.content, clock())
    if session.decision is None:
        session.end(clock())
    if isinstance(session.decision, Fail) and not guarded.observe:
        raise guarded.error(session, session.decision)


class WatchedBody:
    """The body of a guarded response, as its readers return it. Nothing is read or opened before its first item.

    It is an iterator of bytes, synchronous or asynchronous as the reader; its other methods are those of a generator.

    Args:
        reader: the name of the method that returned it.
        read: reads the same without the guard.
    """

    def __init__(self, guarded: GuardedStream, response: HttpResponse, reader: str, read: Callable[[], Any]) -> None:
        self.unwatched = read
        self._guarded = guarded
        self._response = response
        self._reader = reader
        self._generator: Any = None

    @property
    def _chunks(self) -> Any:
        if self._generator is None:
            self._generator = self._open()
        return self._generator

    def _open(self) -> Any:
        guarded, is_async = self._guarded, self._reader.startswith("a")
        if guarded.is_decoded or _has_foreign_decoder(guarded.stream()):
            return self.unwatched()
        exchange_type: Any = AsyncExchange if is_async else SyncExchange
        decoded = self._reader.endswith("iter_bytes") or "content-encoding" not in self._response.headers
        opening = Opening(guarded, self._response, exchange_type, chunks=self.unwatched, raw=True)
        return opening.by(awatch if is_async else watch, raise_faults=not guarded.observe, is_event_stream=decoded)

    def __iter__(self) -> Any:
        return iter(self._chunks)

    def __next__(self) -> bytes:
        return next(self._chunks)  # type: ignore[no-any-return] # a generator of bytes

    def __aiter__(self) -> Any:
        return self._chunks.__aiter__()

    def __anext__(self) -> Any:
        return self._chunks.__anext__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what `copy` asks an object for that has no attributes yet
            raise AttributeError(name)
        return getattr(self._chunks, name)


class _WatchedReader(MethodOverride):
    """Replaces a reader of a response by one that returns a `WatchedBody`."""

    def __init__(self, response: HttpResponse, name: str, guarded: GuardedStream) -> None:
        super().__init__(response, name, WatchedBody)
        self._guarded = guarded

    def __call__(self, chunk_size: int | None = None) -> Any:
        read = partial(self.original, chunk_size)
        stop_watching(self._guarded)  # a body is read once, and the readers are built on each other
        return self._function(self._guarded, self._response(), self._name, read)


def _has_foreign_decoder(stream: Any) -> bool:
    """Whether somebody has replaced the decoder of a stream after it was made."""
    decoder = getattr(stream, "_decoder", None)
    return decoder is not None and type(decoder) is not openai._streaming.SSEDecoder

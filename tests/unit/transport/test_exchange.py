"""What an exchange does whatever the HTTP library and the event loop are about to do themselves."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.engine.decisions import Fail
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.session import Session
from openai_stream_guard.transport.drivers import adrive, drive
from openai_stream_guard.transport.exchange import AsyncExchange, SyncExchange
from tests.support.ported import HTTP


async def chunks() -> AsyncIterator[bytes]:
    """A body that takes a moment to be closed."""
    try:
        yield b"data: 1\n\n"
    finally:
        await asyncio.sleep(0)


class NoSdk:
    """The SDK's side of a stream that is never sent again."""

    notifying = False

    async def cancel_in_call(self) -> None:
        """Nothing was made in the background."""

    def add_note(self, error: Exception, note: str) -> None:
        """Nobody reads it."""

    def error(self, session: Session, decision: Fail) -> Exception:
        """What is raised at the end."""
        return EOFError()


@pytest.mark.asyncio
async def test_a_body_that_is_being_closed_already_does_not_keep_the_response_open() -> None:
    """An event loop that ends closes all generators at once, of which one may be closed by one thing only."""
    request = HTTP.Request("POST", "http://host/v1/chat/completions")
    response = HTTP.Response(200, request=request)
    session = Session(
        StreamRequest("post", "/chat/completions", "host"), Policy(), HostMemory(), now=0.0, max_retries=0
    )
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    response.aclose = close
    body = chunks()
    exchange = AsyncExchange(response, session, NoSdk(), chunks=body)
    await exchange.read()
    elsewhere = asyncio.create_task(body.aclose())
    await asyncio.sleep(0)
    await exchange.release()
    await elsewhere
    assert closed == [True]


class Halves(HTTP.SyncByteStream, HTTP.AsyncByteStream):
    """A body in two reads."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body[:5]
        yield self._body[5:]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


class Louder(HTTP.Response):
    """A response whose readers do something of their own."""

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        for data in super().iter_bytes(chunk_size):
            yield data.upper()

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        async for data in super().aiter_bytes(chunk_size):
            yield data.upper()


BODY = b"data: {}\n\n"
RESPONSES: dict[str, tuple[Any, bytes]] = {
    "plain": (lambda: HTTP.Response(200, stream=Halves(BODY)), BODY),
    "compressed": (
        lambda: HTTP.Response(200, stream=Halves(gzip.compress(BODY)), headers={"content-encoding": "gzip"}),
        BODY,
    ),
    "read before": (lambda: HTTP.Response(200, content=BODY), BODY),
    "read by a reader of somebody's own": (lambda: Louder(200, stream=Halves(BODY)), BODY.upper()),
}


@pytest.mark.parametrize("client_kind", ["sync", "async"])
@pytest.mark.parametrize("name", RESPONSES)
async def test_what_is_read_is_what_iter_bytes_gives(name: str, client_kind: str) -> None:
    """The raw bytes are read where they are the body's, and only there."""
    make, expected = RESPONSES[name]
    response = make()
    response.request = HTTP.Request("POST", "http://host/v1/chat/completions")
    session = Session(
        StreamRequest("post", "/chat/completions", "host"), Policy(), HostMemory(), now=0.0, max_retries=0
    )
    got: list[bytes] = []
    if client_kind == "sync":
        exchange = SyncExchange(response, session, NoSdk())
        assert exchange._chunks.__name__ == ("iter_raw" if name == "plain" else "iter_bytes")
        with contextlib.suppress(StopIteration):
            while True:
                got.append(exchange.read())
        exchange.release()
    else:
        other = AsyncExchange(response, session, NoSdk())
        assert other._chunks.__name__ == ("aiter_raw" if name == "plain" else "aiter_bytes")
        with contextlib.suppress(StopAsyncIteration):
            while True:
                got.append(await other.read())
        await other.release()
    assert b"".join(got) == expected


class Broken(Halves):
    """A body that breaks behind its first half."""

    def __iter__(self) -> Iterator[bytes]:
        yield self._body[:5]
        raise HTTP.ReadError("the connection broke")


@pytest.mark.parametrize("client_kind", ["sync", "async"])
async def test_a_transports_error_holds_no_frame_of_the_guard(client_kind: str) -> None:
    """It is kept by the session, which such a frame would keep in turn: a cycle, for the garbage collector to find."""
    response = HTTP.Response(200, stream=Broken(BODY), request=HTTP.Request("POST", "http://host/v1/chat/completions"))
    asked = StreamRequest("post", "/chat/completions", "host")
    session = Session(asked, Policy(recovery=(), retry_budget=None), HostMemory(), now=0.0, max_retries=0)

    async def consume() -> None:
        if client_kind == "sync":
            exchange = SyncExchange(response, session, NoSdk())
            events = drive(lambda: exchange)
            exchange.driven_by(lambda: events)
            list(events)
        else:
            other = AsyncExchange(response, session, NoSdk())
            later = adrive(lambda: other)
            other.driven_by(lambda: later)
            [event async for event in later]

    with pytest.raises(EOFError):
        await consume()
    assert session.first_failure is not None
    error = session.first_failure.fault.error
    assert isinstance(error, HTTP.ReadError)
    frames = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert frames
    assert not [name for name in frames if name.startswith("openai_stream_guard.")]

"""A response that was left open is found by whoever asked for it, and closed."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from openai_stream_guard.testing import Server
from openai_stream_guard.testing.clock import Clock
from openai_stream_guard.testing.harness import Harness, installed
from openai_stream_guard.testing.leaks import TrackedResponse, close, still_open
from tests.support.streams import chat, client_for

pytestmark = pytest.mark.usefixtures("guarded")


@pytest.fixture
def harness() -> Any:
    """A harness that is on."""
    harness = Harness(Clock())
    with installed(harness):
        yield harness


def line_of(words: str) -> str:
    """Where in this file something is said first."""
    lines = Path(__file__).read_text().splitlines()
    return f"{__file__}:{next(number for number, line in enumerate(lines, 1) if words in line)}"


def test_the_place_is_the_line_that_asked(harness: Harness, server: Server) -> None:
    """Not one of the SDK, of the HTTP library, or of the guard."""
    with client_for(server) as client:
        stream = client.chat.completions.create(model="m", messages=[], stream=True)  # here
        next(stream)
        (left,) = still_open(harness.responses)
        assert left.requested_at == line_of("# here")
        close(left)
        assert stream.response.is_closed
        assert still_open(harness.responses) == []


def test_the_place_in_a_task(harness: Harness, server: Server) -> None:
    """The coroutine that awaits it; it is closed in the loop it belongs to, as long as that can run."""
    loop = asyncio.new_event_loop()

    async def ask() -> Any:
        client = client_for(server, "asyncio")
        stream = await client.chat.completions.create(model="m", messages=[], stream=True)  # awaited here
        await stream.__anext__()
        return client, stream

    client, stream = loop.run_until_complete(ask())
    (left,) = still_open(harness.responses)
    assert left.requested_at == line_of("# awaited here")
    close(left)
    assert stream.response.is_closed
    loop.run_until_complete(client.close())
    loop.close()


def test_what_was_dropped_is_finalised_first(harness: Harness, server: Server) -> None:
    """In a cycle, or by an event loop that has stopped before its turn came."""
    with client_for(server) as client:
        stream = chat(client)
        next(stream)
        stream.itself = stream
        gc.disable()
        try:
            del stream
            assert [one.open for one in harness.responses] == [True]
        finally:
            gc.enable()
        assert still_open(harness.responses) == []
    harness.responses.clear()

    loop = asyncio.new_event_loop()

    async def drop() -> Any:
        client = client_for(server, "asyncio")
        async for _ in await chat(client):
            break
        return client

    client = loop.run_until_complete(drop())
    assert still_open(harness.responses) == []
    loop.run_until_complete(client.close())
    loop.close()


def test_what_nothing_can_close_any_more_does_no_harm() -> None:
    """Its loop is over, or it was collected meanwhile."""

    class Response:
        is_closed = False

        async def aclose(self) -> None:
            raise AssertionError

    import weakref

    loop = asyncio.new_event_loop()
    loop.close()
    response = Response()
    left = TrackedResponse(weakref.ref(response), "here", loop)
    assert still_open([left]) == [left]
    close(left)
    del response
    assert still_open([left]) == []
    close(left)

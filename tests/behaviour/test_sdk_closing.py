"""However a consumer leaves a stream, nothing stays open, nobody is asked again, and nothing is called a fault."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
import trio

import openai_stream_guard
from openai_stream_guard import activation as switch
from openai_stream_guard import configure
from openai_stream_guard.notices import Ended
from openai_stream_guard.testing import Server
from tests.support.streams import CLIENT_KINDS, KEY, chat, client_for, idle, opened, run, settles

pytestmark = pytest.mark.usefixtures("guarded")


class Refused(Exception):
    """The consumer's own."""


@pytest.fixture
def ended(warned: Callable[[], list[str]]) -> Iterator[list[Ended]]:
    """The ends of the streams of a test; each must be an abandoned one, without a word of warning."""
    notices: list[Any] = []
    configure(on_event=notices.append)
    ends: list[Ended] = []
    yield ends
    ends += [notice for notice in notices if isinstance(notice, Ended)]
    assert [end.report.outcome for end in ends] == ["abandoned"]
    assert not warned()


# Ways to leave a stream half-read.


async def by_break(stream: Any) -> None:
    async for _ in stream:
        break
    await stream.close()


async def by_an_exception(stream: Any) -> None:
    with pytest.raises(Refused):  # noqa: PT012 - the block around it is what is tested
        async with stream:
            async for _ in stream:
                raise Refused


async def by_close(stream: Any) -> None:
    await stream.__anext__()
    await stream.close()


async def by_with(stream: Any) -> None:
    async with stream:
        await stream.__anext__()


async def by_drop(stream: Any) -> None:
    await stream.__anext__()


WAYS = (by_break, by_an_exception, by_close, by_with, by_drop)


@pytest.mark.parametrize("fault", [None, pytest.param("stall", marks=pytest.mark.slow)])
@pytest.mark.parametrize("leave", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_stream_that_is_left_is_closed(
    server: Server, client_kind: str, leave: Callable[[Any], Awaitable[None]], fault: Any, ended: Any
) -> None:
    """Half read and left, it gives its connection back, and is never asked for again; whoever finalises it."""

    async def main() -> None:
        async with opened(server, client_kind) as client:
            await leave(await chat(client))
            gc.collect()
            for _ in range(0 if client_kind == "sync" else 20):
                await anyio.sleep(0.002)
            assert idle(client)

    server.reset(fault=fault)
    run(client_kind, main)
    assert len(server.requests) == 1
    assert settles(lambda: server.open_connections == 0)


@pytest.mark.slow
def test_trio_hears_no_more_complaints_than_without_the_guard(server: Server) -> None:
    """Dropped half-read or read whole, a guarded stream leaves no more generators to trio's finalizer."""

    async def main(items: int) -> None:
        async with client_for(server, "trio") as client:
            for _ in range(2):
                stream = await chat(client)
                for _ in range(items):
                    await stream.__anext__()
                if items == 15:
                    assert [item async for item in stream] == []
                response = stream.response
                del stream
                gc.collect()
                await trio.sleep(0.005)
                await response.aclose()  # openai 1 alone leaves it open

    def complaints(items: int) -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            trio.run(main, items)
            gc.collect()
        return sum(one.category is ResourceWarning for one in caught)

    guarded = [complaints(items) for items in (4, 15)]
    switch.disable()
    # Finalising many generators at once, the HTTP library of openai 3 fails in one of them, unguarded.
    alone = [complaints(items) for items in (4, 15)]
    assert all(ours <= theirs for ours, theirs in zip(guarded, alone, strict=True)), (guarded, alone)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_stream_left_after_its_recovery_closes_the_answer_that_is_alive(
    server: Server, client_kind: str, warned: Any
) -> None:
    """`close()` on the stream of the first response closes the second one, which replaced it."""
    server.script("truncate_clean", "stall", after=5)
    server.reset(fault="truncate_clean", after=0)

    async def main() -> None:
        async with opened(server, client_kind) as client:
            stream = await chat(client)
            for _ in range(3):
                await stream.__anext__()
            await stream.close()
            assert idle(client)

    run(client_kind, main)
    assert len(server.requests) == 2
    assert settles(lambda: server.open_connections == 0)
    assert len(warned()) == 1


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_stream_that_is_never_read_is_closed_by_close(server: Server, client_kind: str, warned: Any) -> None:
    """Nothing was begun, so nothing has to be undone but the response."""

    async def main() -> None:
        async with opened(server, client_kind) as client:
            await (await chat(client)).close()
            assert idle(client)

    run(client_kind, main)
    assert not warned()


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_raised_error_leaves_nothing_open(server: Server, client_kind: str) -> None:
    """After the last attempt failed no connection is in use, even while the error is still held."""
    server.reset(fault="rst", times=None)

    async def main() -> None:
        async with opened(server, client_kind) as client:
            stream = await chat(client)
            with pytest.raises(openai_stream_guard.OpenAIStreamParseError):
                async for _ in stream:
                    pass
            assert idle(client)

    run(client_kind, main)
    assert len(server.requests) == 3
    assert KEY not in repr(server.requests)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_the_connection_of_a_recovered_stream_is_used_again(server: Server, client_kind: str) -> None:
    """The answer that is alive is read to its end, and not the first one, so that its connection is not thrown away."""

    async def main() -> None:
        async with opened(server, client_kind) as client:
            for _ in range(3):
                server.script("rst", None, after=4)
                items = [item async for item in await chat(client)]
                assert items[-1].choices[0].finish_reason == "stop"

    run(client_kind, main)
    assert server.connections == 4, "the first one, and one in the place of each that was reset"

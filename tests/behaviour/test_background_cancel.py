"""The law: a response that the guard had made in the background is cancelled, once, when its consumer leaves before its
end, however it leaves; and nothing waits for that, nor is left of it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest

import openai_stream_guard
from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.notices import CancelSent
from openai_stream_guard.testing import Answer, Fault, ScriptedResponse, Send, Server, ServerBehaviour, Wait, Whole
from openai_stream_guard.transport import cancelling
from openai_stream_guard.transport.cancelling import THREAD
from tests.support import programs
from tests.support.ported import HTTP
from tests.support.responses import create, cut_at, has_background, has_responses, offsets
from tests.support.streams import client_for, run, settles

pytestmark = [
    has_responses,
    has_background,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    # Of an event loop that ends while a connection is being opened; anyio has not begun to await it then.
    pytest.mark.filterwarnings("ignore:coroutine 'connect_tcp:RuntimeWarning"),
]

LOCAL = {"background": "always", "background_hosts": ("127.0.0.1",)}


@pytest.fixture(autouse=True)
def always(guarded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting, for the loopback server too; a loaded machine may take its time to cancel."""
    for limit in ("CANCEL_SECONDS", "CLOSING_SECONDS"):
        monkeypatch.setattr(cancelling, limit, 30.0)
    configure(**LOCAL)


@pytest.fixture(scope="module", autouse=True)
def open_clients() -> Iterator[None]:
    """Not every client here is closed, as in many a program: what they leave is collected, and not told of."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def begun(client: Any, events: int = 4, **body: Any) -> Any:
    """A stream of which some events were read, and its response's id."""
    stream = create(client, **body)
    first, *_ = [next(stream) for _ in range(events)]
    return stream, first.response.id


async def abegun(client: Any, events: int = 4, **body: Any) -> Any:
    """The same by an asynchronous client."""
    stream = await create(client, **body)
    first, *_ = [await anext(stream) for _ in range(events)]
    return stream, first.response.id


def notes_of(stream: Any) -> tuple[str, ...]:
    """The notes of its report."""
    report = openai_stream_guard.report(stream)
    assert report is not None
    return report.notes


def threads() -> list[str]:
    """The guard's threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("openai-stream-guard")]


# Every way to leave.


def test_a_stream_is_closed(server: Server) -> None:
    """By `close`; the report says what became of it, and no thread is left."""
    with client_for(server) as client:
        stream, name = begun(client)
        stream.close()
        assert settles(lambda: server.cancelled == [name])
        assert settles(lambda: notes_of(stream) == ("its background response was cancelled",))
    assert settles(lambda: not threads())


def test_a_loop_is_left(server: Server) -> None:
    """By `break` and by an exception, when the last reference to the stream goes."""

    def loop(client: Any, fail: bool) -> None:
        for number, _ in enumerate(create(client)):
            if number == 3:
                if fail:
                    raise ZeroDivisionError
                break

    with client_for(server) as client:
        loop(client, fail=False)
        with pytest.raises(ZeroDivisionError):
            loop(client, fail=True)
        gc.collect()
        assert settles(lambda: len(server.cancelled) == 2)


def test_the_helper_is_left(server: Server) -> None:
    """At the end of its `with` block."""
    with client_for(server) as client:
        with client.responses.stream(model="m", input="") as stream:
            next(iter(stream))
        assert settles(lambda: len(server.cancelled) == 1)


def test_the_collector_ends_a_stream_in_a_cycle(server: Server) -> None:
    """At whatever line of the program that happens: it is only put down there, and takes no lock."""
    with client_for(server) as client:
        stream, name = begun(client)
        cycle = [stream]
        cycle.append(cycle)
        del stream, cycle
        gc.collect()
        assert settles(lambda: server.cancelled == [name])


def test_a_client_may_be_closed_before(server: Server) -> None:
    """As by its `with` block, before the stream is left: another transport of the SDK's own sends then."""
    with openai.OpenAI(base_url=server.base_url, api_key="k") as client:
        stream, name = begun(client)
    stream.close()
    THREAD.wait()
    assert server.cancelled == [name]


ASYNC_KINDS = ("asyncio", "trio")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ASYNC_KINDS)
@pytest.mark.parametrize("leave", ["close", "break", "error", "cancel", "drop", "hold"])
def test_an_asynchronous_consumer_leaves(server: Server, kind: str, leave: str) -> None:
    """Whatever way; where its event loop ends at once, that is waited for. No task is left."""
    held: list[Any] = []

    async def main() -> None:
        client = client_for(server, "async")
        stream, _ = await abegun(client)
        match leave:
            case "close":
                await stream.close()
            case "break":
                async for _ in stream:
                    break
                await stream.response.aclose()
            case "error":
                with pytest.raises(ZeroDivisionError):
                    async with stream:
                        raise ZeroDivisionError
            case "cancel":
                with anyio.move_on_after(0.05):
                    async with stream:
                        await anyio.sleep_forever()
            case "hold":
                held.append(stream)
        if leave == "hold" and kind == "trio":
            await stream.close()  # of what a program holds on to, trio closes nothing
        del stream
        gc.collect()
        if kind == "trio":
            with anyio.move_on_after(30.0):  # what was dropped is closed by a task of trio's own
                while not server.cancelled:
                    await anyio.sleep(0.01)
            await client.close()

    run(kind, main)
    assert len(server.cancelled) == 1


async def test_a_cancelled_task_is_not_kept_waiting(server: Server) -> None:
    """The request to cancel is another task's, which ends with it."""
    server.script(stalled(8))
    async with client_for(server, "async") as client:
        stream, name = await abegun(client)

        async def read() -> None:
            async for _ in stream:
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while server.cancelled != [name]:
            await asyncio.sleep(0.01)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)


def stalled(events: int) -> Fault:
    """A fault: after so many events nothing comes any more, and the connection stays."""

    def play(answer: Answer, at: int) -> ScriptedResponse:
        return ScriptedResponse((*map(Send, answer.encode()[:events]), Wait()))

    return Fault("stalled", "Nothing comes any more.", Whole(2), play)


@pytest.mark.parametrize("kind", ASYNC_KINDS)
def test_another_task_closes_a_stream_that_is_read(server: Server, kind: str) -> None:
    """The reader gets the exception that it gets without the guard; the response is cancelled once."""
    server.script(stalled(8))

    async def main() -> None:
        async with client_for(server, "async") as client:
            stream, _ = await abegun(client)

            async def read() -> None:
                # An older SDK lets the HTTP library's own out.
                with pytest.raises((openai.APIConnectionError, HTTP.ReadError)):
                    async for _ in stream:
                        pass

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await anyio.sleep(0.05)
                await stream.close()
            with anyio.fail_after(5):
                while not server.cancelled:
                    await anyio.sleep(0.01)

    run(kind, main)
    assert len(server.cancelled) == 1


def test_a_loop_may_be_closed_without_waiting_for_tasks(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """As programs do that run their own: of a whole stream nothing is left that asyncio would complain of."""

    async def main() -> None:
        async with client_for(server, "async") as client:
            assert [event.type async for event in await create(client)][-1] == "response.completed"

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    assert server.cancelled == []


async def test_a_program_may_cancel_all_tasks(server: Server) -> None:
    """It waits for them, and is not kept; what ends later is cancelled all the same."""
    async with client_for(server, "async") as client:
        stream, name = await abegun(client)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(others) == 1
        for task in others:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 5)
        await stream.close()
        while server.cancelled != [name]:
            await asyncio.sleep(0.01)


# What is not cancelled.


def test_what_is_not_cancelled(server: Server) -> None:
    """A stream that ended; one left behind its end mark; the program's own; one that is not kept."""
    with client_for(server) as client:
        list(create(client))
        stream = create(client)
        while next(stream).type != "response.completed":
            pass
        stream.close()
        begun(client, background=True)[0].close()
        server.behaviour = ServerBehaviour(background="ignored")
        begun(client)[0].close()
        THREAD.wait()
    assert server.cancelled == []


def test_without_an_id_nothing_can_be_cancelled(server: Server) -> None:
    """A consumer that leaves before the first event: the report says so."""
    with client_for(server) as client:
        server.script(cut_at(10))
        configure(recovery=("resume",))
        stream = create(client)
        with pytest.raises(OpenAIStreamParseError):
            next(stream)
        assert "the id of its background response is not known, so that it cannot be cancelled" in notes_of(stream)
    assert server.cancelled == []


def test_a_stream_that_is_given_up_is_cancelled(server: Server) -> None:
    """The error is raised at once, and nobody will ever read the rest."""
    configure(max_retries=0)
    server.script(cut_at(offsets("text", background=True)[0][6]))
    with client_for(server) as client:
        stream = create(client)
        with pytest.raises(OpenAIStreamParseError):
            list(stream)
        assert settles(lambda: len(server.cancelled) == 1)


def test_a_cancel_that_fails_is_told(server: Server, records: list[logging.LogRecord]) -> None:
    """By a note, a notice and a WARNING, with the status and without a word of the answer."""
    heard: list[object] = []
    configure(on_event=heard.append)
    with client_for(server) as client:
        stream, name = begun(client)
        server.reset()  # it forgets what it has stored
        stream.close()
        THREAD.wait()
        assert notes_of(stream) == ("its background response could not be cancelled (status 404)",)
    (notice,) = (notice for notice in heard if isinstance(notice, CancelSent))
    assert (notice.response_id, notice.status, notice.error) == (name, 404, "NotFoundError")
    assert [record.levelname for record in records if getattr(record, "stream_event", "") == "cancel"] == ["WARNING"]


# At the end of a process.

LEAVES_AT_EXIT = """
import openai
client = openai.OpenAI(base_url={url!r}, api_key="k")
streams = [client.responses.create(model="m", input="", stream=True) for _ in range(3)]
print(*(next(stream).response.id for stream in streams))
"""
ENDS_ITS_LOOP = """
import asyncio, openai
async def main():
    client = openai.AsyncOpenAI(base_url={url!r}, api_key="k")
    global streams
    streams = [await client.responses.create(model="m", input="", stream=True) for _ in range(3)]
    print(*[(await anext(stream)).response.id for stream in streams])
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("text", [LEAVES_AT_EXIT, ENDS_ITS_LOOP], ids=["sync", "asyncio"])
def test_the_exit_of_a_process_is_a_way_to_leave(server: Server, tmp_path: Path, text: str) -> None:
    """What the program still holds then is cancelled, and that is waited for."""
    program = tmp_path / "program.py"
    program.write_text("import openai_stream_guard\n" + text.format(url=server.base_url))
    settings = {"": "1", "_BACKGROUND": "always", "_BACKGROUND_HOSTS": "127.0.0.1"}
    variables = {f"OPENAI_STREAM_GUARD{name}": value for name, value in settings.items()}
    done = programs.run(program, cwd=tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(server.cancelled)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_does_not_cancel_what_its_parent_reads(server: Server) -> None:
    """It holds a copy of the stream."""
    with client_for(server) as client:
        stream, name = begun(client)
        if (child := os.fork()) == 0:
            try:
                stream._iterator.close()
                with client_for(server) as own:
                    begun(own)[0].close()
                    THREAD.wait(30.0)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert len(server.cancelled) == 1
        assert name not in server.cancelled
        assert [event.type for event in stream][-1] == "response.completed"

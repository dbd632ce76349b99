"""The law: a response that the guard had made in the background is cancelled, once, when its consumer leaves before its
end, however it leaves; and nothing waits for that, nor is left of it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import threading
import warnings
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import openai_stream_guard
from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.notices import CancelSent
from openai_stream_guard.testing import Answer, Fault, ScriptedResponse, Send, Server, ServerBehaviour, Wait, Whole
from openai_stream_guard.transport.cancelling import THREAD
from tests.support import programs
from tests.support.responses import create, cut_at, has_background, has_responses, offsets
from tests.support.streams import client_for, idle, run, settles

pytestmark = [has_responses, has_background]

LOCAL = {"background": "always", "background_hosts": ("127.0.0.1",)}


@pytest.fixture(autouse=True)
def always(guarded: None) -> None:
    """The setting, for the loopback server too."""
    configure(**LOCAL)


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
    import openai

    with openai.OpenAI(base_url=server.base_url, api_key="k") as client:
        stream, name = begun(client)
    stream.close()
    THREAD.wait()
    assert server.cancelled == [name]


ASYNC_KINDS = ("asyncio", "trio")


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
            for _ in range(20):  # what was dropped is closed by a task of trio's own
                await anyio.lowlevel.checkpoint()
            await client.close()

    run(kind, main)
    assert len(server.cancelled) == 1
    with warnings.catch_warnings():  # the client is not closed, as in many a program
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


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
        stream, _ = begun(client)
        if (child := os.fork()) == 0:
            try:
                openai_stream_guard.report(stream)
                stream._iterator.close()
                THREAD.wait()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert server.cancelled == []
        assert [event.type for event in stream][-1] == "response.completed"


# A crowd.

CROWD = 1000


class Left:
    """Consumers that have left at a random moment, each with what must become of its response."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.dice = random.Random(22)
        self.to_cancel: list[str] = []

    def plan(self) -> tuple[int, str]:
        """How many events are read, and how the consumer leaves then."""
        return self.dice.randint(0, 24), self.dice.choice(("close", "drop", "error"))

    def read(self, events: list[Any]) -> None:
        """Note the response of a consumer that leaves."""
        if events and events[-1].type != "response.completed":
            self.to_cancel.append(events[0].response.id)

    def check(self) -> None:
        """Each that was to be cancelled is, once, and no other."""
        assert len(self.to_cancel) > CROWD / 4
        assert sorted(self.server.cancelled) == sorted(self.to_cancel)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_crowd_of_threads_leaves(server: Server) -> None:
    """1,000 consumers in 20 threads: each response whose id was known is cancelled, and no thread is left."""
    left, before = Left(server), threading.active_count()
    plans = [left.plan() for _ in range(CROWD)]

    def consume(client: Any) -> None:
        while plans:
            count, way = plans.pop()
            stream = create(client)
            events = [event for _, event in zip(range(count), stream, strict=False)]
            left.read(events)
            if way == "close":
                stream.close()
            elif way == "error":
                with pytest.raises(ZeroDivisionError), stream:
                    raise ZeroDivisionError
            elif not count:
                stream.response.close()  # nobody reads it, and so nobody closes it
            del stream

    with client_for(server) as client:
        crowd = [threading.Thread(target=consume, args=(client,)) for _ in range(20)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        gc.collect()  # what raised is held by its own traceback
        THREAD.wait(60.0)
        assert settles(lambda: idle(client))
    left.check()
    assert not threads()
    server.disconnect()
    assert settles(lambda: threading.active_count() <= before)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_crowd_of_tasks_leaves(server: Server) -> None:
    """1,000 consumers, 50 at a time, some cancelled while they wait: no task and no connection is left."""
    left, turns = Left(server), asyncio.Semaphore(50)

    async def consume(client: Any, count: int, way: str) -> None:
        async with turns:
            stream, events = await create(client), []
            for _ in range(count):
                try:
                    events.append(await anext(stream))
                except StopAsyncIteration:
                    break
            left.read(events)
            if way == "close":
                await stream.close()
            elif way == "error":
                with pytest.raises(ZeroDivisionError):
                    async with stream:
                        raise ZeroDivisionError
            elif not count:
                await stream.response.aclose()

    async with client_for(server, "async") as client:
        await asyncio.gather(*(consume(client, *left.plan()) for _ in range(CROWD)))
        gc.collect()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
        assert settles(lambda: idle(client))
    left.check()

"""The law: an interruption of any kind, at any moment, comes out as what it is, at once; nothing stays open, nothing is
asked for again, and nothing is said about it.

What a thread, a task or a scope does to a stream from outside is in `test_sdk_cancelling.py`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import textwrap
import threading
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest
import trio

import openai_stream_guard
from openai_stream_guard import disable
from openai_stream_guard.testing import Server
from tests.support import programs
from tests.support.streams import CLIENT_KINDS, VERSION, chat, client_for, idle, run, settles

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SOON = 5.0
"""Seconds; at once, on a machine that is busy."""


# KeyboardInterrupt, the end of the interpreter and fork: each in a process of its own.

PREAMBLE = """
import asyncio, gc, os, signal, sys, threading, time
import openai, openai_stream_guard
from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT

def ask(client):
    return client.chat.completions.create(model="m", messages=[], stream=True)

def said(chunk):
    return chunk.choices[0].delta.content or "" if chunk.choices else ""

def interrupt(ready):
    def strike():
        ready.wait(20)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=strike, daemon=True).start()
"""


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with the guard on; nothing it may say of itself is hidden."""
    options = ("-X", "dev", "-W", "error::ResourceWarning:openai_stream_guard")
    environment["OPENAI_STREAM_GUARD"] = "1"
    return programs.run(*options, "-c", PREAMBLE + textwrap.dedent(program), cwd=ROOT, **environment)


@pytest.mark.skipif(os.name != "posix", reason="sends signals to itself")
@pytest.mark.parametrize("moment", ["read", "backoff"])
def test_a_keyboard_interrupt_comes_out_of_a_synchronous_stream(moment: str) -> None:
    """In a read and in a backoff: at once, with the response closed, the stream abandoned, and no second request."""
    done = python(f"""
        ready = threading.Event()
        openai_stream_guard.configure(backoff_initial=30.0, backoff_max=30.0,
            on_event=lambda notice: ready.set() if type(notice).__name__ == "Recovering" else None)
        with Server(fault="{"stall" if moment == "read" else "truncate_clean"}", after=3) as server:
            client = openai.OpenAI(base_url=server.base_url, api_key="k")
            stream = ask(client)
            next(stream)
            interrupt(ready)
            if "{moment}" == "read":
                ready.set()
            started = time.monotonic()
            try:
                for chunk in stream:
                    pass
            except KeyboardInterrupt as error:
                print("interrupted", time.monotonic() - started < {SOON}, error.__cause__, error.__context__)
            print(stream.response.is_closed, openai_stream_guard.report(stream).outcome, len(server.requests))
            client.close()
    """)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("interrupted True None")
    assert second == "True abandoned 1"
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends signals to itself")
@pytest.mark.parametrize("moment", ["read", "backoff"])
def test_a_keyboard_interrupt_comes_out_of_an_asynchronous_stream(moment: str) -> None:
    """The same under `asyncio.run`, which cancels the task and raises it when that is over."""
    done = python(f"""
        ready = threading.Event()
        openai_stream_guard.configure(backoff_initial=30.0, backoff_max=30.0,
            on_event=lambda notice: ready.set() if type(notice).__name__ == "Recovering" else None)
        kept = []

        async def main(server):
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as client:
                stream = await ask(client)
                kept.append(stream)
                await stream.__anext__()
                interrupt(ready)
                if "{moment}" == "read":
                    ready.set()
                async for chunk in stream:
                    pass

        with Server(fault="{"stall" if moment == "read" else "truncate_clean"}", after=3) as server:
            started = time.monotonic()
            try:
                asyncio.run(main(server))
            except KeyboardInterrupt:
                print("interrupted", time.monotonic() - started < {SOON})
            (stream,) = kept
            print(stream.response.is_closed, openai_stream_guard.report(stream).outcome, len(server.requests))
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["interrupted True", "True abandoned 1"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("fault", ["", "stall", "truncate_clean"])
@pytest.mark.parametrize("kept", ["a global", "a cycle", "a thread"])
def test_an_interpreter_that_ends_with_an_open_stream_is_silent(fault: str, kept: str) -> None:
    """Half-read and kept by whatever, a stream is no noise on stderr when the program ends, and no failure."""
    done = python(f"""
        server = Server(fault="{fault}" or None, after=3).__enter__()
        client = openai.OpenAI(base_url=server.base_url, api_key="k")
        stream = ask(client)
        next(stream)
        if "{kept}" == "a cycle":
            cycle = [stream]
            cycle.append(cycle)
        if "{kept}" == "a thread":
            openai_stream_guard.configure(backoff_initial=30.0, backoff_max=30.0)
            threading.Thread(target=list, args=(stream,), daemon=True).start()
            time.sleep(0.1)
        print("over")
    """)
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr
    said = [line for line in done.stderr.splitlines() if "stream fault" not in line]  # a warning is due where it broke
    assert not any("openai_stream_guard" in line or "Exception" in line for line in said), done.stderr


@pytest.mark.parametrize("fault", ["", "stall"])
def test_an_event_loop_that_ends_with_an_open_stream_is_silent(fault: str) -> None:
    """`asyncio.run` closes what was left half-read, or the interpreter does: neither says a word about it."""
    done = python(f"""
        kept = []
        async def main(server):
            client = openai.AsyncOpenAI(base_url=server.base_url, api_key="k")
            kept.append(await ask(client))
            await kept[0].__anext__()
            kept.append(client)
        with Server(fault="{fault}" or None, after=3) as server:
            asyncio.run(main(server))
        print(openai_stream_guard.report(kept[0]).outcome)
    """)
    assert (done.returncode, done.stdout) == (0, "abandoned\n"), done.stderr
    assert not any("openai_stream_guard" in line or "Exception" in line for line in done.stderr.splitlines()), (
        done.stderr
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_in_mid_stream_leaves_the_parents_stream_alone() -> None:
    """The child may close its copy and end: the parent reads on, and the child has a budget of its own."""
    done = python("""
        with Server() as server:
            client = openai.OpenAI(base_url=server.base_url, api_key="k")
            stream = ask(client)
            text = said(next(stream)) + said(next(stream))
            from openai_stream_guard.sdk import RUNTIME
            host = server.base_url.split("/")[2]
            from tests.support.budgets import borrow
            borrow(RUNTIME.hosts.budget, host)
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                fresh = sum(borrow(RUNTIME.hosts.budget, host) for _ in range(20))
                stream.close()
                outcome = openai_stream_guard.report(stream).outcome
                del stream
                gc.collect()
                os._exit(0 if (outcome, fresh) == ("abandoned", 10) else 1)
            assert os.waitpid(child, 0)[1] == 0
            text += "".join(map(said, stream))
            print(text == TEXT, openai_stream_guard.report(stream).outcome, len(server.requests))
            client.close()
    """)
    assert (done.returncode, done.stdout) == (0, "True complete 1\n"), done.stderr


# In this process: generators, tasks, scopes, threads.

guarded = pytest.mark.usefixtures("guarded")


@guarded
@pytest.mark.parametrize("thrown", [GeneratorExit, KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_what_is_thrown_into_the_generator_comes_out_of_it(server: Server, thrown: Any, warned: Any) -> None:
    """At a `yield` the exception is the consumer's: it passes, and the response is closed."""
    with client_for(server) as client:
        stream = chat(client)
        next(stream)
        with pytest.raises(thrown):
            stream._iterator.throw(thrown)
        assert idle(client)
        assert openai_stream_guard.report(stream).outcome == "abandoned"
    assert len(server.requests) == 1
    assert not warned()


@guarded
@pytest.mark.parametrize("cancellations", [1, 2, 3])
def test_a_task_cancelled_while_it_closes_is_cancelled_and_closes(server: Server, cancellations: int) -> None:
    """`task.cancel()` may come again in the midst of the cleaning up: no connection is left in use."""
    server.reset(fault="stall", after=3)

    async def main() -> None:
        async with client_for(server, "asyncio") as client:
            stream = await chat(client)
            await stream.__anext__()
            task = asyncio.create_task(read_all(stream))
            await asyncio.sleep(0.02)
            for _ in range(cancellations):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert stream.response.is_closed
            # httpx 0.28 itself, unguarded as well, keeps a connection whose closing was cancelled in its pool.
            assert settles(lambda: idle(client)) or (VERSION < (3, 0) and cancellations > 1)
            assert openai_stream_guard.report(stream).outcome == "abandoned"

    run("asyncio", main)
    assert settles(lambda: server.open_connections == 0)
    assert len(server.requests) == 1


async def read_all(stream: Any) -> str:
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


@guarded
def test_a_cancellation_during_the_closing_of_the_reader_closes_the_response() -> None:
    """Cancelled again while the generator of the bytes is being closed, the response is closed all the same."""
    from openai_stream_guard.transport.exchange import AsyncExchange

    closed: list[str] = []

    class Response:
        status_code, headers, extensions, http_version, is_closed = 200, {}, {}, "HTTP/1.1", False
        request = openai.OpenAI(api_key="k", base_url="http://h")._client.build_request("GET", "http://h")

        async def aclose(self) -> None:
            closed.append("response")

    async def chunks() -> Any:
        try:
            yield b"a"
        finally:
            await asyncio.sleep(10)

    async def main() -> None:
        reading = chunks()
        exchange = AsyncExchange(Response(), None, None, chunks=reading)
        await anext(reading)
        task = asyncio.create_task(exchange.close())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed == ["response"]

    asyncio.run(main())


@guarded
@pytest.mark.parametrize("way", ["wait_for", "timeout", "move_on_after", "fail_after", "trio"])
def test_timeouts_around_a_stream_are_timeouts(server: Server, way: str, warned: Any) -> None:
    """Whoever limits the time gets his own exception or his own scope back, and the stream is abandoned."""
    server.reset(fault="stall", after=3)
    if way == "timeout" and not hasattr(asyncio, "timeout"):
        pytest.skip("asyncio.timeout came with Python 3.11")

    async def main() -> None:
        async with client_for(server, "async") as client:
            stream = await chat(client)
            await stream.__anext__()
            match way:
                case "wait_for":
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(read_all(stream), 0.05)
                case "timeout":
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await read_all(stream)
                case "move_on_after":
                    with anyio.move_on_after(0.05) as scope:
                        await read_all(stream)
                    assert scope.cancelled_caught
                case "fail_after":
                    with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                        await read_all(stream)
                case "trio":
                    with trio.move_on_after(0.05) as moved:
                        await read_all(stream)
                    assert moved.cancelled_caught
            assert idle(client)
            assert openai_stream_guard.report(stream).outcome == "abandoned"

    run("trio" if way == "trio" else "asyncio", main)
    assert len(server.requests) == 1
    assert not warned()


@guarded
@pytest.mark.parametrize("guard", ["on", "off"])
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_stream_closed_during_a_read_ends_as_the_sdk_ends_it(server: Server, client_kind: str, guard: str) -> None:
    """Whoever closes a stream that another reads makes that read fail: with the class that the SDK alone raises."""
    server.reset(fault="stall", after=3)
    if guard == "off":
        disable()
    raised: list[Any] = []

    def read() -> None:
        with client_for(server, timeout=0.3) as client:
            stream = chat(client)
            next(stream)
            threading.Timer(0.05, stream.close).start()
            try:
                list(stream)
            except Exception as error:
                raised.append(error)
            stream.response.close()

    async def aread() -> None:
        async with client_for(server, client_kind, timeout=0.3) as client, anyio.create_task_group() as tasks:
            stream = await chat(client)
            await stream.__anext__()

            async def close() -> None:
                await anyio.sleep(0.05)
                await stream.close()

            tasks.start_soon(close)
            try:
                await read_all(stream)
            except Exception as error:
                raised.append(error)
            await stream.response.aclose()

    if client_kind == "sync":
        read()
    else:
        run(client_kind, aread)
    (error,) = raised
    assert not isinstance(error, openai_stream_guard.OpenAIStreamParseError)
    assert isinstance(error, openai.APIConnectionError) == (VERSION >= (3, 14)), repr(error)
    if VERSION >= (3, 14):
        assert type(error.__cause__).__name__ in ("ReadError", "ReadTimeout")
    else:
        assert type(error).__name__ in ("ReadError", "ReadTimeout")

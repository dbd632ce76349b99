"""A stream closed or cancelled by somebody else ends at once, in a read or a backoff, and is not asked for again."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import anyio
import openai
import pytest

import openai_stream_guard
from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.notices import Ended, FaultSeen, Recovering
from openai_stream_guard.testing import (
    AnswerVariant,
    Request,
    ScriptedResponse,
    Server,
    build_answer,
    healthy,
    replying,
)
from tests.support.streams import CLIENT_KINDS, chat, client_for, idle, run

pytestmark = pytest.mark.usefixtures("guarded")

AT_ONCE = 0.1
"""Seconds within which a cancellation must be through."""


def held_in_backoff(recovering: threading.Event) -> None:
    """Make the backoff after a fault last far longer than a test may, and say when it has begun."""

    def note(notice: Any) -> None:
        if isinstance(notice, Recovering):
            recovering.set()

    configure(backoff_initial=30.0, backoff_max=30.0, on_event=note)


@pytest.mark.parametrize("moment", ["read", "backoff"])
def test_another_thread_can_close_a_stream(server: Server, moment: str) -> None:
    """`close()` from elsewhere ends a wait for a re-issue at once; the reader stops, and nobody is asked again."""
    recovering = threading.Event()
    held_in_backoff(recovering)
    server.reset(fault="truncate_clean" if moment == "backoff" else "stall", after=1)
    outcome: list[Any] = []
    with client_for(server, timeout=0.5) as client:
        stream = chat(client)
        reading = threading.Event()

        def read() -> None:
            try:
                for item in stream:
                    reading.set()
                    outcome.append(item)
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        assert (recovering if moment == "backoff" else reading).wait(5)
        started = time.monotonic()
        stream.close()
        thread.join(5)
        seconds = time.monotonic() - started
        assert idle(client)
    assert not thread.is_alive()
    assert seconds < (AT_ONCE if moment == "backoff" else 1.0)
    if moment == "backoff":
        assert isinstance(outcome[-1], openai.APIConnectionError)
        assert not isinstance(outcome[-1], OpenAIStreamParseError)
    assert len(server.requests) == 1
    assert openai_stream_guard.report(stream).outcome == "abandoned"


@pytest.mark.parametrize("moment", ["read", "backoff"])
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[1:])
def test_another_task_can_close_a_stream(server: Server, client_kind: str, moment: str) -> None:
    """The same between tasks of one event loop."""
    recovering = threading.Event()
    held_in_backoff(recovering)
    server.reset(fault="truncate_clean" if moment == "backoff" else "stall", after=1)

    async def main() -> None:
        async with client_for(server, client_kind, timeout=0.5) as client, anyio.create_task_group() as tasks:
            stream = await chat(client)
            reading, over = anyio.Event(), anyio.Event()

            async def read() -> None:
                with suppress(Exception) if moment == "read" else pytest.raises(openai.APIConnectionError):
                    async for _ in stream:
                        reading.set()
                over.set()

            tasks.start_soon(read)
            await reading.wait()
            with anyio.fail_after(5):
                while moment == "backoff" and not recovering.is_set():
                    await anyio.sleep(0.002)
            await anyio.sleep(0.01)
            started = time.monotonic()
            await stream.close()
            await over.wait()
            assert time.monotonic() - started < (AT_ONCE if moment == "backoff" else 1.0)
            assert openai_stream_guard.report(stream).outcome == "abandoned"

    run(client_kind, main)
    assert len(server.requests) == 1


class Slow:
    """A part of a server's script: a healthy answer, whose headers wait until they may come."""

    def __init__(self) -> None:
        self.asked, self.may = threading.Event(), threading.Event()

    def __call__(self, request: Request) -> ScriptedResponse:
        self.asked.set()
        self.may.wait(5)
        return healthy(build_answer("chat", "text", AnswerVariant(1)))


def test_a_stream_that_is_closed_while_its_request_is_sent_again_is_over(server: Server) -> None:
    """From another thread: the new answer is not read, and its connection is closed."""
    slow, items = Slow(), []
    server.script("truncate_clean", slow, after=3)
    with client_for(server) as client:
        stream = chat(client)

        def read() -> None:
            with pytest.raises(openai.APIConnectionError, match="closed"):
                items.extend(item for item in stream)
            over.set()

        over = threading.Event()
        thread = threading.Thread(target=read)
        thread.start()
        assert slow.asked.wait(5)
        stream.close()
        slow.may.set()
        thread.join(5)
        assert over.is_set()
        assert idle(client)
    assert len(items) == 3
    report = openai_stream_guard.report(stream)
    assert report is not None
    assert (report.outcome, len(report.attempts)) == ("abandoned", 2)


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[1:])
def test_the_same_from_another_task(server: Server, client_kind: str, refused: bool) -> None:
    """Also where the new request is refused with a wish to wait: then nobody waits."""
    slow = Slow()
    wish = replying(503, b"{}", headers=(("retry-after", "60"),))
    server.script("truncate_clean", (lambda request: slow(request) and wish) if refused else slow, after=3)

    async def main() -> None:
        async with client_for(server, client_kind) as client, anyio.create_task_group() as tasks:
            stream = await chat(client)
            over = anyio.Event()

            async def read() -> None:
                with pytest.raises(openai.APIConnectionError, match="closed"):
                    async for _ in stream:
                        pass
                over.set()

            tasks.start_soon(read)
            while not slow.asked.is_set():
                await anyio.sleep(0.002)
            await stream.close()
            slow.may.set()
            with anyio.fail_after(2):
                await over.wait()
            assert idle(client)
            report = openai_stream_guard.report(stream)
            assert report is not None
            assert (report.outcome, len(report.attempts)) == ("abandoned", 2)

    run(client_kind, main)


def test_a_hook_may_close_the_stream(server: Server) -> None:
    """Told of a fault, or that the request is about to be sent again: it is not."""
    for kind in (FaultSeen, Recovering):
        streams: list[Any] = []
        configure(on_event=lambda notice, kind=kind, streams=streams: type(notice) is kind and streams[0].close())
        server.reset(fault="truncate_clean", after=3)
        with client_for(server) as client:
            streams.append(chat(client))
            items: list[Any] = []
            with pytest.raises(openai.APIConnectionError, match="closed"):
                items.extend(item for item in streams[0])
            assert len(items) == 3
            assert idle(client)
        assert len(server.requests) == 1
        assert openai_stream_guard.report(streams[0]).outcome == "abandoned"


def test_a_hook_that_closes_what_has_failed_hides_no_error(server: Server) -> None:
    """It tidies up; the program is told all the same."""
    streams: list[Any] = []
    configure(on_event=lambda notice: isinstance(notice, Ended) and streams[0].close(), max_retries=0)
    server.reset(fault="truncate_clean", after=3)
    with client_for(server) as client:
        streams.append(chat(client))
        with pytest.raises(OpenAIStreamParseError):
            list(streams[0])
        assert idle(client)
    assert openai_stream_guard.report(streams[0]).outcome == "failed"


@pytest.mark.parametrize("moment", ["read", "backoff"])
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[1:])
def test_a_cancel_scope_ends_a_stream_at_once(server: Server, client_kind: str, moment: str) -> None:
    """Cancelled in a read or in a backoff, the task is out within 0.1 s, and the scope sees its cancellation."""
    recovering = threading.Event()
    held_in_backoff(recovering)
    server.reset(fault="truncate_clean" if moment == "backoff" else "stall", after=1)

    async def main() -> None:
        async with client_for(server, client_kind) as client:
            stream = await chat(client)
            await stream.__anext__()
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def cancel() -> None:
                        await anyio.sleep(0.02)
                        while moment == "backoff" and not recovering.is_set():
                            await anyio.sleep(0.002)
                        started.append(time.monotonic())
                        scope.cancel()

                    started: list[float] = []
                    tasks.start_soon(cancel)
                    await stream.__anext__()
            assert scope.cancelled_caught
            assert time.monotonic() - started[0] < AT_ONCE
            assert idle(client)
            assert openai_stream_guard.report(stream).outcome == "abandoned"

    run(client_kind, main)
    assert len(server.requests) == 1

"""The law over sockets: streams that are cut together come back, in threads and event loops, and few are sent twice."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError, Policy, report
from openai_stream_guard import activation as switch

WORDS = [f"word{number} " for number in range(8)]
TEXT = "".join(WORDS)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Host:
    """A server of long answers that can be told to cut all of them at once.

    Args:
        first_event: seconds until the first event of an answer.
        breaks_after: events after which each answer breaks, for ever; None for never.
        refusal: what it writes before it closes the connection, while it refuses.
    """

    def __init__(self, *, first_event: float = 0.3, breaks_after: int | None = None, refusal: bytes = REFUSAL) -> None:
        self.requests = self.refused = 0
        self.refuses_until = 0.0
        self.open: set[asyncio.StreamWriter] = set()
        self._first_event = first_event
        self._breaks_after = breaks_after
        self._refusal = refusal
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @contextmanager
    def running(self) -> Iterator[Host]:
        self._thread.start()
        serve = asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        server = asyncio.run_coroutine_threadsafe(serve, self._loop).result(10)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(server.close)
            self.cut()
            time.sleep(0.1)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    def cut(self, refusing: float = 0.0) -> None:
        """Break every open answer, and refuse requests for a while."""
        self.refuses_until = time.monotonic() + refusing
        self._loop.call_soon_threadsafe(lambda: [writer.transport.abort() for writer in [*self.open]])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.requests += 1
            if time.monotonic() < self.refuses_until:
                self.refused += 1
                writer.write(self._refusal)
                return
            self.open.add(writer)
            writer.write(HEAD)
            await asyncio.sleep(self._first_event)
            for number, word in enumerate(WORDS):
                if number == self._breaks_after:
                    writer.transport.abort()
                    return
                last = number == len(WORDS) - 1
                self._send(writer, word, "stop" if last else None)
                await asyncio.sleep(0.15)
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    def _send(self, writer: asyncio.StreamWriter, word: str, finish: str | None) -> None:
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": finish}
        data = b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def outcome(error: Exception | None, text: str) -> str:
    """What a program has in the end."""
    if error is not None:
        assert isinstance(error, OpenAIStreamParseError), error
        assert TEXT.startswith(text)
        return error.stopped_by
    assert text == TEXT
    return "whole"


def ask(client: Any) -> Any:
    return client.chat.completions.create(model="m", messages=[], stream=True)


def by_threads(host: Host, streams: int) -> Counter[str]:
    """One thread and one stream each."""

    def read(client: Any) -> str:
        text, error = "", None
        try:
            for chunk in ask(client):
                text += chunk.choices[0].delta.content
        except openai.APIError as raised:
            error = raised
        return outcome(error, text)

    with openai.OpenAI(base_url=host.url, api_key="k") as client, ThreadPoolExecutor(streams) as pool:
        return Counter(pool.map(read, [client] * streams))


def by_tasks(host: Host, streams: int, loops: int = 1) -> Counter[str]:
    """Tasks, in as many event loops."""

    async def read(client: Any) -> str:
        text, error = "", None
        try:
            stream = await ask(client)
            async for chunk in stream:
                text += chunk.choices[0].delta.content
        except openai.APIError as raised:
            error = raised
        return outcome(error, text)

    async def all_of() -> list[str]:
        async with openai.AsyncOpenAI(base_url=host.url, api_key="k") as client:
            return await asyncio.gather(*(read(client) for _ in range(streams // loops)))

    with ThreadPoolExecutor(loops) as pool:
        return sum((Counter(told) for told in pool.map(lambda _: asyncio.run(all_of()), range(loops))), Counter())


def cut_in_mid_stream(host: Host, streams: int, refusing: float = 0.0) -> threading.Thread:
    """Cut when all of them are under way."""

    def wait_and_cut() -> None:
        until = time.monotonic() + 20
        while len(host.open) < streams and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.35)
        host.cut(refusing)

    thread = threading.Thread(target=wait_and_cut)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def guarded() -> None:
    switch.enable(Policy())


@pytest.mark.parametrize(("run", "streams", "refusing"), [
    (by_threads, 40, 0.0),
    (by_threads, 40, 0.8),
    (by_tasks, 100, 0.0),
    pytest.param(by_tasks, 100, 3.0, marks=pytest.mark.slow),
    pytest.param(lambda host, streams: by_tasks(host, streams, loops=3), 90, 0.8, marks=pytest.mark.slow),
], ids=["threads", "threads, refusing", "tasks", "tasks, refusing", "three loops, refusing"])  # fmt: skip
def test_a_mass_cut_comes_back(run: Any, streams: int, refusing: float) -> None:
    """All of it, at 2.2 requests a stream or fewer."""
    with Host().running() as host:
        cut = cut_in_mid_stream(host, streams, refusing)
        assert run(host, streams) == {"whole": streams}
        cut.join()
    assert host.requests <= 2.2 * streams


def answer_of(status: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    """A whole response."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


ERROR = b'{"error": {"message": "no upstream", "type": "server_error"}}'


@pytest.mark.slow
@pytest.mark.parametrize("run", [by_threads, by_tasks])
@pytest.mark.parametrize("refusal", [
    b"",
    answer_of("504 Gateway Timeout"),
    answer_of("408 Request Timeout"),
    HEAD,
    answer_of("200 OK", b"<html>Back in a moment</html>", "text/html"),
    answer_of("200 OK", b"data: " + ERROR + b"\n\n", "text/event-stream"),
], ids=["closed", "504", "408", "headers only", "page", "error in a stream"])  # fmt: skip
def test_a_host_that_may_have_received_what_it_refuses_is_waited_for(run: Any, refusal: bytes) -> None:
    """It costs a retry, so that few are spent on finding out that the host is not back."""
    with Host(refusal=refusal).running() as host:
        cut = cut_in_mid_stream(host, 40, 0.8)
        assert run(host, 40) == {"whole": 40}
        cut.join()
    assert host.requests <= 2.2 * 40


@pytest.mark.slow
def test_where_every_stream_breaks_again_it_is_over_soon() -> None:
    """One re-issue for each that was open, ten, and a tenth; and nobody waits longer than five seconds at a time."""
    with Host(breaks_after=3).running() as host:
        started = time.monotonic()
        told = by_tasks(host, 60)
        assert time.monotonic() - started < 20
    assert told["whole"] == 0
    assert set(told) <= {"budget", "retries"}
    assert host.requests - 60 <= 60 + 10 + 6


@pytest.mark.slow
@pytest.mark.parametrize("how", ["close", "cancel", "deadline"])
def test_a_wait_ends_at_once(how: str) -> None:
    """A stream that waits for its host is closed, cancelled or timed out like any other."""

    async def run() -> float:
        async with openai.AsyncOpenAI(base_url=host.url, api_key="k") as client:
            stream = await ask(client)

            async def read() -> None:
                async for _ in stream:
                    pass

            reading = asyncio.ensure_future(read() if how != "deadline" else asyncio.wait_for(read(), 2.0))
            while not host.refused:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            began = time.monotonic()
            if how == "close":
                await stream.close()
            elif how == "cancel":
                reading.cancel()
            await asyncio.wait([reading], timeout=10)
            assert reading.done()
            assert report(stream).outcome == "abandoned"
            return time.monotonic() - began

    with Host().running() as host:
        cut = cut_in_mid_stream(host, 1, refusing=60.0)
        took = asyncio.run(run())
        cut.join()
    assert took < (2.0 if how == "deadline" else 0.5)

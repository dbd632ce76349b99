"""One process of the benchmark: it does the jobs that come on its standard input, and answers with figures.

    python -m tests.benchmark.worker absent | disabled | guarded | guarded-sdk-items | floor

A job is a line of JSON: the name of a function of JOBS, and its arguments. So the guarded and the unguarded SDK live
in processes of their own, which are asked in turn: whatever else the machine does troubles both alike. `floor` is the
SDK with the least that can be done for an event: it is cut out and parsed, and handed over as it is.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import openai

from tests.benchmark.bodies import one_big, reads

from . import decoders

HTTP: Any = importlib.import_module("httpx2" if hasattr(openai._base_client, "httpx2") else "httpx")
HEADERS = {"content-type": "text/event-stream"}


def _chat(client: Any) -> Any:
    return client.chat.completions.create(model="m", messages=[], stream=True)


def _responses(client: Any) -> Any:
    return client.responses.create(model="m", input="", stream=True)


def _chat_helper(client: Any) -> Any:
    completions = client.chat.completions
    helper = completions if hasattr(completions, "stream") else client.beta.chat.completions
    return helper.stream(model="m", messages=[])


def _responses_helper(client: Any) -> Any:
    return client.responses.stream(model="m", input="")


DOORS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "create": {"chat": _chat, "tool calls": _chat, "Responses": _responses, "big events": _responses},
    "helper": {"chat": _chat_helper, "tool calls": _chat_helper, "Responses": _responses_helper},
}


class Body(HTTP.SyncByteStream, HTTP.AsyncByteStream):
    """A body that comes in these reads, and only once: the SDK may go on reading after `[DONE]`."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


def transport(*bodies: Iterable[bytes]) -> Any:
    """Answers each request with the next body, and all further ones with the last."""
    waiting = list(bodies)
    return HTTP.MockTransport(
        lambda request: HTTP.Response(
            200, headers=HEADERS, stream=Body(waiting.pop(0) if len(waiting) > 1 else waiting[0])
        )
    )


def client(*bodies: Iterable[bytes]) -> Any:
    """A client of the SDK on such a transport."""
    return openai.OpenAI(api_key="none", http_client=HTTP.Client(transport=transport(*bodies)))


def spent(work: Callable[[], int]) -> tuple[float, int]:
    """Seconds of CPU time, and what the work says it did."""
    gc.collect()
    started = time.process_time()
    count = work()
    return time.process_time() - started, count


def stream(shape: str, client_kind: str, door: str, size: int | None, events: int, server: str | None = None) -> float:
    """Seconds of CPU time for one stream, from the request to its end.

    Args:
        door: `create` or `helper`.
        size: bytes in a read; None: an event.
        server: the URL of one that streams over sockets (see `server`), in place of bytes from memory.
    """
    options: dict[str, Any] = {"api_key": "none"}
    if server is not None:
        options["base_url"] = f"{server}/{shape.replace(' ', '-')}/{size or 0}/{events}"
    mock = transport(reads(shape, size, events)) if server is None else None
    if client_kind == "sync":
        plain = openai.OpenAI(**options, http_client=HTTP.Client(transport=mock, trust_env=False))
        with plain:
            return spent(lambda: _read(DOORS[door][shape](plain)))[0]

    async def consume() -> float:
        http = HTTP.AsyncClient(transport=mock, trust_env=False)
        async with openai.AsyncOpenAI(**options, http_client=http) as asynchronous:
            started = time.process_time()
            await _aread(DOORS[door][shape](asynchronous))
            return time.process_time() - started

    gc.collect()
    return asyncio.run(consume())


def _read(asked: Any) -> int:
    with asked as items:
        return sum(1 for _ in items)


async def _aread(asked: Any) -> int:
    async with await asked if hasattr(asked, "__await__") else asked as items:
        return sum([1 async for _ in items])


def big(megabytes: int) -> float:
    """Milliseconds for one event of so many MB."""
    plain = client(one_big(megabytes))
    return spent(lambda: sum(1 for _ in _chat(plain)))[0] * 1e3


def replay(events: int) -> float:
    """Microseconds an event delivered, of a stream that breaks after all of its text and is then repeated whole."""
    whole = reads("chat", 65536, events)
    frames = b"".join(whole)
    plain = client([frames[: frames.rindex(b"data: {")]], whole)
    seconds, count = spent(lambda: sum(1 for _ in _chat(plain)))
    assert count == events + 2, count
    return seconds / count * 1e6


def memory(shape: str, streams: int, items: int) -> float:
    """KiB that each of so many open streams holds, after so many of its items."""
    plain, ask = client(reads(shape, None, items + 10)), DOORS["create"][shape]
    for _ in range(2):  # what is made once is no stream's
        with ask(plain) as stream:
            for _ in range(items):
                next(stream)
    tracemalloc.start()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    opened = [ask(plain) for _ in range(streams)]
    for stream in opened:
        for _ in range(items):
            next(stream)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for stream in opened:
        stream.close()
    return held / streams / 1024


def decode(decoder: str, shape: str, size: int | None, events: int) -> float | None:
    """Microseconds an event, from bytes to parsed values; None where this decoder is not installed."""
    work = decoders.DECODERS[decoder]
    parts = reads(shape, size, events)
    seconds, count = spent(lambda: work(parts))
    return seconds / count * 1e6 if count else None


JOBS = {work.__name__: work for work in (stream, big, replay, memory, decode)}


class Event:
    """What the SDK asks of an event."""

    __slots__ = ("data", "event", "value")

    def __init__(self, frame: bytes, parse: Callable[[bytes], object]) -> None:
        start = frame.find(b"{")
        text = frame[start:] if start > 0 else frame[len("data: ") :]
        self.data = text.decode()
        self.event = frame[len("event: ") : frame.index(b"\n")].decode() if frame[:1] == b"e" else None
        self.value = parse(text) if start > 0 else None

    def json(self) -> object:
        """The parsed value."""
        return self.value


def put_the_floor() -> None:
    """Let the SDK's streams be cut and parsed, and nothing else: no item is built. Right for these streams only."""
    parse = importlib.import_module("jiter").from_json

    def events(stream: Any) -> Iterator[Event]:
        rest = b""
        for data in stream.response.iter_raw():
            *frames, rest = (rest + data).split(b"\n\n")
            for frame in frames:
                yield Event(frame, parse)

    async def aevents(stream: Any) -> AsyncIterator[Event]:
        rest = b""
        async for data in stream.response.aiter_raw():
            *frames, rest = (rest + data).split(b"\n\n")
            for frame in frames:
                yield Event(frame, parse)

    openai.Stream._iter_events = events
    openai.AsyncStream._iter_events = aevents
    openai._base_client.BaseClient._process_response_data = lambda client, *, data, cast_to, response: data


def main(mode: str) -> None:
    """Answer until there are no more questions."""
    if mode == "floor":
        put_the_floor()
    elif mode != "absent":
        guard = importlib.import_module("openai_stream_guard")
        if mode != "disabled":
            items = "auto" if mode == "guarded" else "sdk"
            guard.enable(guard.Policy(retry_budget=None, backoff_initial=0.0, backoff_max=0.0, items=items))
            importlib.import_module("logging").disable()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(JOBS[name](*arguments)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

"""One process of the benchmark: it does the jobs that come on its standard input, and answers with figures.

    python -m tests.benchmark.worker absent | disabled | guarded | floor

A job is a line of JSON: the name of a function of JOBS, and its arguments. So the guarded and the unguarded SDK live
in processes of their own, which are asked in turn: whatever else the machine does troubles both alike. `floor` is the
SDK with the least that can be done for an event in the place of its decoder.
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

from tests.benchmark import decoders
from tests.benchmark.bodies import one_big, reads

HTTP: Any = importlib.import_module("httpx2" if hasattr(openai._base_client, "httpx2") else "httpx")
HEADERS = {"content-type": "text/event-stream"}
CREATE = {
    "chat": lambda client: client.chat.completions.create(model="m", messages=[], stream=True),
    "tool calls": lambda client: client.chat.completions.create(model="m", messages=[], stream=True),
    "Responses": lambda client: client.responses.create(model="m", input="", stream=True),
}


class Body(HTTP.SyncByteStream, HTTP.AsyncByteStream):
    """A body that comes in these reads."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Any:
        return iter(self._parts)

    async def __aiter__(self) -> Any:
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


def stream(shape: str, client_kind: str, size: int | None, events: int) -> float:
    """Microseconds an item, of a stream read to its end by the SDK."""
    parts = reads(shape, size, events)
    if client_kind == "sync":
        plain = client(parts)
        seconds, count = spent(lambda: sum(1 for _ in CREATE[shape](plain)))
        return seconds / count * 1e6

    async def consume() -> tuple[float, int]:
        http = HTTP.AsyncClient(transport=transport(parts))
        async with openai.AsyncOpenAI(api_key="none", http_client=http) as asynchronous:
            items = await CREATE[shape](asynchronous)
            started = time.process_time()
            count = sum([1 async for _ in items])
            return time.process_time() - started, count

    gc.collect()
    seconds, count = asyncio.run(consume())
    return seconds / count * 1e6


def big(megabytes: int) -> float:
    """Milliseconds for one event of so many MB."""
    plain = client(one_big(megabytes))
    return spent(lambda: sum(1 for _ in CREATE["chat"](plain)))[0] * 1e3


def replay(events: int) -> float:
    """Microseconds an event delivered, of a stream that breaks after all of its text and is then repeated whole."""
    whole = reads("chat", 65536, events)
    frames = b"".join(whole)
    plain = client([frames[: frames.rindex(b"data: {")]], whole)
    seconds, count = spent(lambda: sum(1 for _ in CREATE["chat"](plain)))
    assert count == events + 2, count
    return seconds / count * 1e6


def memory(streams: int) -> float:
    """KiB that each of so many open streams holds, after a few of its items."""
    plain = client(reads("chat", None, 20))
    next(iter(CREATE["chat"](plain)))  # what is made once is no stream's
    tracemalloc.start()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    opened = [CREATE["chat"](plain) for _ in range(streams)]
    for items in opened:
        for _ in range(10):
            next(items)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    for items in opened:
        items.close()
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
        text = frame[start:-2] if start > 0 else frame[len("data: ") :]
        self.data = text.decode()
        self.event = frame[len("event: ") : frame.index(b"\n")].decode() if frame[:1] == b"e" else None
        self.value = parse(text) if start > 0 else None

    def json(self) -> object:
        """The parsed value."""
        return self.value


def put_the_floor() -> None:
    """Let the SDK's streams be cut and parsed, and neither decoded, repaired nor judged. Where a read is an event."""
    parse = importlib.import_module("jiter").from_json

    def events(stream: Any) -> Iterator[Event]:
        for data in stream.response.iter_raw():
            yield Event(data, parse)

    async def aevents(stream: Any) -> AsyncIterator[Event]:
        async for data in stream.response.aiter_raw():
            yield Event(data, parse)

    openai.Stream._iter_events = events
    openai.AsyncStream._iter_events = aevents


def main(mode: str) -> None:
    """Answer until there are no more questions."""
    if mode == "floor":
        put_the_floor()
    elif mode != "absent":
        guard = importlib.import_module("openai_stream_guard")
        if mode == "guarded":
            guard.enable(guard.Policy(retry_budget=None, backoff_initial=0.0, backoff_max=0.0))
            importlib.import_module("logging").disable()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(JOBS[name](*arguments)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

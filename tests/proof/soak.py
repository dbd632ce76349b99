"""Thousands of real connections on loopback, a third of them broken: nothing lost, nothing kept, no memory taken.

    python -m tests.proof.soak [--streams N] [--at-once N] [--threads N] [--seed N] [--quick]

The server is a process of its own. Its first answer to three streams in ten is cut, closed, reset or garbled. Printed
are what the streams came to, what the process holds before and after, what an open stream weighs with the guard above
without it, and how long a cancelled stream takes to end. Exit status 1 where a figure is not what its line allows.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import importlib
import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import openai

from openai_stream_guard import OpenAIStreamParseError, Policy, report
from openai_stream_guard import activation as switch

from .loopback import FAULTS, WORDS, allow_open_files, running, text_of

HTTP: Any = importlib.import_module("httpx2" if hasattr(openai._base_client, "httpx2") else "httpx")
POLICY = Policy(retry_budget=None, backoff_initial=0.01, backoff_max=0.05)
FAULTY = 0.3
PER_STREAM = 8 << 10
"""Bytes that the guard may hold for an open stream besides the text that it has delivered."""
DESCRIPTORS = next((path for path in ("/proc/self/fd", "/dev/fd") if os.path.isdir(path)), None)


class Figure(NamedTuple):
    """One line: what was measured, what is allowed, and whether it is kept."""

    name: str
    found: str
    allowed: str
    kept: bool


def figure(name: str, found: float, most: float, unit: str = "") -> Figure:
    """A number that has an upper limit."""
    found = round(found, 2)
    return Figure(name, f"{found:,}{unit}", f"at most {most:,}{unit}", found <= most)


def client_of(url: str, kind: str, connections: int = 100) -> Any:
    """A client that opens as many connections as it is asked to, and reads neither proxies nor certificates."""
    limits = HTTP.Limits(max_connections=None, max_keepalive_connections=connections)
    timeout = HTTP.Timeout(120.0, connect=60.0)
    options = {"limits": limits, "trust_env": False, "verify": False, "timeout": timeout}
    http = (HTTP.Client if kind == "sync" else HTTP.AsyncClient)(**options)
    cls = openai.OpenAI if kind == "sync" else openai.AsyncOpenAI
    return cls(base_url=url, api_key="none", http_client=http, timeout=timeout)


def wanted(dice: random.Random) -> str:
    """What a stream asks the server for: to be broken, in three of ten."""
    return f"{dice.choice(FAULTS)} {dice.randrange(1, WORDS)}" if dice.random() < FAULTY else "whole"


def asked(client: Any, user: str) -> Any:
    """Ask for a stream."""
    return client.chat.completions.create(model="m", messages=[], stream=True, user=user)


def said(chunk: Any) -> str:
    """What a chunk says."""
    return chunk.choices[0].delta.content or ""


class Tally:
    """What the streams came to."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def add(self, stream: Any, text: str, error: Exception | None) -> None:
        """Judge one stream."""
        if isinstance(error, OpenAIStreamParseError):
            outcome = "raised" if text_of().startswith(text) else "wrong"
        elif error is not None:
            outcome = f"wrong: {type(error).__name__}"
        else:
            told = report(stream)
            outcome = "wrong" if text != text_of() or told is None else told.outcome
        self.count[outcome] += 1

    def figures(self, name: str, streams: int) -> list[Figure]:
        """All of them whole."""
        whole = self.count["complete"] + self.count["recovered"]
        found = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(self.count.items()))
        return [Figure(name, found, f"{streams:,} whole", whole == streams)]


async def read(client: Any, user: str, tally: Tally, meet: Meeting | None = None) -> None:
    """One stream to its end."""
    stream, text, error = None, "", None
    try:
        stream = await asked(client, user)
        async for chunk in stream:
            text += said(chunk)
            if meet is not None:
                await meet.arrive()
                meet = None
    except Exception as raised:
        error = raised
    tally.add(stream, text, error)


class Meeting:
    """Where streams wait for each other, so that all are open at once."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._complete = asyncio.Event()

    async def arrive(self) -> None:
        """Wait until all are here."""
        self._missing -= 1
        if self._missing == 0:
            self._complete.set()
        await self._complete.wait()


async def at_once(url: str, streams: int, seed: int) -> list[Figure]:
    """So many streams, all of them open in the middle of their answers before the first goes on."""
    dice, tally, meeting = random.Random(seed), Tally(), Meeting(streams)
    started = time.monotonic()
    async with client_of(url, "async") as client:
        await asyncio.wait_for(
            asyncio.gather(*(read(client, wanted(dice), tally, meeting) for _ in range(streams))), 300
        )
    name = f"{streams:,} async streams open at once, {time.monotonic() - started:.0f} s"
    return tally.figures(name, streams)


def in_threads(url: str, threads: int, streams: int, seed: int) -> list[Figure]:
    """Threads that share one client, each with so many streams, one after the other."""
    tally, lock, gate = Tally(), threading.Lock(), threading.Barrier(threads)
    started = time.monotonic()

    def work(number: int) -> None:
        dice = random.Random(f"{seed} {number}")
        gate.wait(60)
        for _ in range(streams):
            stream, text, error = None, "", None
            try:
                stream = asked(client, wanted(dice))
                for chunk in stream:
                    text += said(chunk)
            except Exception as raised:
                error = raised
            with lock:
                tally.add(stream, text, error)

    with client_of(url, "sync", threads) as client:
        workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(300)
    name = f"{threads:,} threads with {streams:,} streams each, {time.monotonic() - started:.0f} s"
    return tally.figures(name, threads * streams)


class Held(NamedTuple):
    """What a process holds."""

    descriptors: int
    tasks: int
    threads: int
    blocks: int
    resident: int

    @classmethod
    def now(cls) -> Held:
        """After everything that can be collected was."""
        for _ in range(3):
            gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # else what is free, but in pieces, counts too
        if trim is not None:
            trim(0)
        descriptors = len(os.listdir(DESCRIPTORS)) if DESCRIPTORS else 0
        # asyncio looks names up in a pool of threads, which grows to its size when it likes.
        threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
        return cls(descriptors, len(asyncio.all_tasks()), len(threads), sys.getallocatedblocks(), resident())


def resident() -> int:
    """Bytes of memory that are in use by this process; 0 where nobody says."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


async def soak(url: str, streams: int, seed: int) -> list[Figure]:
    """So many streams, a hundred at a time; what the process holds after a tenth of them, and after all."""
    dice, tally, held = random.Random(seed), Tally(), list[Held]()
    started, warm = time.monotonic(), streams // 10
    for count in (warm, streams - warm):
        users = (wanted(dice) for _ in range(count))

        async def work(client: Any, users: Any = users) -> None:
            for user in users:
                await read(client, user, tally)

        async with client_of(url, "async") as client:
            await asyncio.gather(*(work(client) for _ in range(min(100, count))))
        await asyncio.sleep(0.05)  # for transports that close in the loop's next turn
        held.append(Held.now())
    before, after = held
    return [
        *tally.figures(f"{streams:,} streams, a hundred at a time, {time.monotonic() - started:.0f} s", streams),
        figure("  more file descriptors", after.descriptors - before.descriptors, 0),
        figure("  more tasks", after.tasks - before.tasks, 0),
        figure("  more threads", after.threads - before.threads, 0),
        figure("  more blocks of memory", after.blocks - before.blocks, 1000 + (streams - warm) // 20),
        figure("  more resident memory", (after.resident - before.resident) / 2**20, 8, " MiB"),
    ]


async def cancelled(url: str, streams: int, what: str) -> list[Figure]:
    """How long streams take to end that are cancelled all at once: while they read, or before they ask again."""
    user = "silent 3" if what == "a read" else "truncated 3"
    waiting = asyncio.Semaphore(0)
    switch.configure(backoff_initial=60.0, backoff_max=60.0, on_event=lambda notice: waiting.release())
    async with client_of(url, "async") as client:

        async def work() -> None:
            stream = await asked(client, user)
            number = 0
            async for _ in stream:
                number += 1
                if what == "a read" and number == 3:
                    waiting.release()

        tasks = [asyncio.ensure_future(work()) for _ in range(streams)]
        for _ in range(streams * (1 if what == "a read" else 2)):  # a backoff has two notices before it
            await asyncio.wait_for(waiting.acquire(), 60)
        await asyncio.sleep(0.05)
        ended: list[float] = []
        for task in tasks:
            task.add_done_callback(lambda task: ended.append(time.perf_counter()))
        started = time.perf_counter()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=60)
    switch.configure(on_event=None, backoff_initial=POLICY.backoff_initial, backoff_max=POLICY.backoff_max)
    assert all(task.cancelled() for task in tasks)
    each = (max(ended) - started) / streams * 1000
    return [figure(f"{streams:,} streams cancelled in {what}, time for each", each, 10, " ms")]


async def weigh(url: str, streams: int, words: int) -> int:
    """Bytes that so many open streams hold, each with a text of so many words delivered."""
    async with client_of(url, "async") as client:
        held = list[Any]()

        async def begin() -> None:
            stream = await asked(client, f"long {words}")
            held.append(stream)
            for _ in range(words):
                await stream.__anext__()

        await begin()  # what is made once in a process is not a stream's
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await asyncio.gather(*(begin() for _ in range(streams)))
        gc.collect()
        weight = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        for stream in held:
            await stream.close()
    return weight


def weighed(url: str, streams: int, words: int) -> list[Figure]:
    """What a stream weighs in a process that is guarded, less what it weighs in one that is not."""
    weights = []
    for mode in ("1", "0"):
        program = [sys.executable, "-m", "tests.proof.soak", "--weigh", json.dumps([url, streams, words])]
        environ = {**os.environ, "OPENAI_STREAM_GUARD": mode}
        done = subprocess.run(program, env=environ, check=True, stdout=subprocess.PIPE, text=True, timeout=170)
        weights.append(int(done.stdout))
    text = len(text_of(words))
    more = (weights[0] - weights[1]) / streams
    name = f"bytes above unguarded, of {streams:,} open streams with {text:,} bytes of text each"
    return [figure(name, round(more), PER_STREAM + text)]


def measured(options: argparse.Namespace) -> list[Figure]:
    """All figures, printed as they come."""
    figures: list[Figure] = []

    def tell(more: list[Figure]) -> None:
        for one in more:
            print(f"{'ok' if one.kept else 'NOT KEPT':9}{one.name:76}{one.found}  ({one.allowed})", flush=True)
        figures.extend(more)

    files = allow_open_files()
    if files < 2 * options.at_once:
        print(f"this process may open {files:,} files: {files // 2:,} streams at once, not {options.at_once:,}")
        options.at_once = files // 2
    with switch.restored(), running() as url:
        switch.enable(POLICY)
        each = options.streams // 5 // options.threads
        tell(asyncio.run(at_once(url, options.at_once, options.seed)))
        tell(in_threads(url, options.threads, each, options.seed))
        tell(asyncio.run(soak(url, options.streams - each * options.threads, options.seed)))
        for what in ("a read", "a backoff"):
            tell(asyncio.run(cancelled(url, options.at_once // 10, what)))
        for words, streams in ((100, options.at_once // 10), (1000, options.at_once // 50)):
            tell(weighed(url, streams, words))
    return figures


def main(arguments: Sequence[str]) -> int:
    """Print the figures; 1 if one is not kept."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.proof.soak", description=summary)
    parser.add_argument("--streams", type=int, default=20_000, metavar="N", help="in all, a fifth in threads (20,000)")
    parser.add_argument("--at-once", type=int, default=2_000, metavar="N", help="async streams open at once (2,000)")
    parser.add_argument("--threads", type=int, default=200, metavar="N", help="(200)")
    parser.add_argument("--seed", type=int, default=1, help="of what is broken (1)")
    parser.add_argument("--quick", action="store_true", help="a slice of some seconds: a fiftieth of each")
    parser.add_argument("--weigh", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.weigh is not None:
        allow_open_files()
        print(asyncio.run(weigh(*options.weigh)))
        return 0
    if options.quick:
        options.streams, options.at_once, options.threads = 400, 100, 10
    print(f"openai {openai.__version__}, seed {options.seed}, {FAULTY:.0%} of the streams broken")
    logging.getLogger("openai_stream_guard").setLevel(logging.CRITICAL)  # each fault is a warning of the guard's
    started = time.monotonic()
    figures = measured(options)
    broken = sum(not one.kept for one in figures)
    print(f"{len(figures)} figures, {broken} not kept, {time.monotonic() - started:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

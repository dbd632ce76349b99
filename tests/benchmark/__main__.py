"""What the guard costs, against the SDK alone and against other decoders.

    python -m tests.benchmark [--quick] [--rounds N]

Run it with the interpreter of a virtual environment that has the openai release in question. Guarded and unguarded
run in processes of their own, asked in turn; every round starts new ones. Figures are CPU time, medians of the
rounds; ratios are medians of each round's own. The bytes come from memory, through the SDK's client and its HTTP
library, or over sockets from a server that is a process of its own. A ratio above its target is marked. A quiet
machine is not needed for the ratios; the absolute figures want one.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeAlias

from tests.benchmark.bodies import PATHS, READS, reads, text_in

ROOT = Path(__file__).parents[2]
CLIENT_KINDS = ("sync", "async")
DECODERS = ("guard", "SDK", "httpx-sse", "httpx2", "split + jiter")
MODES = ("absent", "guarded-sdk-items", "guarded", "floor")
"""No guard; guarded, with items built by the SDK; guarded; and no guard that decodes and builds next to nothing."""
HELPERS = {"chat": 0.60, "tool calls": 0.65, "Responses": 0.50}
"""The targets for `.stream()`, in the CPU time of an unguarded one."""
ENABLE = 10.0
"""Milliseconds that `enable()` may take where openai is imported already."""
KEPT = 8.0
"""KiB that an open stream may hold above the SDK's."""
SHORT = 100
"""Events of a stream whose whole cost is shown; a longer one says what each further event costs."""
DOUBLING = 2.2
"""The target for twice the bytes, in the time of once."""
IMPORT = 10.0
"""Milliseconds that importing the guard may take beyond wrapt."""


MAX = 1800
"""Seconds after which the command ends, whatever it is doing."""
Job: TypeAlias = tuple[Any, ...]


class Worker:
    """A process that measures, see `worker`."""

    def __init__(self, mode: str) -> None:
        command = [sys.executable, "-m", "tests.benchmark.worker", mode]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )

    def ask(self, job: str, *arguments: object) -> float | None:
        """The answer to one job. Raises RuntimeError where the process has died of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([job, arguments]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that was asked for {job} {arguments} has ended")
        answer: float | None = json.loads(line)
        return answer

    def end(self) -> None:
        """Let it go."""
        self._process.communicate(timeout=30)


def environment() -> dict[str, str]:
    """Without what would switch the guard on, slow everything down, or have modules compiled anew each time."""
    slow = ("OPENAI_", "PYTHONDEV", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(slow)}


@contextmanager
def workers(*modes: str) -> Iterator[list[Worker]]:
    """Processes to ask in turn."""
    started = [Worker(mode) for mode in modes]
    try:
        yield started
    finally:
        for worker in started:
            worker.end()


class Table:
    """A table in Markdown, printed row by row."""

    def __init__(self, title: str, *columns: str) -> None:
        self.missed = 0
        print(f"\n**{title}**\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)

    def row(self, *cells: object) -> None:
        """Print a row."""
        print(
            "| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |",
            flush=True,
        )

    def ratio(self, ratio: float, target: float | None) -> str:
        """A ratio, marked where it is above its target."""
        missed = target is not None and round(ratio, 2) > target
        self.missed += missed
        return f"{ratio:.2f} !" if missed else f"{ratio:.2f}"


def pairs(
    rounds: int, modes: Sequence[str], jobs: Sequence[Job], times: int = 3, warm_up: Job | None = None
) -> dict[Job, list[list[float]]]:
    """For each job a list for each round, with one figure for each mode: the best of some, asked in turn.

    Args:
        warm_up: what to do first, where that is not the job itself.
    """
    found: dict[Job, list[list[float]]] = {job: [] for job in jobs}
    for _ in range(rounds):
        with workers(*modes) as asked:
            for job in jobs:
                for worker in asked:
                    worker.ask(*(warm_up or job))
                answers = [[worker.ask(*job) or 0.0 for worker in asked] for _ in range(times)]
                found[job].append([min(figures) for figures in zip(*answers, strict=True)])
    return found


def ratio_of(rounds: list[list[float]], over: int = 0, under: int = 1) -> float:
    """The median ratio of two modes."""
    return median(figures[under] / figures[over] for figures in rounds)


class Cell(NamedTuple):
    """A row of the first table."""

    where: str
    shape: str
    client_kind: str
    door: str
    read: str
    target: float
    """For the CPU time of an event, in that of an unguarded one."""


def cells() -> Iterator[Cell]:
    """All rows."""
    for shape, client_kind, read in product(PATHS, CLIENT_KINDS, ("event", "64 KiB", "16 B")):
        if shape != "big events" or read != "16 B":
            yield Cell("memory", shape, client_kind, "create", read, 0.5 if read == "16 B" else 0.25)
    for shape, client_kind, read in product(PATHS, CLIENT_KINDS, ("event", "64 KiB")):
        yield Cell("sockets", shape, client_kind, "create", read, 0.40)
    for (shape, target), client_kind in product(HELPERS.items(), CLIENT_KINDS):
        yield Cell("memory", shape, client_kind, "helper", "event", target)


def jobs_of(cell: Cell, events: int, server: str) -> tuple[Job, Job]:
    """A short stream, and one with so many events more."""
    job = ("stream", cell.shape, cell.client_kind, cell.door, READS[cell.read])
    scale = 10 if cell.shape == "big events" else 1
    lengths = (SHORT // scale, (SHORT + events) // scale)
    short, long = ((*job, length, server if cell.where == "sockets" else None) for length in lengths)
    return short, long


def end_to_end(rounds: int, events: int) -> int:
    """Streams through the SDK."""
    title = (
        "CPU time of an event (µs), its ratio to that without the guard, and the same for a whole stream of "
        f"{SHORT} events, or {SHORT // 10} big ones (ms)"
    )
    columns = ("bytes from", "stream", "client", "door", "a read is", "unguarded", "guarded, the SDK builds items")
    table = Table(title, *columns, "guarded", "the floor", "whole stream, unguarded", "guarded")
    with loopback() as server:
        jobs = {cell: jobs_of(cell, events, server) for cell in cells()}
        found: dict[Job, list[list[float]]] = {}
        for modes in (MODES, MODES[:3]):
            chosen = [job for cell, of in jobs.items() if (cell.door == "create") == (modes == MODES) for job in of]
            found |= pairs(rounds, modes, chosen)
    for cell, (less, more) in jobs.items():
        short, long, further = found[less], found[more], more[5] - less[5]
        each = [[(b - a) / further * 1e6 for a, b in zip(*pair, strict=True)] for pair in zip(short, long, strict=True)]
        plain, sdk_items, guarded, *floor = (median(figures) for figures in zip(*each, strict=True))
        table.row(
            *cell[:5],
            f"{plain:.1f}", f"{sdk_items:.1f}: {ratio_of(each):.2f}",
            f"{guarded:.1f}: {table.ratio(ratio_of(each, 0, 2), cell.target)}",
            f"{floor[0]:.1f}: {ratio_of(each, 0, 3):.2f}" if floor else "",
            f"{median(figures[0] for figures in short) * 1e3:.1f}",
            f"{median(figures[2] for figures in short) * 1e3:.1f}: {ratio_of(short, 0, 2):.2f}",
        )  # fmt: skip
    return table.missed


@contextmanager
def loopback() -> Iterator[str]:
    """The URL of a server that streams what its path says."""
    command = [sys.executable, "-m", "tests.benchmark.server"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def disabled(rounds: int, events: int) -> int:
    """Streams through the SDK where the guard is imported and switched off."""
    cells = list(product(CLIENT_KINDS, ("event", "64 KiB")))
    jobs = [("stream", "chat", client_kind, "create", READS[read], events) for client_kind, read in cells]
    found = pairs(rounds, ("absent", "disabled"), jobs)
    table = Table(
        "The guard imported, and not enabled: chat (µs)", "", "a read is", "not imported", "imported", "ratio"
    )
    for cell, job in zip(cells, jobs, strict=True):
        plain, imported = (median(figures) / events * 1e6 for figures in zip(*found[job], strict=True))
        table.row(*cell, f"{plain:.1f}", f"{imported:.1f}", table.ratio(ratio_of(found[job]), 1.02))
    return table.missed


def alone(rounds: int, events: int) -> int:
    """Decoders alone."""
    cells = list(product(PATHS, READS))
    jobs = [("decode", decoder, shape, READS[read], events) for shape, read in cells for decoder in DECODERS]
    found = pairs(rounds, ("disabled",), jobs)
    table = Table(
        "From bytes to parsed values, an event (µs)", "stream", "a read is", *DECODERS, "guard / SDK", "guard / floor"
    )
    for shape, read in cells:
        figures = {decoder: found["decode", decoder, shape, READS[read], events] for decoder in DECODERS}
        medians = {decoder: median(figure for (figure,) in rounds) for decoder, rounds in figures.items()}
        of_sdk = median(ours / theirs for (ours,), (theirs,) in zip(figures["guard"], figures["SDK"], strict=True))
        of_floor = median(
            ours / least for (ours,), (least,) in zip(figures["guard"], figures["split + jiter"], strict=True)
        )
        table.row(
            shape, read,
            *(f"{medians[decoder]:.1f}" if medians[decoder] else "not installed" for decoder in DECODERS),
            table.ratio(of_sdk, 0.75 if read == "16 B" else 0.5),
            table.ratio(of_floor, None if read == "16 B" else 2.0),
        )  # fmt: skip
    return table.missed


def at_length(megabytes: int, events: int, replayed: int) -> int:
    """What grows: an event, a stream, a replay. Twice the bytes, and how much longer it takes."""
    rows: list[tuple[str, Job, int]] = [
        (f"one event of {megabytes} MB, 16 KiB reads (ms)", ("big",), megabytes),
        (f"{events:,} events, 64 KiB reads (ms)", ("stream", "chat", "sync", "create", 65536), events),
        (f"{events:,} events, 16 B reads (ms)", ("stream", "chat", "sync", "create", 16), events),
        (f"{replayed:,} events delivered, then repeated (µs an event)", ("replay",), replayed),
    ]
    table = Table("What grows", "", "unguarded", "guarded", "ratio", "guarded, for twice the bytes")
    for name, job, size in rows:
        modes = ("guarded",) if job == ("replay",) else ("absent", "guarded")
        half, whole = (*job, size // 2), (*job, size)
        found = pairs(1, modes, [half, whole], times=1, warm_up=(*job, 1 if job == ("big",) else 500))
        ((*plain, guarded),) = found[whole]
        unit = 1e3 if job[0] == "stream" else 1
        growth = guarded / found[half][0][-1] * (2 if job == ("replay",) else 1)
        before = [f"{plain[0] * unit:.1f}"] if plain else [""]
        ratio = table.ratio(guarded / plain[0], 0.5 if job[0] == "stream" else 1.0) if plain else ""
        table.row(name, *before, f"{guarded * unit:.1f}", ratio, "× " + table.ratio(growth, DOUBLING))
    return table.missed


def memory(count: int) -> int:
    """Open streams; the text that they have delivered is not counted."""
    table = Table(
        f"Memory of each of {count:,} open streams (KiB)", "", "items read", "text", "unguarded", "guarded", "more", ""
    )
    with workers("absent", "guarded") as asked:
        for shape, items in product(("chat", "tool calls", "Responses"), (10, 300)):
            plain, guarded = (worker.ask("memory", shape, count, items) or 0.0 for worker in asked)
            text = text_in(reads(shape, None, items + 10)[:items]) / 1024
            more = guarded - plain - text
            table.missed += more > KEPT
            cells = [f"{value:.1f}" for value in (text, plain, guarded, more)]
            table.row(shape, items, *cells, "!" if more > KEPT else "")
    return table.missed


def starting(times: int) -> int:
    """What it takes until streams are guarded, with what is imported already."""
    table = Table("Start (ms of CPU time)", "", "", "imports openai")
    missed = 0
    for name, before, work, target in (
        ("import the guard, after wrapt", "import wrapt", "import openai_stream_guard", IMPORT),
        ("enable it, after openai", "import openai, openai_stream_guard as guard", "guard.enable()", ENABLE),
    ):
        program = (
            f"import sys, time; {before}; started = time.process_time(); {work}; "
            "print(time.process_time() - started, 'openai' in sys.modules)"
        )
        said = [
            subprocess.run(
                [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
            ).stdout.split()
            for _ in range(times + 1)
        ][1:]  # the first may have compiled
        taken = median(float(seconds) for seconds, _ in said) * 1e3
        missed += taken > target
        table.row(name, f"{taken:.1f}{' !' if taken > target else ''}", ", ".join(sorted({there for _, there in said})))
    return missed


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds: a minute or two instead of ten")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 5, or 1 with --quick")
    options = parser.parse_args(arguments)
    if hasattr(signal, "alarm"):
        signal.alarm(MAX)
    quick = options.quick
    rounds = options.rounds or (1 if quick else 5)
    print(
        f"openai {version('openai')}, pydantic {version('pydantic')}, jiter {version('jiter')}, "
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {datetime.date.today()}, "
        f"`{parser.prog}{' --quick' if quick else ''}{f' --rounds {rounds}' if options.rounds else ''}`"
    )
    missed = end_to_end(rounds, 300 if quick else 1000)
    missed += disabled(rounds, 300 if quick else 1000)
    missed += alone(min(rounds, 3), 300 if quick else 1000)
    missed += at_length(20, 10_000 if quick else 100_000, 5_000 if quick else 50_000)
    missed += memory(100 if quick else 1000)
    missed += starting(5 if quick else 15)
    print(f"\n{missed} figures above their target, marked !" if missed else "\nAll figures are within their targets.")


if __name__ == "__main__":
    main(sys.argv[1:])

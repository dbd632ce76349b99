"""What the guard costs, against the SDK alone and against other decoders.

    python -m tests.benchmark [--quick] [--rounds N]

Run it with the interpreter of a virtual environment that has the openai release in question. Guarded and unguarded
run in processes of their own, asked in turn; every round starts new ones. Figures are CPU time, medians of the
rounds; ratios are medians of each round's own. The bytes come from memory, through the SDK's client and httpx.
A ratio above its target is marked. A quiet machine is not needed for the ratios; the absolute figures want one.
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
from typing import Any, TypeAlias

from tests.benchmark.bodies import PATHS, READS

ROOT = Path(__file__).parents[2]
CLIENT_KINDS = ("sync", "async")
DECODERS = ("guard", "SDK", "httpx-sse", "httpx2", "split + jiter")
END_TO_END = 0.95
"""The target for the CPU time of a guarded stream, in that of an unguarded one."""
DOUBLING = 2.2
"""The target for twice the bytes, in the time of once."""
IMPORT = 15.0
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
    """Without what would switch the guard on, or slow everything down."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTHONDEV"))}


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


def end_to_end(rounds: int, events: int) -> int:
    """Streams through the SDK."""
    rows = list(product(PATHS, CLIENT_KINDS))
    jobs = {(*row, read): ("stream", *row, size, events) for row in rows for read, size in READS.items()}
    found = pairs(rounds, ("absent", "guarded"), list(jobs.values()))
    least = pairs(rounds, ("absent", "floor"), [jobs[(*row, "event")] for row in rows])
    title = "CPU time of an event, guarded, through the SDK (µs), and its ratio to that without the guard"
    columns = (f"a read is {'an event' if read == 'event' else read}" for read in READS)
    table = Table(title, "stream", "", *columns, "the floor, a read is an event")
    for row in rows:
        figures = [found[jobs[(*row, read)]] for read in READS]
        cells = [(median(guarded for _, guarded in rounds), ratio_of(rounds)) for rounds in figures]
        floor = least[jobs[(*row, "event")]]
        table.row(
            *row,
            *(f"{guarded:.1f}: {table.ratio(ratio, END_TO_END)}" for guarded, ratio in cells),
            f"{median(figure for _, figure in floor):.1f}: {ratio_of(floor):.2f}",
        )
    return table.missed


def disabled(rounds: int, events: int) -> int:
    """Streams through the SDK where the guard is imported and switched off."""
    cells = list(product(CLIENT_KINDS, ("event", "64 KiB")))
    jobs = [("stream", "chat", client_kind, READS[read], events) for client_kind, read in cells]
    found = pairs(rounds, ("absent", "disabled"), jobs)
    table = Table(
        "The guard imported, and not enabled: chat (µs)", "", "a read is", "not imported", "imported", "ratio"
    )
    for cell, job in zip(cells, jobs, strict=True):
        plain, imported = (median(figures) for figures in zip(*found[job], strict=True))
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
        (f"{events:,} events, 64 KiB reads (µs an event)", ("stream", "chat", "sync", 65536), events),
        (f"{events:,} events, 16 B reads (µs an event)", ("stream", "chat", "sync", 16), events),
        (f"{replayed:,} events delivered, then repeated (µs an event)", ("replay",), replayed),
    ]
    table = Table("What grows", "", "unguarded", "guarded", "ratio", "guarded, for twice the bytes")
    for name, job, size in rows:
        modes = ("guarded",) if job == ("replay",) else ("absent", "guarded")
        half, whole = (*job, size // 2), (*job, size)
        found = pairs(1, modes, [half, whole], times=1, warm_up=(*job, 1 if job == ("big",) else 500))
        ((*plain, guarded),) = found[whole]
        growth = guarded / found[half][0][-1] * (1 if job == ("big",) else 2)
        compared = [f"{plain[0]:.1f}", f"{guarded:.1f}", table.ratio(guarded / plain[0], END_TO_END)] if plain else None
        table.row(name, *(compared or ["", f"{guarded:.1f}", ""]), "× " + table.ratio(growth, DOUBLING))
    return table.missed


def memory(counts: Sequence[int]) -> int:
    """Open streams."""
    table = Table("Memory of an open stream (KiB)", "open at once", "unguarded", "guarded")
    with workers("absent", "guarded") as asked:
        for count in counts:
            table.row(count, *(f"{worker.ask('memory', count):.1f}" for worker in asked))
    return 0


def importing(times: int) -> int:
    """What `import openai_stream_guard` takes where wrapt is imported already, and nothing of openai with it."""
    program = (
        "import sys, time, wrapt; started = time.process_time(); import openai_stream_guard; "
        "print(time.process_time() - started, 'openai' in sys.modules)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(times)
    ]
    taken = median(float(seconds) for seconds, _ in said) * 1e3
    table = Table("Import, beyond wrapt's own (ms)", "CPU time", "imports openai")
    table.row(f"{taken:.1f}{' !' if taken > IMPORT else ''}", ", ".join(sorted({loaded for _, loaded in said})))
    return taken > IMPORT


def main(arguments: Sequence[str]) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds: some 40 s instead of 4 min")
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
    missed += memory((1, 100) if quick else (1, 100, 1000))
    missed += importing(5 if quick else 15)
    print(f"\n{missed} figures above their target, marked !" if missed else "\nAll figures are within their targets.")


if __name__ == "__main__":
    main(sys.argv[1:])

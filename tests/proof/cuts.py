"""Every byte of every recorded stream, damaged in six ways, read by both drivers, recovered in every way there is.

    python -m tests.proof.cuts [--every N] [--sdk-every N] [--seed N] [--jobs N] [--quick]

16 streams, each N-th byte of them, {clean end, disconnect, stall, garble one byte, drop its event, double it}, {sync,
async}, and the ways of recovery that the API knows: the product of all these runs through the drivers and the session,
with a network in memory; a coarser slice of it runs through the real SDK, with a transport in memory, cuts of a chat by
the SDK's `.stream()` as well, whose final snapshot is to be that of the unbroken answer. `law` says what counts as
whole, raised and passed on. Exit status 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import openai

from openai_stream_guard.apis.request import Resume
from openai_stream_guard.engine.decisions import Reissue

from . import through_sdk, wire
from .damage import CUTS, FAULTS, Damaged, Fault, damaged
from .law import KINDS, verdict
from .recorded import STREAMS, RecoveryMethod, Stream

CLIENT_KINDS = ("sync", "async")
LAYERS = ("session", "SDK")
SLOWLY = 1.5 * wire.TIMEOUTS.idle
"""Seconds that a program takes with what each read brings. One run of five is made so as well, and ends the same."""


@dataclass(frozen=True)
class Job:
    """A part of the product: every N-th byte of one stream."""

    layer: str
    stream: Stream
    way: RecoveryMethod
    fault: Fault
    client_kind: str
    every: int
    seed: int
    door: str = "create"
    """Or `stream`, the SDK's helper."""

    @property
    def offsets(self) -> range:
        """Where it strikes. Jobs begin at different bytes, so that a coarse slice meets all of them."""
        start = sum(map(ord, f"{self.way}{self.fault}{self.client_kind}{self.seed}")) % self.every
        return range(start, len(self.stream.wire), self.every)


def jobs(every: int, sdk_every: int, seed: int) -> list[Job]:
    """The whole product."""
    return [
        Job(layer, stream, way, fault, client_kind, strides, seed, door)
        for layer, strides in zip(LAYERS, (every, sdk_every), strict=True)
        for stream, fault, client_kind in product(STREAMS, FAULTS, CLIENT_KINDS)
        for way in stream.ways
        for door in (("create", "stream") if layer == "SDK" and is_helped(stream, way, fault) else ("create",))
        if layer == "session" or through_sdk.serves(stream)
    ]


def is_helped(stream: Stream, way: RecoveryMethod, fault: Fault) -> bool:
    """Whether it is read by the SDK's helper too: a chat whose second answer is the first one again."""
    return stream.api == "chat" and way == "replay" and fault in CUTS


def answer_again(stream: Stream, way: RecoveryMethod, offset: int, verdict: Reissue) -> Damaged | None:
    """What the server says when it is asked again: None where it knows no such response.

    Another model's answer where the way is `atomic`, the same words in other deltas at every other byte.
    """
    prefix = ""
    if verdict.body is not None:
        messages: Any = verdict.body["messages"]
        prefix = messages[-1]["content"]
    return healthy_again(stream, way, offset, verdict.resume, prefix)


def healthy_again(
    stream: Stream, way: RecoveryMethod, offset: int, resume: Resume | None, prefix: str
) -> Damaged | None:
    """The same, in plain values."""
    if resume is not None:
        known = resume.response_id == stream.items[0]["response"]["id"]
        return Damaged(stream.frames[resume.after + 1 :], "clean", 0) if known else None
    regroup = way == "replay" and offset // 2 % 2 == 1
    frames = stream.answered(2, sampled=way == "atomic", regroup=regroup, prefix=prefix)
    return Damaged((b"".join(frames),) if offset % 2 else frames, "clean", 0)


def run(job: Job) -> Iterator[tuple[int, str]]:
    """The verdict on each offset."""
    if job.layer == "SDK":
        yield from through_sdk.run(
            job.stream, job.way, job.client_kind, job.fault, job.offsets, job.seed, healthy_again, job.door
        )
        return
    for offset in job.offsets:
        first = damaged(job.stream.frames, job.fault, offset, job.seed)
        again = partial(answer_again, job.stream, job.way, offset)
        seen = wire.see(job.stream, job.way, job.client_kind, first, again)
        found = verdict(job.stream, job.way, job.fault, first, seen)
        if offset % 5 == 0:
            slow = wire.see(job.stream, job.way, job.client_kind, first, again, busy=SLOWLY)
            if replace(slow, error=None) != replace(seen, error=None):
                found = "wrong: another end where the program takes its time"
        yield offset, found


@dataclass
class Result:
    """What came of a job."""

    job: Job
    kinds: Counter[str]
    wrong: list[str]
    seconds: float


def measure(job: Job) -> Result:
    """Run a job, and count."""
    started = time.process_time()
    kinds: Counter[str] = Counter()
    wrong = []
    for offset, found in run(job):
        kind, _, _ = found.partition(":")
        kinds[kind] += 1
        if kind == "wrong":
            where = f"{job.way}, {job.fault} at byte {offset}, {job.client_kind}, {job.door}"
            wrong.append(f"{job.stream.name}, {where}: {found}")
    return Result(job, kinds, wrong, time.process_time() - started)


def table(title: str, results: Sequence[Result], by: Any) -> Iterator[str]:
    """The counts, added up by some property of the jobs."""
    yield f"{title:30}{'runs':>11}" + "".join(f"{kind:>16}" for kind in KINDS) + f"{'CPU s':>8}"
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(by(result.job), []).append(result)
    for name, group in groups.items():
        kinds = sum((result.kinds for result in group), Counter[str]())
        counts = "".join(f"{kinds[kind]:16,}" for kind in KINDS)
        yield f"{name:30}{kinds.total():11,}{counts}{sum(result.seconds for result in group):8.0f}"


def main(arguments: Sequence[str]) -> int:
    """Print the tables; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.cuts", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=3, metavar="N", help="each N-th byte through the session (3)")
    parser.add_argument("--sdk-every", type=int, default=43, metavar="N", help="each N-th byte through the SDK (43)")
    parser.add_argument("--seed", type=int, default=1, help="of the garbled bytes (1)")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (one for each core)")
    parser.add_argument("--quick", action="store_true", help="a slice of some seconds: --every 997 --sdk-every 4001")
    options = parser.parse_args(arguments)
    if options.quick:
        options.every, options.sdk_every = 997, 4001
    for name in ("every", "sdk_every", "jobs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: {getattr(options, name)} is not 1 or more")
    todo = jobs(options.every, options.sdk_every, options.seed)
    print(f"openai {openai.__version__}, seed {options.seed}; each byte in {options.every} through the session,")
    length = sum(len(stream.wire) for stream in STREAMS)
    print(f"one in {options.sdk_every} through the SDK; {len(STREAMS)} streams of {length:,} bytes")
    started, results = time.monotonic(), list[Result]()
    with multiprocessing.Pool(options.jobs, logging.disable) as pool:  # each fault is a warning of the guard's
        for result in pool.imap(measure, todo):
            results.append(result)
            for line in result.wrong[:6]:
                print(line, flush=True)
    for title, by in (
        ("damage", lambda job: f"{job.layer}: {job.fault}"),
        ("way of recovery", lambda job: f"{job.layer}: {job.way}"),
        ("stream", lambda job: job.stream.name),
        ("driver", lambda job: f"{job.layer}, {job.client_kind}"),
        ("door", lambda job: f"{job.layer}, {job.door}"),
        ("in all", lambda job: "all"),
    ):
        print("", *table(title, results, by), sep="\n")
    wrong = sum(result.kinds["wrong"] for result in results)
    runs = sum(result.kinds.total() for result in results)
    seconds = time.monotonic() - started
    print(f"\n{runs:,} runs, {wrong:,} exceptions to the law, {seconds:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

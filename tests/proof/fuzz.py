"""Whatever bytes a server sends: the answer or the typed error, never another exception, never super-linear time.

    python -m tests.proof.fuzz [--runs N] [--seed N] [--target sse|repair|session|growth] [--only N] [--quick]

Recorded streams and the vectors are mutated: bits, tokens, lost and doubled ranges, huge numbers, deep brackets, other
streams' events. Every run has a seed of its own, so that `--target T --only N` repeats the one that failed. `growth`
repeats a mutated piece n times and 2n times, and counts the lines of Python that the guard executes, which no loaded
machine changes, and takes the CPU time of 16 times the bytes. `fuzz_atheris.py` leads the same targets by coverage.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import random
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, get_args

import openai_stream_guard
from openai_stream_guard.decoding.reader import REPAIRS, Reader, RepairMode
from openai_stream_guard.sse import Decoder
from tests.vectors import cases, in_pieces

from . import wire
from .cuts import answer_again
from .damage import Damaged, End
from .recorded import STREAMS

PACKAGE = str(Path(openai_stream_guard.__file__).parent)
MODES = get_args(RepairMode)
LIMITS = (1 << 28, 1 << 28, 1 << 28, 300, 40)
SIZES = (1 << 20, 1, 7, 61, 1400)
ENDS = get_args(End)
MAX_GROWTH = 2.2
"""Of the lines executed, where the bytes double."""
MAX_SECONDS = 64
"""Times as long may sixteen times the bytes take: caches and other programs are in it. (A square would be 256.)"""
TOKENS = (
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b" ", b"data: ", b"data:"),
    *(b"event: error\n", b"event: ping\n", b"id: 1\n", b"retry: 9999999999\n", b": comment\n\n", b"data: [DONE]\n\n"),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b",",
        b":",
        b"null",
        b"true",
        b"NaN",
        b"-0",
        b"1e999",
        b"\\ud83d",
        b"\\u0000",
    ),
    *(b"[" * 2000, b'{"a":' * 2000, b"9" * 5000, b"9223372036854775808", b"<html>", b"\x1f\x8b", b"data: null\n\n"),
    *(b'"choices"', b'"delta"', b'"index":', b'"finish_reason":"stop"', b'"tool_calls":[', b'"sequence_number":0'),
    *(b'"error":{"code":500}', b'"type":"error"', b'"type":"response.completed"', b'"object":"response"', b'"id":""'),
)


class Broken(Exception):
    """The invariant does not hold."""


def check(holds: bool, what: str) -> None:
    """Raise `Broken` unless something holds."""
    if not holds:
        raise Broken(what)


# The targets. Each takes any bytes; the first few choose how the others are read.


def sse(data: bytes) -> None:
    """The plain reader: the same events for every cut, each with its data from the body, in order."""
    size, body = SIZES[data[0] % len(SIZES)] if data else 1, data[1:]
    whole, parts = Decoder(), Decoder()
    events = [*whole.feed(body), *whole.finish()]
    pieced = [event for piece in in_pieces(body, size) for event in parts.feed(piece)] + parts.finish()
    check(events == pieced, "another cut gave other events")
    check(len(events) <= body.count(b"data"), "more events than the body has")


def repair(data: bytes) -> None:
    """The repairing reader, in each of its modes: a payload for every cut the same, and no exception."""
    choice, body = (data[0] if data else 0), data[1:]
    mode, limit = MODES[choice % len(MODES)], LIMITS[choice // 4 % len(LIMITS)]
    whole = _read([body], mode, limit)
    check(whole == _read(in_pieces(body, SIZES[choice // 16 % len(SIZES)]), mode, limit), "another cut gave another")
    check(set(whole[3]) <= REPAIRS.keys(), "a repair without a name")


def _read(reads: Sequence[bytes], mode: RepairMode, limit: int) -> tuple[list[str], str, bool, dict[str, int]]:
    reader = Reader(mode, limit)
    payloads = [payload for data in reads for payload in reader.feed(data)]
    payloads += reader.finish()
    check(reader.bytes == sum(map(len, reads)), "bytes were not counted")
    values = [f"{payload.event} {payload.value!r} {payload.raw!r}" for payload in payloads]
    return values, repr(reader.fault), reader.done, reader.repairs


def session(data: bytes) -> None:
    """A whole stream: every API, way and end. Nothing is delivered that was not sent, and nothing twice."""
    head, body = data[:4].ljust(4, b"\0"), data[4:]
    stream = STREAMS[head[0] % len(STREAMS)]
    way = stream.ways[head[1] % len(stream.ways)]
    first = Damaged(in_pieces(body, SIZES[head[2] % len(SIZES)]), ENDS[head[2] // 16 % len(ENDS)], 0)
    hopeless = head[3] % 4 == 0

    def again(verdict: Any) -> Damaged | None:
        return first if hopeless else answer_again(stream, way, head[3] // 4, verdict)

    seen = wire.see(stream, way, "sync" if head[3] % 2 else "async", first, again)
    if seen.error is not None and not seen.typed:
        raise seen.error
    check(seen.requests <= 3, "more requests than there may be")
    check(seen.error is not None or seen.outcome in ("complete", "recovered"), f"ended as {seen.outcome}")
    if seen.requests == 1:
        reader = Reader()
        sent_last = wire.KEEP_ALIVE if first.end == "comments" else b""  # whose blank line may end an event
        sent = Counter(repr(payload.value) for payload in [*reader.feed(body + sent_last), *reader.finish()])
        check(Counter(map(repr, seen.items)) <= sent, "something was delivered that was not sent, or twice")


def growth(data: bytes) -> None:
    """The work of the reader and of the session, for a piece of the body that comes again and again."""
    head, body = data[:4].ljust(4, b"\0"), data[4:]
    start = head[0] * len(body) // 256
    before, unit, after = body[:start], body[start : start + 1 + head[1] % 160], body[start + 200 :][:2000]
    for target in (repair, session):
        for times in (24, 96):
            once, twice = (_lines(target, head + before + unit * count + after) for count in (times, 2 * times))
            check(twice <= MAX_GROWTH * once + 1500, f"{target.__name__}: {once} lines became {twice}")
    few, many = (before + unit * count + after for count in (500, 8000))
    ratios = (_seconds(many) / max(_seconds(few), 0.002) for _ in range(5))  # once, another program may be to blame
    check(any(ratio <= MAX_SECONDS for ratio in ratios), "16 times the bytes took more than 64 times as long")


def _lines(target: Callable[[bytes], None], data: bytes) -> int:
    """How many lines of the package, and calls of its functions, a target executes."""
    count = 0

    def step(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        count += 1
        return step

    target(data)  # so that nothing is counted that happens once in a process
    tracer = sys.gettrace()
    sys.settrace(step)
    try:
        target(data)
    finally:
        sys.settrace(tracer)
    return count


def _seconds(data: bytes) -> float:
    reader, started = Reader(), time.process_time()
    reader.feed(data)
    return time.process_time() - started


class Target(NamedTuple):
    """A target, and how many of the runs it gets."""

    function: Callable[[bytes], None]
    share: float


TARGETS = {
    "sse": Target(sse, 0.2),
    "repair": Target(repair, 0.3),
    "session": Target(session, 0.4995),
    "growth": Target(growth, 0.0005),
}


@cache
def corpus() -> tuple[bytes, ...]:
    """What is mutated: the recorded streams twice, for they lead furthest, and all vectors of a fair size."""
    vectors = (case.body for file in ("repair", "spec") for case in cases(file))
    streams = tuple(stream.wire for stream in STREAMS)
    return (*streams, *streams, *(body for body in vectors if len(body) < 20_000))


def mutated(dice: random.Random) -> bytes:
    """A body with a few things wrong, behind bytes that choose how it is read."""
    place = dice.randrange(len(corpus()))
    body = bytearray(corpus()[place])
    for _ in range(min(1 + int(dice.expovariate(0.5)), 12)):
        body = _mutate(dice, body)
    head = bytearray(dice.randbytes(4))
    if place < 2 * len(STREAMS):
        head[0] = place % len(STREAMS)  # its own API
    return bytes(head + body[:60_000])


def _mutate(dice: random.Random, body: bytearray) -> bytearray:
    at = dice.randrange(len(body) + 1)
    end = min(len(body), at + int(dice.expovariate(1 / 40)) + 1)
    match dice.randrange(9):
        case 0 if at < len(body):
            body[at] = dice.randrange(256)
        case 1:
            body[at:at] = dice.choice(TOKENS)
        case 2:
            del body[at:end]
        case 3:
            body[at:at] = body[at:end] * dice.choice((1, 1, 1, 2, 30))
        case 4:
            other = dice.choice(corpus())
            start = dice.randrange(len(other) + 1)
            body[at:end] = other[start : start + 300]
        case 5:
            events = bytes(body).split(b"\n\n")
            dice.shuffle(events)
            body = bytearray(b"\n\n".join(events))
        case 6:
            del body[at:]
        case 7:
            numbers = list(re.finditer(rb"\d+", body))
            if numbers:
                start, stop = dice.choice(numbers).span()
                body[start:stop] = dice.choice((b"-1", b"0", b"1", b"2", b"9" * 400, b"1.5", b"null", b'"0"'))
        case 8:
            texts = list(re.finditer(rb'"[^"]*"', body))
            if texts:
                start, stop = dice.choice(texts).span()
                body[start:stop] = dice.choice(
                    (b'""', b"[]", b"{}", b"null", b"0", b'"error"', b'"stop"', b'"\\ud83d"')
                )
    return body


def run(target: str, seed: int, number: int) -> str | None:
    """One run; what went wrong."""
    try:
        TARGETS[target].function(mutated(random.Random(f"{seed} {target} {number}")))
    except Exception:
        return traceback.format_exc(limit=-3)
    return None


def _runs(target: str, seed: int, numbers: range) -> list[tuple[int, str]]:
    found = ((number, run(target, seed, number)) for number in numbers)
    return [(number, wrong) for number, wrong in found if wrong is not None]


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 if the invariant was broken."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.proof.fuzz", description=summary)
    parser.add_argument("--runs", type=int, default=200_000, metavar="N", help="of all targets together (200,000)")
    parser.add_argument("--seed", type=int, default=1, help="of all runs (1)")
    parser.add_argument("--target", choices=TARGETS, help="this one alone")
    parser.add_argument("--only", type=int, metavar="N", help="with --target: the N-th run, and its traceback")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (one for each core)")
    parser.add_argument("--quick", action="store_true", help="a slice of some seconds: --runs 4000")
    options = parser.parse_args(arguments)
    if options.only is not None:
        if options.target is None:
            parser.error("--only needs --target")
        TARGETS[options.target].function(mutated(random.Random(f"{options.seed} {options.target} {options.only}")))
        print(f"{options.target}, run {options.only} of seed {options.seed}: the invariant holds")
        return 0
    broken = total = 0
    runs, started = 4000 if options.quick else options.runs, time.monotonic()
    print(f"seed {options.seed}, {len(corpus())} bodies mutated")
    print(f"{'target':10}{'runs':>10}{'broken':>10}{'seconds':>10}")
    with multiprocessing.Pool(options.jobs) as pool:
        for name in [options.target] if options.target else TARGETS:
            begun, count = time.monotonic(), runs if options.target else math.ceil(runs * TARGETS[name].share)
            step = max(1, min(500, count // 20))
            parts = [range(start, min(start + step, count)) for start in range(0, count, step)]
            wrong = [one for part in pool.imap(partial(_runs, name, options.seed), parts) for one in part]
            print(f"{name:10}{count:10,}{len(wrong):10,}{time.monotonic() - begun:10.0f}", flush=True)
            for number, told in wrong[:5]:
                print(f"--target {name} --seed {options.seed} --only {number}\n{told}")
            broken, total = broken + len(wrong), total + count
    print(f"{total:,} runs, {broken:,} exceptions to the law, {time.monotonic() - started:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

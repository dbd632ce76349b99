"""The law: what an event costs does not depend on how many came before it, nor a byte on the size of the reads.

Counted in bytecode instructions, which are the same on every machine; what C does inside one (copying, searching) shows
in `python -m tests.benchmark`, which takes the time of large bodies.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.decisions import Reissue, StreamFault
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.session import Session
from tests.benchmark.bodies import PATHS, READS, reads

SHAPES = [pytest.param(shape, marks=() if shape == "chat" else pytest.mark.slow) for shape in PATHS]
"""Counting takes some forty times as long as the work; the shapes go the same way through the engine."""
READ_SIZES = [pytest.param(read, marks=() if read == "event" else pytest.mark.slow) for read in READS]
COUNTS = (80, 160, 240)
"""Of events, in streams that are held against each other."""


def operations(work: Callable[[], object]) -> int:
    """How many bytecode instructions some work takes.

    Without garbage collection: it would run, and count, the finalizers of whatever other tests left behind.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    gc.collect()
    gc.disable()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


def session(shape: str, **policy: Any) -> Session:
    """A stream of this shape."""
    asked = StreamRequest("post", PATHS[shape], "host", {"model": "m"})
    return Session(asked, Policy(retry_budget=None, **policy), HostMemory(), now=0.0, max_retries=1)


def received(to: Session, parts: list[bytes]) -> int:
    """What it takes to receive a whole answer."""

    def work() -> None:
        for part in parts:
            to.receive(part, 0.0)
        if to.decision is None:  # no `[DONE]`: a terminal event ends no stream
            to.end(0.0)

    taken = operations(work)
    assert to.outcome != "open"
    return taken


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Python 3.12 and later count instructions only of code that has run before under such a count."""
    for shape in PATHS:
        received(session(shape), reads(shape, None, 3))


@pytest.mark.parametrize("read", READ_SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_event_costs_what_the_one_before_it_cost(shape: str, read: str) -> None:
    """Of three equal parts of a stream the last takes as many operations as the second, whatever the reads."""
    first, second, third = (received(session(shape), reads(shape, READS[read], count)) for count in COUNTS)
    assert third - second == pytest.approx(second - first, rel=0.05)


@pytest.mark.parametrize("shape", [shape for shape in PATHS if shape != "big events"])  # these are few in a stream
def test_the_common_event_is_cheap(shape: str) -> None:
    """Some 500 operations where a read is an event; the general way takes 200 more, and would be noticed."""
    first, second = (received(session(shape), reads(shape, None, count)) for count in (100, 200))
    assert (second - first) / 100 < 680


@pytest.mark.parametrize("shape", SHAPES)
def test_a_read_that_ends_nothing_is_cheap(shape: str) -> None:
    """Some 70 operations for 16 bytes inside an event: they are kept, and not read line by line."""
    events = [received(session(shape), reads(shape, None, count)) for count in (100, 200)]
    pieces = [received(session(shape), reads(shape, 16, count)) for count in (100, 200)]
    more = len(reads(shape, 16, 200)) - len(reads(shape, 16, 100)) - 100
    assert ((pieces[1] - pieces[0]) - (events[1] - events[0])) / more < 140


@pytest.mark.slow
@pytest.mark.parametrize("delivery", ["live", "tool_calls", "atomic"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_repetition_is_checked_in_linear_time(shape: str, delivery: str) -> None:
    """What was delivered is held against the second answer piece by piece, each piece once."""

    def repeated(count: int) -> int:
        parts = reads(shape, None, count)
        stream = session(shape, delivery=delivery, backoff_initial=0.0)
        for part in parts[: count // 2]:
            stream.receive(part, 0.0)
        stream.fail(StreamFault("disconnected", "reset"), 0.0)
        assert isinstance(stream.decision, Reissue)
        stream.reopened(stream.decision, ResponseHead(200), 0.0)
        return received(stream, parts)

    first, second, third = (repeated(count) for count in COUNTS)
    assert third - second == pytest.approx(second - first, rel=0.05)

"""On the test clock nothing is waited for, and everything that would have been is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from openai_stream_guard import Policy
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import Faults, ScriptedResponse, Send, Server, Wait, build_answer, cut, refuse, stall
from openai_stream_guard.testing.clock import Clock
from openai_stream_guard.testing.harness import Harness, installed
from openai_stream_guard.testing.server.answers.answer import TEXT, AnswerVariant
from tests.support.streams import CLIENT_KINDS, chat, client_for, consume


@contextmanager
def on_a_test_clock(**policy: Any) -> Iterator[tuple[Clock, Faults]]:
    """A guarded stretch of time in which nothing really waits; it may take a second for a dozen streams."""
    clock = Clock()
    harness = Harness(clock)
    started = time.monotonic()
    with installed(harness):
        switch.enable(Policy(retry_budget=None, **policy))
        yield clock, harness.faults
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_backoffs_are_counted(server: Server, client_kind: str) -> None:
    """Doubled from `backoff_initial` to `backoff_max`, without jitter: what production would wait at most."""
    with on_a_test_clock(backoff_initial=1.0, backoff_max=5.0, max_retries=4) as (clock, faults):
        faults.cut(after_events=3, times=4)
        assert consume(server, client_kind).text == TEXT
    assert clock.sleeps == [1.0, 2.0, 4.0, 5.0]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_retry_after_is_counted(server: Server, client_kind: str) -> None:
    """Of a refused re-issue and of a first request, which the SDK itself sends again."""
    with on_a_test_clock() as (clock, faults):
        faults.refuse(retry_after=20)
        faults.cut(after_events=3)
        faults.refuse(status=429, retry_after=11)
        assert consume(server, client_kind, max_retries=4).text == TEXT
    assert clock.sleeps == [20.0, 0.5, 11.0]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_stall_lasts_as_long_as_the_clock_that_ends_it(server: Server, client_kind: str) -> None:
    """The read timeout, or the guard's `idle_timeout` where that is shorter; reports say so."""
    with on_a_test_clock(idle_timeout=33.0) as (clock, faults):
        faults.add(stall(after_events=3))
        report: Any = consume(server, client_kind, timeout=600.0).report
        assert 33.0 <= report.attempts[0].seconds < 34.0
        faults.add(stall(after_events=3))
        report = consume(server, client_kind, timeout=20.0).report
        assert 20.0 <= report.attempts[0].seconds < 21.0
    assert clock.sleeps == [0.5, 0.5], "what a socket waits is no sleep"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_time_runs_out(server: Server, client_kind: str) -> None:
    """`max_elapsed` counts skipped waits: a second stall is given up when it is over."""
    with on_a_test_clock(max_elapsed=60.0, idle_timeout=50.0, max_retries=9) as (_, faults):
        faults.add(stall(after_events=3, times=None))
        error = consume(server, client_kind, timeout=600.0).error
    assert error.stopped_by == "time"
    assert len(error.attempts) == 3


def test_the_test_itself_lets_time_pass(server: Server) -> None:
    """`advance` in the middle of a stream: the next read finds that it has stalled."""
    with on_a_test_clock(idle_timeout=30.0, recovery="none") as (clock, _), client_for(server) as client:
        frames = [Send(frame) for frame in build_answer("chat", "text", AnswerVariant(1)).encode()]
        server.script(ScriptedResponse((*frames[:3], Wait())))
        stream = chat(client)
        for _ in range(3):
            next(stream)
        clock.advance(31)
        with pytest.raises(Exception, match="Stream broke"):
            list(stream)


@pytest.mark.parametrize("bad", [-1, float("inf"), float("nan")])
def test_time_goes_on_only(bad: float) -> None:
    """By a finite number of seconds."""
    clock = Clock()
    with pytest.raises(ValueError, match=r"advance\(\) was given"):
        clock.advance(bad)
    before = clock.now()
    clock.advance(100)
    assert 100 <= clock.now() - before < 101
    assert clock.sleeps == []


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_server_that_really_hangs_is_really_given_up(server: Server, client_kind: str) -> None:
    """Real time runs on beneath: no test hangs for ever, but it waits as long as its timeouts say."""
    frames = [Send(frame) for frame in build_answer("chat", "text", AnswerVariant(1)).encode()]
    server.script(ScriptedResponse((*frames[:3], Wait())))
    with on_a_test_clock(idle_timeout=0.1) as (clock, _):
        seen = consume(server, client_kind)
    assert seen.text == TEXT
    assert clock.sleeps == [0.5]
    assert seen.report.attempts[0].fault == "stalled"


def test_cancelling_needs_no_waiting() -> None:
    """A task that waits on the test clock gives others their turn, and can be cancelled there."""
    import anyio

    from openai_stream_guard.testing.clock import SkippedTime

    async def main() -> bool:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await SkippedTime(clock).asleep(anyio.Event(), 5.0)
        return scope.cancelled_caught

    clock = Clock()
    assert anyio.run(main)
    assert clock.sleeps == []


def test_a_refusal_beyond_reason_is_not_waited_for(server: Server) -> None:
    """As in production: more than two minutes is a no."""
    with on_a_test_clock() as (clock, faults):
        faults.add(cut(after_events=3))
        faults.add(refuse(retry_after=500))
        assert consume(server).error.stopped_by == "not_retryable"
    assert clock.sleeps == [0.5]

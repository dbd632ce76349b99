"""What a failing test is told: which fault, which attempt, what was delivered, what is missing."""

from __future__ import annotations

from contextlib import ExitStack
from fnmatch import fnmatchcase
from typing import Any

import pytest

from openai_stream_guard import Policy
from openai_stream_guard import activation as switch
from openai_stream_guard.notices import Notice, Recovering
from openai_stream_guard.testing import Server
from openai_stream_guard.testing.clock import Clock
from openai_stream_guard.testing.failure_report import difference, failure_report
from openai_stream_guard.testing.harness import Harness, installed
from openai_stream_guard.testing.stream_guard import StreamGuard
from tests.support.streams import chat, client_for, consume


@pytest.mark.parametrize(
    ("received", "expected", "words"),
    [
        ("abc", "abcde", "the last 2 characters of 5 are missing: after 'abc' comes no 'de'"),
        ("abcc", "abc", "after all that was expected, 3 characters, there is more: 'c'"),
        ("abXde", "abcde", "from character 2 on it says 'Xde' where 'cde' was expected"),
        ("", "x" * 100, "nothing was received, and '" + "x" * 59 + "…' was expected"),
        ("y" * 99, "y" * 99 + "z", "the last 1 character of 100 are missing: after '…" + "y" * 59 + "' comes no 'z'"),
    ],
)
def test_a_difference_is_told_from_where_it_begins(received: str, expected: str, words: str) -> None:
    """Not by two long texts side by side."""
    assert difference(received, expected) == words


def test_the_account(server: Server) -> None:
    """A line for each request, stream and attempt, and what never happened."""
    clock = Clock()
    harness = Harness(clock)
    guard = StreamGuard(harness, clock)
    assert guard.explain() == "no stream was requested"
    with installed(harness):
        switch.enable(Policy(retry_budget=None, max_retries=1))
        guard.faults.cut(after_events=3)
        guard.faults.cut(after_events=90)
        guard.faults.stall(after_events=2)
        consume(server)
    lines = guard.explain().splitlines()
    url = f"POST {server.base_url}/chat/completions"
    assert lines[:2] == [
        f"request 1: {url}: status 200, cut(after_events=3)",
        f"request 2: {url}, sent again to replay: status 200, cut(after_events=90) "
        "(the stream was over before all of it struck)",
    ]
    assert lines[2].startswith("stream 1: recovered by replay; 2 attempts, ")
    assert lines[3].startswith("  attempt 1: truncated after 3 events and ")
    assert lines[4].startswith("  attempt 2 (replay): no fault in ")
    assert lines[5:] == ["planned, but no response came for it: stall(after_events=2)", "would have slept: 0.5 s"]


def test_a_refusal_without_a_response_has_one_text() -> None:
    """Nobody listens any more: the report, the notes of the error and the account tell it by the same words."""
    harness = Harness(Clock())

    def leave(notice: Notice) -> None:
        if isinstance(notice, Recovering):
            serving.close()

    with ExitStack() as serving, installed(harness):
        server = serving.enter_context(Server())
        switch.enable(Policy(retry_budget=None, max_retries=1, outage_timeout=0.0, on_event=leave))
        server.script("truncate_clean", after=3)
        seen = consume(server)
    first, second = seen.error.attempts
    assert (second.refused, second.status) == (True, None)
    assert str(second).startswith("refused without a response (ConnectError: ")
    assert repr(seen.report).startswith(f"<StreamReport failed: {first}, {second}; ")
    assert seen.error.__notes__[0] == f"attempt 2 (replay): {second}"
    assert f"  attempt 1: {first}\n  attempt 2 (replay): {second}" in failure_report(harness)


def test_assertions_explain_themselves(server: Server) -> None:
    """Each says what it found instead, and then everything that happened."""
    clock = Clock()
    harness = Harness(clock)
    guard = StreamGuard(harness, clock)
    with pytest.raises(AssertionError, match="the last stream should have recovered, but none was requested"):
        guard.assert_recovered()
    with installed(harness):
        switch.enable(Policy(retry_budget=None))
        guard.faults.cut(after_events=3)
        seen = consume(server)
        guard.assert_recovered()
        guard.assert_recovered(by="replay")
        guard.assert_whole(seen.text, seen.text)
        with pytest.raises(AssertionError, match=r"(?s)recovered by replay, not by restart\nrequest 1: POST .*cut"):
            guard.assert_recovered(by="restart")
        with pytest.raises(AssertionError, match=r"(?s)should have failed, but it recovered.*attempt 1: truncated"):
            guard.assert_failed()
        with pytest.raises(AssertionError, match=r"(?s)the text is not whole: the last .* are missing.*request 2"):
            guard.assert_whole(seen.text[:-3], seen.text)
        guard.configure(max_retries=0)
        guard.faults.disconnect(after_events=3)
        assert consume(server).error is not None
        guard.assert_failed()
        guard.assert_failed(fault="disconnected")
        with pytest.raises(AssertionError, match="the first failure of the last stream is disconnected, not stalled"):
            guard.assert_failed(fault="stalled")
        with pytest.raises(
            AssertionError, match=r"(?s)should have recovered, but it failed.*stream 2: failed, stopped by: retries;"
        ):
            guard.assert_recovered()
    with pytest.raises(
        ValueError, match=r"assert_recovered\(\) was given by='reply'; it must be one of 'resume', 'restart'"
    ):
        guard.assert_recovered(by="reply")
    with pytest.raises(
        ValueError, match=r"assert_failed\(\) was given fault='cut'; it must be one of 'disconnected', "
    ):
        guard.assert_failed(fault="cut")
    with pytest.raises(ValueError, match="was given 'maybe'; it must be 'on', 'off' or 'observe'"):
        guard.switch("maybe")
    assert repr(guard) == "<stream_guard: 3 requests, 2 ended streams>"


@pytest.mark.parametrize(
    ("mode", "left", "says"),
    [
        ("off", False, "but the guard was off, and reported none\nrequest 1: POST *, not guarded: status 200"),
        ("observe", False, "but it came out whole in one attempt\nrequest 1: POST *, only observed: status 200\n*"),
        ("on", True, "but none has ended: read it to its end, or close it\nrequest 1: POST *: status 200"),
        ("on", False, "but it was left before its end\n*\n  attempt 1: no fault in 1 event and * bytes"),
    ],
)
def test_what_kept_an_assertion_from_holding_is_told(server: Server, mode: Any, left: bool, says: str) -> None:
    """The guard was off, only looked on, or the stream is still open or was left."""
    clock = Clock()
    harness = Harness(clock)
    guard = StreamGuard(harness, clock)
    with installed(harness), client_for(server) as client:
        guard.switch(mode)
        with chat(client) as stream:
            next(stream)
            if mode == "observe":
                list(stream)
            if not left:
                stream.close()
            with pytest.raises(AssertionError) as failed:
                guard.assert_recovered()
    assert fnmatchcase(str(failed.value), f"the last stream should have recovered, {says}")

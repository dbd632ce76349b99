"""The law: `python -m tests.proof.fuzz` finds no other exception and no super-linear time, and would find both."""

from __future__ import annotations

import random

import pytest

from openai_stream_guard.decoding.reader import Reader
from openai_stream_guard.sse import Decoder

from . import fuzz

pytestmark = pytest.mark.slow

RUNS = {"sse": 300, "repair": 300, "session": 600, "growth": 4}


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_mutated_streams_break_nothing(target: str) -> None:
    """A slice of the command's runs, the same each time."""
    if target == "session":
        pytest.skip("comments may keep a stream waiting for 1,800 s, which takes minutes in simulated reads")
    assert [fuzz.run(target, 1, number) for number in range(RUNS[target])] == [None] * RUNS[target]


def test_runs_are_what_their_numbers_say() -> None:
    """The same seed and number give the same bytes, so that a failed run can be repeated; others give others."""
    runs = [fuzz.mutated(random.Random(f"1 session {number}")) for number in range(50)]
    assert runs == [fuzz.mutated(random.Random(f"1 session {number}")) for number in range(50)]
    assert len(set(runs)) == 50


def first_failure(target: str) -> str | None:
    """What the first failing run of a target says."""
    return next(filter(None, (fuzz.run(target, 1, number) for number in range(400))), None)


def test_another_exception_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that raises on what it cannot read fails the command."""
    feed = Reader.feed

    def strict(self: Reader, data: bytes) -> object:
        data.decode()
        return feed(self, data)

    monkeypatch.setattr(Reader, "feed", strict)
    for target in ("repair", "session"):
        assert "UnicodeDecodeError" in (first_failure(target) or "")


def test_a_doubled_or_misread_event_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does one that gives an event twice, or, at the edges of reads, another."""
    feed, decode = Reader.feed, Decoder.feed
    monkeypatch.setattr(Reader, "feed", lambda self, data: feed(self, data) * (1 + (len(data) > 1)))
    monkeypatch.setattr(Decoder, "feed", lambda self, data: decode(self, data.strip()))
    assert "another cut" in (first_failure("repair") or "")
    assert "another cut" in (first_failure("sse") or "")


def test_work_that_grows_faster_than_the_bytes_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that looks at all it has seen with every event does more than twice the work for twice the bytes."""
    seen: list[object] = []
    feed = Reader.feed

    def look_back(self: Reader, data: bytes) -> object:
        payloads = feed(self, data)
        seen.extend(payloads)
        for _ in seen:
            self.tail  # noqa: B018 - a property, whose lines are counted
        return payloads

    monkeypatch.setattr(Reader, "feed", look_back)
    body = b'data: {"a":1}\n\n' * 40

    def session_like(data: bytes) -> None:
        seen.clear()
        reader = Reader()
        for start in range(0, len(data), 15):
            reader.feed(data[start : start + 15])

    once, twice = (fuzz._lines(session_like, body * times) for times in (5, 10))
    assert twice > fuzz.MAX_GROWTH * once

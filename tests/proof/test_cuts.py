"""The law: `python -m tests.proof.cuts` finds no exception to its law, and would find one."""

from __future__ import annotations

from functools import partial

import pytest

from . import wire
from .cuts import Job, answer_again, is_helped, jobs, measure
from .damage import FAULTS, Fault, damaged
from .law import Seen, given_away_by, verdict
from .recorded import POLICIES, STREAMS, WAYS, RecoveryMethod, Stream

DOORS = ("create", "stream")
QUICK = jobs(997, 4001, seed=1)
TEXT = STREAMS[0]
NUMBERED = next(stream for stream in STREAMS if stream.name == "responses text")
KEPT = next(stream for stream in STREAMS if stream.background)


CHATS = [stream for stream in STREAMS if stream.api != "responses"]
IN_TURNS = [
    (stream, ("clean end", "disconnect")[place % 2], door) for place, stream in enumerate(CHATS) for door in DOORS
]


@pytest.mark.parametrize("client_kind", ["sync", "async"])
@pytest.mark.parametrize(("stream", "fault", "door"), IN_TURNS)
def test_a_chat_cut_anywhere_comes_out_whole_and_once(
    stream: Stream, fault: Fault, door: str, client_kind: str
) -> None:
    """Through the SDK, by `create` and by `.stream()`: nothing is ever raised, and at no byte another answer.

    But for log probabilities: where the second answer comes in other deltas, their tokens cannot always be cut.
    """
    if door == "create" or is_helped(stream, "replay", fault):
        result = measure(Job("SDK", stream, "replay", fault, client_kind, 409, 1, door))
        assert result.wrong == []
        assert result.kinds["whole"] == result.kinds.total() or stream.answer == "logprobs"
        assert result.kinds["whole"] > 5


def test_a_chat_that_is_not_asked_for_again_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cuts: they would be seen."""
    monkeypatch.setitem(POLICIES, "replay", POLICIES["replay"].replace(recovery=()))
    for door in DOORS:
        result = measure(Job("SDK", TEXT, "replay", "clean end", "sync", 307, 1, door))
        assert result.kinds["raised"] > 5
        assert result.kinds["raised"] > result.kinds["whole"]  # behind the finish nothing is missing


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("layer", ["session", "SDK"])
def test_no_damage_is_an_exception_to_the_law(layer: str, fault: str) -> None:
    """A slice of every stream, driver and way: whole and once, raised after a true beginning, or passed on untold."""
    results = [measure(job) for job in QUICK if (job.layer, job.fault) == (layer, fault)]
    assert [line for result in results for line in result.wrong] == []
    assert sum(result.kinds["whole"] for result in results) > 20


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("client_kind", ["sync", "async"])
def test_every_way_is_taken(way: RecoveryMethod, client_kind: str) -> None:
    """The policies of the command lead where their names say: a broken stream comes out whole, in two requests."""
    stream, offset = KEPT if way == "resume" else TEXT, 200 if way == "restart" else 3001
    first = damaged(stream.frames, "disconnect", offset, 1)
    seen = wire.see(stream, way, client_kind, first, partial(answer_again, stream, way, offset))
    assert (seen.outcome, seen.requests) == ("recovered", 2)
    assert verdict(stream, way, "disconnect", first, seen) == "whole"


def seen(items: list[object], error: Exception | None = None, requests: int = 1) -> Seen:
    """What a consumer would have got."""
    return Seen(items, error, False, "complete" if requests == 1 else "recovered", requests)


def test_what_a_broken_guard_would_deliver_is_wrong() -> None:
    """An item twice, one missing, two answers joined, another exception, a fourth request: none of it passes."""
    whole = TEXT.items
    first = damaged(TEXT.frames, "disconnect", 3001, 1)
    other = [{**item, "id": "chatcmpl-other"} for item in whole]
    for broken in (
        seen([*whole[:5], *whole[4:]], requests=2),
        seen([*whole[:5], *whole[6:]], requests=2),
        seen([*whole[:5], *other[5:]], requests=2),
        seen(whole[:5]),
        seen(whole[:5], KeyError("choices")),
        seen(whole, requests=4),
    ):
        assert verdict(TEXT, "replay", "disconnect", first, broken).startswith("wrong")
    dropped = damaged(TEXT.frames, "drop", 2000, 1)
    lost = [*whole[: dropped.struck], *whole[dropped.struck + 1 :]]
    assert verdict(TEXT, "replay", "drop", dropped, seen(lost)) == "passed"
    assert verdict(TEXT, "replay", "drop", dropped, seen([*whole[:2], *lost[3:]])).startswith("wrong")
    numbered = damaged(NUMBERED.frames, "drop", 2000, 1)
    lost = [*NUMBERED.items[: numbered.struck], *NUMBERED.items[numbered.struck + 1 :]]
    assert verdict(NUMBERED, "replay", "drop", numbered, seen(lost)) == "wrong: not noticed: a number is missing"


def test_what_gives_damage_away_is_told_without_the_guard() -> None:
    """Text that is no JSON, a missing number, a missing end mark: and nothing does where they are right."""
    for stream in STREAMS:
        assert given_away_by(stream, stream.wire) is None
        assert given_away_by(stream, stream.wire.replace(b'":', b'"', 1)) == "an event is no JSON (JSONDecodeError)"
    assert given_away_by(TEXT, b"".join(TEXT.frames[:-2])) == "no finish_reason"
    assert given_away_by(NUMBERED, b"".join(NUMBERED.frames[:-1])) == "no terminal event"
    assert given_away_by(NUMBERED, b"".join([*NUMBERED.frames[:5], *NUMBERED.frames[6:]])) == "a number is missing"

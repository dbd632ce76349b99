"""Each fault does to a body what its name says, and nothing else, wherever the reads fall."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from openai_stream_guard.decoding.reader import Reader
from openai_stream_guard.testing import AnswerVariant, build_answer, split
from openai_stream_guard.testing.faults import Injection, injections
from openai_stream_guard.testing.faults.transforms import BodyEnd, BodyPart, ConnectionLost, Pause, TransformChain

EVENTS = [f"data: {number}\n\n".encode() for number in range(5)]
BODY = b"".join(EVENTS)
SIZES = (1, 4, 9, 100)


def signals(injection: Injection, body: bytes = BODY, size: int = 100) -> tuple[list[BodyPart], TransformChain]:
    """What a reader meets, up to the last signal that it could."""
    chain = TransformChain(injection.new_transforms())
    return list(chain.whole(body[start : start + size] for start in range(0, len(body), size))), chain


def through(met: Sequence[BodyPart]) -> bytes:
    """The bytes among them."""
    return b"".join(one for one in met if isinstance(one, bytes))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("make", "end"), [("cut", BodyEnd()), ("disconnect", ConnectionLost()), ("stall", Pause(math.inf))]
)
def test_an_ending(make: str, end: BodyPart, size: int) -> None:
    """So much passes, then comes the end; it shows whether it was reached."""
    make_it = injections.INJECTIONS[make]
    met, chain = signals(make_it(after_events=2), size=size)
    assert (through(met), met[-1]) == (BODY[:18], end)
    assert chain.transforms[0].struck
    met, _ = signals(make_it(after_bytes=11), size=size)
    assert (through(met), met[-1]) == (BODY[:11], end)
    met, chain = signals(make_it(after_events=9), size=size)
    assert (through(met), met[-1], chain.transforms[0].struck) == (BODY, BodyEnd(), False)
    assert signals(make_it())[0] == [end], "at the very beginning nothing is read"


@pytest.mark.parametrize("size", SIZES)
def test_an_error_in_the_stream(size: int) -> None:
    """The API's words come where the answer breaks off."""
    met, _ = signals(injections.error(after_events=1, type="rate_limit_error", message="no", code="429"), size=size)
    words = b'{"error": {"message": "no", "type": "rate_limit_error", "param": null, "code": "429"}}'
    assert (through(met), met[-1]) == (EVENTS[0] + b"data: " + words + b"\n\n", BodyEnd())


@pytest.mark.parametrize("size", SIZES)
def test_a_page_instead(size: int) -> None:
    """Nothing of the stream is left."""
    met, _ = signals(injections.html(), size=size)
    assert through(met) == injections.PAGE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("after", range(5))
def test_one_event_missing_or_doubled(size: int, after: int) -> None:
    """The one behind the point; all others are as they were."""
    met, chain = signals(injections.gap(after_events=after), size=size)
    assert through(met) == BODY.replace(EVENTS[after], b"")
    assert chain.transforms[0].struck
    met, _ = signals(injections.duplicate(after_events=after), size=size)
    assert through(met) == BODY.replace(EVENTS[after], EVENTS[after] * 2)


@pytest.mark.parametrize("make", [injections.gap, injections.duplicate, injections.garble, injections.glue])
@pytest.mark.parametrize("size", SIZES)
def test_a_point_that_is_never_reached_changes_nothing(make: type[Injection], size: int) -> None:
    """Nor is a last event lost that has no blank line behind it."""
    met, chain = signals(make(after_events=7), BODY + b"data: 5", size)
    assert (through(met), chain.transforms[0].struck) == (BODY + b"data: 5", False)
    met, _ = signals(make(after_events=5), BODY + b"data: 5", size)
    assert through(met) == BODY + b"data: 5"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_glued_events_have_lost_their_blank_lines(size: int, end: bytes) -> None:
    """From the point on, and only these; comments keep theirs."""
    body = BODY.replace(b"\n", end)
    met, _ = signals(injections.glue(after_events=2), body + b": ping" + end + end, size)
    whole, ping = [b"data: %d%b%b" % (number, end, end) for number in (0, 1)], b": ping" + end + end
    assert through(met) == b"".join([*whole, *(b"data: %d%b" % (number, end) for number in (2, 3, 4)), ping])


@pytest.mark.parametrize("seed", range(50))
def test_a_garbled_byte_is_noticed(seed: int) -> None:
    """Exactly one byte of one payload differs, the same for the same seed, and no reader takes it for text."""
    frames = build_answer("chat", "text", AnswerVariant(1)).encode()
    body = b"".join(frames)
    garbled = through(signals(injections.garble(after_events=2, seed=seed), body)[0])
    assert garbled == through(signals(injections.garble(after_events=2, seed=seed), body, 3)[0])
    wrong = [place for place, (one, other) in enumerate(zip(body, garbled, strict=True)) if one != other]
    start = len(frames[0] + frames[1])
    assert len(wrong) == 1
    assert start + len("data: ") <= wrong[0] < start + len(frames[2]) - 2
    reader = Reader("safe", 1 << 20)
    assert len(reader.feed(garbled)) == 2
    assert reader.fault is not None
    assert reader.fault.kind == "malformed"


def test_garbling_is_by_chance() -> None:
    """Other seeds strike elsewhere."""
    body = b"".join(build_answer("chat", "text", AnswerVariant(1)).encode())
    assert len({through(signals(injections.garble(seed=seed), body)[0]) for seed in range(20)}) > 10


@pytest.mark.parametrize("pieces", [1, 3, 100])
@pytest.mark.parametrize("size", SIZES)
def test_split_reads(pieces: int, size: int) -> None:
    """The same bytes, never more than so many at a time."""
    met, _ = signals(split(size=pieces), size=size)
    assert through(met) == BODY
    assert all(len(one) <= pieces for one in met if isinstance(one, bytes))


def test_slow_reads() -> None:
    """A pause before each."""
    met, _ = signals(injections.slow(seconds=2), size=18)
    assert met == [Pause(2), BODY[:18], Pause(2), BODY[18:36], Pause(2), BODY[36:], BodyEnd()]


@pytest.mark.parametrize("size", SIZES)
def test_faults_on_one_response_strike_in_order(size: int) -> None:
    """Each strikes what the one before has left; what one holds back comes before the other's end."""
    met, _ = signals(injections.gap(after_events=0) & injections.cut(after_events=1), size=size)
    assert (through(met), met[-1]) == (EVENTS[1], BodyEnd())
    met, _ = signals(injections.cut(after_events=1) & injections.gap(after_events=0), size=size)
    assert (through(met), met[-1]) == (b"", BodyEnd())
    met, _ = signals(injections.disconnect(after_bytes=12) & injections.gap(after_events=1), size=size)
    assert (through(met), met[-1]) == (BODY[:12], ConnectionLost())
    met, _ = signals(injections.html() & injections.split(size=5), size=size)
    assert through(met) == injections.PAGE
    assert max(len(one) for one in met if isinstance(one, bytes)) == 5

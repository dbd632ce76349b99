"""An injected cut passes exactly what it says, wherever the reads fall, to exactly as many responses as it says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from openai_stream_guard import exchange
from openai_stream_guard.testing import Server
from openai_stream_guard.testing.answer import TEXT
from openai_stream_guard.testing.injection import CutTap, Faults, injected
from tests.streams import COLOURS, consume

BODIES = {
    name: b"".join(b"data: %d%b%b" % (number, end, end) for number in range(3))
    for name, end in (("lf", b"\n"), ("crlf", b"\r\n"), ("cr", b"\r"))
}


def passed(tap: CutTap, body: bytes, size: int) -> bytes:
    """What a reader gets who reads so many bytes at a time."""
    through = b""
    for start in range(0, len(body), size):
        if tap.ended():
            break
        through += tap.passing(body[start : start + size])
    return through


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("events", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_a_cut_after_events_passes_them_whole(body: bytes, events: int, size: int) -> None:
    """As many events as asked for, blank line included, and not one byte of the next."""
    ends = [0, *(found.end() for found in re.finditer(rb"\r\n\r\n|\n\n|\r\r", body))]
    tap = CutTap(events, None)
    assert passed(tap, body, size) == body[: ends[events]]
    assert tap.ended()


@pytest.mark.parametrize("count", [0, 1, 8, 11])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_cut_after_bytes_passes_so_many(count: int, size: int) -> None:
    """Exactly the first bytes of the body."""
    assert passed(CutTap(None, count), BODIES["lf"], size) == BODIES["lf"][:count]


def test_each_response_gets_the_next_fault() -> None:
    """Faults are used up in the order in which they were planned, `times` responses each."""
    faults = Faults()
    faults.cut(after_bytes=1, times=2)
    faults.cut(after_bytes=2)
    taps = [faults.tap(object()) for _ in range(4)]
    assert [tap and passed(tap, b"xyz", 9) for tap in taps] == [b"x", b"x", b"xy", None]


@pytest.mark.parametrize("bad", [{"after_events": 1, "after_bytes": 1}, {"after_events": -1}, {"times": 0}])
def test_a_senseless_cut_is_refused(bad: dict[str, Any]) -> None:
    """The mistake is named where it is made."""
    with pytest.raises(ValueError, match=r"cut\(\)"):
        Faults().cut(**bad)


def test_no_fault_outlives_its_block() -> None:
    """Nested or raised out of, the block leaves the process as it was."""
    with pytest.raises(ZeroDivisionError), injected():  # noqa: PT012
        outer = exchange.tap_for
        with injected():
            assert exchange.tap_for is not outer
        assert exchange.tap_for is outer
        raise ZeroDivisionError
    assert exchange.tap_for is None


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("colour", COLOURS)
def test_a_healthy_server_seems_to_break(server: Server, colour: str) -> None:
    """The guard recovers from an injected cut as from a real one; the cut connection is not used again."""
    with injected() as faults:
        faults.cut(after_events=3, times=2)
        seen = consume(server, colour)
    assert seen.text == TEXT
    assert [attempt.fault for attempt in seen.report.attempts] == ["truncated", "truncated", None]  # type: ignore[union-attr]
    assert len(server.requests) == 3

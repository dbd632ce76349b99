"""Each response suffers what is planned for it, in order; standing faults strike beside the queue."""

from __future__ import annotations

import pytest

from openai_stream_guard.testing import Faults, Injection, cut, slow


def dealt(faults: Faults, count: int) -> list[str]:
    """What so many responses suffer."""
    return [" + ".join(map(str, faults.for_response())) for _ in range(count)]


def test_each_response_gets_the_next_fault() -> None:
    """Faults are used up in the order in which they were planned, `times` responses each."""
    faults = Faults()
    faults.cut(after_bytes=1, times=2)
    faults.add(slow(seconds=1) & cut(after_bytes=2))
    assert dealt(faults, 4) == ["cut(after_bytes=1)", "cut(after_bytes=1)", "slow(seconds=1) & cut(after_bytes=2)", ""]


def test_every_nth_response() -> None:
    """Counted from when it was planned; without end, or so many times."""
    faults = Faults()
    faults.cut(every=3, times=None)
    assert dealt(faults, 7) == ["", "", "cut(after_events=0)", "", "", "cut(after_events=0)", ""]
    faults = Faults()
    faults.html(every=2)
    assert dealt(faults, 4) == ["", "html()", "", ""]


def test_standing_faults_strike_beside_the_queue() -> None:
    """What holds for all responses does not keep the next one from its own fault."""
    faults = Faults()
    faults.split(size=1, times=None)
    faults.html()
    assert dealt(faults, 2) == ["split(size=1) + html()", "split(size=1)"]
    assert faults.pending == ()


def test_refusals_are_for_requests() -> None:
    """One that is next strikes before the request is sent, any other waits for its turn."""
    faults = Faults()
    faults.cut()
    faults.refuse(status=429)
    assert faults.for_request() is None
    assert dealt(faults, 1) == ["cut(after_events=0)"]
    assert dealt(faults, 1) == [""], "no body is struck while a refusal is next"
    assert str(faults.for_request()) == "refuse(status=429)"
    assert faults.for_request() is None
    faults.refuse(every=2, times=None)
    assert [faults.for_request() is not None for _ in range(4)] == [False, True, False, True]


def test_what_found_no_response_is_pending() -> None:
    """And can be forgotten."""
    faults = Faults()
    planned = [faults.cut(times=2), faults.html(every=5), faults.refuse()]
    faults.for_response()
    assert set(map(str, faults.pending)) == set(map(str, planned))
    assert "html()" in repr(faults)
    faults.clear()
    assert repr(faults) == "<faults pending: none>"


def test_what_is_no_fault_is_refused() -> None:
    """By the nearest name, or by what there is."""
    with pytest.raises(AttributeError, match="there is no fault 'cutt'; did you mean 'cut'"):
        Faults().cutt()
    with pytest.raises(ValueError, match="'cut' is not a fault; make one with cut, disconnect"):
        Faults().add("cut")
    assert isinstance(Faults().cut(), Injection)

"""The law: whatever the order and however often numbered events come, each is due once and in order; one that does
not come is noticed.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.apis.sequence import Gap, Sequence
from openai_stream_guard.decoding.payload import Payload

from .chunks import payload


def fed(sequence: Sequence, numbers: list[int], first: int = 0) -> list[object]:
    """The values that became due, in their order."""
    due = []
    for number in numbers:
        due += sequence.accept(payload(number), number, first=number == first)
    return [one.value for one in due]


@given(st.permutations([*range(12), *range(0, 12, 3)]), st.integers(0, 3))
def test_each_number_is_due_once_and_in_order(order: list[int], start: int) -> None:
    """Duplicates are dropped and disorder is put right, wherever the rest of an answer begins."""
    sequence = Sequence(start - 1)
    assert fed(sequence, order) == list(range(start, 12))
    assert (sequence.last, sequence.missing) == (11, False)


@given(st.permutations(range(12)), st.integers(0, 11))
def test_what_does_not_come_is_missing(order: list[int], lost: int) -> None:
    """Nothing behind it is due, and what waits says so."""
    sequence = Sequence(-1)
    assert fed(sequence, [number for number in order if number != lost]) == list(range(lost))
    assert (sequence.last, sequence.missing) == (lost - 1, lost < 11)


def test_the_first_number_is_learnt_from_an_event_that_can_be_first() -> None:
    """A stream may count from 1; one that begins in the middle has lost its beginning."""
    assert fed(Sequence(), [1, 2], first=1) == [1, 2]
    headless = Sequence()
    assert headless.last is None
    assert fed(headless, [1, 2], first=0) == []
    assert headless.missing
    assert fed(headless, [0]) == [0, 1, 2]


def test_events_without_a_number_pass_as_they_come() -> None:
    """They say nothing of an order, before the first number as behind it."""
    sequence = Sequence()
    assert [one.value for one in sequence.accept(payload("a"), None, first=True)] == ["a"]
    assert sequence.last is None
    assert fed(sequence, [0, 2]) == [0]
    assert [one.value for one in sequence.accept(payload("b"), None, first=False)] == ["b"]
    assert sequence.missing


def test_waiting_has_an_end() -> None:
    """A number that has not come after 64 later ones is a gap, and so never holds more than that."""
    sequence = Sequence()
    fed(sequence, [0, *range(2, 66)])
    with pytest.raises(Gap):
        fed(sequence, [66])


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0, 0), (-1, -1, -1, -1), (0, 1, 0, 2), (0, 2, 0, 3)], ids=["0", "-1", "some", "waiting"]
)
def test_numbers_that_are_only_filled_in_mean_nothing(numbers: tuple[int, ...]) -> None:
    """A server that writes the same number into events of several types numbers none: all pass, as they come."""
    kinds = ("created", "a", "b", "c")
    sequence, due = Sequence(), []
    for number, kind in zip(numbers, kinds, strict=True):
        event = Payload(None, b"{}", kind, None, None)
        due += sequence.accept(event, number, kind, first=kind == "created")
    assert [event.value for event in due] == list(kinds)
    assert (sequence.last, sequence.missing) == (None, False)


def test_only_the_very_number_that_is_due_is_followed() -> None:
    """Not the first, which the stream's numbers are told by; nothing that is no number; nothing while others wait."""
    sequence = Sequence(4)
    assert not sequence.follow(5)
    sequence.accept(payload(5), 5, first=False)
    assert [sequence.follow(number) for number in (5, 7, 6.0, None, 6, 6)] == [False] * 4 + [True, False]
    sequence.accept(payload(9), 9, first=False)
    assert not sequence.follow(7)
    assert sequence.last == 6

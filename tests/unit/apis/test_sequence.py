"""The law: numbers order events while they make sense, each due once; from then on all pass as they come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.apis.sequence import Gap, Sequence
from openai_stream_guard.decoding.payload import Payload
from tests.support.chunks import payload


def fed(sequence: Sequence, numbers: list[int]) -> list[object]:
    """The values that became due, in their order; each event is its number."""
    return [one.value for number in numbers for one in sequence.accept(payload(number), number)]


def passed(sequence: Sequence, *events: tuple[int | None, str]) -> list[Any]:
    """What became due of events with a number and a value."""
    return [one.value for number, value in events for one in sequence.accept(payload(value), number)]


@given(st.permutations([*range(12), *range(0, 12, 3)]), st.integers(0, 3))
def test_each_number_is_due_once_and_in_order(order: list[int], start: int) -> None:
    """Duplicates are dropped and disorder is put right, wherever the rest of an answer begins."""
    sequence = Sequence(start - 1)
    assert fed(sequence, order) == list(range(start, 12))
    assert (sequence.last, sequence.missing) == (11, None)


@given(st.permutations(range(12)), st.integers(0, 11))
def test_what_does_not_come_is_missing(order: list[int], lost: int) -> None:
    """Nothing behind it is due, and it is named."""
    sequence = Sequence(-1)
    assert fed(sequence, [number for number in order if number != lost]) == list(range(lost))
    assert (sequence.last, sequence.missing) == (lost - 1, lost if lost < 11 else None)


@given(st.integers(0, 99), st.permutations(range(1, 9)), st.lists(st.integers(1, 8), max_size=4))
def test_the_first_number_is_the_start(first: int, order: list[int], again: list[int]) -> None:
    """Whatever it is; behind it disorder is put right, and what comes again word for word is dropped."""
    sequence = Sequence()
    assert sequence.last is None
    numbers = [first, *(first + step for step in (*order, *again))]
    assert fed(sequence, numbers) == list(range(first, first + 9))


@given(st.lists(st.none() | st.integers(0, 5), max_size=9), st.integers(0, 9))
def test_an_event_without_a_number_ends_all_counting(numbers: list[int | None], place: int) -> None:
    """What waited is due, as it came, and nothing is dropped any more."""
    events = [(number, f"{index}") for index, number in enumerate(numbers)]
    events.insert(min(place, len(events)), (None, "bare"))
    sequence = Sequence()
    due = passed(sequence, *events)
    assert sorted(due) == sorted(value for _, value in events)
    assert (sequence.last, sequence.missing) == (None, None)


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0, 0), (-1, -1, -1, -1), (0, 1, 0, 2), (0, 2, 2, 3)], ids=["0", "-1", "some", "waiting"]
)
def test_another_event_under_a_known_number_ends_all_counting(numbers: tuple[int, ...]) -> None:
    """A server that writes the same number into several events numbers none: all pass, as they come."""
    sequence = Sequence()
    assert passed(sequence, *zip(numbers, "abcd", strict=True)) == list("abcd")
    assert (sequence.last, sequence.missing, sequence.trusted) == (None, None, False)


def test_a_number_that_is_too_old_to_be_known_is_no_duplicate() -> None:
    """Of 64 events it is known what they were."""
    remembered, forgotten = Sequence(), Sequence()
    assert fed(remembered, [*range(64), 0]) == [*range(64)]
    assert fed(forgotten, [*range(65), 0]) == [*range(65), 0]
    assert not forgotten.trusted


def test_in_the_rest_of_an_answer_numbers_are_proof() -> None:
    """Whatever came before is dropped, and no event without a number changes that."""
    sequence = Sequence(4)
    assert passed(sequence, (3, "old"), (5, "a"), (None, "bare"), (5, "other"), (6, "b")) == ["a", "bare", "b"]
    assert sequence.trusted
    with pytest.raises(Gap):
        passed(sequence, (8, "c"), (None, "end"))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12), st.integers(0, 3))
def test_a_keep_alive_uses_its_number_up_or_shares_it(steps: list[tuple[bool, bool]], first: int) -> None:
    """Both are healthy: no event waits for it, and none is dropped."""
    sequence, number, due = Sequence(), first, []
    for index, (is_keep_alive, uses_up) in enumerate(steps):
        if is_keep_alive:
            due += [one.value for one in sequence.keep_alive(number)]
            number += uses_up
            if not uses_up:
                continue
        due += passed(sequence, (number, f"{index}"))
        number += 1
    assert len(due) == sum(not is_keep_alive or uses_up for is_keep_alive, uses_up in steps)
    assert sequence.missing is None


def test_another_lifecycle_counts_anew() -> None:
    """Even where its first event is the very one of before; where the old count goes on behind it, neither counts."""
    created = payload("created")
    sequence = Sequence()
    assert sequence.restart(created, 0) == [created]
    assert passed(sequence, (1, "a")) == ["a"]
    assert sequence.restart(created, 0) == [created]
    assert passed(sequence, (1, "b"), (1, "b"), (2, "c")) == ["b", "c"]
    assert sequence.restart(created, 0) == [created]
    assert passed(sequence, (3, "d"), (3, "e")) == ["d", "e"]
    assert not sequence.trusted


def test_another_lifecycle_does_not_hide_a_gap() -> None:
    """What waits for an event of the count before has lost it."""
    sequence = Sequence()
    assert passed(sequence, (0, "a"), (2, "b")) == ["a"]
    with pytest.raises(Gap):
        sequence.restart(payload("created"), 0)


def test_waiting_has_an_end() -> None:
    """A number that has not come after 64 later ones is a gap; then all that waited can be had."""
    sequence = Sequence()
    fed(sequence, [0, *range(2, 66)])
    with pytest.raises(Gap):
        fed(sequence, [66])
    assert [one.value for one in sequence.distrust()] == [*range(2, 67)]


def test_only_the_very_number_that_is_due_is_followed() -> None:
    """Nothing that is no number, and nothing while others wait."""

    def follow(number: object) -> bool:
        return sequence.follow(Payload(None, b"{}", number, None, None), number)

    sequence = Sequence()
    assert not follow(5)
    passed(sequence, (5, "a"))
    assert [follow(number) for number in (5, 7, 6.0, None, 6, 6)] == [False] * 4 + [True, False]
    passed(sequence, (9, "b"))
    assert not follow(7)
    assert sequence.last == 6

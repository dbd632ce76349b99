"""The law: a record is a frozen dataclass to whoever uses it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.records import Record


class Place(Record):
    """A record with each kind of default."""

    name: str
    number: int = 7
    notes: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True)
class Twin:
    """The same as the standard library makes it."""

    name: str
    number: int = 7
    notes: dict[str, int] = dataclasses.field(default_factory=dict, hash=False)


ARGUMENTS = st.tuples(
    st.lists(st.integers(0, 2), max_size=4),
    st.dictionaries(st.sampled_from(["name", "number", "notes", "other"]), st.integers(0, 2), max_size=3),
)


def made(cls: Any, args: list[int], given: dict[str, int]) -> Any:
    """The object, or the type of the exception."""
    try:
        return cls(*args, **given)
    except TypeError:
        return TypeError


@given(ARGUMENTS, ARGUMENTS)
def test_it_is_made_compared_hashed_and_shown_as_a_frozen_dataclass(first: Any, second: Any) -> None:
    """The standard library's is the measure."""
    records, twins = [[made(cls, *arguments) for arguments in (first, second)] for cls in (Place, Twin)]
    assert [record is TypeError for record in records] == [twin is TypeError for twin in twins]
    if TypeError not in records:
        assert [dataclasses.astuple(record) for record in records] == [dataclasses.astuple(twin) for twin in twins]
        assert (records[0] == records[1]) == (twins[0] == twins[1])
        assert (hash(records[0]) == hash(records[1])) == (hash(twins[0]) == hash(twins[1]))
        assert repr(records[0]) == repr(twins[0]).replace("Twin", "Place")


def test_the_functions_of_dataclasses_know_it() -> None:
    """`fields`, `replace`, `asdict`, `match`, `copy` and `pickle`."""
    place = Place("here", notes={"a": 1})
    assert [field.name for field in dataclasses.fields(place)] == ["name", "number", "notes"]
    assert dataclasses.replace(place, number=8) == Place("here", 8, {"a": 1})
    assert dataclasses.asdict(place) == {"name": "here", "number": 7, "notes": {"a": 1}}
    assert pickle.loads(pickle.dumps(place)) == copy.deepcopy(place) == place
    assert place != Twin("here", notes={"a": 1})
    match place:
        case Place(name, number):
            assert (name, number) == ("here", 7)
        case _:
            pytest.fail("does not match")


def test_it_is_frozen() -> None:
    """Its own fields and others alike."""
    place = Place("here")
    for name in ("name", "other"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            setattr(place, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            delattr(place, name)
    assert place == Place("here")


def test_each_has_defaults_of_its_own() -> None:
    """A default factory is called for each."""
    assert Place("a").notes is not Place("b").notes


def test_help_shows_its_fields() -> None:
    """With names, types and defaults."""
    shown = inspect.signature(Place).parameters
    assert list(shown) == list(inspect.signature(Twin).parameters)
    assert [shown[name].annotation for name in shown] == ["str", "int", "dict[str, int]"]
    assert [shown[name].default for name in shown] == [inspect.Parameter.empty, 7, {}]


def test_arguments_that_do_not_fit_are_named() -> None:
    """What is missing, or what there is."""
    make: Any = Place
    with pytest.raises(TypeError, match="Place needs 'name'"):
        make()
    with pytest.raises(TypeError, match="Place takes each of these once: name, number, notes"):
        make("here", other=1)

"""A fault is a value that says what it is, and a senseless one is refused where it is made."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from openai_stream_guard import testing
from openai_stream_guard.testing import Faults, cut, gap, refuse, slow
from openai_stream_guard.testing.faults.injections import INJECTIONS


@pytest.mark.parametrize("name", INJECTIONS)
def test_every_fault_is_public_and_documented(name: str) -> None:
    """By one name: in the table, in the package, and as a method; all take `times` and `every`."""
    make = INJECTIONS[name]
    assert make is getattr(testing, name)
    assert name in testing.__all__
    assert make.__doc__
    assert getattr(Faults, name) is make
    parameters = inspect.signature(make).parameters
    assert {"times", "every"} <= set(parameters)
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in parameters.values())
    made = make()
    assert str(made).startswith(f"{name}(")
    assert (made.times, made.every) == (1, 1)


@pytest.mark.parametrize(
    ("name", "bad", "named"),
    [
        ("cut", {"after_events": 1, "after_bytes": 1}, "not both"),
        ("cut", {"after_events": -1}, "after_events=-1; it must be a whole number, 0 or more"),
        ("stall", {"after_bytes": True}, "after_bytes=True"),
        ("disconnect", {"times": 0}, "times=0; it must be a whole number, 1 or more, or None"),
        ("html", {"every": 0}, "every=0"),
        ("gap", {"on": "text"}, "on='text'; it must be 'tool_call'"),
        ("garble", {"seed": "x"}, "seed='x'"),
        ("split", {"size": 0}, "size=0"),
        ("slow", {"seconds": -1}, "seconds=-1"),
        ("slow", {"seconds": float("nan")}, "seconds=nan"),
        ("refuse", {"status": 200}, "status=200; it must be an HTTP status from 400 to 599"),
        ("refuse", {"retry_after": -1}, "retry_after=-1"),
    ],
)
def test_a_senseless_fault_is_refused(name: str, bad: dict[str, Any], named: str) -> None:
    """One sentence: the fault, the argument, its value, and what is allowed."""
    with pytest.raises(ValueError, match=rf"^{name}\(\) ") as raised:
        INJECTIONS[name](**bad)
    assert named in str(raised.value)
    faults = Faults()
    with pytest.raises(ValueError, match=rf"^{name}\(\) "):
        getattr(faults, name)(**bad)
    assert faults.pending == ()


def test_several_on_one_response() -> None:
    """Joined they have one name; what cannot be joined is refused."""
    both = slow(seconds=2) & cut(after_events=3)
    assert str(both) == "slow(seconds=2) & cut(after_events=3)"
    assert len(both.new_transforms()) == 2
    with pytest.raises(ValueError, match="give both the same times and every"):
        slow() & cut(times=2)
    with pytest.raises(ValueError, match="plan it by itself"):
        cut() & refuse()
    with pytest.raises(TypeError):
        cut() & 5


def test_a_fault_says_what_it_was_told() -> None:
    """All that decides where it strikes."""
    assert str(gap(after_events=2, on="tool_call")) == "gap(after_events=2, on='tool_call')"
    assert str(cut(after_bytes=7)) == "cut(after_bytes=7)"
    assert str(refuse(status=429, retry_after=3)) == "refuse(status=429, retry_after=3)"

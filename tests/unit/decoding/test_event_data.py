"""The law: framing is looked for only between values, so that no byte of a value is taken for anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.decoding.event_data import DONE, EventData, Value

# Text that would be framing if it stood between values.
TEMPTING = st.lists(
    st.sampled_from(["data:", "data: {", "}", "]", "[DONE]", "\n\n", "event: x", ": ping", '"', "\\", "\\n", "é"]),
    max_size=6,
).map("".join)
OBJECTS = st.dictionaries(TEMPTING, TEMPTING | st.lists(TEMPTING, max_size=2), max_size=3)
FRAMING = st.sampled_from([b"", b" ", b"\t", b"data:", b"data: ", b" data: data: "])


def data_from(*lines: bytes) -> tuple[EventData, list[str]]:
    """The data of an event, and the repairs that were counted."""
    repairs: list[str] = []
    data = EventData(repairs.append)
    for line in lines:
        data.add_line(line)
    return data, repairs


@settings(deadline=None)
@given(st.lists(st.tuples(FRAMING, OBJECTS), min_size=1, max_size=4), FRAMING)
def test_values_come_out_as_they_went_in(parts: list[tuple[bytes, dict[str, object]]], last: bytes) -> None:
    """Whatever its strings hold, each value's text is exactly the bytes that were sent."""
    sent = [json.dumps(value, ensure_ascii=False).encode() for _, value in parts]
    line = b"".join(framing + value for (framing, _), value in zip(parts, sent, strict=True)) + last
    data, repairs = data_from(line)
    assert data.is_whole
    assert data.take_values() == [Value(value, None) for value in sent]
    assert repairs.count("glued_values") == len(sent) - 1


@settings(deadline=None)
@given(OBJECTS)
def test_a_value_over_many_lines_is_one(value: dict[str, object]) -> None:
    """Lines that are values of their own inside another value do not end it."""
    lines = json.dumps([value, value], indent=1).encode().split(b"\n")
    data, repairs = data_from(*lines)
    assert data.take_values() == [Value(b"\n".join(lines), None)]
    assert repairs == []


@pytest.mark.parametrize(
    ("line", "values", "rest"),
    [
        (b'{"a":1}xyz', [b'{"a":1}'], b"xyz"),
        (b'{"a":1} 12', [b'{"a":1}'], b"12"),
        (b"12", [], b"12"),
        (b"data: null", [], b"null"),
        (b"[DONE]sk", [DONE], b"sk"),
        (b'[DONE]{"a":1}', [DONE], b'{"a":1}'),
        (b'{"a":1}: ping data: {"b":1}', [b'{"a":1}'], b': ping data: {"b":1}'),
        (b'event: x{"a":1}', [], b'event: x{"a":1}'),
        (b"{}\\n", [b"{}"], b"\\n"),
    ],
)
def test_junk(line: bytes, values: list[bytes], rest: bytes) -> None:
    """What is neither value nor framing stays, with all after it; so does a line that has swallowed a payload."""
    data, _ = data_from(line)
    assert data.position == "other_text"
    assert not data.is_whole
    assert [value.text for value in data.take_values()] == values
    assert data.rest == rest


def test_wrapped_lines() -> None:
    """Whole SSE lines inside the data are framing, and a wrapped name is the next value's."""
    first = (b": ping", b"id: 3", b"event: x", b'data: {"a":1}')
    data, repairs = data_from(*first, b"retry: 5", b"", b"event:y", b"data: {}")
    assert data.take_values() == [Value(b'{"a":1}', "x"), Value(b"{}", "y")]
    assert repairs.count("wrapped_line") == 5
    trailing, _ = data_from(b"{}event: z")
    assert trailing.is_whole
    assert trailing.event == "z"

"""datatext: framing is looked for only between values, so that no byte of a value is taken for anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.decoding.event_data import DONE, DataText, Value, Where, undo_bytes_repr

# Text that would be framing if it stood between values.
TEMPTING = st.lists(
    st.sampled_from(["data:", "data: {", "}", "]", "[DONE]", "\n\n", "event: x", ": ping", '"', "\\", "\\n", "é"]),
    max_size=6,
).map("".join)
OBJECTS = st.dictionaries(TEMPTING, TEMPTING | st.lists(TEMPTING, max_size=2), max_size=3)
FRAMING = st.sampled_from([b"", b" ", b"\t", b"data:", b"data: ", b" data: data: "])


def text_of(*lines: bytes, lenient: bool = False, array: bool = False) -> tuple[DataText, list[str]]:
    """A text, and the departures it told."""
    told: list[str] = []
    text = DataText(told.append, lenient=lenient, array=array)
    for line in lines:
        text.add(line)
    return text, told


@settings(deadline=None)
@given(st.lists(st.tuples(FRAMING, OBJECTS), min_size=1, max_size=4), FRAMING)
def test_values_come_out_as_they_went_in(parts: list[tuple[bytes, dict[str, object]]], last: bytes) -> None:
    """Whatever its strings hold, each value's text is exactly the bytes that were sent."""
    sent = [json.dumps(value, ensure_ascii=False).encode() for _, value in parts]
    line = b"".join(framing + value for (framing, _), value in zip(parts, sent, strict=True)) + last
    text, told = text_of(line)
    assert text.whole
    assert text.take() == [Value(value, None) for value in sent]
    assert told.count("glued_values") == len(sent) - 1


@settings(deadline=None)
@given(OBJECTS)
def test_a_value_over_many_lines_is_one(value: dict[str, object]) -> None:
    """Lines that are values of their own inside another value do not end it."""
    lines = json.dumps([value, value], indent=1).encode().split(b"\n")
    text, told = text_of(*lines)
    assert [json.loads(found.text) for found in text.take()] == [[value, value]]
    assert told == []


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
    text, _ = text_of(line)
    assert text.where is Where.JUNK
    assert not text.whole
    assert [value.text for value in text.take()] == values
    assert text.rest == rest


def test_wrapped_lines() -> None:
    """Whole SSE lines inside the data are framing, and a wrapped name is the next value's."""
    first = (b": ping", b"id: 3", b"event: x", b'data: {"a":1}')
    text, told = text_of(*first, b"retry: 5", b"", b"event:y", b"data: {}")
    assert text.take() == [Value(b'{"a":1}', "x"), Value(b"{}", "y")]
    assert told.count("wrapped_line") == 5
    trailing, _ = text_of(b"{}event: z")
    assert trailing.whole
    assert trailing.event == "z"


def test_line_ends_written_as_letters() -> None:
    """Backslash and n between values are framing to the lenient reader alone; in a string they are its own."""
    line = b'{"a":"\\n\\ndata: {}"}\\n\\nevent: x\\r\\ndata: {}\\n\\ndata: [DONE]\\n\\n'
    text, told = text_of(line, lenient=True)
    assert text.take() == [Value(b'{"a":"\\n\\ndata: {}"}', None), Value(b"{}", "x"), Value(DONE, None)]
    assert set(told) == {"glued_values", "escaped_newline", "wrapped_line"}


@settings(deadline=None)
@given(st.lists(OBJECTS, max_size=4), st.sampled_from([None, 1]))
def test_array(values: list[dict[str, object]], indent: int | None) -> None:
    """The elements of an array are handed out as they come, and then not kept."""
    text, _ = text_of(array=True)
    found = []
    for line in json.dumps(values, indent=indent).encode().split(b"\n"):
        text.add(line)
        found += [json.loads(value.text) for value in text.take()]
    assert found == values
    assert text.ended


@pytest.mark.parametrize("line", [b"[,", b"[{}{}", b"[{},]", b"[{},,", b"[1", b"[[", b"[]]", b"[]{", b"[data: {}"])
def test_no_array(line: bytes) -> None:
    """An array of anything but objects, one comma between two, is refused where it goes wrong."""
    text, _ = text_of(line, array=True)
    assert text.where is Where.JUNK


@settings(deadline=None)
@given(st.binary())
def test_undo_bytes_repr_is_the_inverse_of_repr(value: bytes) -> None:
    """What Python wrote comes back, byte for byte."""
    assert undo_bytes_repr(repr(value).encode()) == value


@pytest.mark.parametrize(
    "text",
    [b"", b"b'", b"b'a", b"b'a\"", b"'a'", b"rb'a'", b"b'\\'", b"b'\\d'", b"b'\n'", b"b'\xc3\xa9'", b"b'a' b'b'"],
)
def test_undo_nothing_else(text: bytes) -> None:
    """Anything that `repr` would not have written is left alone, and nothing is evaluated to find out."""
    assert undo_bytes_repr(text) is None

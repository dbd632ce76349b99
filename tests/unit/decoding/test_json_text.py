"""The law: `loads` is `json.loads`, only faster; a `Scanner` finds the end of a container however it is cut."""

from __future__ import annotations

import json
import math
import sys

import jiter
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.decoding import json_text as jsontext
from openai_stream_guard.decoding.json_text import Scanner, is_beginning, loads, stock_error

# Pieces of JSON, and of what is nearly JSON: mostly in an order that means something.
PIECES = ["{", "}", "[", "]", ":", ",", '"a"', '"', "\\", "\\n", "\\x", "'", '{"a":1}', '{"a":1,"a":2}', "[]"]
PIECES += ["1", "-", "0", ".5", "e9", "1e400", "-0", "9" * 30, "NaN", "-Infinity", "null", "true", "tru"]
PIECES += [" ", "\t", "\n", "\r", "\x0b", "\x00", "\\u00e9", "\\ud83d", "\\ude80", "é", "\ufeff", "\u2028"]
NEARLY_JSON = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(repr)
FLOATS |= st.from_regex(r"-?(0|[1-9][0-9]{0,30})\.[0-9]{1,30}", fullmatch=True)


def outcome(text: bytes, parse: object) -> tuple[str, str | type]:
    """The value as `repr` has it, which tells -0.0 from 0 and NaN from None; or the class of what was raised."""
    try:
        return "value", repr(parse(text))
    except (ValueError, RecursionError) as error:
        return "error", type(error)


def stock(text: bytes) -> object:
    """What the SDK does."""
    return json.loads(text.decode())


@pytest.fixture(params=["jiter", "json"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With jiter and without."""
    if request.param == "json":
        monkeypatch.setattr(jsontext, "_parse", jsontext._stock_parser)


class TestLoads:
    @settings(deadline=None)
    @given(NEARLY_JSON | JSON.map(json.dumps) | JSON.map(lambda value: json.dumps(value, ensure_ascii=False)))
    def test_gives_what_the_sdk_gives(self, text: str) -> None:
        """The same value, key order and signs of zero included, or the same error."""
        raw = text.encode("utf-8", "surrogatepass")
        assert outcome(raw, loads) == outcome(raw, stock)

    @settings(deadline=None)
    @given(st.binary(max_size=12).map(lambda inner: b'{"a":"' + inner + b'"}'))
    def test_of_any_bytes(self, text: bytes) -> None:
        """Bytes that are not UTF-8 raise what decoding them raises."""
        assert outcome(text, loads) == outcome(text, stock)

    @settings(deadline=None)
    @given(FLOATS)
    def test_floats_are_exact(self, text: str) -> None:
        """Every float is the nearest to its digits."""
        value = loads(text.encode())
        assert isinstance(value, float)
        assert value == float(text)
        assert math.copysign(1, value) == math.copysign(1, float(text))

    @pytest.mark.parametrize("digits", [4300, 4301, 9000])
    def test_long_numbers(self, digits: int) -> None:
        """A number of too many digits for Python is refused, not cut."""
        text = b"9" * digits
        assert outcome(text, loads) == outcome(text, stock)

    def test_deeper_than_jiter_follows(self) -> None:
        """What one parser finds too deep the other still reads."""
        deep = b"[" * 400 + b"]" * 400
        assert outcome(deep, loads) == outcome(deep, stock)


def test_without_jiter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where openai is too old to bring jiter, there is json."""
    monkeypatch.setitem(sys.modules, "jiter", None)
    monkeypatch.setattr(jsontext, "_parse", jsontext._first_parse)
    assert loads(b"[1]") == [1]
    assert jsontext._parse is jsontext._stock_parser


def test_an_unsound_jiter_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that hands out escaped characters as their UTF-8 bytes is as good as none."""
    monkeypatch.setattr("jiter.from_json", lambda text: json.loads(text).encode().decode("latin-1"))
    assert jsontext._fast_parser() is None


def test_a_sound_jiter_parses_all_but_the_first_text_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for once."""
    monkeypatch.setattr(jsontext, "_parse", jsontext._first_parse)
    assert loads(b"[1]") == [1]
    assert jsontext._parse is jiter.from_json


@pytest.mark.parametrize(
    ("text", "is_cut"),
    [
        (b'{"a', True),
        (b'{"a": "x\\', True),
        (b'{"a": "caf\xc3', True),
        (b'{"a": ', True),
        (b'{"a": [1, ', True),
        (b'[{"a": 1}', True),
        (b'{"a": 1}', False),
        (b'{"a": 1}}', False),
        (b"{oops", False),
        (b'{"a": \xff', False),
        (b'{"a": nul', False),  # which could be told, but is as likely no JSON
    ],
)
def test_a_beginning_lacks_nothing_but_its_end(text: bytes, is_cut: bool) -> None:
    """It ends between two tokens or inside a string; a text that is whole, or wrong before its end, is none."""
    assert is_beginning(text) == is_cut


def test_stock_error() -> None:
    """The error is the SDK's, without a trace of where we made it; sound text has none."""
    assert stock_error(b"{}") is None
    error = stock_error(b"{x}")
    assert isinstance(error, json.JSONDecodeError)
    assert error.__traceback__ is None
    assert isinstance(stock_error(b"\xff"), UnicodeDecodeError)
    assert isinstance(stock_error(b"[" * 100_000), RecursionError)


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON), st.integers(1, 7), st.text())
def test_scanner_finds_the_end_however_the_text_is_cut(value: dict[str, object], size: int, after: str) -> None:
    """A container ends at the same byte whole and in pieces, whatever its strings hold and whatever follows."""
    text = json.dumps(value).encode()
    assert Scanner().scan(text + after.encode("utf-8", "replace")) == len(text)
    scanner = Scanner()
    for start in range(0, len(text), size):
        piece = text[start : start + size]
        assert scanner.scan(piece) == (len(piece) if start + len(piece) == len(text) else -1)

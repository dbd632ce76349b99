"""Keys are masked wherever bytes are kept, and text that is none is not touched."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from openai_stream_guard.decoding.reader import Reader
from openai_stream_guard.redaction import (
    blanked,
    credentials,
    identifier,
    redact,
    redact_in_place,
    redact_tail,
    redact_tree,
)

SECRETS = [
    b"sk-abcdefghijklmnop1234",
    b"sk-proj-AbCd_1234-xyz98765",
    b"sess-0123456789abcdef",
    b"Authorization: Bearer abc.def-ghi",
    b"authorization: Basic dXNlcjpwYXNz",
    b'"api_key": "hunter2-hunter2"',
    b"api-key=0123456789",
    b"'access_token': 'ya29.a0Af'",
    b"password=correcthorse",
    b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123",
    b"AKIAIOSFODNN7EXAMPLE",
]
HARMLESS = [
    b'data: {"choices":[{"delta":{"content":"ask-me risk-free about the org"}}]}\n\n',
    "Zürich’s blue trams 🚋".encode(),
    b"",
    b"sk-",
    b"The bearer of bad news",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", [b"%b", b'data: {"x": "%b"}\n\n', b" %b,", b"\xff%b\xff"])
def test_a_secret_is_replaced(secret: bytes, around: bytes) -> None:
    """No part of a secret longer than five bytes is left, and its surroundings are."""
    seen = redact(around % secret)
    value = secret.replace(b'"', b" ").replace(b"'", b" ").replace(b"=", b" ").split()[-1]
    assert b"***" in seen
    assert value not in seen
    assert seen.startswith(around.partition(b"%b")[0])


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_is_left_alone(text: bytes) -> None:
    """Words that merely look a little like a key stay."""
    assert redact(text) == text


def test_what_the_request_was_sent_with_is_known() -> None:
    """A key without any form is masked where it was sent by a header or a part of the query that carries keys."""
    sent = [
        ("api-key", "0123456789abcdef0123456789abcdef"),
        ("Authorization", "Bearer plainplainplainplain"),
        ("Cookie", "session=cookiecookiecookie; theme=dark"),
        ("user-agent", "OpenAI/Python 3.54.0 with a long name"),
        ("x-api-key", "none"),
        ("x-request-id", "0123456789abcdef-of-the-client"),
    ]
    known = credentials(sent)
    assert known == {
        "0123456789abcdef0123456789abcdef",
        "plainplainplainplain",
        "session=cookiecookiecookie",
        "cookiecookiecookie",
    }
    text = "no such key: 0123456789abcdef0123456789abcdef, none"
    assert redact(text, known) == "no such key: ***, none"
    assert redact(text.encode(), known) == b"no such key: ***, none"


def test_a_short_key_is_known_where_it_stands_alone() -> None:
    """By any header that is not public by its name, and of the query by what carries keys."""
    headers = [("Cookie", 'sid=a1b2c3; n="q7w8e9"'), ("X-Gateway", "hunter22"), ("Authorization", "Bearer ollama")]
    known = credentials(headers, [("sig", "s3cr3t"), ("api-version", "2024-10-21")])
    assert {"a1b2c3", "q7w8e9", "hunter22", "s3cr3t"} <= known
    assert not {"ollama", "2024-10-21"} & known
    assert credentials([("api-key", "my-key"), ("X-Title", "my-app"), ("X-Api-Key", "dummy")]) == {"my-key"}
    text = "sid a1b2c3, xa1b2c3, a1b2c3x, hunter22."
    assert redact(text, known) == "sid ***, xa1b2c3, a1b2c3x, ***."
    assert redact_in_place(text, known) == "sid ******, xa1b2c3, a1b2c3x, ********."
    assert blanked(text.encode(), known) == b"sid ******, xa1b2c3, a1b2c3x, ********."


@pytest.mark.parametrize("secret", SECRETS)
def test_masking_in_place_keeps_every_offset(secret: bytes) -> None:
    """Bytes and text are as long as they were, and what stands behind a key is where it was."""
    for around in (b'{"x": "%b"} end', b"%b end"):
        whole = around % secret
        seen = redact_in_place(whole)
        assert len(seen) == len(whole)
        assert seen.endswith(b" end")
        assert seen != whole
        assert redact_in_place(whole.decode()) == seen.decode()


def test_a_tree_is_masked_by_label_and_by_form() -> None:
    """Whatever a key is called by its name is masked, in text as in names; numbers, shape and other words stay."""
    tree = {"message": "bad sk-abcdefghij", "n": 1, "list": [{"api_key": "ab"}, None, True], "sk-abcdefghij": "x"}
    assert redact_tree(tree) == {"message": "bad ***", "n": 1, "list": [{"api_key": "***"}, None, True], "***": "x"}
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert repr(redact_tree(deep)).count("[") == 32


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, None),
        ("req_011CQabc", "req_011CQabc"),
        ("a\r\nb\x1b[31m", "a??b?[31m"),
        ("x" * 5000, "x" * 200),
        ("req sk-abcdefghij", "req ***"),
    ],
)
def test_an_identifier_is_one_short_line_without_a_key(given: str | None, told: str | None) -> None:
    """What a server calls something may be logged."""
    assert identifier(given) == told


UNITS = (b"eyJ-", b"sk-", b"bearer ", b"secret", b"password:\\", b"api_key = ", b"eyJa.", b"eyJaaaaaaaa-")


@pytest.mark.parametrize("mask", [redact, blanked])
@pytest.mark.parametrize("unit", UNITS)
def test_masking_takes_linear_time(unit: bytes, mask: Callable[[bytes], bytes]) -> None:
    """Text made to keep the search busy, eight times as long, takes some eight times as long, and not sixty."""

    def seconds(count: int) -> float:
        text = unit * count
        started = time.process_time()
        mask(text)
        return time.process_time() - started

    short = min(seconds(20_000) for _ in range(5))
    long = min(seconds(160_000) for _ in range(3))
    assert long < 30 * short + 0.01


@pytest.mark.parametrize("behind", [0, 1, 100, 800, 1000, 1023])
@pytest.mark.parametrize("before", [0, 5000])
@pytest.mark.parametrize("label", [b'data: {"text": "', b'data: {"api_key": "', b": authorization: bearer "])
@pytest.mark.parametrize("size", [40, 300, 1100, 3000])
def test_of_a_key_that_is_not_kept_whole_nothing_is_shown(label: bytes, size: int, behind: int, before: int) -> None:
    """However long it is, in the last bytes of a stream: its label or its own beginning may be gone."""
    key = (b"Qx7" * size)[:size]
    reader = Reader()
    reader.feed(b": word" * before + b"\n")
    for part in (label, key, b'" ' + b"." * behind):
        reader.feed(part)
    shown = redact_tail(reader.tail)
    assert len(shown) <= 1024
    is_known = b"text" not in label
    if is_known or size + behind > 1100:
        assert b"Qx7Qx7" not in shown


def test_a_long_word_that_is_kept_whole_is_shown() -> None:
    """Half a kilobyte of text without a space, in a stream that holds nothing else long."""
    reader = Reader()
    reader.feed(b'data: {"id": "1"}\n\n' * 200 + b'data: {"text": "' + b"word" * 100 + b'"}\n\n')
    assert b"word" * 100 in redact_tail(reader.tail)

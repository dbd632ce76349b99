"""Keys are masked wherever bytes are kept, and text that is none is not touched."""

from __future__ import annotations

import pytest

from openai_stream_guard.masking import masked

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
    seen = masked(around % secret)
    value = secret.replace(b'"', b" ").replace(b"'", b" ").replace(b"=", b" ").split()[-1]
    assert b"***" in seen
    assert value not in seen
    assert seen.startswith(around.partition(b"%b")[0])


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_is_left_alone(text: bytes) -> None:
    """Words that merely look a little like a key stay."""
    assert masked(text) == text

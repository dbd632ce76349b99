"""The law: a line that no field begins is what it looks like beyond doubt, and otherwise unknown."""

from __future__ import annotations

import pytest

from openai_stream_guard.decoding.blocks import StrayKind, StrayLine, classify_stray_line


@pytest.mark.parametrize(
    ("line", "kind", "text"),
    [
        (b" \t\0", "blank", b""),
        (b"\xef\xbb\xbf", "blank", b""),
        (b"<!DOCTYPE html>", "page", b" html>"),
        (b"  <Html lang=en>", "page", b" lang=en>"),
        (b"[DONE]", "bare_done", b"[DONE]"),
        (b"\0[DONE] \0", "bare_done", b"[DONE]"),
        (b'{"a":1} ', "bare_json", b'{"a":1} '),
        (b"{", "bare_json", b"{"),
        (b'error: {"code":1}', "error_line", b'{"code":1}'),
        (b"error:{", "error_line", b"{"),
        (b"[", "json_array", b"["),
        (b'[ {"a":1},', "json_array", b'[ {"a":1},'),
        (b"b'data: {}'", "fragment", b"b'data: {}'"),
        (b'b"[DONE]"', "fragment", b'b"[DONE]"'),
        (b'"choices":[{"index":0,', "fragment", b'"choices":[{"index":0,'),
        (b' not"}}]}', "fragment", b'not"}}]}'),
        (b'ta: {"a":1}', "fragment", b'ta: {"a":1}'),
        (b"[]", "fragment", b"[]"),
        (b"x{}", "fragment", b"x{}"),
    ],
)
def test_what_is_recognised(line: bytes, kind: StrayKind, text: bytes) -> None:
    """What WHATWG ignores though it is plainly a payload, the start of one, or no event stream at all."""
    assert classify_stray_line(line) == StrayLine(kind, text)


@pytest.mark.parametrize(
    "line",
    [
        *(b"1f4", b"[DONE]x", b"error: no memory", b"Data: x", b"b'", b"b'text'", b"html", b"<p>", b"[INFO] keep calm"),
        *(b'metadata: {"a":1}', b"x-list: [1]", b"null"),
    ],
)
def test_what_is_not(line: bytes) -> None:
    """Chunk sizes, prose and fields that SSE does not have are ignored as WHATWG says."""
    assert classify_stray_line(line).kind == "ignored"

"""The law: each line belongs to the payload that its rule says, and what only a guess could repair is a fault."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from openai_stream_guard.decoding.reader import Reader, RepairMode

DONE = "[DONE]"


class Read(NamedTuple):
    """What a body came to: values by event name, and what ended it, if anything did."""

    payloads: list[tuple[str | None, object]]
    end: str | None
    repairs: set[str]


def read(body: bytes, mode: RepairMode = "safe") -> Read:
    """Read a body; its end is a kind of fault, `done`, `unfinished`, or None where it just ends."""
    reader = Reader(mode)
    payloads = [*reader.feed(body), *reader.finish()]
    end = "done" if reader.done else "unfinished" if reader.unfinished else None
    return Read(
        [(payload.event, DONE if payload.is_done else payload.value) for payload in payloads],
        reader.fault.kind if reader.fault else end,
        set(reader.repairs),
    )


def unnamed(*values: object) -> list[tuple[str | None, object]]:
    """Payloads without event names."""
    return [(None, value) for value in values]


A, B = {"a": 1}, {"b": 2}


@pytest.mark.parametrize(
    ("body", "payloads"),
    [
        (b'event: x\ndata: {"a":1}\ndata: {"b":2}\n\n', [("x", A), (None, B)]),
        (b'data: {"a":1}\nevent: x\ndata: {"b":2}\n\n', [(None, A), ("x", B)]),
        (b'event: x\ndata: {"a":1}\nevent: y\n\n', [("y", A)]),
        (b'event: x\ndata: {"a":1}\nevent:\n\n', [(None, A)]),
        (b'event: x\ndata: {"a":1}\nevent: y\n', [("x", A)]),
        (b'event: x\n\ndata: {"a":1}\n\n', [(None, A)]),
        (b'event: x\n: ping\ndata: {"a":1}\n\n', [("x", A)]),
        (b'event: x\ndata: {"a":1}{"b":2}\n\n', [("x", A), ("x", B)]),
        (b'data: {"a":1}event: x\ndata: {"b":2}\n\n', [(None, A), ("x", B)]),
        (b'event: x\n{"a":1}\n{"b":2}\n', [("x", A), (None, B)]),
        (b'data: event: x\ndata: data: {"a":1}\n\n', [("x", A)]),
        (b'data: {"a":1}\n \nevent: x\ndata: {"b":2}\n\n', [(None, A), ("x", B)]),
    ],
)
def test_names(body: bytes, payloads: list[tuple[str | None, object]]) -> None:
    """A name is its own block's, the last before the blank line; or, where that is missing, the next data's."""
    assert read(body).payloads == payloads


def test_ids_and_retries() -> None:
    """An id sticks, as WHATWG has it; a retry is its block's. A missing blank line changes neither."""
    body = b"id: 1\nretry: 5\ndata: {}\nid: 2\ndata: {}\n\nid: \0\ndata: {}\n\nid: 3\n\ndata: {}\n\nid\ndata: {}\n\n"
    assert [(payload.id, payload.retry) for payload in Reader().feed(body)] == [
        ("1", 5),
        ("2", None),
        ("2", None),
        ("3", None),
        ("", None),
    ]


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"\n\n",
            b": ping\n\n",
            b"data\n\n",
            b"data:\ndata: \n\n",
            b"event: ping\n\n",
            b"id: 1\n\n",
            b"retry: 1\n\n",
        ),
        *(b"data: : ping\n\n", b"data: data:\n\n", b"data: event: x\n\n", b"data: id: 1\n\n", b"ping\n", b"1f4\r\n"),
        *(
            b"error: text\n",
            b"da",
            b"data",
            b"data: ",
            b"event: res",
            b"id: 4",
            b"ret",
            b"data: [DON",
            b"[",
            b" \0\n",
        ),
    ],
)
def test_nothing(body: bytes) -> None:
    """Comments, fields without data, blank data, and what was cut before it said anything, are no payloads."""
    assert read(body)[:2] == ([], None)


@pytest.mark.parametrize("mode", ["safe", "off"])
@pytest.mark.parametrize(
    ("body", "begun"),
    [
        (b"", False),
        (b"\n", False),
        (b": comment", False),
        (b": comment\n", False),
        (b" \0", False),
        (b'data: {"a":1}\n\n', False),
        (b"data: [DO", False),
        (b"[D", False),
        (b"ev", True),
        (b"event: na", True),
        (b"event: na\n", True),
        (b"event: na\ndata: ", True),
        (b"id: 5\n: comment\n", True),
        (b'data: {"a":1}\n\nretry: 5', True),
        (b'data: {"a', True),
        (b"words", True),
        (b"words\n", False),
    ],
)
def test_an_event_has_begun_with_its_first_byte(body: bytes, begun: bool, mode: RepairMode) -> None:
    """Where the body ends behind it, something was to come. A comment is no event, nor is a piece of `[DONE]`."""
    reader = Reader(mode)
    reader.feed(body)
    reader.finish()
    assert reader.event_begun == begun


@pytest.mark.parametrize(
    ("body", "payloads", "end"),
    [
        (b'data: {"a":1}', unnamed(A), None),
        (b'data: {"a":1}\r', unnamed(A), None),
        (b'data: {"a":1}\ndata', unnamed(A), None),
        (b'data: {"a":1}da', unnamed(A), None),
        (b'data: {"a":1}xyz', unnamed(A), "malformed"),
        (b'data: {"a":1}\n[', unnamed(A), None),
        (b'data: {"a":1}{"b"', unnamed(A), "unfinished"),
        (b'data: {"a":1}\ndata: {"b"', unnamed(A), "unfinished"),
        (b'data: {"a":"\xd0', [], "unfinished"),
        (b'data: {"a":[1,{}', [], "unfinished"),
        (b"data: 12\n", [], "unfinished"),
        (b'data: "x"', [], "unfinished"),
        (b"data: tru", [], "unfinished"),
        (b'{"a":1}', unnamed(A), None),
        (b'{"a":1', [], "unfinished"),
        (b"{\n", [], "unfinished"),
        (b'error: {"code":1}', unnamed({"error": {"code": 1}}), None),
        (b"data: [DONE]", unnamed(DONE), "done"),
        (b"[DONE]", unnamed(DONE), "done"),
        (b"<html", [], "not_a_stream"),
    ],
)
def test_the_end_of_the_body(body: bytes, payloads: list[tuple[str | None, object]], end: str | None) -> None:
    """A closed container or `[DONE]` proves that nothing of it is missing; anything else that has begun does not."""
    assert read(body)[:2] == (payloads, end)


@pytest.mark.parametrize(
    ("body", "payloads", "end"),
    [
        (b"data: [DONE] \n\n", unnamed(DONE), "done"),
        (b"data: [DONE]\ndata:\n\n", unnamed(DONE), "done"),
        (b"data: [DONE]\ndata: [DONE]\n\n", unnamed(DONE), "done"),
        (b"data: [DONE]\n[DONE]\n", unnamed(DONE), "done"),
        (b"event: done\ndata: [DONE]\n\n", [("done", DONE)], "done"),
        (b'data: {"a":1}\n[DONE]\n', unnamed(A, DONE), "done"),
        (b'data: "[DONE]"\n\n', unnamed("[DONE]"), None),
        (b'data: [DONE]{"a":1}\n\n', [], "malformed"),
        (b'data: {"a":1}[DONE]{"b":2}\n\n', unnamed(A), "malformed"),
        (b'data: {"a":1}[DONE]\ndata: {"b":2}\n\n', unnamed(A), "malformed"),
        (b'data: [DONE]\n{"a":1}\n', [], "malformed"),
        (b"data: [DONE]: sk\n\n", [], "malformed"),
        (b"[DONE]sk\n", [], None),
    ],
)
def test_done(body: bytes, payloads: list[tuple[str | None, object]], end: str | None) -> None:
    """The sentinel is `[DONE]` and white space; with anything after it in the same block it is a forgery."""
    assert read(body)[:2] == (payloads, end)


@pytest.mark.parametrize(
    ("body", "payloads", "end"),
    [
        (b'data: {"a":1}\n{"b":2}\n', unnamed(A, B), None),
        (b'{"a":1}{"b":2}\n', unnamed(A, B), None),
        (b'{"a":1} \ndata: {"b":2}\n\n', unnamed(A, B), None),
        (b'{"a":1}x\n', unnamed(A), "malformed"),
        (b'{\n\n"a": 1\n}\n', unnamed(A), None),
        (b'error: {\n"code": 1}\n', unnamed({"error": {"code": 1}}), None),
        (b"{unparsable}\n", [], "malformed"),
        (b'{"a":\ndata: {"b":2}\n\n', [], "malformed"),
        (b'{"a":\n[DONE]\n', [], "malformed"),
        (b'{"a":"x\n\n"}\n', [], "malformed"),
        (b'data: {"a":[\n{"b":2}\n]}\n\n', [], "malformed"),
        (b'data: {"a":\n[DONE]\n', [], "malformed"),
        (b'data: null\n{"b":2}\n', [], "malformed"),
        (b'data: : ping\n{"a":1}\n', unnamed(A), None),
        (b"b'data: {}'\n", [], "malformed"),
    ],
)
def test_payloads_without_a_field(body: bytes, payloads: list[tuple[str | None, object]], end: str | None) -> None:
    """A JSON text outside any field is a payload when it is whole; inside an unfinished one it is none."""
    assert read(body)[:2] == (payloads, end)


@pytest.mark.parametrize(
    ("body", "payloads"),
    [
        (b"<!doctype html>\n", []),
        (b' <HTML>\ndata: {"a":1}\n\n', []),
        (b'data: {"a":1}\n<html>\n', unnamed(A)),
        (b'data: {"a":1}\n\n<html>\n', unnamed(A)),
        (b'[{"a":1}]\n', []),
        (b'data: {"a":1}\n[\n', unnamed(A)),
        (b"\x1f\x8b\x08", []),
        (b"\x28\xb5\x2f\xfd\0", []),
        (b"\xff\xfed\0a\0", []),
        (b"x\x9c\xcb\n: \n", []),
    ],
)
def test_not_a_stream(body: bytes, payloads: list[tuple[str | None, object]]) -> None:
    """A page, an array, a compressed or binary body are no event stream; what was whole before them is."""
    assert read(body)[:2] == (payloads, "not_a_stream")


def test_bytes_that_are_not_text_are_harmless_outside_payloads() -> None:
    """Neither a comment nor an ignored line has to be UTF-8, nor a name, which takes U+FFFD as WHATWG has it."""
    assert read(b": \xff\n\n\xff\n\nevent: \xff\ndata: {}\n\n") == ([("\ufffd", {})], None, set())


@pytest.mark.parametrize(
    "body",
    [b'event: xdata: {"a":1}\n\n', b'data: {"a":1}: pingdata: {"b":2}\n\n', b'data: event: x{"a":1}\n\n'],
)
def test_a_swallowed_payload_is_missed(body: bytes) -> None:
    """Where a lost line end has made a payload part of a name or a comment, that is a fault and no silence."""
    assert read(body).end == "malformed"


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"a":"x\ry\nz"}\n\n',
        b'data: {"a":"x\r\n  y"}\r\n\r\n',
        b'{"a":"x\ny"}\n',
        b'data: "x\ty"\n\n',
        b'data: {"a":\n\ndata: 1\n\ndata: }\n\n',
        b'data: {\n\n\ndata: "a":1}\n\ndata: {"b":2}\n\n',
        b'data: {"a":"x\ndata: y"}\n\n',
        b'data: {"a":"x\n: y\n"}\n\n',
        b'data: {"a":"x\n\ny"}\n\n',
        b'data: "x\ndata: y"\n\n',
        b'data: {"a":"x\r\ncd\r\ny"}\n\n',
        b'data: {"a":"x\\\ny"}\n\n',
        b'data: {"a":"x\n<html>"}\n\n',
        b'data: {"a":1\n\ndata: 2}\n\n',
        b'data: {"a":tr\n\ndata: ue}\n\n',
        b'data: {"a":[\n\ndata: {"b":2}\n\n',
        b'data: {"a":\n\n: ping\n\ndata: 1}\n\n',
        b"data: {\n\ndata: [DONE]\n\n",
        b'data: {"a":\n\nevent: x\ndata: 1}\n\n',
        b'data: {"a":\n\n{"b":2}\n',
        b"data: b'event: x\\ndata: {\"a\":1}\\n\\n'\n\n",
        b"b'data: [DONE]\\n\\n'\n",
        b"data: b': ping'\n\n",
        b"data: b'x'\n\n",
        b"data: {'a':1}\n\n",
        b'data: \\n\\ndata: {"b":2}\n\n',
    ],
)
def test_what_only_a_guess_could_repair_is_a_fault(body: bytes) -> None:
    """What could be read in more than one way is damage, and nothing of it is handed out."""
    assert read(body)[:2] == ([], "malformed")


@pytest.mark.parametrize(
    ("body", "payloads", "end"),
    [
        (b'data: {"a":1}\nevent: x\n\n', [("x", A)], None),
        (b'data: {\n\0data: x\ndata: "a":1}\n\n', unnamed(A), None),
        (b'data: {"a":1}\n', [], "unfinished"),
        (b"data: [DONE]\n", [], "unfinished"),
        (b'data: {"a":1}{"b":2}\n\n', [], "malformed"),
        (b'data: {"a":1}\ndata: {"b":2}\n\n', [], "malformed"),
        (b'data: {"a":"\xff"}\n\n', [], "malformed"),
        (b"data: [DONE]x\n\n", [], "malformed"),
        (b"data:\n\ndata: [DONE]\n\n", unnamed(DONE), "done"),
        (b'{"a":1}\n[DONE]\nerror: {}\n[\n', [], None),
        (b"<html>\n", [], "not_a_stream"),
        (b"\xff\xfe\n", [], "not_a_stream"),
        (b'data: {"a":1}\n\n"b":2}]}\n', unnamed(A), "malformed"),
    ],
)
def test_off(body: bytes, payloads: list[tuple[str | None, object]], end: str | None) -> None:
    """WHATWG's reading, and what can be seen to be wrong with it."""
    assert read(body, "off") == (payloads, end, set())


@pytest.mark.parametrize(
    ("body", "payloads", "end"),
    [
        (b'data: {"a":1}\n\n"b":[2,{"c":3}]}\n\n', unnamed(A), "malformed"),
        (b'index":0}]}\ndata: {"a":1}\n\n', [], "malformed"),
        (b'data: {"a":1}\n\n: null}]}\n\n', unnamed(A), "malformed"),
        (b'data: {"a":1}\n\n: [1]}\n\n', unnamed(A), "malformed"),
        (b'data: {"a":1}\n"x":2}\n', unnamed(A), "malformed"),
        (b'data: {"a":\n1]}\n\n', [], "malformed"),
        (b'data: {"a":1}\n\nkeep calm and carry on\n\n', unnamed(A), None),
        (b'data: {"a":1}\n\n: {"alive":true}\n: ok :]\n: [a]\n\n', unnamed(A), None),
        (b'meta: {"a":1}\nx-list: [1]\n\n', [], None),
    ],
)
def test_the_rest_of_an_event_is_a_loss(
    body: bytes, payloads: list[tuple[str | None, object]], end: str | None
) -> None:
    """A piece of JSON that belongs to nothing; not so words, comments, and fields that SSE does not have."""
    assert read(body)[:2] == (payloads, end)


@pytest.mark.parametrize(
    ("body", "text", "status"),
    [
        (b"event: error\ndata: Rate limit reached\n\n", "Rate limit reached", None),
        (b"event: error\ndata: two\ndata: lines\n\n", "two\nlines", None),
        (b"event: error\n:HTTP_STATUS/429\ndata: busy\n\n", "busy", 429),
        (b":HTTP_STATUS/503\nevent:error\ndata:[oops] busy\n\n", "[oops] busy", 503),
        (b"event: error\ndata: no blank line\n", "no blank line", None),
        (b"event: error\ndata: \xff\n\n", "\ufffd", None),
    ],
)
@pytest.mark.parametrize("mode", ["safe", "off"])
def test_plain_text_of_an_error_event(mode: RepairMode, body: bytes, text: str, status: int | None) -> None:
    """It is a payload, and says that it is no JSON."""
    reader = Reader(mode)
    (payload,) = [*reader.feed(body), *reader.finish()]
    assert (payload.event, payload.value, payload.is_plain_text, payload.http_status) == ("error", text, True, status)
    assert reader.fault is None


@pytest.mark.parametrize(
    "body", [b'event: error\ndata: {"a":\n\n', b"event: error\ndata: cut", b"data: Rate limit\n\n"]
)
def test_what_may_be_cut_is_no_text(body: bytes) -> None:
    """Nor is a text of another event."""
    assert read(body).payloads == []
    assert read(body).end in ("malformed", "unfinished")


@pytest.mark.parametrize(
    ("body", "value", "event"),
    [
        (b'data: {"id":"c","choi\ndata: {"error":{"code":5}}\n\n', {"error": {"code": 5}}, None),
        (b'data: {"a":[1,\ndata: {"error":1}\n\n', {"error": 1}, None),
        (b'data: {"id":"c","choidata: {"error":1}\n\n', {"error": 1}, None),
        (b'data: {"id":"c","choi\nerror: {"code":5}\n', {"error": {"code": 5}}, None),
        (b'data: {"id":"c","choi\n{"error":1}\n', {"error": 1}, None),
        (b'data: {"id":"c","choi\nevent: error\ndata: {"code":5}\n\n', {"code": 5}, "error"),
        (b'data: {"id":"c","choi\nevent: error\ndata: busy\n\n', "busy", "error"),
        (b'data: {"id":"c","choi\nevent: error\ndata: {"code":5}', {"code": 5}, "error"),
        (b'data: {"id":"c","choi\n\ndata: {"error":{"code":5}}\n\n', {"error": {"code": 5}}, None),
        (b'data: {"id":"c","choi\n\n\n: ping\n\ndata: {"error":1}', {"error": 1}, None),
        (b'data: {"id":[1,\n\nevent: error\ndata: {"code":5}\n\n', {"code": 5}, "error"),
        (b'data: {"id":"c","choi\n\nevent: error\ndata: busy\n\n', "busy", "error"),
        (b'data: {"id":"c","choi\n\nerror: {"code":5}\n', {"error": {"code": 5}}, None),
        (b'data: {"id":"c","choi\n\n{"error":1}\n', {"error": 1}, None),
        (b'data: {"id":"c","choi\n\ndata: {"error":1}{"a":2}\ndata: {"b":3}\n\n', {"error": 1}, None),
    ],
)
def test_what_was_written_over_an_unfinished_event_is_kept(body: bytes, value: object, event: str | None) -> None:
    """It goes with the fault, which is that of the unfinished event."""
    reader = Reader()
    assert [*reader.feed(body), *reader.finish()] == []
    assert reader.fault is not None
    assert (reader.fault.kind, reader.fault.offset) == ("malformed", 0)
    assert reader.fault.payload is not None
    assert (reader.fault.payload.value, reader.fault.payload.event) == (value, event)


@pytest.mark.parametrize(
    "behind",
    [
        b"\n",
        b'\ndata: {"b":2}\ndata: {"c":3}\n\n',
        b"\ndata: [DONE]\n\n",
        b'\ndata: {"b":"y\n\n',
        b"\ndata: no JSON\n\n",
        b'\nc"}]}\n\n',
        b"event: error\n\n",
        b'event: error\n\ndata: {"b":2}\n\n',
    ],
)
def test_an_unfinished_event_ends_the_reading_whatever_comes_behind_it(behind: bytes) -> None:
    """What was whole before it has been handed out, and nothing that came after it is."""
    for cut in range(len(behind) + 1):
        reader = Reader()
        payloads = reader.feed(b'data: {"a":1}\n\ndata: {"a":"x\n' + behind[:cut]) + reader.feed(behind[cut:])
        payloads += reader.finish()
        assert [payload.value for payload in payloads] == [A]
        assert reader.fault is not None
        assert (reader.fault.kind, reader.done) == ("malformed", False)


@pytest.mark.parametrize("body", [b"null", b"12\n", b'"text"\n\n', b"[]", b'[{"a":1}]\n', b'[\n{"a":1}\n]', b"true"])
def test_a_body_that_is_one_json_value_is_kept(body: bytes) -> None:
    """It is no stream, and what it is goes with the fault."""
    reader = Reader()
    assert [*reader.feed(body), *reader.finish()] == []
    assert reader.fault is not None
    assert reader.fault.kind == "not_a_stream"
    assert reader.fault.payload is not None
    assert reader.fault.payload.outside_field
    assert reader.fault.payload.value == json.loads(body)


@pytest.mark.parametrize("size", [1, 18, 1000])
def test_a_status_in_a_comment_is_that_of_its_event_however_it_is_read(size: int) -> None:
    """Also where a read ends behind the comment; and it is not the status of the next event."""
    events = [
        b':HTTP_STATUS/429\ndata: {"a":1}\n\n',
        b':HTTP_STATUS/500\n\ndata: {"a":1}\n\n',
        b"id: 1\ndata: {}\n\n",
    ]
    body, reader = b"".join(events), Reader()
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    payloads = [payload for piece in pieces for payload in reader.feed(piece)]
    assert [payload.http_status for payload in payloads] == [429, None, None]

"""A fault strikes exactly where it is said to, wherever the reads fall."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from openai_stream_guard.testing import AnswerVariant, build_answer
from openai_stream_guard.testing.faults.points import BlockFinder, Point, PointFinder, is_event, is_tool_call

SIZES = (1, 2, 3, 5, 100, 10_000)
BODIES = {
    name: b"".join(b"data: %d%b%b" % (number, end, end) for number in range(3))
    for name, end in (("lf", b"\n"), ("crlf", b"\r\n"), ("cr", b"\r"))
}


def before(point: Point, body: bytes, size: int) -> bytes:
    """What comes before a point, for a reader who reads so many bytes at a time."""
    gauge, through, rest = PointFinder(point), b"", b""
    for start in range(0, len(body), size):
        passed, behind = gauge.divide(body[start : start + size])
        through, rest = through + passed, rest + behind
        assert not behind or gauge.reached
    assert through + rest == body, "no byte is lost"
    return through


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("events", [0, 1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_so_many_events_pass_whole(body: bytes, events: int, size: int) -> None:
    """As many as asked for, blank line included, and not one byte of the next."""
    ends = [0, *(found.end() for found in re.finditer(rb"\r\n\r\n|\n\n|\r\r", body))]
    assert before(Point(events), body, size) == body[: ends[events]]


@pytest.mark.parametrize("count", [0, 1, 8, 11])
@pytest.mark.parametrize("size", SIZES)
def test_so_many_bytes_pass(count: int, size: int) -> None:
    """Exactly the first bytes of the body."""
    assert before(Point(bytes=count), BODIES["lf"], size) == BODIES["lf"][:count]


@pytest.mark.parametrize("size", SIZES)
def test_a_comment_is_no_event(size: int) -> None:
    """Keep-alives, bare ids and empty blocks pass uncounted."""
    body = b": ping\n\nretry: 5\n\n\n\ndata: 1\n\n: ping\n\ndata: 2\n\n"
    assert before(Point(1), body, size) == body[: body.index(b": ping\n\ndata: 2")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("api", "answer"), [("chat", "tool_calls"), ("responses", "function_call")])
@pytest.mark.parametrize("more", [0, 1, 2])
def test_a_tool_call_is_a_landmark(api: Any, answer: str, size: int, more: int) -> None:
    """The event that brings the first part of a call passes whole; from there it is counted on."""
    frames = build_answer(api, answer, AnswerVariant(1)).encode()
    first = next(place for place, frame in enumerate(frames) if is_tool_call(frame))
    assert first > 0, "something comes before the call"
    body, head = b"".join(frames), b"".join(frames[: first + 1 + more])
    assert before(Point(more, on="tool_call"), body, size) == head
    head = b"".join(frames[: first + 1])
    assert before(Point(bytes=more, on="tool_call"), body, size) == body[: len(head) + more]


def test_an_answer_without_a_call_has_no_such_landmark() -> None:
    """Nothing strikes that is to strike at a call, though the text speaks of one."""
    body = b"".join(build_answer("chat", "text", AnswerVariant(1)).encode()) + b'data: {"choices":"tool_call"}\n\n'
    assert before(Point(on="tool_call"), body, 7) == body


@pytest.mark.parametrize(
    ("payload", "call"),
    [
        ({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}, True),
        ({"choices": [{"delta": {"function_call": {"name": "f"}}}]}, True),
        ({"choices": [{"delta": {"tool_calls": []}}, {"delta": None}, 5]}, False),
        ({"type": "response.output_item.added", "item": {"type": "function_call"}}, True),
        ({"type": "response.function_call_arguments.delta", "delta": "{"}, True),
        ({"type": "response.output_item.added", "item": {"type": "message", "call": 1}}, False),
        (["call"], False),
    ],
)
def test_what_a_tool_call_is(payload: Any, call: bool) -> None:
    """A call's name or arguments in chat and Responses; no text about calls."""
    assert is_tool_call(f"data: {json.dumps(payload)}\n\n".encode()) is call
    assert not is_tool_call(b"data: call {\n\n")


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("size", SIZES)
def test_blocks_are_whole(body: bytes, size: int) -> None:
    """Joined again they are the body, whatever the reads were."""
    blocks = BlockFinder()
    found = [
        block for start in range(0, len(body), size) for _, block in blocks.ends(body[start : start + size])
    ]  # fmt: skip
    assert b"".join(found) == body
    assert len(found) == 3
    assert all(map(is_event, found))

"""The streams that are measured: bytes in memory, as a server would send them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache

PATHS = {
    "chat": "/chat/completions",
    "tool calls": "/chat/completions",
    "Responses": "/responses",
    "big events": "/responses",
}
READS = {"event": None, "1,400 B": 1400, "64 KiB": 65536, "16 B": 16}
"""How many bytes come in a read; None: an event."""

_TEXT = re.compile(rb'"(?:content|arguments|delta)":("(?:[^"\\]|\\.)*")')
_CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "fp"}
_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "in_progress",
    "model": "m",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


@cache
def reads(shape: str, size: int | None, events: int) -> list[bytes]:
    """An answer of so many deltas, as the reads it comes in."""
    frames = list(_SHAPES[shape](events))
    return frames if size is None else in_pieces(b"".join(frames), size)


def in_pieces(body: bytes, size: int) -> list[bytes]:
    """The same bytes, so many a read."""
    return [body[start : start + size] for start in range(0, len(body), size)]


def text_in(frames: Iterable[bytes]) -> int:
    """Bytes of text that the deltas of these events bring."""
    texts = (text for frame in frames for text in _TEXT.findall(frame))
    return sum(len(json.loads(text).encode()) for text in texts)


@cache
def one_big(megabytes: int) -> list[bytes]:
    """A chat stream with one delta of so many MB, in reads of 16 KiB."""
    frames = [_frame({"role": "assistant", "content": "x" * 1_000_000 * megabytes}), _frame({}, "stop"), _DONE]
    return in_pieces(b"".join(frames), 16384)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _frame(delta: object, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return b"data: %b\n\n" % _json({**_CHUNK, "choices": [choice]})


_DONE = b"data: [DONE]\n\n"


def _chat(events: int) -> Iterator[bytes]:
    yield _frame({"role": "assistant", "content": "", "refusal": None})
    for number in range(events):
        yield _frame({"content": f" word{number % 50}"})
    yield from (_frame({}, "stop"), _DONE)


def _tool_calls(events: int) -> Iterator[bytes]:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    yield _frame({"role": "assistant", "content": None, "tool_calls": [call]})
    for number in range(events):
        text = f'{"" if number else "{"}"{number}":{number % 50}{"," if number < events - 1 else "}"}'
        yield _frame({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})
    yield from (_frame({}, "tool_calls"), _DONE)


def _responses(events: int) -> Iterator[bytes]:
    part = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    text = "".join(f" word{number % 50}" for number in range(events))
    said = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    done = {**item, "status": "completed", "content": [said]}
    deltas = [
        {**part, "delta": f" word{number % 50}", "logprobs": [], "obfuscation": "x" * 8} for number in range(events)
    ]
    told = [
        ("response.created", {"response": _RESPONSE}),
        ("response.in_progress", {"response": _RESPONSE}),
        ("response.output_item.added", {"output_index": 0, "item": item}),
        ("response.content_part.added", {**part, "part": {**said, "text": ""}}),
        *(("response.output_text.delta", delta) for delta in deltas),
        ("response.output_text.done", {**part, "text": text, "logprobs": []}),
        ("response.content_part.done", {**part, "part": said}),
        ("response.output_item.done", {"output_index": 0, "item": done}),
        ("response.completed", {"response": {**_RESPONSE, "status": "completed", "output": [done]}}),
    ]
    for number, (kind, members) in enumerate(told):
        value = {"type": kind, "sequence_number": number, **members}
        yield b"event: %b\ndata: %b\n\n" % (kind.encode(), _json(value))


def _big_events(events: int) -> Iterator[bytes]:
    """Responses events that hold the whole response, as those at the beginning and the end of every stream do."""
    answer = {"type": "output_text", "text": "an answer", "annotations": [], "logprobs": []}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    response = {
        **_RESPONSE,
        "error": None,
        "incomplete_details": None,
        "instructions": "be kind",
        "max_output_tokens": None,
        "metadata": {},
        "output": [
            {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "thinking"}]},
            {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [answer]},
            {**call, "status": "completed"},
        ],
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}],
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }
    kinds = ["response.created", *["response.in_progress"] * events, "response.completed"]
    for number, kind in enumerate(kinds):
        status = "completed" if kind == "response.completed" else "in_progress"
        value = {"type": kind, "sequence_number": number, "response": {**response, "status": status}}
        yield b"event: %b\ndata: %b\n\n" % (kind.encode(), _json(value))


_SHAPES: dict[str, Callable[[int], Iterator[bytes]]] = {
    "chat": _chat,
    "tool calls": _tool_calls,
    "Responses": _responses,
    "big events": _big_events,
}

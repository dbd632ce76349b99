"""The law: the short ways that nearly every event takes are a matter of speed alone. Whatever comes, in whatever reads,
the general way behind them gives the same, and gives it in the same read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.engine.attempt import AttemptReader
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.session import Session
from openai_stream_guard.testing import AnswerVariant, build_answer
from tests.support.chunks import called, chunk
from tests.vectors import in_pieces

PATHS = {"chat": "/chat/completions", "completions": "/completions", "responses": "/responses"}
RECORDED = {
    "chat": ("text", "tool_calls", "n2", "reasoning", "refusal", "logprobs", "usage", "function_call"),
    "completions": ("text",),
    "responses": ("text", "function_call", "reasoning", "refusal", "several", "llamacpp"),
}
ODD = (
    None,
    "",
    "a",
    "null",
    "\ud800",
    0,
    1,
    True,
    0.0,
    [],
    {},
    ["x"],
    {"x": "y"},
    "response.output_text",
    "response",
    ...,
)
"""What may stand where something else is expected; `...`: nothing at all."""


def call(**members: object) -> dict[str, Any]:
    """A chunk that goes on with a tool call."""
    return chunk({"tool_calls": [{"index": 0, "function": {"arguments": "a"}, **members}]})


def thought(text: str, **members: object) -> dict[str, Any]:
    """What a delta says as OpenRouter does, in a list whose entries go on by their index."""
    return {"reasoning_details": [{"type": "reasoning.text", "text": text, "index": 0, **members}], "content": ""}


def text(said: str, **members: object) -> dict[str, Any]:
    """A chunk of the legacy API."""
    return {"id": "cmpl-1", "choices": [{"index": 0, "text": said, "finish_reason": None, **members}]}


def delta(**members: object) -> dict[str, Any]:
    """An event of the Responses API that goes on with a text."""
    kind = "response.output_text.delta"
    return {"type": kind, "output_index": 0, "content_index": 0, "delta": "a", "sequence_number": None, **members}


BEGUN: dict[str, list[Any]] = {
    "chat": [
        chunk({"content": "a"}),
        chunk({"content": "a"}, index=1),
        chunk({"reasoning": "a"}),
        called("a"),
        chunk(thought("a")),
        chunk({"role": "assistant"}),
    ],
    "completions": [text("a"), text("a", index=1)],
    "responses": [
        {"type": "response.created", "response": {"id": "resp_1"}, "sequence_number": None},
        delta(),
        delta(summary_index=1),
        delta(output_index=1),
        delta(content_index=1),
        delta(content_index=...),
    ],
}
"""How a stream begins, so that the short way opens."""
PLAIN: dict[str, list[Any]] = {
    "chat": [
        chunk({"content": "b"}),
        chunk({"content": "c"}, index=1),
        chunk({"reasoning": "d"}),
        call(),
        {**chunk({"content": "e"}), "usage": {"completion_tokens": 5}},
        chunk({"role": "assistant", "content": None, "reasoning": "f"}),
        chunk(thought("g")),
        call(id="", type="function"),
    ],
    "completions": [text("b"), text("c", index=1), {**text("d"), "usage": {"completion_tokens": 5}}],
    "responses": [
        delta(),
        delta(summary_index=1),
        delta(output_index=1),
        {**delta(), "type": "response.output_text.done", "text": "a"},
    ],
}


def altered(value: Any) -> Iterator[Any]:
    """The value with one odd thing in each place."""
    yield from (odd for odd in ODD if odd is not ...)
    if isinstance(value, dict):
        for name in value:
            yield from ({**value, name: part} for part in (*altered(value[name]), ...))
        for name in value:
            yield {"more" if known == name else known: part for known, part in value.items()}
        yield from (
            {**value, name: odd} for name in ("error", "object", "more", "summary_index", "usage") for odd in ODD
        )
    elif isinstance(value, list):
        yield from ([*value[:at], part, *value[at + 1 :]] for at in range(len(value)) for part in altered(value[at]))
        yield value * 2


def present(value: Any) -> Any:
    """The value without the members that are `...`."""
    if isinstance(value, dict):
        return {name: present(part) for name, part in value.items() if part is not ...}
    return [present(part) for part in value] if isinstance(value, list) else value


def numbered(values: list[Any]) -> list[Any]:
    """The values, each with the number that is due where it has None."""
    told = []
    for value in values:
        if isinstance(value, dict) and value.get("sequence_number", ...) is None:
            value = {**value, "sequence_number": len(told)}
        told.append(value)
    return told


NUMBERS = st.just(None) | st.just(None) | st.integers(0, 20) | st.integers(0, 20).map(float)
"""None: the number that is due."""
STRANGE = {api: [odd for value in PLAIN[api] for odd in altered(value)] for api in PATHS}
STRANGE["chat"] += [
    chunk({"content": "b", "id": "a name that is news"}),
    chunk(thought("g", signature="so is this")),
    chunk({"function_call": {"arguments": "a"}}),
    call(id="call_1", type="function"),
    call(id="call_2"),
]
STRANGE["completions"] += [text("b", message={"content": "c"}), text("b", delta={"content": "c"}), text("b", delta={})]


def state(value: object) -> object:
    """All that an object of the package holds, and those that it holds."""
    if isinstance(value, dict):
        return {key: state(part) for key, part in value.items()}
    names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
    if not names or not type(value).__module__.startswith("openai_stream_guard."):
        return value
    return {name: state(getattr(value, name)) for name in names}


def seen(api: str, reads: list[bytes], *, short: bool) -> list[object]:
    """What a session hands over in each read, and all that it and its adapter know in the end."""
    session = Session(
        StreamRequest("post", PATHS[api], "host", {"model": "m"}), Policy(), HostMemory(), now=0.0, max_retries=2
    )
    if not short:
        session._attempt.is_straight = False
    told: list[object] = []
    for number, data in enumerate(reads):
        if session.decision is not None:
            break
        out = session.receive(data, number / 10)
        told.append([(payload.event, payload.raw) for payload in out])
        told.append((repr(session.decision), session.deadline))
    if session.decision is None:
        session.end(99.0)
    return [
        *told,
        repr(session.decision),
        repr(state(session.adapter)),
        repr(state(session.transcript)),
        session._attempt.items,
        repr(session.report()),
    ]


def frames(values: list[Any]) -> bytes:
    """The values as a body."""
    return b"".join(b"data: %b\n\n" % json.dumps(value).encode() for value in present(numbered(values)))


def assert_same(api: str, values: list[Any], size: int) -> None:
    """Both ways read a stream of these values alike."""
    reads = in_pieces(frames(BEGUN[api] + values), size)
    assert seen(api, reads, short=True) == seen(api, reads, short=False), values


@pytest.mark.parametrize("api", PATHS)
def test_nothing_odd_passes_by_the_short_way(api: str) -> None:
    """One odd member anywhere in an event, at its first time and when its channel is known, between two plain ones."""
    for odd in STRANGE[api]:
        assert_same(api, [PLAIN[api][0], odd, odd, PLAIN[api][1]], 1 << 20)


@pytest.mark.parametrize("api", PATHS)
@settings(deadline=None, max_examples=200)
@given(data=st.data(), size=st.sampled_from([1, 60, 200, 5000]))
def test_any_mixture_is_read_the_same_by_both_ways(api: str, data: st.DataObject, size: int) -> None:
    """However many in a read: payloads, transcript, adapter, deadline, decision and report agree."""
    one = st.sampled_from(PLAIN[api]) | st.sampled_from(PLAIN[api]) | st.sampled_from(STRANGE[api])
    values = data.draw(st.lists(one, max_size=12))
    if api == "responses":
        values = [{**it, "sequence_number": data.draw(NUMBERS)} if isinstance(it, dict) else it for it in values]
    assert_same(api, values, size)


def test_a_delta_behind_messages_is_noted() -> None:
    """Text came in a `message` first: from the first `delta` on, a message is a summary."""

    def said(**members: object) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "choices": [{"index": 0, "finish_reason": None, **members}]}

    more, whole = said(delta={"content": "b", "role": None}), said(message={"content": "abb"})
    reads = [frames([value]) for value in (said(message={"content": "a"}), more, more, whole, more)]
    assert seen("chat", reads, short=True) == seen("chat", reads, short=False)


@pytest.mark.parametrize("size", [7, 300, 1 << 20])
@pytest.mark.parametrize(("api", "answer"), [(api, answer) for api in PATHS for answer in RECORDED[api]])
def test_recorded_answers_are_read_the_same_by_both_ways(api: Any, answer: str, size: int) -> None:
    """Real streams of every kind, in reads of several sizes."""
    body = b"".join(build_answer(api, answer, AnswerVariant(1)).encode())
    reads = in_pieces(body, size)
    assert seen(api, reads, short=True) == seen(api, reads, short=False)


@pytest.mark.parametrize(
    ("api", "answer"),
    [
        *(("chat", answer) for answer in ("text", "tool_calls", "reasoning", "logprobs")),
        ("completions", "text"),
        ("responses", "text"),
    ],
)
def test_the_short_way_is_taken(api: Any, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a recorded answer most events never see the general way: else these tests would compare it with itself."""
    body = b"".join(build_answer(api, answer, AnswerVariant(1)).encode())
    general: list[object] = []
    take_one = AttemptReader._take_one

    def counted(self: AttemptReader, payload: Any) -> Any:
        general.append(payload)
        return take_one(self, payload)

    monkeypatch.setattr(AttemptReader, "_take_one", counted)
    handed = [told for told in seen(api, in_pieces(body, 300), short=True) if isinstance(told, list)]
    assert 0 < len(general) < sum(map(len, handed)) / 2

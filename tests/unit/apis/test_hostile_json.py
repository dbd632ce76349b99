"""The law: whatever JSON a server sends, reading it is a verdict, holding it against what was delivered is a payload,
nothing or a divergence, and neither is any other exception.
"""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openai_stream_guard.apis.adapter import DataEvent, FaultEvent, KeepAlive
from openai_stream_guard.apis.chat import ChatAdapter
from openai_stream_guard.apis.request import EndRule, StreamRequest
from openai_stream_guard.apis.second_answer import Diverged, ReplayChecker
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.decoding.payload import Payload
from tests.support.any_json import any_json, nested
from tests.support.chunks import TEXT, chat, payload, transcript_of

scalars = st.integers() | st.floats() | st.sampled_from(["", "a", "stop", "error", "ping", "\ud83d"])
NAMES = (
    "id", "created", "choices", "index", "delta", "content", "tool_calls", "function", "function_call", "name", "role",
    "arguments", "text", "finish_reason", "error", "type", "object", "message", "logprobs", "tokens", "token", "bytes",
    "audio",
)  # fmt: skip
names = st.sampled_from(NAMES)
anything = any_json(*NAMES, scalars=scalars)
objects = st.dictionaries(names, anything, max_size=4)
choices = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 1) | anything,
        "delta": objects | anything,
        "text": anything,
        "finish_reason": st.sampled_from([None, "stop"]) | anything,
        "logprobs": objects | anything,
        "message": anything,
    },
)
hostile = (
    anything
    | objects
    | st.fixed_dictionaries(
        {"choices": st.lists(choices | anything, min_size=1, max_size=3)}, optional={"id": anything}
    )
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(hostile, max_size=4),
    st.sampled_from([None, "error", "ping", "x"]),
    st.sampled_from(["/chat/completions", "/completions"]),
)
@example(
    [
        {
            "choices": [
                {"delta": {"text": "a", "tool_calls": [{"index": 0}, {"a": 1}], "content": [{"index": 0, "x": "y"}]}}
            ]
        }
    ],
    None,
    "/completions",
)
@example(
    [
        {"choices": [{"delta": {"logprobs": [{"token": "a"}]}}]},
        {"choices": [{"delta": {"logprobs": {"tokens": [{"token": "b"}]}}}]},
    ],
    None,
    "/chat/completions",
)
def test_any_json_is_read_without_an_exception(values: list[object], event: str | None, path: str) -> None:
    """A reading for every value; a repetition of what was read is nothing new; a first trim tells the same pieces."""
    asked = StreamRequest("post", path, "host", {})
    adapter, again = ChatAdapter(asked), ChatAdapter(asked)
    transcript, items, fresh = Transcript(), [], ReplayChecker(Transcript())
    for value in values:
        reading = adapter.read(payload(value, event))
        assert isinstance(reading, DataEvent | KeepAlive | FaultEvent)
        again.read(payload(value, event))  # what a `message` is, a trim takes from the reading
        if isinstance(reading, DataEvent):
            again.trim_repeated(payload(value, event), fresh)
            assert fresh.news().text_deltas == list(reading.text_deltas)
            transcript.add(reading.text_deltas, reading.identities, reading.kind)
            items.append(value)
        assert adapter.tool_call_open in (True, False)
    for rule in get_args(EndRule):
        assert adapter.is_complete(rule, done=True) in (True, False)
    assert isinstance(adapter.partial_text(transcript), str)
    json.dumps(adapter.partial(transcript))
    replay, again = ReplayChecker(transcript), ChatAdapter(asked)
    try:
        for value in items:
            again.read(payload(value, event))
            again.trim_repeated(payload(value, event), replay)
            assert replay.news().text_deltas == []
    except Diverged:
        assert "logprobs" in repr(items), "only tokens that do not make up their text may stop a repetition"
    else:
        assert replay.caught_up


@settings(deadline=None, max_examples=80)
@given(st.lists(hostile, max_size=3), st.lists(hostile, max_size=3))
def test_any_two_answers_are_held_together_or_diverge(first: list[object], second: list[object]) -> None:
    """A trimmed payload, nothing, or `Diverged`: no third way out."""
    transcript, adapter = Transcript(), chat()
    for value in first:
        reading = adapter.read(payload(value))
        if isinstance(reading, DataEvent):
            transcript.add(reading.text_deltas, reading.identities, reading.kind)
    replay = ReplayChecker(transcript)
    for value in second:
        if isinstance(adapter.read(payload(value)), DataEvent):
            try:
                trimmed = adapter.trim_repeated(payload(value), replay)
            except Diverged:
                break
            assert trimmed is None or json.loads(trimmed.raw) == trimmed.value or "NaN" in trimmed.data


@pytest.mark.parametrize("name", ["content", "tool_calls", "function_call", "x"])
def test_nesting_that_cannot_be_followed_is_malformed(name: str) -> None:
    """Deeper than Python calls functions: a fault, not an exception, in an object as in a list."""
    for deep in (nested(100_000), [nested(100_000)]):
        value = {"choices": [{"index": 0, "delta": {name: deep}}]}
        reading = chat().read(Payload(None, b"", value, None, None))
        assert isinstance(reading, FaultEvent)
        assert reading.fault == "malformed"


@pytest.mark.parametrize("place", ["finish_reason", "text", "delta", "index"])
def test_nesting_where_nothing_is_read_does_not_matter(place: str) -> None:
    """What is no text is not followed."""
    value = {"id": nested(100_000), "choices": [{place: [nested(100_000)]}]}
    assert isinstance(chat().read(Payload(None, b"", value, None, None)), DataEvent)


def test_nesting_that_cannot_be_written_anew_diverges() -> None:
    """A repetition that would have to be changed, and cannot be, is not joined."""
    replay = ReplayChecker(transcript_of(TEXT))
    value = {"choices": [{"index": 0, "delta": {"content": "ab"}}], "x": nested(100_000)}
    with pytest.raises(Diverged):
        chat().trim_repeated(Payload(None, b"", value, None, None), replay)

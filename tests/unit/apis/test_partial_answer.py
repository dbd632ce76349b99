"""The law: the partial answer is the transcript in the shape of an answer without streaming, and nothing besides."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_stream_guard.apis.adapter import DataEvent
from openai_stream_guard.apis.chat import ChatAdapter
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.transcript import Transcript
from tests.support.chunks import FINISH, SECOND, TEXT, called, chat, chunk, payload, transcript_of
from tests.support.simulated import ANSWERS, answer_variant


def partial(*values: object) -> Any:
    """The partial answer of a chat of which these payloads were delivered."""
    return chat(model="m").partial(transcript_of(*values))


@pytest.mark.parametrize("name", ANSWERS)
def test_of_a_whole_stream_it_is_the_answer_without_streaming(name: str) -> None:
    """Message by message, with the finish_reason of each; log probabilities are not kept."""
    answer = answer_variant(name, 0)
    values = [json.loads(frame.data) for frame in answer.frames[:-1]]
    built = partial(*values)
    assert (built["id"], built["created"], built["object"]) == (
        values[0]["id"],
        values[0]["created"],
        "chat.completion",
    )
    for choice, plain in zip(built["choices"], answer.plain["choices"], strict=True):
        assert (choice["index"], choice["finish_reason"]) == (plain["index"], plain["finish_reason"])
        expected = {key: part for key, part in plain["message"].items() if part is not None}
        assert {key: part for key, part in choice["message"].items() if part is not None} == expected


def test_of_nothing_it_has_no_choices() -> None:
    """Nothing delivered is an answer too, and what is unknown is said to be so."""
    nothing = {"id": "", "object": "chat.completion", "created": 0, "model": "", "choices": []}
    assert chat().partial(Transcript()) == nothing
    assert chat().partial_text(Transcript()) == ""


def test_half_a_tool_call_is_half_a_tool_call() -> None:
    """Several calls, each with the arguments that came; the finish_reason that did not come is null."""
    second = chunk({"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "g", "arguments": "[1"}}]})
    built = partial(chunk({"role": "assistant", "content": None}), called('{"city":'), second)
    function = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"city":'}}
    other = {"index": 1, "id": "call_2", "function": {"name": "g", "arguments": "[1"}}
    message = {"role": "assistant", "content": None, "tool_calls": [function, other]}
    assert built["choices"] == [{"index": 0, "finish_reason": None, "message": message}]
    assert built["model"] == "m"


def test_choices_stand_in_order() -> None:
    """Whichever came first; the text is the first choice's."""
    built = partial(SECOND, TEXT, chunk({}, "length", index=1))
    assert [choice["message"]["content"] for choice in built["choices"]] == ["a", "b"]
    assert [choice["finish_reason"] for choice in built["choices"]] == [None, "length"]
    assert chat().partial_text(transcript_of(SECOND, TEXT)) == "a"
    assert chat().partial_text(transcript_of(SECOND)) == "b"


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([chunk({}, "tool_calls"), TEXT, FINISH], "stop"),
        ([FINISH, TEXT, FINISH], "stop"),
        ([FINISH, FINISH], "stop"),
        ([FINISH, TEXT], None),
    ],
)
def test_of_several_reasons_to_finish_the_last_stands(chunks: list[Any], reason: str | None) -> None:
    """And none that text behind it has taken back."""
    adapter, transcript = chat(), Transcript()
    for value in chunks:
        item = adapter.read(payload(value))
        assert isinstance(item, DataEvent)
        transcript.add(item.text_deltas, item.identities, item.kind)
    (choice,) = adapter.partial(transcript)["choices"]
    assert choice["finish_reason"] == reason


def test_entries_without_index_are_a_list_again() -> None:
    """Annotations, or content in parts, as they came; entries with and without index may share a list."""
    one, two = {"type": "url_citation", "url": "https://a"}, {"type": "url_citation", "url": "https://b"}
    parts = [{"type": "text", "text": "Bl"}]
    built = partial(chunk({"annotations": [one], "content": parts}), chunk({"annotations": [two, "x", 5, None]}))
    assert built["choices"][0]["message"]["annotations"] == [one, two, "x", 5, None]
    assert built["choices"][0]["message"]["content"] == parts
    mixed = partial(chunk({"list": [5]}), chunk({"list": [{"index": 0, "text": "a"}, "x"]}))
    assert mixed["choices"][0]["message"]["list"] == [5, "x", {"index": 0, "text": "a"}]


def test_legacy_completions_have_a_text() -> None:
    """And where a server sends deltas there, a message beside it."""
    adapter = ChatAdapter(StreamRequest("post", "/completions", "host", {"model": "m"}))
    transcript = transcript_of(
        {"id": "cmpl-1", "choices": [{"text": "Blue"}]}, {"choices": [{"text": " trams", "finish_reason": "stop"}]}
    )
    choices = [{"index": 0, "text": "Blue trams", "finish_reason": "stop"}]
    assert adapter.partial(transcript) == {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 0,
        "model": "m",
        "choices": choices,
    }
    assert adapter.partial_text(transcript) == "Blue trams"
    odd: Any = adapter.partial(transcript_of(TEXT))
    assert odd["choices"] == [
        {"index": 0, "text": "", "finish_reason": None, "message": {"role": "assistant", "content": "a"}}
    ]


def test_a_member_of_two_shapes_keeps_one() -> None:
    """A server that sends a text where an object was, or the other way round, breaks nothing."""
    for values in (
        ({"x": "a"}, {"x": {"y": "b"}}),
        ({"x": {"y": "b"}}, {"x": "a"}),
        ({"x": {"y": "b"}}, {"x": [{"index": 0, "z": "c"}]}),
    ):
        built = partial(*map(chunk, values))
        assert built["choices"][0]["message"]["x"]
        json.dumps(built)
    assert partial(chunk({"content": {"y": "b"}}))["choices"][0]["message"]["content"] == {"y": "b"}

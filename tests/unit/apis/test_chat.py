"""The laws: the end rules of the API table; every text is a channel of its own; errors, pings and bodies that are no
stream are told from payloads, whatever their shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.apis.adapter import DataEvent, FaultEvent, KeepAlive
from openai_stream_guard.apis.chat import ChatAdapter
from openai_stream_guard.apis.request import EndRule, StreamRequest
from openai_stream_guard.apis.second_answer import Diverged
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.decoding.payload import IrregularPayload
from tests.support.chunks import (
    FILTER,
    FINISH,
    SECOND,
    SECOND_FINISH,
    TEXT,
    called,
    chat,
    chunk,
    payload,
    read,
    transcript_of,
    trim,
)

RULES: tuple[EndRule, ...] = get_args(EndRule)
WHOLE_CALL, OPEN_CALL, BARE_CALL = '{"city":"東京"}', '{"city":', ""
ALL, LAX, LEARNT = " ".join(RULES), "auto lenient", "learnt auto lenient"
MESSAGE_CHUNK = {"id": "chatcmpl-1", "choices": [{"index": 0, "message": {"content": "a"}}]}
REST_OF_CALL = chunk({"tool_calls": [{"function": {"arguments": "5}"}}]})
CUSTOM = chunk({"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls {"}}]})
LEGACY = chunk({"function_call": {"name": "f", "arguments": "{"}})

# What came, n, and the rules by which that is whole: with `[DONE]`, and without.
ENDS: dict[str, tuple[Sequence[object], int, str, str]] = {
    "nothing": ([], 1, "", ""),
    "only a ping": ([None, {"type": "ping"}], 1, "", ""),
    "only empty choices": ([FILTER], 1, "", ""),
    "choices that are null": ([{"id": "x", "choices": None}], 1, "", ""),
    "only a role": ([chunk({"role": "assistant", "content": ""})], 1, LAX, ""),
    "text": ([TEXT], 1, LAX, ""),
    "text, finish": ([TEXT, FINISH], 1, ALL, ALL),
    "finish, usage": ([FINISH, {"choices": [], "usage": {}}], 1, ALL, ALL),
    "an empty finish": ([chunk({"content": "a"}, "")], 1, LAX, ""),
    "an unfinished one spelled out": ([chunk({"content": "a"}, "null")], 1, LAX, ""),
    "a finish that is no text": ([chunk({"content": "a"}, True)], 1, LAX, ""),
    "the model's own length": ([chunk({}, "length")], 1, ALL, ALL),
    "one of two finished": ([TEXT, SECOND, FINISH], 2, LAX, ""),
    "two of two finished": ([TEXT, SECOND, FINISH, SECOND_FINISH], 2, ALL, ALL),
    "n ignored, or the second never came": ([TEXT, FINISH], 2, "learnt auto lenient", "lenient"),
    "n ignored, no finish": ([TEXT], 2, LAX, ""),
    "more than n, the last open": ([TEXT, FINISH, SECOND], 1, LAX, ""),
    "text behind the finish": ([TEXT, FINISH, TEXT], 1, LAX, ""),
    "text behind the finish, and another": ([TEXT, FINISH, TEXT, FINISH], 1, ALL, ALL),
    "a role or nothing behind the finish": ([TEXT, FINISH, chunk({"role": "assistant", "content": ""})], 1, ALL, ALL),
    "annotations behind the finish": ([TEXT, FINISH, chunk({"annotations": [{"url": "u"}]})], 1, ALL, ALL),
    "a finish with each text": ([chunk({"content": "a"}, "stop")] * 2, 1, ALL, ""),
    "a finish with each text but the last": ([*[chunk({"content": "a"}, "stop")] * 2, TEXT], 1, LEARNT, ""),
    "another index than that of the text": ([SECOND, FINISH], 1, ALL, ALL),
    "n finishes under one index": ([TEXT, SECOND, FINISH, FINISH], 2, ALL, ""),
    "n finishes under one index, one taken back": ([TEXT, FINISH, SECOND, TEXT, FINISH], 2, LAX, ""),
    "a message in place of a delta": ([MESSAGE_CHUNK], 1, LAX, ""),
    "a message in place of a delta, finish": ([MESSAGE_CHUNK, FINISH], 1, ALL, ALL),
    "a message behind the finish": ([TEXT, FINISH, MESSAGE_CHUNK], 1, ALL, ALL),
    "an open call, whole arguments": ([called(WHOLE_CALL)], 1, LAX, ""),
    "an open call, half of its arguments": ([called(OPEN_CALL)], 1, "", ""),
    "an open call, its arguments empty": ([called(BARE_CALL)], 1, LAX, ""),
    "an open call, no arguments": ([called(None)], 1, LAX, ""),
    "an open call, its arguments an object": ([called({"city": "東京"})], 1, LAX, ""),
    "an open call without index": ([called(WHOLE_CALL, place=None)], 1, LAX, ""),
    "an open call without index, half of its arguments": ([called(OPEN_CALL, place=None)], 1, "", ""),
    "an open call without index, in two parts": ([called(OPEN_CALL, place=None), REST_OF_CALL], 1, LAX, ""),
    "an open call, nested beyond reading": ([called("[" * 100_000)], 1, "", ""),
    "a finished call, half of its arguments": ([called(OPEN_CALL), chunk({}, "tool_calls")], 1, ALL, ALL),
    "a finished choice and an open call": ([called(OPEN_CALL, index=1), FINISH], 2, "", ""),
    "an open call finished, the other open": ([called(OPEN_CALL), FINISH, SECOND], 2, LAX, ""),
    "an open custom call, which is free text": ([CUSTOM], 1, LAX, ""),
    "an open function_call": ([LEGACY], 1, "", ""),
}  # fmt: skip


@pytest.mark.parametrize("done", [True, False], ids=["DONE", "EOF"])
@pytest.mark.parametrize("name", ENDS)
def test_the_end_rules(name: str, done: bool) -> None:
    """Every rule, on every kind of end, with and without `[DONE]`."""
    values, n, with_done, without = ENDS[name]
    adapter = chat(n=n)
    read(adapter, *values)
    assert [rule for rule in RULES if adapter.is_complete(rule, done=done)] == (with_done if done else without).split()


def test_several_prompts_are_several_answers() -> None:
    """`/completions` answers each prompt n times, and one of them is not all."""
    adapter = ChatAdapter(StreamRequest("post", "/completions", "host", {"prompt": ["a", "b"]}))
    read(adapter, {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]})
    assert not adapter.answer_complete
    assert not adapter.is_complete("strict", done=True)
    read(adapter, {"choices": [{"index": 1, "text": "b", "finish_reason": "stop"}]})
    assert adapter.answer_complete


chunks = st.lists(
    st.builds(
        lambda index, finish, text: chunk({"content": text}, finish, index),
        st.integers(0, 2),
        st.sampled_from([None, None, "stop"]),
        st.sampled_from(["", "a"]),
    )
)


@given(chunks, st.integers(1, 3), st.booleans())
def test_a_stricter_rule_accepts_nothing_that_a_laxer_one_refuses(values: list[object], n: int, done: bool) -> None:
    """strict ⊂ learnt ⊂ auto ⊂ lenient; what is settled is whole by all; a `[DONE]` never makes an end worse."""
    adapter = chat(n=n)
    read(adapter, *values)
    verdicts = [adapter.is_complete(rule, done=done) for rule in RULES]
    assert verdicts == sorted(verdicts)
    assert not adapter.answer_complete or all(verdicts)
    assert all(adapter.is_complete(rule, done=True) for rule in RULES if adapter.is_complete(rule, done=False))


def test_settled_is_taken_back_when_another_choice_begins() -> None:
    """A server may send more choices than were asked for."""
    adapter = chat()
    read(adapter, FINISH)
    assert adapter.answer_complete
    assert adapter.finishes
    assert not adapter.went_on
    read(adapter, SECOND)
    assert not adapter.answer_complete
    assert adapter.went_on
    read(adapter, SECOND_FINISH)
    assert adapter.answer_complete


def test_a_tool_call_is_held_from_its_first_delta_to_the_end() -> None:
    """Text is not. A finish hands nothing over, since it can be taken back."""
    adapter = chat(n=2)
    held = []
    for value in (TEXT, called(""), SECOND, SECOND_FINISH, FINISH, LEGACY):
        read(adapter, value)
        held.append(adapter.tool_call_open)
    assert held == [False, True, True, True, True, True]
    assert chat().tool_call_open is False
    legacy = chat()
    read(legacy, LEGACY)
    assert legacy.tool_call_open


MESSAGE = {"message": "The server had an error", "type": "server_error", "code": 500}
ERRORS: list[tuple[object, str | None, object]] = [
    ({"error": MESSAGE}, None, MESSAGE),
    ({"error": MESSAGE}, "error", MESSAGE),
    ({"error": MESSAGE} | TEXT, None, MESSAGE),
    ({"error": {"error": MESSAGE}}, None, {"error": MESSAGE}),
    ({"error": "overloaded"}, None, "overloaded"),
    ({"error": [MESSAGE]}, None, [MESSAGE]),
    ({"error": 503}, None, 503),
    ({"error": True}, None, True),
    (MESSAGE, "error", MESSAGE),
    ({}, "error", {}),
    ({"choices": []} | MESSAGE, "error", {"choices": []} | MESSAGE),
    ({"type": "error", "message": "m"}, None, {"type": "error", "message": "m"}),
    ({"object": "error", "message": "m", "code": 40303}, None, {"object": "error", "message": "m", "code": 40303}),
    ("overloaded", "error", "overloaded"),
    ([MESSAGE], "error", [MESSAGE]),
    (None, "error", None),
]


@pytest.mark.parametrize(("value", "event", "body"), ERRORS)
def test_errors_in_all_shapes(value: object, event: str | None, body: object) -> None:
    """Nested, flat, named by the event or the object, of any JSON type: the body is handed on as it is."""
    reading = chat().read(payload(value, event))
    assert isinstance(reading, FaultEvent)
    assert (reading.fault, reading.body) == ("upstream_error", body)


@pytest.mark.parametrize("error", [None, "", {}, [], 0, False])
def test_an_empty_error_is_none(error: object) -> None:
    """Servers that write every field of their model send `"error": null` with each chunk."""
    assert isinstance(chat().read(payload({"error": error} | TEXT)), DataEvent)
    assert isinstance(chat().read(payload({"type": "error"})), DataEvent), (
        "an error without a word is not taken for one"
    )


@pytest.mark.parametrize(
    ("value", "event"),
    [
        (None, None),
        (None, "ping"),
        ({"type": "ping"}, None),
        ({"type": "keepalive"}, None),
        ({"type": "Keep-Alive", "time": 5}, None),
        ({}, "ping"),
        ({"time": "12:00"}, "heartbeat"),
        ({"time": "12:00"}, "heart_beat"),
        ("2026-01-01", "ping"),
        (5, "keep-alive"),
    ],
)
def test_pings_are_no_items(value: object, event: str | None) -> None:
    """A keep-alive dressed as an event is told from a payload, and is no progress."""
    adapter = chat()
    assert isinstance(adapter.read(payload(value, event)), KeepAlive)
    assert not adapter.is_complete("lenient", done=True)


@pytest.mark.parametrize(
    ("value", "event"),
    [
        ({"choices": [], "usage": {"total_tokens": 3}}, None),
        ({"choices": [], "type": "ping"}, "ping"),
        (TEXT, "ping"),
        ({"type": "pinging"}, None),
        ({"type": ["ping"]}, None),
        ({"anything": 1}, "thread.created"),
        ({}, None),
        ("text", None),
        (5, "message"),
        ([], None),
    ],
)
def test_what_is_unknown_is_passed_on(value: object, event: str | None) -> None:
    """A foreign event is the consumer's to judge: it is an item, with nothing to repeat."""
    reading = chat().read(payload(value, event))
    assert isinstance(reading, DataEvent)


@pytest.mark.parametrize("delta", [{}, {"delta": None}])
def test_a_whole_answer_is_no_stream(delta: dict[str, object]) -> None:
    """A server that ignores `stream: true` sends a message where deltas were to come."""
    body = {
        "id": "chatcmpl-1",
        "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"} | delta],
    }
    page = IrregularPayload(None, b"{}", body, None, None, outside_field=True)
    reading = chat().read(page)
    assert isinstance(reading, FaultEvent)
    assert reading.fault == "not_a_stream"
    assert isinstance(chat().read(payload(body)), DataEvent), "in an event it is text in an odd place"


def deltas(*given: object) -> list[tuple[object, str]]:
    """The pieces of chunks with these deltas."""
    adapter = chat()
    items = read(adapter, *(chunk(delta) for delta in given))
    assert all(isinstance(item, DataEvent) for item in items)
    return [piece for item in items if isinstance(item, DataEvent) for piece in item.text_deltas]


@pytest.mark.parametrize("name", ["content", "refusal", "reasoning_content", "reasoning", "thinking", "whatever_comes"])
def test_every_text_in_a_delta_is_a_channel(name: str) -> None:
    """Fields that servers add are guarded like `content`; empty and missing texts are none."""
    assert deltas({name: "a"}, {name: ""}, {name: None}, {name: "b"}) == [((0, name), "a"), ((0, name), "b")]


def test_audio_is_text_too() -> None:
    """Its transcript and its base64 data grow; its id names it, and its expiry is a number."""
    assert deltas({"audio": {"id": "audio_1", "transcript": "Bl"}}, {"audio": {"data": "UklG", "expires_at": 5}}) == [
        ((0, "audio", "transcript"), "Bl"),
        ((0, "audio", "data"), "UklG"),
    ]


def test_tool_calls_are_told_apart_by_index() -> None:
    """Names and arguments of each call are channels; ids and types name it."""
    adapter = chat()
    calls = [
        {"index": i, "id": f"call_{i}", "type": "function", "function": {"name": f"f{i}", "arguments": "{"}}
        for i in (0, 1)
    ]
    (item,) = read(adapter, chunk({"role": "assistant", "tool_calls": calls}))
    assert isinstance(item, DataEvent)
    place = (0, "tool_calls")
    assert item.text_deltas == [
        ((*place, 0, "function", "name"), "f0"),
        ((*place, 0, "function", "arguments"), "{"),
        ((*place, 1, "function", "name"), "f1"),
        ((*place, 1, "function", "arguments"), "{"),
    ]
    assert item.identities == [
        (("id",), "chatcmpl-1"),
        (("created",), 5),
        ((0, "role"), "assistant"),
        ((*place, 0, "id"), "call_0"),
        ((*place, 0, "type"), "function"),
        ((*place, 1, "id"), "call_1"),
        ((*place, 1, "type"), "function"),
    ]


def test_odd_choices_are_read_as_far_as_they_go() -> None:
    """A missing index is 0, what is no choice has no text, and a text that is no string is none."""
    odd = [None, 5, [], "x", {"delta": {"content": "a"}}, {"index": "1", "delta": {"content": "b"}}]
    odd += [{"index": True, "text": "c"}, {"index": 1, "text": ["d"]}, {"delta": []}, {"delta": {"content": ["e"]}}]
    (item,) = read(chat(), {"id": 7, "choices": odd})
    assert isinstance(item, DataEvent)
    assert [text for _, text in item.text_deltas] == ["a", "b", "c", '"e"\n']
    assert {key[0] for key, _ in item.text_deltas} == {0}
    assert item.identities == []


def test_the_first_id_that_says_anything_is_the_answers() -> None:
    """Azure's first chunk carries an empty one; one on a chunk without choices was seen by the consumer too."""
    adapter = chat()
    first, second = read(adapter, FILTER, TEXT)
    assert isinstance(first, DataEvent)
    assert isinstance(second, DataEvent)
    assert (first.identities, adapter.response_id) == ([], "chatcmpl-1")
    read(adapter, TEXT | {"id": "chatcmpl-2"}, FILTER | {"id": "chatcmpl-3"})
    assert adapter.response_id == "chatcmpl-1"
    early = chat()
    (item,) = read(early, FILTER | {"id": "chatcmpl-0"})
    assert isinstance(item, DataEvent)
    assert item.identities == [(("id",), "chatcmpl-0"), (("created",), None)]


def test_a_stored_answer_is_not_repeated() -> None:
    """The API would store it twice, under two ids."""
    assert chat(store=False).may_replay(Transcript())
    assert chat().may_replay(Transcript())
    assert not chat(store=True).may_replay(Transcript())


def test_two_calls_under_one_index_are_not_taken_for_one() -> None:
    """Some servers send each call whole, and all of them as the first: only their ids tell them apart."""
    first, second = called("{}"), called("{}", name="g")
    second["choices"][0]["delta"]["tool_calls"][0]["id"] = "call_2"
    repeated = called("{}")
    repeated["choices"][0]["delta"]["tool_calls"][0]["id"] = "call_9"
    assert trim(transcript_of(first), repeated) == []
    with pytest.raises(Diverged):
        trim(transcript_of(first), repeated, second)


class OneByOne(list[Any]):
    """A list of which nobody takes a slice."""

    def __getitem__(self, at: Any) -> Any:
        assert not isinstance(at, slice)
        return super().__getitem__(at)


def test_the_short_way_does_not_copy_what_is_left() -> None:
    """It is tried again after each event that does not fit, of thousands in one read."""
    adapter, transcript = chat(), transcript_of(TEXT)
    read(adapter, TEXT)
    payloads = OneByOne(payload(value) for value in (TEXT, FINISH, TEXT))
    assert [adapter.append_text_deltas(payloads, start, transcript) for start in (0, 1, 2)] == [1, 1, 3]

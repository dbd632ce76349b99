"""The law: what a second answer adds belongs to one whole answer. The smallest sequence that breaks each rule.

`tests.proof.answers` holds the same rules against answers and second answers of every kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from openai_stream_guard import Policy
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.transcript import MAX_TEXT, Transcript
from openai_stream_guard.engine.delivery import has_hole
from openai_stream_guard.testing.server.answers.answer import Json
from tests.support.chunks import chunk
from tests.support.simulated import CHAT, Outcome, Response, play

STATELESS = StreamRequest("post", "/responses", "host:1", {"model": "m", "store": False})
STORED = StreamRequest("post", "/responses", "host:1", {"model": "m", "background": True})
TWO = StreamRequest("post", "/chat/completions", "host:1", {"model": "m", "n": 2})
FREE = Policy(retry_budget=None)


def wire(*values: Json) -> list[bytes]:
    """One read for each of these payloads."""
    return [f"data: {json.dumps(value)}\n\n".encode() for value in values]


def twice(first: Sequence[Json], second: Sequence[Json], asked: StreamRequest = CHAT) -> Outcome:
    """A stream that breaks after its first payloads, and what comes of the answer to its second request."""
    done = [b"data: [DONE]\n\n"] if asked.path == "/chat/completions" else []
    return play([Response(wire(*first), "reset"), Response([*wire(*second), *done])], FREE, asked=asked)


def raises(first: Sequence[Json], second: Sequence[Json], asked: StreamRequest = CHAT) -> str:
    """Why it was given up, with nothing of the second answer delivered."""
    outcome = twice(first, second, asked)
    assert outcome.values == list(first)
    assert outcome.gave_up is not None
    return outcome.gave_up.stopped_by


def call(name: str, arguments: Any = "", *, place: int = 0, id: str | None = "call_1") -> Json:
    """A chunk that begins a call."""
    begun = {"index": place, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return chunk({"tool_calls": [begun]})


def arguments(text: str, place: int = 0) -> Json:
    """A chunk with more of a call's arguments."""
    return chunk({"tool_calls": [{"index": place, "function": {"arguments": text}}]})


def text(content: str, finish: str | None = None, index: int = 0) -> Json:
    """A chunk of text."""
    return chunk({"content": content}, finish, index)


STOP = chunk({}, "stop")


def test_a_choice_that_has_finished_does_not_grow() -> None:
    """Rule 1: of two choices the first one has its finish_reason."""
    assert (
        raises([text("a", "stop"), text("b", index=1)], [text("ax", "stop"), text("bc", "stop", 1)], TWO) == "diverged"
    )
    outcome = twice([text("a", "stop"), text("b", index=1)], [text("a", "stop"), text("bc", "stop", 1)], TWO)
    assert [value["choices"][0]["delta"] for value in outcome.values] == [
        {"content": "a"},
        {"content": "b"},
        {"content": "c"},
    ]


def test_an_earlier_part_does_not_grow_once_a_later_one_has_begun() -> None:
    """Rule 2: reasoning, then the content; text, then a call. Parallel calls, and fields side by side, may."""
    thought, said = chunk({"reasoning_content": "so"}), text("a")
    assert raises([thought, said], [chunk({"reasoning_content": "so no"}), text("ab"), STOP]) == "diverged"
    assert raises([said, call("f")], [text("a b"), call("f"), STOP]) == "diverged"
    assert raises([said], [thought, said, STOP]) == "diverged"
    first = [call("f"), call("g", place=1, id="call_2"), arguments("{", 1)]
    outcome = twice(first, [call("f", "{}"), call("g", "{}", place=1, id="call_2"), STOP])
    assert outcome.gave_up is None
    both = [chunk({"reasoning": part, "reasoning_details": [{"index": 0, "text": part}]}) for part in "ab"]
    merged = chunk({"reasoning": "abc", "reasoning_details": [{"index": 0, "text": "abc"}]})
    assert twice(both, [merged, STOP]).gave_up is None


@pytest.mark.parametrize("other", ["search_docs", "sear", "find"])
def test_names_compare_whole(other: str) -> None:
    """Rule 3: no name is the beginning of another one, and no finish_reason of another."""
    assert raises([call("search")], [call(other, "{}"), STOP]) == "diverged"
    assert (
        raises([text("a", "stop"), text("b", index=1)], [text("a", "stop_x"), text("bc", "stop", 1)], TWO) == "diverged"
    )


def test_an_id_or_an_item_that_was_delivered_has_to_come_again() -> None:
    """Rule 6: a call of which only the id was told, an item that was only opened."""
    begun = chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function"}]})
    assert raises([text("a"), begun], [text("ab"), STOP]) == "diverged"
    opened = [CREATED, added(0), *part("a"), added(1)]
    assert raises(opened, [CREATED, added(0), *part("a"), item_done(0, "a"), completed("a")], STATELESS) == "diverged"
    refusal, text_part = (
        {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": {"type": kind}}
        for kind in ("refusal", "output_text")
    )
    again = [CREATED, added(0), text_part, delta("a"), done("a"), item_done(0, "a"), completed("a")]
    assert raises([CREATED, added(0), refusal], again, STATELESS) == "diverged", "another kind of part"
    assert twice([CREATED, added(0), text_part], again, STATELESS).values == again


def test_with_nothing_delivered_nothing_is_trimmed() -> None:
    """Rule 7: and what adds no text is told once, before the break and behind it."""
    odd = chunk({"audio": {"expires_at": 5}})
    assert twice([], [odd, text("a"), STOP]).values == [odd, text("a"), STOP]
    assert twice([text("a")], [text("a"), odd, STOP]).values == [text("a"), odd, STOP]
    assert twice([text("a"), odd], [text("a"), odd, text("b"), STOP]).values == [text("a"), odd, text("b"), STOP]
    assert twice([text("a")], [odd, text("a"), odd, STOP]).values == [text("a"), odd, STOP]
    ends = chunk({"audio": {"expires_at": 5}}, "stop")
    assert twice([text("a"), odd], [text("a"), ends]).values == [text("a"), odd, STOP]
    assert twice([text("a")], [text("a"), ends]).values == [text("a"), ends]
    assert twice([odd], [odd, text("a"), STOP]).values == [odd, text("a"), STOP]
    assert raises([text("a"), odd], [text("ab"), odd, STOP]) == "diverged"


def test_the_half_of_a_character_is_told_once() -> None:
    """Rule 7: its first token has no text, and the second one spells the rest."""
    halves = [[0xC3], [0xA9]]
    chunks = [text(""), text("é")]
    for value, part_ in zip(chunks, halves, strict=True):
        value["choices"][0]["logprobs"] = {"content": [{"token": "\\x", "bytes": part_}]}
    first = text("a")
    first["choices"][0]["logprobs"] = {"content": [{"token": "a", "bytes": [97]}]}
    for place in range(1, 4):
        whole = [first, *chunks]
        assert twice(whole[:place], [*whole, STOP]).values == [*whole, STOP], place
    joined = text("é")
    joined["choices"][0]["logprobs"] = {"content": [{"token": "é", "bytes": [0xC3, 0xA9]}]}
    assert raises([first, chunks[0]], [first, joined, STOP]) == "diverged"


def test_arguments_that_are_an_object_compare_as_values() -> None:
    """Rule 8: whatever the order of their members; another number is another call."""
    first = [call("pay", {"to": "a", "sum": 1}), text("b", index=1)]
    again = call("pay", {"sum": 1, "to": "a"})
    outcome = twice(first, [again, STOP, text("bc", "stop", 1)], TWO)
    assert outcome.gave_up is None
    assert outcome.values[2:] == [STOP, text("c", "stop", 1)]
    assert raises(first, [call("pay", {"to": "a", "sum": 10}), STOP, text("bc", "stop", 1)], TWO) == "diverged"


# The Responses API.

CREATED: Json = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}
WHERE: Json = {"output_index": 0, "content_index": 0}


def added(place: int, id: str = "msg_1", **more: object) -> Json:
    """An item begins, a message by default."""
    item = {"type": "message", "id": id, "content": [], **more}
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def delta(said: str, kind: str = "output_text", **where: object) -> Json:
    """More of a text."""
    return {"type": f"response.{kind}.delta", **(where or WHERE), "delta": said}


def done(said: str) -> Json:
    """A text as a whole."""
    return {"type": "response.output_text.done", **WHERE, "text": said}


def part(said: str) -> list[Json]:
    """A text, as it comes."""
    return [delta(said), done(said)]


def message(said: str, id: str = "msg_1") -> Json:
    """A message as a whole."""
    return {"type": "message", "id": id, "content": [{"type": "output_text", "text": said}]}


def item_done(place: int, said: str, **more: object) -> Json:
    """An item is at its end."""
    return {"type": "response.output_item.done", "output_index": place, "item": {**message(said), **more}}


def completed(*said: str, id: str = "resp_1") -> Json:
    """The final response."""
    response = {"id": id, "status": "completed", "output": [message(each) for each in said]}
    return {"type": "response.completed", "response": response}


def test_a_text_an_item_a_call_that_is_done_does_not_grow() -> None:
    """Rule 1: whichever of its ends was delivered."""
    for first in ([*part("a")], [delta("a"), item_done(0, "a")]):
        begun = [CREATED, added(0), *first]
        second = [CREATED, added(0), *part("ab"), item_done(0, "ab"), completed("ab")]
        assert raises(begun, second, STATELESS) == "diverged"
    place = {"output_index": 0, "item_id": "fc_1"}
    begun = [CREATED, added(0, "fc_1", type="function_call", name="pay", call_id="call_1")]
    told = {"type": "response.function_call_arguments.done", **place, "arguments": "{}"}
    second = [*begun, delta("{}", "function_call_arguments", **place), {**told}, completed()]
    assert raises([*begun, told], second, STATELESS) == "diverged"


@pytest.mark.parametrize("said", ["aX", "a", "abc", ""])
def test_what_a_second_answer_says_of_a_text_as_a_whole_is_held_against_it(said: str) -> None:
    """Rule 4: `.done`, the item, the final response; longer, shorter, other, empty."""
    first = [CREATED, added(0), delta("a")]
    healthy = [CREATED, added(0), *part("ab"), item_done(0, "ab"), completed("ab")]
    assert twice(first, healthy, STATELESS).gave_up is None
    for place, odd in ((3, done(said)), (4, item_done(0, said)), (5, completed(said))):
        second = [*healthy[:place], odd, *healthy[place + 1 :]]
        outcome = twice(first, second, STATELESS)
        assert outcome.gave_up is not None, odd
        assert outcome.gave_up.stopped_by == "diverged"
    for final in (completed(), completed("ab", "more")):
        assert twice(first, [*healthy[:-1], final], STATELESS).gave_up is not None


def test_a_call_that_is_told_whole_only_is_held_against_its_second_version() -> None:
    """Rule 4: the second one pays somebody else."""

    def told(to: str) -> list[Json]:
        place = {"output_index": 0, "item_id": "fc_1"}
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "pay", "arguments": to}
        return [
            CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
            {"type": "response.function_call_arguments.done", **place, "arguments": to},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [item]}},
        ]

    for place in (3, 4):
        assert raises(told("a")[:place], told("b"), STATELESS) == "diverged"
        assert twice(told("a")[:place], told("a"), STATELESS).values == told("a")


@pytest.mark.parametrize("said", ["abc", "xab", "aXbXcX"])
def test_a_text_with_a_hole_is_a_gap_in_a_first_answer(said: str) -> None:
    """Rule 4: events without numbers, of which one was swallowed. Nothing that shows it is delivered."""
    came = {"abc": "ac", "xab": "ab", "aXbXcX": "abcX"}[said]
    first = [CREATED, added(0), delta(came), done(said), completed(said)]
    outcome = play([Response(wire(*first))], FREE.replace(max_retries=0), asked=STATELESS)
    assert outcome.gave_up is not None
    assert outcome.gave_up.first_failure.fault.kind == "gap"
    assert outcome.values == first[:3]


def test_another_hole_in_the_same_text_is_no_habit() -> None:
    """Rules 1.9 and 4: a server that leaves out the same part each time speaks so, one that loses parts does not."""
    answers = [[CREATED, added(0), delta(came), done("abc"), completed("abc")] for came in ("ac", "ab", "ab")]
    for count, whole in ((2, False), (3, True)):
        responses = [Response(wire(*events)) for events in answers[:count]]
        policy = FREE.replace(delivery="atomic", max_retries=count - 1)
        outcome = play(responses, policy, asked=STATELESS)
        assert (outcome.gave_up is None) == whole
        assert outcome.values == (answers[2] if whole else [])


@pytest.mark.parametrize("said", ["", "a", "xy", "AB"])
def test_what_else_a_first_answer_says_of_itself_is_handed_on(said: str) -> None:
    """Rule 4: absent, empty, shorter or rewritten, it says nothing: one request, and every event."""
    events = [CREATED, added(0), delta("ab"), done(said), item_done(0, said), completed()]
    outcome = play([Response(wire(*events))], FREE, asked=STATELESS)
    assert (outcome.values, outcome.network.requests, outcome.gave_up) == (events, 1, None)


@pytest.mark.parametrize("head", [1, 2])
def test_a_final_response_without_items_says_nothing_of_an_answer_that_restarts(head: int) -> None:
    """Rule 4: gateways that always end with `output: []` can be asked again while nothing visible was delivered."""
    events = [CREATED, added(0), delta("ab"), done("ab"), item_done(0, "ab"), completed()]
    assert twice(events[:head], events, STATELESS).values == events
    rewritten = [*events[:3], done("xy"), item_done(0, "xy"), completed("xy")]
    assert twice(events[:head], rewritten, STATELESS).gave_up


def test_a_hole_is_one_missing_part_or_a_few_small_ones() -> None:
    """Of a text that came, and is longer as a whole."""
    assert all(has_hole(came, b"one two three") for came in (b"one three", b"two three", b"one two", b"o two thre"))
    assert not any(
        has_hole(came, b"one two three") for came in (b"one two three", b"one 2 three", b"eno", b"one two three!")
    )


def test_what_a_resumed_answer_says_otherwise_is_a_gap_and_the_end() -> None:
    """Rule 4: the event that was skipped cannot be asked for again, and what tells of it is not delivered."""
    numbered = [{**event, "sequence_number": number} for number, event in enumerate([CREATED, added(0), delta("a")])]
    for said in ("ab", "a", "abcd"):
        rest = [{**delta("bc"), "sequence_number": 3}, {**done(said), "sequence_number": 4}]
        outcome = play([Response(wire(*numbered), "reset"), Response(wire(*rest))], FREE, asked=STORED)
        assert outcome.gave_up is not None
        assert (outcome.session.report().attempts[1].fault, outcome.gave_up.stopped_by) == ("gap", "diverged")
        assert outcome.values == [*numbered, rest[0]]
        assert outcome.network.requests == 2


def test_sealed_content_keeps_its_own_id() -> None:
    """Rule 5: where the id of another generation was delivered, the answer is not joined to it."""

    def told(id: str) -> list[Json]:
        item = {"type": "reasoning", "id": id, "summary": []}
        sealed = {**item, "encrypted_content": f"sealed as {id}"}
        return [
            CREATED,
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": sealed},
            {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [sealed]}},
        ]

    assert raises(told("rs_1")[:2], told("rs_2"), STATELESS) == "unsafe"
    assert twice(told("rs_1")[:2], told("rs_1"), STATELESS).values == told("rs_1")
    asked = StreamRequest(
        "post", "/responses", "host:1", {"model": "m", "store": False, "include": ["reasoning.encrypted_content"]}
    )
    outcome = twice(told("rs_1")[:2], told("rs_2"), asked)
    assert outcome.gave_up is not None
    assert (outcome.gave_up.stopped_by, outcome.network.requests) == ("unsafe", 1), "known before anything is asked for"


def test_what_a_second_answer_names_first_is_remembered() -> None:
    """Rule 9: two attempts that told nothing, and one that began: the third is another generation."""
    one_identity = StreamRequest("post", "/responses", "host:1", {"model": "m"}, one_identity=True)
    begun = {**CREATED, "response": {**CREATED["response"], "id": "resp_2"}}
    whole = [
        {**begun, "response": {**begun["response"], "id": "resp_3"}},
        added(0),
        *part("a"),
        completed("a", id="resp_3"),
    ]
    responses = [Response([], "reset"), Response(wire(begun), "reset"), Response(wire(*whole))]
    outcome = play(responses, FREE, asked=one_identity)
    assert {value["response"]["id"] for value in outcome.values if "response" in value} == {"resp_2"}


def test_endless_text_is_not_kept_and_not_asked_for_again() -> None:
    """Rule 13: beyond the bound the stream goes on, and a fault is raised as unsafe to repeat."""
    transcript, piece = Transcript(), "x" * (1 << 20)
    for _ in range(40):
        transcript.add([((0, "content"), piece)])
    assert transcript.overflowed
    assert len(transcript.text((0, "content"))) == MAX_TEXT
    outcome = play([Response(wire(*[text(piece)] * 20), "reset")], FREE)
    assert outcome.gave_up is not None
    assert (outcome.gave_up.stopped_by, len(outcome.values)) == ("unsafe", 20)

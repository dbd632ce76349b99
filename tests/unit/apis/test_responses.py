"""The laws: a terminal event ends the stream and nothing else does; every text is a channel of its own; errors and
pings are told from events, whatever their shape; no JSON makes reading or trimming raise anything but `Gap` and
`Diverged`.
"""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.apis.adapter import DataEvent, FaultEvent, KeepAlive
from openai_stream_guard.apis.request import EndRule, Resume, StreamRequest
from openai_stream_guard.apis.responses import ResponsesAdapter
from openai_stream_guard.apis.second_answer import Diverged, ReplayChecker
from openai_stream_guard.apis.sequence import Gap
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.decoding.payload import Payload
from openai_stream_guard.testing import AnswerVariant, build_answer
from tests.support.any_json import nested
from tests.support.chunks import payload
from tests.support.response_events import anything, asked, delivered, left_of, names, told

NAMES = ("text", "function_call", "reasoning", "refusal", "several", "llamacpp", "incomplete")
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": ""}


def delta(text: str, place: int | None = 0, kind: str = "output_text", **more: object) -> dict[str, Any]:
    """A delta of text."""
    where = {} if place is None else {"output_index": place, "content_index": 0}
    return {"type": f"response.{kind}.delta", **where, "item_id": "msg_1", "delta": text, **more}


# The end.


@pytest.mark.parametrize("name", ["completed", "incomplete", "failed", "cancelled"])
def test_a_terminal_event_is_the_end(name: str) -> None:
    """At once, by every rule, and as an item: it is the API's word, passed on."""
    adapter = ResponsesAdapter(asked())
    assert not adapter.answer_complete
    reading = adapter.read(payload({"type": f"response.{name}", "response": {"id": "resp_1", "error": {"code": "x"}}}))
    assert isinstance(reading, DataEvent)
    assert (adapter.answer_complete, adapter.response_id) == (True, "resp_1")
    assert adapter.is_complete("strict", done=False)


@pytest.mark.parametrize("done", [True, False])
def test_nothing_else_is_the_end(done: bool) -> None:
    """Neither the last item's end nor `[DONE]`, which a gateway may append, but for the lenient."""
    adapter = ResponsesAdapter(asked())
    for value in told("text")[:-1]:
        adapter.read(payload(value))
    assert [rule for rule in get_args(EndRule) if adapter.is_complete(rule, done=done)] == (["lenient"] if done else [])
    assert not ResponsesAdapter(asked()).is_complete("lenient", done=True), "nothing came"


def test_the_type_may_come_as_the_events_name() -> None:
    """A payload without a type is what its event is called."""
    adapter = ResponsesAdapter(asked())
    adapter.read(payload({"response": {"id": "resp_1"}}, "response.completed"))
    assert adapter.answer_complete


# What is an item, and what is none.


@pytest.mark.parametrize(
    ("value", "event", "body"),
    [
        ({"error": {"code": "server_error"}}, None, {"code": "server_error"}),
        ({"error": "overloaded"}, "error", "overloaded"),
        ({"type": "error", "error": {"code": "x"}, "sequence_number": 3}, "error", {"code": "x"}),
        ({"type": "error", "code": "x", "message": "no"}, None, {"type": "error", "code": "x", "message": "no"}),
        ({"code": "x", "message": "no"}, "error", {"code": "x", "message": "no"}),
        ("overloaded", "error", "overloaded"),
        (None, "error", None),
    ],
)
def test_errors_are_known_by_any_of_their_shapes(value: object, event: str | None, body: object) -> None:
    """Flat or nested, named or not: the error object itself is what the policy judges."""
    reading = ResponsesAdapter(asked()).read(payload(value, event))
    assert isinstance(reading, FaultEvent)
    assert (reading.fault, reading.body) == ("upstream_error", body)


@pytest.mark.parametrize(
    ("value", "event"),
    [({}, "ping"), ({"type": "keepalive"}, None), ({"type": "response.keep_alive", "sequence_number": 3}, None)],
)
def test_keep_alives_are_handed_on_and_no_progress(value: object, event: str | None) -> None:
    """As the SDK does in this API; one without a value would be an item of nothing."""
    reading = ResponsesAdapter(asked()).read(payload(value, event))
    assert isinstance(reading, DataEvent)
    assert not reading.is_progress
    assert isinstance(ResponsesAdapter(asked()).read(payload(None)), KeepAlive)


def test_a_whole_answer_is_no_stream() -> None:
    """A server that ignores `stream` sends the response itself."""
    reading = ResponsesAdapter(asked()).read(payload(build_answer("responses", "text", AnswerVariant(1)).plain))
    assert isinstance(reading, FaultEvent)
    assert reading.fault == "not_a_stream"


@pytest.mark.parametrize(
    ("value", "visible"),
    [
        ({"type": "response.created", "response": {"id": "r"}}, False),
        ({"type": "response.in_progress", "response": {"id": "r"}}, False),
        ({"type": "response.output_item.added", "output_index": 0, "item": MESSAGE}, False),
        ({"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": {}}, False),
        (delta(""), False),
        (delta("a"), True),
        ({"type": "response.output_item.added", "output_index": 0, "item": CALL}, True),
        ({"type": "response.output_item.added", "output_index": 0, "item": {"id": "r", "type": "reasoning"}}, True),
        ({"type": "response.some_new_kind.delta", "output_index": 0, "delta": "a"}, True),
    ],
)
def test_what_shows(value: dict[str, Any], visible: bool) -> None:
    """Lifecycle and an empty message do not; text of any kind and the begin of any deed do."""
    assert delivered(value).visible is visible


def test_the_texts_of_every_place_are_channels_of_their_own() -> None:
    """Output, part and kind: no delta is added to another's text."""
    for name in ("text", "function_call", "reasoning", "refusal", "several"):
        said: dict[tuple[object, ...], str] = {}
        for event in told(name):
            if event["type"].endswith(".delta"):
                place = tuple(event.get(part) for part in ("output_index", "content_index", "summary_index", "type"))
                said[place] = said.get(place, "") + event["delta"]
        transcript = delivered(*told(name))
        texts = [transcript.text(key) for key in transcript.text_channels if key[-1] != "item"]
        assert texts == list(said.values())


# Numbers.


def arranged(adapter: ResponsesAdapter, *numbers: int | None) -> list[int | None]:
    """The numbers in the order in which they are due."""
    due: list[int | None] = []
    for number in numbers:
        value = {**delta("a"), **({} if number is None else {"sequence_number": number})}
        for one in adapter.in_sequence(payload(value)):
            assert isinstance(one.value, dict)
            due.append(one.value.get("sequence_number"))
    return due


def test_numbers_decide_the_order() -> None:
    """A stream counts from the first number; one with an event without a number passes as it comes."""
    assert arranged(ResponsesAdapter(asked()), 0, 2, 1, 1, 3) == [0, 1, 2, 3]
    assert arranged(ResponsesAdapter(asked()), 1, 2) == [1, 2]
    assert arranged(ResponsesAdapter(asked()), None, None) == [None, None]
    assert arranged(ResponsesAdapter(asked()), 0, 3, 2, None, 9) == [0, 3, 2, None, 9]
    late = ResponsesAdapter(asked())
    late.in_sequence(payload({"type": "response.created", "sequence_number": 1}))
    assert arranged(late, 2) == [2]


@pytest.mark.parametrize(
    ("request_", "resume"),
    [
        (StreamRequest("get", "/responses/resp_1", "host", starting_after=4), None),
        (StreamRequest("post", "/responses", "host"), Resume("resp_1", 4)),
    ],
)
def test_the_rest_of_an_answer_begins_behind_its_number(request_: StreamRequest, resume: Resume | None) -> None:
    """Where the request names a number to go on after, counting goes on there."""
    adapter = ResponsesAdapter(request_, resume)
    assert (adapter.response_id, adapter.resume_after) == ("resp_1", 4)
    assert arranged(adapter, 4, 6, 5) == [5, 6]
    assert adapter.resume_after == 6


def test_an_end_without_a_number_does_not_hide_a_gap_in_a_resumed_answer() -> None:
    """There numbers are proof, and it is not handed over while others wait for one that has not come."""
    adapter = ResponsesAdapter(asked(), Resume("resp_1", 1))
    assert arranged(adapter, 2, 4) == [2]
    with pytest.raises(Gap):
        adapter.in_sequence(payload({"type": "response.completed", "response": {}}))


def test_what_came_behind_an_error_comes_again() -> None:
    """Out of order: the event after the error was not handed over, so it is asked for."""
    adapter = ResponsesAdapter(asked(background=True))
    assert arranged(adapter, 0, 1, 3) == [0, 1]
    error = payload({"type": "error", "code": "server_error", "sequence_number": 2})
    (first,) = adapter.in_sequence(error)
    assert isinstance(adapter.read(first), FaultEvent)
    assert adapter.resume_after == 2


@pytest.mark.parametrize("number", [0, 1, 2, 99, None])
def test_an_error_is_one_whatever_its_number(number: int | None) -> None:
    """Neither a duplicate nor one that has to wait."""
    adapter = ResponsesAdapter(asked())
    assert arranged(adapter, 0, 1) == [0, 1]
    error = payload({"type": "error", "code": "invalid_api", "sequence_number": number})
    assert adapter.in_sequence(error) == [error]


# Repetition.


@pytest.mark.parametrize("regroup", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_broken_anywhere_is_repeated_without_a_seam(name: str, regroup: bool) -> None:
    """Delivered events and what is left of the second answer are the unbroken one, numbered on, with one id each."""
    first, second = told(name, 1), told(name, 2, regroup=regroup)
    for place in range(len(first)):
        joined = first[:place] + left_of(delivered(*first[:place], store=False), *second, store=False)
        if not regroup:
            assert [event["type"] for event in joined] == [event["type"] for event in first]
        if name != "llamacpp":
            numbers = [event["sequence_number"] for event in joined]
            assert numbers == list(range(len(joined))), place
        transcript, whole = delivered(*joined), delivered(*first)
        assert transcript.text_channels == whole.text_channels
        before, after = names_by_place(first[:place]), names_by_place(joined)
        assert all(len(ids) == 1 for ids in after.values()), place
        assert before.items() <= after.items()


def names_by_place(values: list[dict[str, Any]]) -> dict[object, set[str]]:
    """The ids of every output item, wherever they are said."""
    names: dict[object, set[str]] = {}
    for event in values:
        items = [(event.get("output_index"), event.get("item") or {"id": event.get("item_id")})]
        if "response" in event:
            items = [*enumerate(event["response"]["output"])]
        for place, item in items:
            if item.get("id") and place is not None:
                names.setdefault(place, set()).add(item["id"])
            if item.get("call_id"):
                names.setdefault((place, "call"), set()).add(item["call_id"])
    return names


def test_the_last_response_is_the_real_one_unless_nothing_was_stored() -> None:
    """Its id leads to what the API has kept; where nothing is kept, one stream has one identity."""
    first, second = told("text", 1), told("text", 2)
    transcript = delivered(*first[:8])
    assert left_of(transcript, *second)[-1] == {**second[-1]}
    kept_nothing = left_of(transcript, *second, store=False)[-1]["response"]
    assert kept_nothing["id"] == first[0]["response"]["id"]
    assert kept_nothing["output"][0]["id"] == first[2]["item"]["id"]
    replay, adapter = (
        ReplayChecker(transcript),
        ResponsesAdapter(StreamRequest("post", "/responses", "host", one_identity=True)),
    )
    last = None
    for event in second:
        adapter.read(payload(event))
        last = adapter.trim_repeated(payload(event), replay)
    assert last is not None
    assert last.value["response"]["id"] == first[0]["response"]["id"]


def test_another_kind_of_item_at_a_place_diverges() -> None:
    """A call where a message was is another answer, though no text says so."""
    transcript = delivered({"type": "response.output_item.added", "output_index": 0, "item": MESSAGE}, delta("a", 1))
    with pytest.raises(Diverged):
        left_of(transcript, {"type": "response.output_item.added", "output_index": 0, "item": CALL})


def test_another_function_at_a_place_diverges() -> None:
    """Its name is part of what was said."""
    added = {"type": "response.output_item.added", "output_index": 0, "item": CALL}
    with pytest.raises(Diverged):
        left_of(delivered(added), {**added, "item": {**CALL, "name": "g"}})


def test_logprobs_are_cut_where_a_token_ends() -> None:
    """By bytes, since a token can be a part of a character; text that ends inside a token cannot be cut."""
    tokens: list[dict[str, Any]] = [{"token": "Zü"}, {"token": "\\xf0\\x9f", "bytes": [240, 159]}]
    tokens += [{"token": "\\x9a\\x8b", "bytes": [154, 139]}, {"token": "."}]
    whole = delta("Zü🚋.", logprobs=tokens)
    [left] = left_of(delivered(delta("Zü🚋")), whole)
    assert (left["delta"], left["logprobs"]) == (".", tokens[3:])
    with pytest.raises(Diverged):
        left_of(delivered(delta("Z")), whole)


def test_an_empty_delta_is_new_once_all_was_repeated() -> None:
    """It says nothing, but the unbroken stream has it."""
    assert left_of(delivered(delta("a")), delta(""), delta("a"), delta("")) == [delta("")]


def size_of(value: object) -> int:
    """Characters of a JSON text."""
    return len(json.dumps(value, default=str))


@pytest.mark.parametrize("large", ["instructions", "tools", "metadata"])
def test_what_a_response_repeats_of_its_request_is_not_kept(large: str) -> None:
    """However large it is: the partial answer has it from the request, and all else from the first event."""
    parts: dict[str, Any] = {
        "instructions": "be kind " * 25_000,
        "tools": [{"type": "function", "name": f"f{number}", "parameters": {}} for number in range(3_000)],
        "metadata": {f"name {number}": [[]] * 50 for number in range(500)},
    }
    first = {"id": "resp_1", "model": "m", "temperature": 1.0, "output": [], "text": {"format": {"type": "text"}}}
    told_first = {"type": "response.created", "response": {large: parts[large], **first}, "sequence_number": 0}
    transcript = delivered(told_first, delta("a"))
    assert size_of(list(transcript.identities.values())) < 5_000
    partial = ResponsesAdapter(asked(**{large: parts[large]})).partial(transcript)
    assert partial is not None
    assert partial[large] == parts[large]
    assert {**partial, "output": []}.items() >= first.items()
    again = left_of(transcript, {**told_first, "response": {**first, "id": "resp_2", large: parts[large]}}, delta("ab"))
    assert [event.get("delta") for event in again] == ["b"]


def test_a_response_of_many_members_is_not_kept_whole() -> None:
    """Nor is the name of each of them; its id is known all the same."""
    many = {f"member {number}": None for number in range(100_000)}
    transcript = delivered({"type": "response.created", "response": {**many, "id": "resp_1"}, "sequence_number": 0})
    (kept,) = transcript.identities.values()
    assert size_of(kept) < 5_000
    assert isinstance(kept, dict)
    assert kept["id"] == "resp_1"


def test_items_without_a_place_are_told_apart_by_their_ids() -> None:
    """llama.cpp numbers nothing: what was thought and what was said are two items all the same."""
    thought = {"id": "rs_1", "type": "reasoning", "summary": []}

    def answer(serial: int) -> list[dict[str, Any]]:
        thinking = {"type": "response.output_item.added", "item": {**thought, "id": f"rs_{serial}"}}
        saying = {"type": "response.output_item.added", "item": {**MESSAGE, "id": f"msg_{serial}"}}
        return [
            thinking,
            {**delta("hm", None, "reasoning_text"), "item_id": f"rs_{serial}"},
            saying,
            {**delta("Blue", None), "item_id": f"msg_{serial}"},
            {**delta("!", None), "item_id": f"msg_{serial}"},
        ]

    first = answer(1)
    transcript = delivered(*first[:4], store=False)
    assert len(transcript.text_channels) == 3
    assert left_of(transcript, *answer(2), store=False) == first[4:]
    assert not ResponsesAdapter(asked()).may_replay(transcript)


@pytest.mark.parametrize("cut", [1, 6, 15])
def test_a_later_lifecycle_is_a_response_of_its_own(cut: int) -> None:
    """In a second answer it has the id that was delivered for it, or where none was its own: not that of the first."""
    first, second = ([*told("text", serial), *told("text", serial + 2)] for serial in (1, 2))
    delivered_events, left = first[:cut], left_of(delivered(*first[:cut]), *second, store=False)
    ids = [event["response"]["id"] for event in (*delivered_events, *left) if "response" in event]
    begun = max(cut - len(first) // 2, 0)
    known = [first[0]["response"]["id"], (first if begun else second)[-1]["response"]["id"]]
    assert ids == [name for name in known for _ in range(3)]


@pytest.mark.parametrize("cut", [3, 5, 8])
def test_a_response_that_is_announced_with_each_delta_is_one(cut: int) -> None:
    """As llama.cpp does: its texts are one text, and a second answer goes on with it."""

    def answer(serial: int) -> list[dict[str, Any]]:
        events = told("text", serial)
        return [
            part
            for event in events
            for part in ([*events[:2], event] if event["type"].endswith(".delta") else [event])
        ]  # fmt: skip

    first, second = answer(1), answer(2)
    left = left_of(delivered(*first[:cut]), *second)
    assert [event["type"] for event in left if "delta" in event or event["type"].endswith("completed")] == [
        event["type"] for event in first[cut:] if "delta" in event or event["type"].endswith("completed")
    ]


def test_an_item_may_be_closed_by_its_id_alone() -> None:
    """Its texts had a place: `[DONE]` is enough then, as where neither has one."""
    adapter = ResponsesAdapter(asked())
    for event in ({**delta("a", 1), "item_id": "x"}, {"type": "response.output_item.done", "item": {"id": "x"}}):
        adapter.read(payload(event))
    assert adapter.is_complete("auto", done=True)


@pytest.mark.parametrize(
    ("item", "stored", "unstored"),
    [
        (MESSAGE, True, True),
        (CALL, False, True),
        ({"id": "rs_1", "type": "reasoning"}, False, True),
        ({"id": "ig_1", "type": "image_generation_call"}, False, False),
        ({"id": "mcp_1", "type": "mcp_call"}, False, False),
    ],
)
def test_what_may_be_repeated(item: dict[str, Any], stored: bool, unstored: bool) -> None:
    """A call's or a thought's id leads to what the API has stored; what a hosted tool brings is in no text."""
    transcript = delivered({"type": "response.output_item.added", "output_index": 0, "item": item}, delta("a"))
    assert ResponsesAdapter(asked()).may_replay(transcript) is stored
    assert ResponsesAdapter(asked(store=True)).may_replay(transcript) is stored
    assert ResponsesAdapter(asked(store=False)).may_replay(transcript) is unstored


def test_calls_are_held_until_they_are_done() -> None:
    """From its begin to its end, also where the rest of the answer is another attempt's; a message is never held."""
    adapter = ResponsesAdapter(asked())
    adapter.read(payload({"type": "response.output_item.added", "output_index": 0, "item": MESSAGE}))
    assert not adapter.tool_call_open
    adapter.read(payload({"type": "response.output_item.added", "output_index": 1, "item": CALL}))
    assert adapter.tool_call_open
    resumed = ResponsesAdapter(asked(), Resume("resp_1", 3), adapter)
    assert resumed.tool_call_open
    resumed.read(payload({"type": "response.output_item.done", "output_index": 1, "item": CALL}))
    assert not resumed.tool_call_open


def test_the_partial_answer_has_every_output_as_far_as_it_came() -> None:
    """Texts, refusals, names and arguments stand where the whole response has them."""
    for name in ("text", "function_call", "refusal", "several"):
        events = told(name)
        transcript, whole = delivered(*events[:-1]), events[-1]["response"]["output"]
        partial = ResponsesAdapter(asked(model="m")).partial(transcript)
        assert partial is not None
        json.dumps(partial)
        assert (partial["id"], partial["status"]) == (events[0]["response"]["id"], "incomplete")
        outputs: Any = partial["output"]
        for mine, theirs in zip(outputs, whole, strict=True):
            assert {part: mine[part] for part in ("type", "id")} == {part: theirs[part] for part in ("type", "id")}
            assert mine.get("arguments") == theirs.get("arguments")
            assert mine.get("name") == theirs.get("name")
            texts = [part.get("text") or part.get("refusal") for part in mine.get("content") or ()]
            assert texts == [part.get("text") or part.get("refusal") for part in theirs.get("content") or ()]
    said = ResponsesAdapter(asked()).partial_text(delivered(*told("text")))
    assert said == told("text")[-1]["response"]["output"][0]["content"][0]["text"]


# Whatever a server sends.

kinds = ["created", "in_progress", "output_text.delta", "function_call_arguments.delta", "output_text.done"]
kinds += [
    "output_item.added",
    "output_item.done",
    "content_part.added",
    "completed",
    "failed",
    "output_text.annotation.added",
]
places = st.integers(0, 1) | anything
items = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["message", "function_call", "reasoning"]) | anything, "id": anything,
                  "call_id": anything, "name": anything, "arguments": anything}
)  # fmt: skip
events = st.fixed_dictionaries(
    {"type": st.sampled_from([f"response.{kind}" for kind in kinds]) | anything},
    optional={"sequence_number": st.integers(0, 6) | anything, "output_index": places, "content_index": places,
              "summary_index": places, "item_id": anything, "delta": st.sampled_from(["a", "b", ""]) | anything,
              "item": items | anything, "response": st.dictionaries(names, anything, max_size=3) | anything,
              "logprobs": st.lists(st.dictionaries(names, anything, max_size=2) | anything, max_size=2) | anything},
)  # fmt: skip
hostile = st.lists(events | anything, max_size=5)


@settings(deadline=None, max_examples=200)
@given(hostile, hostile, st.sampled_from([None, "error", "ping", "response.created"]), st.booleans(), st.booleans())
def test_any_json_is_read_and_repeated_or_diverges(
    first: list[object], second: list[object], event: str | None, one_identity: bool, stored: bool
) -> None:
    """A reading for every value; a trimmed event, nothing, `Gap` or `Diverged` for every repetition."""
    request_ = StreamRequest(
        "post", "/responses", "host", {} if stored else {"store": False}, one_identity=one_identity
    )
    transcript, adapter = Transcript(), ResponsesAdapter(request_)
    for value in first:
        try:
            due = adapter.in_sequence(payload(value, event))
        except Gap:
            break
        for one in due:
            reading = adapter.read(one)
            assert isinstance(reading, DataEvent | KeepAlive | FaultEvent)
            if isinstance(reading, DataEvent):
                transcript.add(reading.text_deltas, reading.identities, reading.kind, reading.sequence)
    assert adapter.may_replay(transcript) in (True, False)
    assert isinstance(adapter.partial_text(transcript), str)
    json.dumps(adapter.partial(transcript))
    again, replay = ResponsesAdapter(request_), ReplayChecker(transcript)
    try:
        for value in second:
            for one in again.in_sequence(payload(value, event)):
                if isinstance(again.read(one), DataEvent):
                    trimmed = again.trim_repeated(one, replay)
                    assert trimmed is None or isinstance(trimmed, Payload)
    except (Gap, Diverged):
        pass


DEEP = {**MESSAGE, "type": nested(100_000), "name": nested(100_000), "output": [nested(100_000)]}
ADDED: dict[str, Any] = {"type": "response.output_item.added", "output_index": 0, "item": MESSAGE}


@pytest.mark.parametrize("name", ["item", "response", "delta", "part", "output_index", "error"])
def test_nesting_that_cannot_be_followed_is_no_exception(name: str) -> None:
    """Deeper than Python calls functions: it is read, as part of any event."""
    for kind in ("response.output_item.added", "response.output_text.delta", "response.completed"):
        one = Payload(None, b"", {**ADDED, "type": kind, name: DEEP}, None, None)
        assert isinstance(ResponsesAdapter(asked()).read(one), DataEvent | FaultEvent)


def test_nesting_that_cannot_be_written_anew_diverges() -> None:
    """A repetition that would have to be changed, and cannot be, is not joined."""
    replay, adapter = ReplayChecker(delivered(ADDED)), ResponsesAdapter(asked())
    value = {"type": "response.content_part.added", "output_index": 0, "item_id": "msg_2", "part": DEEP}
    one = Payload(None, b"", value, None, None)
    assert isinstance(adapter.read(one), DataEvent)
    with pytest.raises(Diverged):
        adapter.trim_repeated(one, replay)


def test_an_item_that_only_its_deltas_name_keeps_its_first_id_and_may_break_again_anywhere() -> None:
    """Bridges announce no items. A third answer that adds no text to the second one is caught up as well."""

    def answer(serial: int) -> list[dict[str, Any]]:
        texts = [{**delta(text), "item_id": f"msg_{serial}"} for text in ("Blue", " sky")]
        return [*texts, {"type": "response.completed", "response": {"id": f"resp_{serial}", "output": []}}]

    transcript = delivered(*answer(1)[:1])
    adapter, replay = ResponsesAdapter(asked()), ReplayChecker(transcript)
    for value in answer(2)[:2]:
        adapter.read(payload(value))
        trimmed, news = adapter.trim_repeated(payload(value), replay), replay.news()
        if trimmed is not None:
            assert trimmed.value["item_id"] == "msg_1"
            transcript.add(news.text_deltas, news.identities, news.kind, news.sequence)
    transcript.held.clear()
    assert left_of(transcript, *answer(3)) == answer(3)[2:]
    (item,) = ResponsesAdapter(asked()).partial(transcript)["output"]
    assert (item["id"], item["type"]) == ("msg_1", "message")

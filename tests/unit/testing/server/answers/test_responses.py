"""Every answer of the loopback server's Responses API is what OpenAI's types and the SDK's own helpers want."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import openai
import pytest

from openai_stream_guard.sse import Decoder
from openai_stream_guard.testing import (
    ANSWERS,
    FAULTS,
    Answer,
    AnswerVariant,
    Fault,
    ScriptedResponse,
    Send,
    Server,
    build_answer,
)
from openai_stream_guard.testing.server.answers.responses import OTHER_SERVERS
from tests.support.streams import VERSION, client_for

NAMES = ANSWERS["responses"]
OPENAI_NAMES = [name for name in NAMES if name not in OTHER_SERVERS]
FINISHED = ["text", "function_call", "reasoning", "refusal", "several", "litellm"]
# Left out: what is compressed, what the specification drops for want of a blank line, and junk behind the end.
NUMBERED = [fault for fault in FAULTS.values() if fault.api == "responses"]
MIDWAY = 6

has_responses = pytest.mark.skipif(VERSION < (1, 66), reason="this SDK has no Responses API")


def answer_from(name: str, *, background: bool = False) -> Answer:
    """A variant of the answer."""
    return build_answer("responses", name, AnswerVariant(1, background=background))


def events_from(answer: Answer) -> list[Any]:
    """The payloads of the answer, without `[DONE]`."""
    return [json.loads(frame.data) for frame in answer.frames if frame.data != "[DONE]"]


def sent_bytes(scripted: ScriptedResponse) -> bytes:
    """The body that the steps send, before any framing."""
    return b"".join(step.data for step in scripted.steps if isinstance(step, Send))


def sent(scripted: ScriptedResponse) -> list[Any]:
    """The payloads that a reader who keeps to the specification gets."""
    decoder = Decoder()
    events = decoder.feed(sent_bytes(scripted)) + decoder.finish()
    return [json.loads(event.data) for event in events if event.data != "[DONE]"]


def extras(model: Any) -> Iterator[str]:
    """The fields of a model, and of all inside it, that its type does not know."""
    if isinstance(model, openai.BaseModel):
        yield from (f"{type(model).__name__}.{name}" for name in model.model_extra or ())
        for _, value in model:
            yield from extras(value)
    elif isinstance(model, list):
        for value in model:
            yield from extras(value)


@pytest.mark.skipif(VERSION < (3, 54), reason="older types know fewer fields")
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("name", OPENAI_NAMES)
def test_every_event_is_one_of_the_sdks_types(name: str, background: bool) -> None:
    """An event has all that its type requires, of the very kinds, and nothing that the type does not know."""
    import pydantic
    from openai.types.responses import ResponseStreamEvent

    known: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)
    for event in events_from(answer_from(name, background=background)):
        model = known.validate_python(event, strict=True)
        assert model.type == event["type"]
        assert set(extras(model)) <= {"ResponseFunctionCallArgumentsDoneEvent.name"}  # required until 2.54


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("name", OPENAI_NAMES)
def test_events_are_named_and_numbered(name: str, background: bool) -> None:
    """An event's name is its type, the numbers count from 0, and nothing follows the terminal event."""
    answer = answer_from(name, background=background)
    events = events_from(answer)
    assert [frame.event for frame in answer.frames] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    begun = ["created", "queued", "in_progress"] if background else ["created", "in_progress"]
    assert [event["type"].removeprefix("response.") for event in events[: len(begun)]] == begun
    assert {event["response"]["id"] for event in events if "response" in event} == {answer.plain["id"]}
    assert {event["response"]["background"] for event in events if "response" in event} == {background}
    assert events[-1]["response"] == answer.plain


@pytest.mark.parametrize("name", [name for name in OPENAI_NAMES if name != "failed"])
def test_the_deltas_of_every_channel_add_up(name: str) -> None:
    """Output item, part and kind: what the deltas of each say is what its done event and the final response say."""
    answer = answer_from(name)
    said: dict[tuple[int, int, str], str] = {}
    done: dict[tuple[int, int, str], str] = {}
    for event in events_from(answer):
        kind, _, stage = event["type"].removeprefix("response.").rpartition(".")
        place = (event.get("output_index", 0), event.get("content_index", event.get("summary_index", 0)), kind)
        if stage == "delta":
            said[place] = said.get(place, "") + event["delta"]
        elif field := {"text", "refusal", "arguments"} & set(event):
            done[place] = event[field.pop()]
    assert said == done
    whole = json.dumps(answer.plain["output"], ensure_ascii=False)
    assert all(json.dumps(text, ensure_ascii=False) in whole for text in said.values())


def test_several_has_every_kind_of_place() -> None:
    """Three output items, the first of two content parts: no place can stand for another."""
    events = events_from(answer_from("several"))
    deltas = [event for event in events if event["type"].endswith(".delta")]
    places = {(event["output_index"], event.get("content_index")) for event in deltas}
    assert places == {(0, 0), (0, 1), (1, None), (2, 0)}


@pytest.mark.parametrize("name", NAMES)
def test_the_first_visible_frame_is_the_first_delta(name: str) -> None:
    """What comes before `visible` is the life of the response and of its items."""
    answer = answer_from(name)
    kinds = [event["type"].rpartition(".")[2] for event in events_from(answer)]
    assert kinds.index("delta") == answer.visible


def test_what_other_servers_do_differently() -> None:
    """llama.cpp's server gives no numbers and places, and LiteLLM's ends with `[DONE]`; else they say the same."""
    text, other = events_from(answer_from("text")), events_from(answer_from("llamacpp"))
    places = {"sequence_number", "output_index", "content_index"}
    assert other == [{key: event[key] for key in event if key not in places} for event in text]
    for name, like in (("litellm", "text"), ("litellm_failed", "failed")):
        assert answer_from(name).frames[-1].data == "[DONE]"
        assert answer_from(name).frames[:-1] == answer_from(like).frames
    bridge = events_from(answer_from("litellm_bridge"))
    assert [event["type"] for event in bridge if "sequence_number" in event] == ["response.output_item.done"]
    assert [{**event, "sequence_number": 0} for event in bridge] == [{**event, "sequence_number": 0} for event in text]


@pytest.mark.parametrize("name", ["interim", "restarted"])
def test_a_gateway_sends_two_responses_in_one_stream(name: str) -> None:
    """The first of them calls a tool, the second answers, under an id of its own; numbers may start again."""
    events = events_from(answer_from(name))
    second = [event["type"] for event in events].index("response.created", 1)
    for part, kind in ((events[:second], "function_call"), (events[second:], "message")):
        assert part[-1]["type"] == "response.completed"
        assert [item["type"] for item in part[-1]["response"]["output"]] == [kind]
        assert len({event["response"]["id"] for event in part if "response" in event}) == 1
    assert events[0]["response"]["id"] != events[-1]["response"]["id"]
    numbers = [event["sequence_number"] for event in events]
    counted = [*range(second), *range(len(events) - second)] if name == "restarted" else [*range(len(events))]
    assert numbers == counted


@has_responses
@pytest.mark.parametrize("name", NAMES)
def test_the_sdk_reads_every_answer(name: str) -> None:
    """`responses.create(stream=True)` hands on every event, and the last is the answer's own end."""
    ends = {"incomplete": "incomplete", "failed": "failed", "litellm_failed": "failed"}
    with Server(answer=name) as server, client_for(server) as client:
        types = [event.type for event in client.responses.create(model="m", input="", stream=True)]
    assert types == [event["type"] for event in events_from(answer_from(name))]
    assert types[-1] == f"response.{ends.get(name, 'completed')}"


@has_responses
@pytest.mark.parametrize("name", FINISHED)
def test_the_helpers_final_response_is_the_plain_answer(name: str) -> None:
    """What `responses.stream()` comes to is what `responses.create()` gives, but for the ids of another answer."""
    with Server(answer=name) as server, client_for(server) as client:
        with client.responses.stream(model="m", input="") as stream:
            final = stream.get_final_response()
        plain = client.responses.create(model="m", input="")
    assert nameless(final.model_dump()) == nameless(plain.model_dump())
    assert final.output_text == plain.output_text


def nameless(value: Any) -> Any:
    """A dumped response without ids and without what the helper parses."""
    if isinstance(value, dict):
        left_out = {"id", "call_id", "parsed", "parsed_arguments"}
        return {key: nameless(inner) for key, inner in value.items() if key not in left_out}
    return [nameless(inner) for inner in value] if isinstance(value, list) else value


def numbers(name: str, after: int | None) -> list[int]:
    """The sequence numbers that a fault leaves."""
    return [event["sequence_number"] for event in sent(FAULTS[name].apply(answer_from("text"), after))]


@pytest.mark.parametrize("after", [None, 0, MIDWAY, 99])
def test_numbers_come_twice_or_out_of_order(after: int | None) -> None:
    """A duplicate is one number twice, a disorder two neighbours swapped; sorted and once each they are whole."""
    whole = list(range(len(events_from(answer_from("text")))))
    twice, swapped = numbers("seq_duplicate", after), numbers("seq_disorder", after)
    assert sorted(set(twice)) == sorted(swapped) == whole
    assert [later - earlier for earlier, later in pairwise(twice)].count(0) == 1
    assert [later - earlier for earlier, later in pairwise(swapped)].count(-1) == 1
    assert twice[-1] == swapped[-1] == whole[-1]  # the terminal event stays the last


@pytest.mark.parametrize("name", ["text", "litellm"])
def test_a_stream_without_its_terminal_event_ends_cleanly(name: str) -> None:
    """All but the terminal event comes, or what there was with `[DONE]` behind it."""
    answer = answer_from(name)
    assert sent(FAULTS["no_terminal"].apply(answer)) == events_from(answer)[:-1]
    for after, count in ((MIDWAY, MIDWAY), (99, len(events_from(answer)) - 1)):
        scripted = FAULTS["done_without_terminal"].apply(answer, after)
        assert sent(scripted) == events_from(answer)[:count]
        assert scripted.steps[-2] == Send(b"data: [DONE]\n\n")


@pytest.mark.parametrize(("name", "code"), [("error_flat", "server_error"), ("error_flat_invalid", "invalid_prompt")])
def test_the_apis_own_error_event_is_flat_and_numbered(name: str, code: str) -> None:
    """The error comes as an `error` event with the number that was due, and nothing after it."""
    *before, error = sent(FAULTS[name].apply(answer_from("text"), MIDWAY))
    assert before == events_from(answer_from("text"))[:MIDWAY]
    assert error["type"] == "error"
    assert error["code"] == code
    assert error["sequence_number"] == MIDWAY


def test_names_can_be_lost() -> None:
    """Without `event:` lines every payload still says its type."""
    scripted = FAULTS["named_lost"].apply(answer_from("several"))
    assert sent(scripted) == events_from(answer_from("several"))
    assert b"event:" not in sent_bytes(scripted)


@has_responses
@pytest.mark.parametrize("fault", NUMBERED, ids=[fault.name for fault in NUMBERED])
def test_the_sdk_alone_notices_nothing(fault: Fault) -> None:
    """None of these faults makes the SDK raise: it hands on whatever came."""
    with Server(fault=fault, after=MIDWAY) as server, client_for(server) as client:
        types = [event.type for event in client.responses.create(model="m", input="", stream=True)]
        assert len(server.requests) == 1
    answer = answer_from(fault.answer or "text")
    assert types == [event["type"] for event in sent(fault.apply(answer, MIDWAY))]

"""The laws: the events made of a finished response are those of a stream: read by the SDK's helper, they come to that
very response, and each of its texts is a delta. One that is still being made is `Unfinished`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_stream_guard.apis.polled_response import Unfinished, events_from, finished_response
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.responses import ResponsesAdapter
from openai_stream_guard.decoding.reader import Reader
from openai_stream_guard.testing import AnswerVariant, Frame, build_answer, streaming
from openai_stream_guard.testing.server.server import Server
from tests.support.chunks import payload
from tests.support.response_events import delivered, left_of, told
from tests.support.responses import has_helper, help_along, nameless, unbroken_help

NAMES = ("text", "function_call", "reasoning", "refusal", "several", "incomplete")


def whole(name: str, serial: int = 1) -> dict[str, Any]:
    """A finished response."""
    plain: dict[str, Any] = build_answer("responses", name, AnswerVariant(serial, model="m")).plain
    return plain


def served(*responses: dict[str, Any]) -> Any:
    """These responses as streams, one after the other."""
    return [
        streaming(Frame(json.dumps(event), event["type"]).encode() for event in events_from(response))
        for response in responses
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_events_are_those_of_the_stream_with_one_delta_a_text(name: str) -> None:
    """The same types in the same order, numbered from 0, and the same texts in the same places."""
    events = events_from(whole(name))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    joined: list[str] = []
    for event in told(name):
        if not (joined and joined[-1] == event["type"] and event["type"].endswith(".delta")):
            joined.append(event["type"])
    assert [event["type"] for event in events] == joined
    assert delivered(*events).text_channels == delivered(*told(name)).text_channels
    assert events[-1]["response"] == whole(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_streamed_is_trimmed_from_them(name: str) -> None:
    """Wherever the stream broke, its events and what is left of these say the answer once and to the end."""
    streamed = told(name)
    for place in range(len(streamed)):
        rest = left_of(delivered(*streamed[:place]), *events_from(whole(name)))
        joined = delivered(*streamed[:place], *rest)
        assert joined.text_channels == delivered(*streamed).text_channels
        assert joined.lifecycle == delivered(*streamed).lifecycle
        assert rest[-1]["response"] == whole(name)


@has_helper
@pytest.mark.parametrize("name", ["text", "function_call", "reasoning", "refusal", "several"])
def test_the_helper_comes_to_the_same_response(server: Server, name: str) -> None:
    """The final response is the unbroken one, by the SDK's own accumulation."""
    server.script(*served(whole(name)))
    seen = help_along(server)
    assert seen.error is None
    assert nameless(seen.final.model_dump(warnings=False)) == unbroken_help(name)[1]


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "cancelled"])
def test_the_end_is_told_as_it_was(status: str) -> None:
    """Whatever became of the response, its terminal event says so."""
    adapter = ResponsesAdapter(StreamRequest("post", "/responses", "host"))
    last = events_from({"id": "r", "object": "response", "status": status, "output": None})[-1]
    assert last["type"] == f"response.{status}"
    adapter.read(payload(last))
    assert adapter.answer_complete


def test_items_of_any_kind_are_told() -> None:
    """Calls of every kind, annotations, empty texts and items that are not known yet lose nothing."""
    cited = {"type": "output_text", "text": "see", "annotations": [{"type": "url_citation"}, {"type": "x"}]}
    output = [
        {"id": "1", "type": "message", "role": "assistant", "status": "completed", "content": [cited]},
        {"id": "2", "type": "custom_tool_call", "call_id": "c", "name": "sh", "input": "ls"},
        {"id": "3", "type": "mcp_call", "name": "m", "arguments": "{}", "server_label": "s"},
        {"id": "4", "type": "function_call", "call_id": "d", "name": "f", "arguments": ""},
        {"id": "5", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"id": "6", "type": "web_search_call", "status": "completed", "action": {"query": "q"}},
        {"id": "7", "type": "yet_unknown", "content": [{"type": "output_audio", "data": "x"}]},
    ]
    events = events_from({"id": "r", "object": "response", "status": "completed", "output": output})
    said = {event["type"]: event["delta"] for event in events if event["type"].endswith(".delta") and event["delta"]}
    assert said == {
        "response.output_text.delta": "see",
        "response.custom_tool_call_input.delta": "ls",
        "response.mcp_call_arguments.delta": "{}",
        "response.reasoning_text.delta": "hm",
    }
    annotated = [event for event in events if event["type"] == "response.output_text.annotation.added"]
    assert [event["annotation_index"] for event in annotated] == [0, 1]
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == output
    opened = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    assert not any(item.get("content") or item.get("summary") or item.get("arguments") for item in opened)


@pytest.mark.parametrize("response", [{"status": "queued"}, {"status": "in_progress"}, {"status": None}, {}, "x", None])
def test_what_is_not_at_its_end_is_unfinished(response: object) -> None:
    """Also what is no response at all."""
    with pytest.raises(Unfinished):
        finished_response(response)


async def test_both_readers_give_one_event_a_read() -> None:
    """They are server-sent events, named by their types, whole in themselves."""
    response = finished_response(whole("several"))
    reads = list(response.iter_bytes())
    assert [data async for data in finished_response(whole("several")).aiter_bytes()] == reads
    reader = Reader("off", 1 << 20)
    payloads = [payload for data in reads for payload in reader.feed(data)]
    events = events_from(whole("several"))
    assert [payload.value for payload in payloads] == events == json.loads(json.dumps(events))
    assert [payload.event for payload in payloads] == [event["type"] for event in events]
    assert {payload.event for payload in payloads} == {event["type"] for event in told("several")}
    assert not reader.unfinished


async def test_it_passes_for_an_http_response() -> None:
    """What an exchange looks at is there, and closing it does nothing."""
    response = finished_response(whole("several"))
    response.close()
    await response.aclose()
    assert (response.status_code, response.headers, response.extensions) == (200, {}, {})
    assert list(response.iter_bytes())

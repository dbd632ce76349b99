"""The laws: the events made of a finished response are those of a stream: read by the SDK's helper, they come to that
very response, and each of its texts is a delta. One that is still being made is `Unfinished`.
"""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest

from openai_stream_guard.apis.polled_response import Unfinished, events_from, finished_response
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.responses import ResponsesAdapter
from openai_stream_guard.decoding.reader import Reader
from openai_stream_guard.testing import AnswerVariant, build_answer
from tests.support.chunks import payload
from tests.support.response_events import delivered, left_of, told
from tests.support.streams import VERSION

NAMES = ("text", "function_call", "reasoning", "refusal", "several", "incomplete")


def whole(name: str, serial: int = 1) -> dict[str, Any]:
    """A finished response."""
    plain: dict[str, Any] = build_answer("responses", name, AnswerVariant(serial, model="m")).plain
    return plain


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


def item(kind: str, **more: object) -> dict[str, object]:
    """A finished item."""
    return {"id": f"{kind}_1", "type": kind, "status": "completed", **more}


NOTE = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
ITEMS = [
    item(
        "reasoning",
        summary=[{"type": "summary_text", "text": "so"}],
        content=[{"type": "reasoning_text", "text": "as"}],
    ),
    item("web_search_call", action={"type": "search", "query": "q"}),
    item("file_search_call", queries=["q"], results=[]),
    item("code_interpreter_call", code="1+1", container_id="c", outputs=[{"type": "logs", "logs": "2"}]),
    item("image_generation_call", result="aGk="),
    item("mcp_list_tools", server_label="s", tools=[{"name": "t", "input_schema": {}}]),
    item("mcp_call", server_label="s", name="t", arguments="{}", output="o"),
    item("mcp_call", server_label="s", name="t", arguments="{}", error="no", status="failed"),
    item("mcp_list_tools", server_label="s", tools=[], error="no"),
    item("compaction", encrypted_content="x"),
    item("computer_call", call_id="c", action={"type": "screenshot"}, pending_safety_checks=[]),
    item("function_call", call_id="c", name="f", arguments="{}"),
    item("custom_tool_call", call_id="c", name="f", input="in"),
    item(
        "message",
        role="assistant",
        content=[
            {
                "type": "output_text",
                "text": "hi",
                "annotations": [NOTE],
                "logprobs": [],
            },
            {"type": "refusal", "refusal": "no"},
        ],
    ),
]
UNTOLD = {
    # What a retrieved response no longer has.
    "response.image_generation_call.partial_image",
    *(f"response.audio.{step}" for step in ("delta", "done")),
    *(f"response.audio.transcript.{step}" for step in ("delta", "done")),
    # Lifecycle, and ends that this response does not have.
    "response.queued", "response.failed", "response.incomplete", "error",
    # A shell's commands are told by their whole item only: see `TOLD`.
    *(f"response.shell_call_command.{step}" for step in ("added", "delta", "done")),
    *(f"response.shell_call_output_content.{step}" for step in ("delta", "done")),
}  # fmt: skip
"""Kinds of events of the SDK that no finished response is read as."""
RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "output": ITEMS}


def event_classes() -> dict[str, Any]:
    """The SDK's classes of events, by their types."""
    from openai.types.responses import ResponseStreamEvent

    union = typing.get_args(ResponseStreamEvent)[0]
    return {typing.get_args(kind.model_fields["type"].annotation)[0]: kind for kind in typing.get_args(union)}


@pytest.mark.skipif(VERSION < (3, 57), reason="earlier releases of the SDK know fewer events")
def test_every_event_of_the_sdk_is_told_or_known_not_to_be() -> None:
    """A release with a new one is noticed here."""
    told, known = {event["type"] for event in events_from(RESPONSE)}, set(event_classes())
    assert told <= known
    assert known - told == UNTOLD


@pytest.mark.skipif(VERSION < (3, 57), reason="earlier releases of the SDK know fewer events")
def test_every_event_has_what_the_sdk_wants_of_it() -> None:
    """Whole items and responses aside, which are as the API has retrieved them."""
    classes = event_classes()
    for event in events_from(RESPONSE):
        if not event.keys() & {"item", "response"}:
            classes[event["type"]].model_validate(event)


def test_an_item_begins_empty() -> None:
    """Its text and its results come behind its first event."""
    added = [event["item"] for event in events_from(RESPONSE) if event["type"] == "response.output_item.added"]
    for began, whole in zip(added, ITEMS, strict=True):
        assert began["status"] == "in_progress"
        for name in ("content", "summary", "arguments", "input", "code", "result", "outputs", "output", "error"):
            if name in whole:
                assert not began[name], (whole["type"], name)


@pytest.mark.parametrize("status", ["failed", "incomplete", "in_progress"])
def test_what_did_not_complete_is_not_told_to_have(status: str) -> None:
    """Its steps end before the one that says so."""
    search = {**ITEMS[1], "status": status}
    kinds = [event["type"] for event in events_from({**RESPONSE, "status": "cancelled", "output": [search]})]
    assert kinds[2:] == [
        "response.output_item.added",
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.output_item.done",
        "response.cancelled",
    ]


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

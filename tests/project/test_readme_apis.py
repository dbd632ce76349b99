"""The law: the page's table of APIs is what the dialects do: their ends, their texts and their ways of recovery."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from openai_stream_guard.apis.adapter import ApiAdapter, DataEvent
from openai_stream_guard.apis.continuation import Continuing
from openai_stream_guard.apis.registry import adapter_for
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.engine.recovery import RecoveryPlan, choose_recovery
from tests.support.chunks import chunk, payload
from tests.support.pages import APIS, table
from tests.support.pages import read as text_of

WAYS = ("resume", "restart", "continue", "replay")
HOW: Continuing = "vllm"


class Row(NamedTuple):
    """One row of the table; a cell that says `the same` is the one above."""

    api: str
    ends: str
    text: str
    ways: str


def rows() -> list[Row]:
    """The table of the page."""
    found: list[Row] = []
    for cells in table(text_of(APIS), "API"):
        found.append(Row(*(found[-1][place] if cell == "the same" else cell for place, cell in enumerate(cells))))
    return found


def asked(method: str, path: str, **body: object) -> StreamRequest:
    """A request, at a host that is held to the API."""
    return StreamRequest(method, path, "api.openai.com", body)


REQUESTS: dict[str, list[StreamRequest]] = {
    "chat completions": [asked("post", "/chat/completions")],
    "completions": [asked("post", "/completions")],
    "Responses": [asked("post", "/responses"), asked("post", "/responses?beta=true")],
    "Responses made with `background=True`": [asked("post", "/responses", background=True)],
    "Responses that are retrieved": [asked("get", "/responses/resp_1"), asked("get", "/responses/resp_1?beta=true")],
    "assistants' runs": [
        asked("post", path) for path in ("/threads/runs", "/threads/t/runs", "/threads/t/runs/r/submit_tool_outputs")
    ],
    "images, speech, transcriptions": [
        asked("post", path)
        for path in ("/images/generations", "/images/edits", "/audio/speech", "/audio/transcriptions")
    ],
    "agents' sessions, and all else": [
        asked("post", "/agents/sessions"),
        asked("get", "/agents/sessions/s/events"),
        asked("post", "/x"),
    ],
}
BEGUN: list[Any] = [
    {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}},
    chunk({"role": "assistant", "content": ""}),
]
"""What shows nothing, of the APIs that have such events."""


def saying(name: str) -> tuple[Any, str | None]:
    """A payload in which this member or event of the table says something, and the event's name."""
    match name:
        case "finish_reason":
            return chunk({}, "stop"), None
        case "text":
            return {"choices": [{"index": 0, "text": "a"}]}, None
        case "tool_calls":
            return chunk({"tool_calls": [{"index": 0, "function": {"arguments": "a"}}]}), None
        case "thread.message.delta":
            return {"id": "msg_1", "delta": {"content": [{"index": 0, "text": {"value": "a"}}]}}, name
        case _ if "." not in name and name != "done":
            return chunk({name: "a"}), None
        case _ if name.startswith("thread."):
            return {"id": "run_1"}, name
    return {"type": name, "sequence_number": 1, "delta": "a", "response": {"id": "resp_1"}}, name


def read(request: StreamRequest, *names: str) -> tuple[ApiAdapter, Transcript]:
    """What the dialect of a request has made of these, and what a consumer has of them."""
    adapter, transcript = adapter_for(request), Transcript()
    is_chat = request.path.endswith("completions")
    begin = (BEGUN[1], None) if is_chat else (BEGUN[0], "response.created")
    for value, event in ([begin] if is_chat or "responses" in request.path else []) + [saying(name) for name in names]:
        for due in adapter.in_sequence(payload(value, event)):
            reading = adapter.read(due)
            assert isinstance(reading, DataEvent)
            transcript.add(reading.text_deltas, reading.identities, reading.kind, reading.sequence)
    return adapter, transcript


def named(cell: str) -> list[str]:
    """What a cell names."""
    return re.findall(r"`([^`]+)`", cell)


def test_every_kind_of_request_has_its_row() -> None:
    """And no row is without requests."""
    assert [row.api for row in rows()] == list(REQUESTS)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.api)
def test_the_ends_are_those_of_the_dialect(row: Row) -> None:
    """Each mark that is named is an end by the strict rule, and without one there is none."""
    for request in REQUESTS[row.api]:
        ends = {
            name: read(request, name)[0].is_complete("strict", done=False)
            for name in named(row.ends)
            if name != "[DONE]"
        }
        if not ends:
            assert row.ends == "the body ends, with no event unfinished"
            assert read(request, "x.y")[0].is_complete("strict", done=False)
            continue
        assert set(ends.values()) == {True}
        others = {name for one in rows() for name in named(one.ends) if "." in name} - set(ends)
        if "type" not in row.ends:  # else a foreign mark is of an unknown type, and the body's end is the end
            assert not any(read(request, name)[0].is_complete("strict", done=False) for name in sorted(others))
        assert not read(request)[0].is_complete("auto", done=False)
        assert read(request)[0].is_complete("auto", done=True) is ("[DONE]" in named(row.ends))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.api)
def test_the_texts_are_channels(row: Row) -> None:
    """What is named is a text of its own; where nothing is, no text is known."""
    for request in REQUESTS[row.api]:
        transcripts = [read(request, name)[1] for name in named(row.text)]
        assert all(len(transcript.text_channels) == 1 for transcript in transcripts)
        assert len({next(iter(transcript.text_channels)) for transcript in transcripts}) == len(transcripts)
        if row.text == "none":
            assert not read(request, "response.output_text.delta")[1].visible
            assert adapter_for(request).partial(Transcript()) is None


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.api)
def test_the_ways_are_those_that_are_taken(row: Row) -> None:
    """Of every way that a policy can allow, before and after the first event and the first text."""
    told = re.findall(r"\*\*(\w+)\*\*", row.ways)
    for request in REQUESTS[row.api]:
        scenes = [
            (adapter_for(request), Transcript()),
            read(request),
            *(read(request, name) for name in named(row.text)),
        ]
        taken = set()
        for way in WAYS:
            policy = Policy(recovery=(way,), continuation=HOW)
            for adapter, transcript in scenes:
                answer = choose_recovery(policy, request, adapter, transcript, recently_diverged=False)
                taken |= {answer.way} if isinstance(answer, RecoveryPlan) else set()
        assert taken == set(told)
        assert adapter_for(request).reissuable or not told

"""Chunks of chat streams, and what is read from them: for the tests of the adapter of chats."""

from __future__ import annotations

import json
from typing import Any

from openai_stream_guard.apis.adapter import DataEvent
from openai_stream_guard.apis.chat import ChatAdapter
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.second_answer import ReplayChecker
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.decoding.payload import Payload


def payload(value: object, event: str | None = None) -> Payload:
    """A payload as the reader makes it."""
    return Payload(event, json.dumps(value).encode(), value, None, None)


def chat(**body: object) -> ChatAdapter:
    """The adapter of a request with this body."""
    return ChatAdapter(StreamRequest("post", "/chat/completions", "host:1", body))


def chunk(delta: object, finish: object = None, index: int = 0, **more: object) -> dict[str, Any]:
    """A chunk with one choice."""
    return {
        "id": "chatcmpl-1",
        "created": 5,
        "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        **more,
    }


def called(arguments: object, *, name: str = "f", index: int = 0, place: int | None = 0) -> dict[str, Any]:
    """A chunk that begins a tool call; one without a `place` has no index."""
    function = {"name": name} if arguments is None else {"name": name, "arguments": arguments}
    call = {"index": place, "id": "call_1", "type": "function", "function": function}
    if place is None:
        del call["index"]
    return chunk({"tool_calls": [call]}, index=index)


def read(adapter: ChatAdapter, *values: object) -> list[object]:
    """What each value is."""
    return [adapter.read(payload(value)) for value in values]


def transcript_of(*values: object) -> Transcript:
    """What a consumer has who was handed these payloads."""
    transcript, adapter = Transcript(), chat(n=2)
    for value in values:
        item = adapter.read(payload(value))
        assert isinstance(item, DataEvent)
        transcript.add(item.text_deltas, item.identities, item.kind)
    return transcript


def trim(transcript: Transcript, *values: object) -> list[Any]:
    """What is left of a second answer."""
    adapter, replay = chat(n=2), ReplayChecker(transcript)
    left = [adapter.trim_repeated(payload(value), replay) for value in values]
    return [one.value for one in left if one is not None]


TEXT, FINISH = chunk({"content": "a"}), chunk({}, "stop")
SECOND, SECOND_FINISH = chunk({"content": "b"}, index=1), chunk({}, "length", index=1)
FILTER = {"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}

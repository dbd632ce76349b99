"""Events of the Responses API, and what is read from them: for the tests of its adapter."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from openai_stream_guard.apis.adapter import DataEvent
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.responses import ResponsesAdapter
from openai_stream_guard.apis.second_answer import ReplayChecker
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.testing import AnswerVariant, build_answer

from .any_json import any_json
from .chunks import payload

MEMBERS = (
    "type", "id", "item", "item_id", "delta", "response", "output", "error", "logprobs", "token", "part"
)  # fmt: skip
scalars = st.integers() | st.floats() | st.sampled_from(["", "a", "error", "\ud83d", "message"])
names = st.sampled_from(MEMBERS)
anything = any_json(*MEMBERS, scalars=scalars, max_leaves=10)
"""Any JSON, with the names that mean something in this API."""


def asked(**body: object) -> StreamRequest:
    """A request for a response."""
    return StreamRequest("post", "/responses", "host:1", body)


def told(name: str, serial: int = 1, *, regroup: bool = False) -> list[dict[str, Any]]:
    """The events of a recorded answer."""
    frames = build_answer("responses", name, AnswerVariant(serial, regroup=regroup)).frames
    return [json.loads(frame.data) for frame in frames if frame.data != "[DONE]"]


def delivered(*values: object, **body: object) -> Transcript:
    """What a consumer has who was handed these events."""
    transcript, adapter = Transcript(), ResponsesAdapter(asked(**body))
    for value in values:
        reading = adapter.read(payload(value))
        assert isinstance(reading, DataEvent)
        transcript.add(reading.text_deltas, reading.identities, reading.kind, reading.sequence)
    return transcript


def left_of(transcript: Transcript, *values: object, **body: object) -> list[Any]:
    """What a repetition leaves of these events, and the session would hand over."""
    adapter, replay = ResponsesAdapter(asked(**body)), ReplayChecker(transcript)
    left: list[Any] = []
    for value in values:
        adapter.read(payload(value))
        trimmed = adapter.trim_repeated(payload(value), replay)
        left += [] if trimmed is None else [trimmed.value]
    assert replay.caught_up
    transcript.held.clear()  # as where another attempt begins
    return left

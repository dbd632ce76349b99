"""The laws: runs, pictures and sound end with their API's own last event; in-stream errors are faults unless the API
hands them on as values; nothing of these APIs is ever asked for twice.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.apis.adapter import DataEvent, FaultEvent, KeepAlive
from openai_stream_guard.apis.detect_only import RunAdapter
from openai_stream_guard.apis.registry import adapter_for
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.second_answer import ReplayChecker
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.testing import AnswerVariant, build_answer
from tests.support.chunks import payload
from tests.support.response_events import anything

RUN, IMAGE, SPEECH, TRANSCRIPT = "/threads/t/runs", "/images/generations", "/audio/speech", "/audio/transcriptions"
RECORDED: dict[str, Any] = {
    "assistants": RUN,
    "images": IMAGE,
    "image_edits": "/images/edits",
    "transcription": TRANSCRIPT,
    "speech": SPEECH,
}
PATHS = ("/threads/runs", RUN, "/threads/t/runs/r/submit_tool_outputs", IMAGE, "/images/edits", TRANSCRIPT, SPEECH)


def marked(path: str = RUN, *, values: bool = False) -> RunAdapter:
    """The adapter of a request to this path."""
    adapter = adapter_for(StreamRequest("post", path, "host", errors_are_values=values))
    assert isinstance(adapter, RunAdapter)
    return adapter


@pytest.mark.parametrize("api", RECORDED)
def test_a_recorded_answer_ends_with_its_last_event(api: Any) -> None:
    """Not before, and without any `[DONE]`."""
    adapter = marked(RECORDED[api])
    frames = [frame for frame in build_answer(api, "text", AnswerVariant(1)).frames if frame.data != "[DONE]"]
    for frame in frames:
        assert not adapter.is_complete("strict", done=False)
        assert isinstance(adapter.read(payload(json.loads(frame.data), frame.event)), DataEvent)
    assert adapter.is_complete("strict", done=False)
    assert adapter.answer_complete


@pytest.mark.parametrize("name", ["completed", "failed", "cancelled", "expired", "incomplete", "requires_action"])
def test_every_end_of_a_run_is_an_end(name: str) -> None:
    """Also where the run failed or waits for a tool: the API's word."""
    adapter = marked()
    adapter.read(payload({"id": "run_1", "last_error": {"code": "x"}}, f"thread.run.{name}"))
    assert adapter.answer_complete


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (RUN, "thread.run.step.completed"),
        (RUN, "thread.message.completed"),
        (RUN, "thread.run.completed.not"),
        (IMAGE, "image_generation.partial_image"),
        (IMAGE, "image_edit.partial_image"),
        (SPEECH, "speech.audio.delta"),
        (TRANSCRIPT, "transcript.text.segment"),
    ],
)
def test_nothing_else_is_an_end(path: str, kind: str) -> None:
    """A step's or a message's end is not the run's, nor one API's mark another's."""
    adapter = marked(path)
    adapter.read(payload({}, kind))
    assert not adapter.is_complete("lenient", done=False)
    assert adapter.is_complete("strict", done=True), "these APIs' own `[DONE]` is no gateway's"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (TRANSCRIPT, {"type": "transcription.done", "text": "Hello"}),
        (TRANSCRIPT, {"type": "speech.to.text.completed", "text": ""}),
        (IMAGE, {"type": "image.completed", "b64_json": "QQ=="}),
    ],
)
def test_whatever_carries_the_result_is_an_end(path: str, value: dict[str, Any]) -> None:
    """Other servers call it otherwise; its type ends in `.done` or `.completed`."""
    adapter = marked(path)
    adapter.read(payload(value))
    assert adapter.answer_complete
    bare = marked(path)
    bare.read(payload({"type": value["type"]}))
    assert not bare.answer_complete


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_pictures_as_were_asked_for(count: int) -> None:
    """Fewer are no whole answer, though each has its end."""
    adapter = adapter_for(StreamRequest("post", IMAGE, "host", {"n": count}))
    for number in range(count):
        assert not adapter.answer_complete
        assert not adapter.is_complete("lenient", done=False)
        adapter.read(payload({"type": "image_generation.completed", "b64_json": f"{number}"}))
    assert adapter.answer_complete


def test_without_a_type_that_is_known_the_body_says_the_end() -> None:
    """With a note; and an empty body is none."""
    adapter = marked(TRANSCRIPT)
    assert not adapter.is_complete("auto", done=False)
    adapter.read(payload({"text": "Hello"}))
    assert not adapter.answer_complete
    assert adapter.is_complete("auto", done=False)
    assert adapter.end_note is not None


@pytest.mark.parametrize(
    ("value", "event"),
    [({"error": {"code": "x"}}, None), ({"error": {"code": "x"}}, "error"), ({"code": "x"}, "error")],
)
def test_errors_are_faults_or_values(value: Any, event: str | None) -> None:
    """The error object is what is judged; where errors are values they are items like any other."""
    reading = marked().read(payload(value, event))
    assert isinstance(reading, FaultEvent)
    assert (reading.fault, reading.body) == ("upstream_error", {"code": "x"})
    assert isinstance(marked(values=True).read(payload(value, event)), DataEvent)


def test_keep_alives_are_no_items() -> None:
    """Named as an event or typed in the payload."""
    assert isinstance(marked().read(payload({}, "ping")), KeepAlive)
    assert isinstance(marked().read(payload({"type": "keepalive"})), KeepAlive)


@pytest.mark.parametrize("path", PATHS)
@given(value=anything, event=st.sampled_from([None, "error", "ping", "done", "thread.run.completed"]))
def test_any_json_is_read_and_nothing_repeated(path: str, value: object, event: str | None) -> None:
    """A reading for every value; there is no replay, no continuation and no partial answer."""
    adapter = marked(path)
    [due] = adapter.in_sequence(payload(value, event))
    assert isinstance(adapter.read(due), DataEvent | KeepAlive | FaultEvent)
    transcript = Transcript()
    assert (adapter.reissuable, adapter.may_replay(transcript), adapter.may_continue(transcript)) == (
        False,
        False,
        None,
    )
    assert adapter.trim_repeated(due, ReplayChecker(transcript)) is due
    assert (adapter.partial_text(transcript), adapter.partial(transcript)) == ("", None)
    assert (adapter.response_id, adapter.resume_after, adapter.missing, adapter.went_on) == (None, None, False, False)


def test_the_texts_of_messages_are_apart_and_in_order() -> None:
    """By message and part, whatever the shape of what comes between."""
    adapter, transcript = marked(), Transcript()

    def delta(message: object, *parts: object) -> None:
        value = {"id": message, "delta": {"content": [*parts]}}
        reading = adapter.read(payload(value, "thread.message.delta"))
        assert isinstance(reading, DataEvent)
        transcript.add(reading.text_deltas, reading.identities, reading.kind)

    def part(text: object, index: object = 0) -> object:
        return {"index": index, "type": "text", "text": {"value": text}}

    delta("msg_1", part("Blue"), part("red", 1))
    delta("msg_2", part("green"))
    delta("msg_1", part(" sky"), None, {"text": None}, part(5), part("", []), {"type": "image_file"})
    assert adapter.partial_text(transcript) == "Blue skyredgreen"

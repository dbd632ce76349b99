"""The image, audio and assistants endpoints of the loopback server give the SDK one healthy stream each."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from openai_stream_guard.sse import Decoder
from openai_stream_guard.testing import AnswerVariant, Server, build_answer
from openai_stream_guard.testing.server.answers.answer import TEXT
from openai_stream_guard.testing.server.answers.media import PICTURES, SOUND
from tests.support.streams import VERSION, client_for

streams_media = pytest.mark.skipif(VERSION < (1, 109), reason="this SDK streams no pictures or transcripts")


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """An unguarded client of the server."""
    with client_for(server) as made:
        yield made


@streams_media
@pytest.mark.parametrize("kind", ["image_generation", "image_edit"])
def test_images_come_in_part_and_then_whole(server: Server, client: Any, kind: str) -> None:
    """Two partial images, then the completed one, for a JSON body and for a form."""
    if kind == "image_generation":
        events = list(client.images.generate(model="m", prompt="tram", stream=True, partial_images=2))
    else:
        events = list(client.images.edit(model="m", prompt="tram", image=b"png", stream=True))
        assert server.requests[0].body == {"model": "m", "prompt": "tram", "stream": "true", "image": "upload"}
    names = ["partial_image", "partial_image", "completed"]
    assert [event.type for event in events] == [f"{kind}.{name}" for name in names]
    assert [event.b64_json for event in events] == PICTURES
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert events[-1].usage.total_tokens == 291
    plain = client.images.generate(model="m", prompt="tram")
    assert plain.data[0].b64_json == events[-1].b64_json


@streams_media
def test_a_transcript_comes_in_deltas_and_then_whole(server: Server, client: Any) -> None:
    """The deltas add up to the text of the last event, which is the plain answer's."""
    *deltas, last = client.audio.transcriptions.create(model="m", file=b"wav", stream=True)
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert last.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas) == last.text == TEXT
    assert last.usage.total_tokens == 44
    assert client.audio.transcriptions.create(model="m", file=b"wav").text == TEXT
    assert "wav" not in repr(server.requests)


def test_a_run_writes_a_message(client: Any) -> None:
    """The helper's final message and run are those of the events, and `done` ends the stream."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with client.beta.threads.runs.stream(thread_id="t", assistant_id="a") as stream:
            events = [event.event for event in stream]
            [message] = stream.get_final_messages()
            run, steps = stream.current_run, stream.get_final_run_steps()
    assert events[0] == "thread.run.created"
    assert events[-1] == "thread.run.completed"
    assert message.content[0].text.value == TEXT
    assert (run.status, message.status, message.run_id) == ("completed", "completed", run.id)
    assert [step.step_details.message_creation.message_id for step in steps] == [message.id]


@pytest.mark.parametrize("path", ["/v1/threads/runs", "/v1/threads/t/runs", "/openai/threads/t/runs?api-version=1"])
def test_a_run_is_served_on_each_of_its_paths(client: Any, path: str) -> None:
    """With a thread or without one, behind whatever prefix."""
    url = str(client.base_url.copy_with(path="/")).rstrip("/") + path
    body = client.post(url, body={"stream": True}, cast_to=object, options={"headers": RAW}).http_response.content
    assert body.endswith(b"event: done\ndata: [DONE]\n\n")


RAW = {"X-Stainless-Raw-Response": "true"}


@pytest.mark.skipif(VERSION < (3, 54), reason="older types know fewer fields")
def test_every_event_of_a_run_is_one_of_the_sdks_types() -> None:
    """An event has all that its type requires, of the very kinds."""
    import pydantic
    from openai.types.beta import AssistantStreamEvent

    known: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(AssistantStreamEvent)
    *events, done = build_answer("assistants", "text", AnswerVariant(1)).frames
    for frame in events:
        model = known.validate_python({"event": frame.event, "data": json.loads(frame.data)}, strict=True)
        assert model.event == frame.event
    assert (done.event, done.data) == ("done", "[DONE]")


def test_speech_comes_as_events_or_as_sound(client: Any) -> None:
    """With `stream_format="sse"` the parts of the sound are events; joined they are the sound of the plain answer."""
    ask = {"model": "m", "voice": "alloy", "input": "hi"}
    plain = client.audio.speech.create(**ask).read()
    body = client.audio.speech.create(**ask, extra_body={"stream_format": "sse"}).read()
    *parts, last = [json.loads(event.data) for event in Decoder().feed(body)]
    assert b"".join(base64.b64decode(part["audio"]) for part in parts) == plain == SOUND
    assert {part["type"] for part in parts} == {"speech.audio.delta"}
    assert last["type"] == "speech.audio.done"
    assert last["usage"]["total_tokens"] == 44


def test_faults_strike_these_streams_too(server: Server, client: Any) -> None:
    """The generic faults know nothing of the API."""
    server.script("truncate_clean", after=1)
    url = f"{server.base_url}/images/generations"
    body = client.post(url, body={"stream": True}, cast_to=object, options={"headers": RAW}).http_response.content
    assert body.count(b"data: ") == 1

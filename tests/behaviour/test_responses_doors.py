"""The law: by whichever door a Responses stream was asked for, and however it is held back, it ends when the API says
so, and a second request is the first one again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.apis.polled_response import events_from
from openai_stream_guard.sdk import RUNTIME
from openai_stream_guard.testing import (
    FAULTS,
    AnswerVariant,
    Frame,
    ScriptedResponse,
    Send,
    Server,
    ServerBehaviour,
    Wait,
    build_answer,
    streaming,
)
from tests.support.ported import unported
from tests.support.responses import (
    asking,
    consume,
    create,
    cut_at,
    has_background,
    has_helper,
    has_responses,
    help_along,
    ids_in,
    offsets,
    plain,
    unbroken,
)
from tests.support.streams import CLIENT_KINDS, VERSION, awaited, client_for, opened, run

pytestmark = [pytest.mark.usefixtures("guarded"), has_responses]

# Numbers, ends and errors.


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS.values() if fault.api == "responses"], ids=lambda fault: fault.name
)
def test_faults_of_this_api(server: Server, fault: Any, client_kind: str) -> None:
    """Each keeps the promise of the catalogue, once and every time."""
    name = fault.answer or "text"
    whole, _ = unbroken(name)
    for after in (None, 9):
        server.reset(fault=fault, after=after)
        seen = consume(server, client_kind)
        if not fault.retryable:
            assert (seen.error.fault, seen.error.code, len(server.requests)) == (
                "upstream_error",
                "invalid_prompt",
                1,
            )
            continue
        assert seen.error is None
        assert plain(seen) == whole
        assert len(server.requests) == fault.promise.requests if hasattr(fault.promise, "requests") else 1
        if fault.verdict:
            server.reset(fault=fault, after=after, times=None)
            seen = consume(server, client_kind, max_retries=1)
            if fault.verdict == "gap":  # the same hole each time is how a server speaks
                assert (seen.error, len(server.requests), len(seen.items)) == (None, 2, len(whole) - 1)
                RUNTIME.hosts.forget()
                continue
            assert (seen.error.fault, seen.error.stopped_by, len(server.requests)) == (fault.verdict, "retries", 2)
            assert plain(seen) == whole[: len(seen.items)]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("answer", ["text", "failed", "incomplete", "litellm", "litellm_failed", "llamacpp"])
def test_a_terminal_event_completes_what_the_server_does_not_end(server: Server, answer: str, client_kind: str) -> None:
    """The stream ends though the server keeps the connection open: whatever the word was, it is passed on."""
    configure(linger_timeout=0.1)
    frames = build_answer("responses", answer, AnswerVariant(1)).encode()
    server.script(ScriptedResponse((*map(Send, frames), Wait())))
    seen = consume(server, client_kind, timeout=3.0)
    assert seen.error is None
    assert len(seen.items) == len(frames) - frames.count(b"data: [DONE]\n\n")
    assert seen.report is not None
    assert seen.report.outcome == "complete"
    lingered = any("linger_timeout" in note for note in seen.report.notes)
    assert lingered != (b"data: [DONE]\n\n" in frames)


@pytest.mark.parametrize("answer", ["text", "failed"])
def test_the_connection_is_used_again(server: Server, answer: str) -> None:
    """A healthy stream's connection serves the next request, as without the guard. At `[DONE]` the SDK closes it."""
    server.reset(answer=answer)
    with client_for(server) as client:
        for _ in range(3):
            assert list(create(client))
    assert server.connections == 1


@pytest.mark.parametrize("name", ["several", "llamacpp", "litellm"])
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_other_servers_are_recovered_too(server: Server, name: str, client_kind: str) -> None:
    """Without numbers or places, or with `[DONE]` at the end: healthy ones pass, broken ones are repeated."""
    whole, _ = unbroken(name)
    server.reset(answer=name)
    assert plain(consume(server, client_kind)) == whole
    for after in (1, 5, 9):
        server.reset(answer=name, fault="truncate_clean", after=after)
        seen = consume(server, client_kind, asking(store=False))
        assert seen.error is None
        assert plain(seen) == whole


# Helpers, doors and parameters.


@has_helper
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_the_helper_raises_the_typed_error(server: Server, client_kind: str) -> None:
    """`get_final_response()` of a broken stream is that error, and not a RuntimeError about a missing event."""
    for fault in ("truncate_clean", "rst", "empty_body", "html_200"):
        server.reset(fault=fault, times=None)
        seen = help_along(server, client_kind)
        assert isinstance(seen.error, OpenAIStreamParseError)
        assert seen.error.stopped_by == "retries"


def told(response: dict[str, Any]) -> list[bytes]:
    """A finished response as a stream."""
    return [Frame(json.dumps(event), event["type"]).encode() for event in events_from(response)]


@has_helper
def test_structured_outputs_are_parsed(server: Server) -> None:
    """`text_format=` travels along with the second request, and what was cut is parsed as a whole."""
    import pydantic

    class Place(pydantic.BaseModel):
        city: str

    parts = []
    for serial in (1, 2):
        response = copy.deepcopy(build_answer("responses", "text", AnswerVariant(serial, model="m")).plain)
        response["output"][0]["content"][0]["text"] = Place(city="Zürich 🚋").model_dump_json()
        parts.append(told(response))
    server.script(streaming(parts[0][:-2]), streaming(parts[1]))
    with client_for(server) as client, client.responses.stream(model="m", input="", text_format=Place) as stream:
        final = stream.get_final_response()
    assert final.output_parsed == Place(city="Zürich 🚋")
    assert server.requests[0].body["text"]["format"]["type"] == "json_schema"
    assert server.requests[1].body == server.requests[0].body


EXTRAS: dict[str, Any] = {
    "extra_body": {"mine": {"a": [1]}},
    "extra_query": {"tenant": "t"},
    "extra_headers": {"x-mine": "yes"},
    "service_tier": "flex",
    "metadata": {"a": "b"},
}


@has_background
@pytest.mark.parametrize("streamable", [True, False])
def test_a_resumption_keeps_the_extra_query_and_headers(server: Server, streamable: bool) -> None:
    """It has no body, and asks the same tenant with the same headers; so does a poll."""
    server.behaviour = ServerBehaviour(streamable=streamable)
    server.script("truncate_clean", after=9)
    assert consume(server, "sync", asking(background=True, **EXTRAS)).error is None
    for request in server.requests[1:]:
        path, _, query = request.path.partition("?")
        assert path.startswith("/v1/responses/resp_")
        assert "tenant=t" in query.split("&")
        assert (request.headers["x-mine"], request.body) == ("yes", None)
    assert ("stream=true" in server.requests[-1].path) is streamable


async def types_of(stream: Any) -> list[str]:
    return [event.type async for event in stream]


async def by_raw_response(client: Any) -> list[str]:
    raw = await client.responses.with_raw_response.create(model="m", input="", stream=True)
    return await types_of(await awaited(raw.parse()))


async def by_streaming_response(client: Any) -> list[str]:
    asked = client.responses.with_streaming_response.create(model="m", input="", stream=True)
    async with asked as response:
        return await types_of(await response.parse())


async def by_post(client: Any) -> list[str]:
    kind = openai.types.responses.ResponseStreamEvent
    stream_cls: Any = openai.Stream if isinstance(unported(client), openai.OpenAI) else openai.AsyncStream
    asked = {"cast_to": kind, "body": {"model": "m", "input": "", "stream": True}, "stream_cls": stream_cls[kind]}
    return await types_of(await client.post("/responses", stream=True, **asked))


async def by_beta(client: Any) -> list[str]:
    if not hasattr(client.beta, "responses"):
        pytest.skip("this SDK has no beta.responses")
    return await types_of(await client.beta.responses.create(model="m", input="", stream=True))


DOORS = (by_raw_response, by_streaming_response, by_post, by_beta)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.parametrize("fault", ["empty_body", "truncate_clean"])
def test_every_door_is_guarded(server: Server, door: Callable[[Any], Any], fault: str, client_kind: str) -> None:
    """Whichever way it was asked for: the whole stream, in two requests."""

    async def main() -> list[str]:
        async with opened(server, client_kind) as client:
            told: list[str] = await door(client)
            return told

    server.script(fault, after=9)
    assert run(client_kind, main) == [item["type"] for item in unbroken("text")[0]]
    assert len(server.requests) == 2


@pytest.mark.parametrize("streamable", [True, False])
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_beta_responses_are_resumed_as_such(server: Server, client_kind: str, streamable: bool) -> None:
    """The query that makes them beta stays with the resumption and the poll."""
    if VERSION < (2, 54):
        pytest.skip("this SDK has no beta.responses")

    def ask(client: Any) -> Any:
        return client.beta.responses.create(model="m", input="", stream=True, background=True)

    server.behaviour = ServerBehaviour(streamable=streamable)
    server.script("truncate_clean", after=9)
    seen = consume(server, client_kind, ask)
    assert seen.error is None
    assert all("beta=true" in request.path for request in server.requests)
    assert seen.items[-1][1]["type"] == "response.completed"


def test_a_body_that_cannot_be_sent_twice_is_not(server: Server) -> None:
    """An upload that was read to its end is gone: the error, after one request."""
    content = json.dumps({"model": "m", "input": "", "stream": True}).encode()
    kind = openai.types.responses.ResponseStreamEvent
    stream_cls: Any = openai.Stream[kind]

    def ask(client: Any) -> Any:
        more = {"headers": {"content-type": "application/json"}}
        return client.post(
            "/responses",
            cast_to=kind,
            content=iter([content]),
            options=more,
            stream=True,
            stream_cls=stream_cls,
        )

    if VERSION < (2, 54):
        pytest.skip("this SDK sends no raw content")
    server.script("truncate_clean", after=9)
    seen = consume(server, "sync", ask)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert (seen.error.stopped_by, len(server.requests)) == ("unsafe", 1)


# Held delivery.


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("name", ["text", "function_call", "several"])
def test_atomic_delivery_makes_every_break_a_restart(server: Server, name: str, client_kind: str) -> None:
    """Nothing was seen, so nothing has to be repeated, not even the calls that the API stores."""
    configure(delivery="atomic")
    ends = offsets(name)[0]
    for offset in (ends[4], ends[9], ends[-1]):
        server.reset(answer=name)
        server.script(cut_at(offset))
        seen = consume(server, client_kind)
        assert seen.error is None
        assert plain(seen) == unbroken(name)[0]
        assert len({item["response"]["id"] for _, item in seen.items if "response" in item}) == 1
        assert seen.report is not None
        assert seen.report.recoveries == ["restart"]
    server.reset(answer=name, fault="truncate_clean", after=9, times=None)
    assert consume(server, client_kind).items == []


@has_background
@pytest.mark.parametrize("way", [{"store": False}, {"background": True}], ids=str)
def test_a_call_is_handed_over_when_it_is_whole(server: Server, way: dict[str, Any]) -> None:
    """`delivery="tool_calls"` lets text flow, and shows no part of a call, wherever in it the stream broke."""
    background = "background" in way
    configure(delivery="tool_calls")
    whole, ids = unbroken("several", background=background)
    calls = [place for place, item in enumerate(whole) if item.get("output_index") == 1]
    for place in range(calls[0] - 2, calls[-1] + 3):
        offset = offsets("several", background=background)[0][place]
        server.reset(answer="several")
        server.script(cut_at(offset))
        shown = len(consume(server, "sync", asking(**way), max_retries=0).items)
        assert shown == (calls[0] if place in calls[:-1] else place + 1)
        server.reset(answer="several")
        server.script(cut_at(offset))
        seen = consume(server, "sync", asking(**way))
        assert seen.error is None, offset
        assert plain(seen) == whole
        assert len(ids_in([item for _, item in seen.items])) == ids


@has_background
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_call_stays_held_while_it_is_resumed(server: Server, client_kind: str) -> None:
    """What several attempts brought of it comes when it is whole, and not at all when none brings the rest."""
    configure(delivery="tool_calls")
    whole, _ = unbroken("several", background=True)
    begin = next(place for place, item in enumerate(whole) if item.get("output_index") == 1)
    inside = cut_at(offsets("several", background=True)[0][begin + 1])
    for brought in (1, 0):
        server.reset(answer="several")
        server.script(inside, *["truncate_clean"] * 3, after=brought)
        seen = consume(server, client_kind, asking(background=True))
        assert plain(seen) == (whole if brought else whole[:begin])
        assert bool(seen.error) is not bool(brought)

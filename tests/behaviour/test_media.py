"""The law: runs, pictures, sound and sessions are whole or the typed error, and what made them is sent once."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.testing import (
    FAULTS,
    AnswerVariant,
    End,
    Frame,
    Repeat,
    ScriptedResponse,
    Send,
    Server,
    Wait,
    build_answer,
    streaming,
)
from tests.support.agents import EVENTS, has_agents, new_session, session_events
from tests.support.ported import unported
from tests.support.streams import CLIENT_KINDS, VERSION, Seen, alone, consume, opened, run

pytestmark = pytest.mark.usefixtures("guarded")


@pytest.fixture(autouse=True)
def deprecated() -> Iterator[None]:
    """Assistants are deprecated, and the SDK says so on each call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def images(client: Any) -> Any:
    return client.images.generate(model="m", prompt="tram", stream=True, partial_images=2)


def edits(client: Any) -> Any:
    return client.images.edit(model="m", prompt="tram", image=b"png", stream=True)


def transcripts(client: Any) -> Any:
    return client.audio.transcriptions.create(model="m", file=b"wav", stream=True)


def runs(client: Any) -> Any:
    return client.beta.threads.runs.create("t", assistant_id="a", stream=True)


def new_runs(client: Any) -> Any:
    return client.beta.threads.create_and_run(assistant_id="a", stream=True)


MEDIA: list[Callable[[Any], Any]] = [images, edits, transcripts] if VERSION >= (1, 109) else []
ASKED: dict[str, Callable[[Any], Any]] = {ask.__name__: ask for ask in (*MEDIA, runs, new_runs)}
APIS: dict[str, Any] = {"runs": "assistants", "new_runs": "assistants", "transcripts": "transcription"}
LOST = ("empty_body", "truncate_clean", "truncate_mid_event", "fin_mid_chunk", "rst", "html_200")


def whole(server: Server, ask: Callable[[Any], Any]) -> Seen:
    """What the SDK alone makes of the healthy stream."""
    seen = alone(server, "sync", ask)
    assert seen.items
    server.reset()
    return seen


def kinds(seen: Seen) -> list[Any]:
    """What the items were."""
    return [dumped.get("event") or dumped.get("type") for _, dumped in seen.items]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("name", ASKED)
def test_a_healthy_stream_is_untouched(
    server: Server, name: str, client_kind: str, warned: Callable[[], list[str]]
) -> None:
    """The same items of the same types, in one request, and not a word of warning."""
    before = whole(server, ASKED[name])
    seen = consume(server, client_kind, ASKED[name])
    assert (seen.error, kinds(seen), len(server.requests)) == (None, kinds(before), 1)
    assert [kind for kind, _ in seen.items] == [kind for kind, _ in before.items]
    assert seen.report is not None
    assert (seen.report.outcome, warned()) == ("complete", [])


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("name", ASKED)
def test_what_was_begun_is_not_begun_again(server: Server, name: str, fault: str) -> None:
    """Whatever is lost, before or after something was seen: the error after one request, with a true prefix."""
    before = whole(server, ASKED[name])
    for client_kind, after in (("sync", 0), ("asyncio", 1)):
        server.reset(fault=fault, after=after)
        seen = consume(server, client_kind, ASKED[name])
        assert isinstance(seen.error, OpenAIStreamParseError)
        assert (seen.error.fault, seen.error.stopped_by) == (FAULTS[fault].verdict, "unsafe")
        assert len(server.requests) == 1
        assert kinds(seen) == kinds(before)[: len(seen.items)]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("name", sorted({"runs", "new_runs", "transcripts"} & {*ASKED}))
def test_the_text_that_was_delivered_is_on_the_error(server: Server, name: str, client_kind: str) -> None:
    """Of a message of a run, and of a transcription."""
    words, visible = "Zürich’s blue trams", build_answer(APIS[name], "text", AnswerVariant(1)).visible
    server.reset(fault="rst", after=visible + 3)
    error = consume(server, client_kind, ASKED[name]).error
    assert isinstance(error, OpenAIStreamParseError)
    assert (error.partial_text, error.partial) == (words, None)


@pytest.mark.parametrize("name", ASKED)
def test_errors_inside_the_stream_are_raised(server: Server, name: str) -> None:
    """As the SDK's own error and the guard's at once, with the API's words."""
    server.reset(fault="error_event_named", after=1)
    seen = consume(server, "sync", ASKED[name])
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert (seen.error.fault, seen.error.type, len(server.requests)) == ("upstream_error", "server_error", 1)
    assert isinstance(seen.error, openai.APIError)


@pytest.mark.parametrize("name", ["runs", "new_runs"])
@pytest.mark.parametrize("status", ["failed", "expired", "requires_action"])
def test_a_runs_own_end_is_passed_on(server: Server, name: str, status: str) -> None:
    """A run that failed or waits for a tool is the API's word, and its stream may end without `done`."""
    frames = build_answer("assistants", "text", AnswerVariant(1)).frames[:5]
    run_now = {**json.loads(frames[0].data), "status": status}
    last = Frame(json.dumps(run_now), f"thread.run.{status}")
    server.script(streaming(frame.encode() for frame in (*frames, last)))
    seen = consume(server, "sync", ASKED[name])
    assert seen.error is None
    assert kinds(seen)[-1] == f"thread.run.{status}"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize("fault", ["truncate_clean", "fin_mid_chunk", "rst"])
def test_the_event_handler_raises_the_typed_error(server: Server, fault: str, client_kind: str) -> None:
    """The SDK's handler puts a connection error's cause in its place, so that there is none here."""

    async def to_the_end() -> None:
        async with (
            opened(server, client_kind) as client,
            client.beta.threads.runs.stream(thread_id="t", assistant_id="a") as stream,
        ):
            await stream.until_done()

    server.reset(fault=fault, after=9)
    with pytest.raises(OpenAIStreamParseError) as caught:
        run(client_kind, to_the_end)
    assert caught.value.__cause__ is None
    assert len(server.requests) == 1


def test_a_stream_is_over_though_the_connection_stays(server: Server) -> None:
    """Behind the last event no more is waited for than behind a finish_reason."""
    configure(linger_timeout=0.05)
    frames = build_answer("assistants", "text", AnswerVariant(1)).encode()
    server.script(ScriptedResponse((*map(Send, frames[:-1]), Wait())))
    seen = consume(server, "sync", runs, timeout=5.0)
    assert seen.error is None
    assert kinds(seen)[-1] == "thread.run.completed"


# Sessions of agents, whose errors are values.


@has_agents
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_the_errors_of_sessions_are_values(server: Server, client_kind: str) -> None:
    """`stream_mode="events"`: an error event is an item, and what follows it comes too."""
    play = streaming(frame.encode() for frame in EVENTS)
    server.script(play, play)
    before = serve_anything(server, session_events, "sync", unguarded=True)
    seen = serve_anything(server, session_events, client_kind)
    assert (before.error, seen.error) == (None, None)
    assert seen.items == before.items
    assert len(seen.items) == 3


@has_agents
@pytest.mark.parametrize("ask", [session_events, new_session])
def test_sessions_are_never_begun_again(server: Server, ask: Callable[[Any], Any]) -> None:
    """A connection that breaks is the typed error, after one request."""
    parts = [frame.encode() for frame in EVENTS[::2]]
    server.script(ScriptedResponse((*map(Send, parts),)))
    seen = serve_anything(server, ask, "sync")
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert (seen.error.fault, seen.error.stopped_by, len(seen.items)) == ("disconnected", "unsafe", 2)


def anything(client: Any) -> Any:
    """A stream of an API that the guard knows nothing about."""
    stream_type = openai.Stream if isinstance(unported(client), openai.OpenAI) else openai.AsyncStream
    item = openai.BaseModel
    return client.post("/x", cast_to=item, body={}, stream=True, stream_cls=stream_type[item])


@pytest.mark.parametrize("lenient", [False, True])
def test_an_api_without_rules_ends_between_two_events_only(server: Server, lenient: bool) -> None:
    """Wherever else the body ends, in a field's name too, an event had begun that never came; also on lenient hosts."""

    if lenient:
        configure(lenient_hosts=[server.base_url.split("/")[2]])
    body = b"".join(frame.encode() for frame in EVENTS[::2])
    first = len(EVENTS[0].encode())
    whole = {first - 2, first - 1, first, len(body) - 2, len(body) - 1, len(body)}  # the last blank line may be missing
    cuts = [cut for cut in range(1, len(body) + 1) if lenient == (cut % 9 == 0) or cut in whole]
    server.script(*(ScriptedResponse((Send(body[:cut]), End())) for cut in cuts))
    for cut in cuts:
        error = serve_anything(server, anything, CLIENT_KINDS[cut % 2]).error
        assert (error is None) == (cut in whole), body[:cut]
        assert error is None or (error.fault, error.stopped_by) == ("truncated", "unsafe")


@pytest.mark.slow
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_subscription_may_be_quiet_for_as_long_as_it_keeps_alive(server: Server, client_kind: str) -> None:
    """Where no end is known, keep-alives are life; an answer under which only they come is stalled."""

    configure(idle_timeout=0.3, first_event_timeout=0.3, max_retries=0)
    first, last = (Send(frame.encode()) for frame in EVENTS[::2])
    quiet = Repeat((Wait(0.05), Send(b": keep-alive\n\n")), times=16)
    play = ScriptedResponse((quiet, first, quiet, last, End()))
    server.script(play, play)
    seen = serve_anything(server, anything, client_kind)
    assert (seen.error, len(seen.items)) == (None, 2)
    seen = serve_anything(server, runs, client_kind)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert seen.error.fault == "stalled"


def serve_anything(server: Server, ask: Callable[[Any], Any], client_kind: str, *, unguarded: bool = False) -> Seen:
    """Consume what a script has for paths that the loopback server does not know: asked for as a chat."""
    http: Any = openai.DefaultHttpxClient if client_kind == "sync" else openai.DefaultAsyncHttpxClient

    def elsewhere(request: Any) -> None:
        request.url = request.url.copy_with(path="/v1/chat/completions")
        request.method = "POST"

    async def aelsewhere(request: Any) -> None:
        elsewhere(request)

    hook = elsewhere if client_kind == "sync" else aelsewhere
    client = http(verify=False, trust_env=False, event_hooks={"request": [hook]})
    return (alone if unguarded else consume)(server, client_kind, ask, http_client=client)

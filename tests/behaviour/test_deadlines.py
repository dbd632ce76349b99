"""The law: a stream without events ends when its clock says, however it is kept alive; one that lives never does."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from openai_stream_guard import activation as switch
from openai_stream_guard import configure
from openai_stream_guard.testing import (
    AnswerVariant,
    End,
    Repeat,
    Request,
    ScriptedResponse,
    Send,
    Server,
    Wait,
    build_answer,
    faults,
    replying,
    slow,
)
from openai_stream_guard.testing.server.answers.answer import TEXT
from openai_stream_guard.testing.server.scripted_response import Step
from openai_stream_guard.transport import timeouts
from tests.support.mock_servers import Body, MockServer
from tests.support.ported import HTTP
from tests.support.streams import CLIENT_KINDS, chat, consume, opened, run

pytestmark = pytest.mark.usefixtures("guarded")

IDLE = 0.2
CLOCKED = 0.5
"""The same where what a clock took is looked at: long, so that a busy machine does not blur it."""
MAX = 1.7 * CLOCKED
"""Less than a silence that is waited for twice."""
INFINITE = float("inf")
BEAT = Send(b": keep-alive\n\n")
FRAMES = [Send(frame) for frame in build_answer("chat", "text", AnswerVariant(1)).encode()]


def first_attempt(server: Server, *steps: Step, client_kind: str = "sync", **options: Any) -> Any:
    """What became of a stream whose first answer is these steps, and whose second is healthy."""
    server.script(ScriptedResponse(steps))
    seen = consume(server, client_kind, **options)
    assert seen.text == TEXT
    return seen.report.attempts[0]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize(
    "steps",
    [
        (*FRAMES[:6], Wait()),
        (*FRAMES[:6], Repeat((BEAT, Wait(0.03)))),
        (*FRAMES[:6], Wait(0.75 * CLOCKED), BEAT, Wait()),
        (*FRAMES[:6], Send(FRAMES[6].data[:40]), Wait()),
    ],
    ids=["silence", "heartbeats", "silence after a heartbeat", "half an event"],
)
def test_idle_timeout_is_the_time_without_an_event(server: Server, client_kind: str, steps: tuple[Step, ...]) -> None:
    """Neither comments nor parts of an event move it, and no silence is waited for twice."""
    configure(idle_timeout=CLOCKED)
    attempt = first_attempt(server, *steps, client_kind=client_kind)
    assert (attempt.fault, attempt.events) == ("stalled", 6)
    assert CLOCKED <= attempt.seconds < MAX


class Socketless(HTTP.AsyncHTTPTransport):
    """A transport that shows nobody its socket, as those over aiohttp and HTTP/2 do not."""

    async def handle_async_request(self, request: Any) -> Any:
        response = await super().handle_async_request(request)
        del response.extensions["network_stream"]
        return response


@pytest.mark.slow
@pytest.mark.parametrize("client_kind", ["asyncio", "trio"])
@pytest.mark.parametrize("after", [0, 6])
def test_an_async_transport_without_a_socket_has_the_same_clock(server: Server, client_kind: str, after: int) -> None:
    """The read is called off, and what breaks for good is the timeout that the HTTP library would have raised."""
    configure(idle_timeout=CLOCKED, first_event_timeout=CLOCKED)
    quiet = ScriptedResponse((*FRAMES[:after], Wait()))
    attempt = first_attempt(
        server, *quiet.steps, client_kind=client_kind, http_client=HTTP.AsyncClient(transport=Socketless())
    )
    assert (attempt.fault, attempt.events) == ("stalled", after)
    assert CLOCKED <= attempt.seconds < MAX

    server.script(quiet, quiet)
    client = HTTP.AsyncClient(transport=Socketless())
    seen = consume(server, client_kind, http_client=client, max_retries=1)
    assert isinstance(seen.error.__cause__, HTTP.ReadTimeout)
    assert (seen.error.fault, isinstance(seen.error, HTTP.ReadTimeout)) == ("stalled", True)


@pytest.mark.parametrize("client_kind", ["asyncio", "trio"])
def test_an_observed_read_is_never_called_off(
    server: Server, client_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under observation no clock ends anything, whatever the transport."""
    monkeypatch.setenv("OPENAI_STREAM_GUARD", "observe")
    monkeypatch.setenv("OPENAI_STREAM_GUARD_IDLE_TIMEOUT", "0.05")
    switch.start()
    server.script(ScriptedResponse((*FRAMES[:6], Wait(0.15), *FRAMES[6:], End())))
    seen = consume(server, client_kind, http_client=HTTP.AsyncClient(transport=Socketless()))
    assert (seen.text, seen.error) == (TEXT, None)


@pytest.mark.slow
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("steps", [(Wait(),), (Repeat((BEAT, Wait(0.03))),)], ids=["silence", "heartbeats"])
def test_the_first_event_has_a_timeout_of_its_own(server: Server, client_kind: str, steps: tuple[Step, ...]) -> None:
    """It runs from the headers to the first event, and then no more."""
    configure(first_event_timeout=CLOCKED, idle_timeout=5.0)
    attempt = first_attempt(server, *steps, client_kind=client_kind)
    assert (attempt.fault, attempt.events) == ("stalled", 0)
    assert CLOCKED <= attempt.seconds < MAX

    server.script(ScriptedResponse((*FRAMES[:3], Wait(1.5 * CLOCKED), *FRAMES[3:], End())))
    assert consume(server, client_kind).report.outcome == "complete"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_slow_but_living_stream_runs_by_no_clock(
    server: Server, client_kind: str, monkeypatch: pytest.MonkeyPatch, warned: Any
) -> None:
    """By default only the time since the last event counts, not the time since the first, nor max_elapsed."""
    monkeypatch.setattr(timeouts, "MIN_DEFAULT_IDLE", IDLE)
    configure(max_elapsed=IDLE)
    server.reset(fault="slow")
    seen = consume(server, client_kind, timeout=IDLE)
    assert (seen.text, seen.report.outcome, len(server.requests)) == (TEXT, "complete", 1)
    assert seen.report.first_event_seconds + len(FRAMES) * 0.05 > 3 * IDLE
    assert warned() == []


@pytest.mark.parametrize(
    ("read", "policy", "limits"),
    [
        (600.0, (None, None), (1800.0, 600.0, 600.0)),
        (5.0, (None, None), (1800.0, 5.0, 300.0)),
        (None, (None, None), (INFINITE, INFINITE, INFINITE)),
        (600.0, (None, 20.0), (1800.0, 600.0, 20.0)),
        (600.0, (90.0, 20.0), (90.0, INFINITE, 20.0)),
        (600.0, (90.0, None), (90.0, INFINITE, 600.0)),
        (None, (90.0, None), (90.0, INFINITE, INFINITE)),
    ],
)
def test_the_default_clock_is_the_read_timeout_but_at_least_five_minutes(
    read: float | None, policy: tuple[float | None, float | None], limits: tuple[float, float, float]
) -> None:
    """A model may think for minutes; a queue may keep a request waiting for half an hour, if it says so."""
    request = HTTP.Request("POST", "http://wire.test", extensions={"timeout": {"read": read}})
    found = timeouts.stream_timeouts(HTTP.Response(200, request=request), *policy)
    assert (found.first_event, found.first_byte, found.idle) == limits


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "asyncio"])
def test_max_elapsed_stands_still_while_a_second_answer_repeats(sync: bool) -> None:
    """A second answer may take as long as the first one took for what is known already. (On the test clock.)"""
    configure(max_elapsed=30.0)
    reads = tuple(frame.data for frame in FRAMES)
    server = MockServer([Body(reads[:12]), Body(reads)])
    with faults(slow(seconds=10.0, times=None)):
        heard = server.ask("chat", sync=sync, timeout=600.0)
    assert (heard.error, server.requests, heard.report.recoveries) == (None, 2, ["replay"])


@pytest.mark.slow
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_headers_that_do_not_come_are_waited_for_no_longer_than_max_elapsed(server: Server, client_kind: str) -> None:
    """Whatever the client's own timeout: the request is called off, and the first failure raised."""
    configure(max_elapsed=1.0)
    never = threading.Event()
    server.script("truncate_clean", lambda request: (never.wait(4), replying({}, 500))[1], after=6)
    started = time.monotonic()
    seen = consume(server, client_kind, timeout=60.0)
    assert time.monotonic() - started < 3.0
    assert (seen.error.fault, seen.error.stopped_by) == ("truncated", "time")
    never.set()


@pytest.mark.slow
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_body_that_was_asked_for_again_is_read_as_patiently_as_the_first(server: Server, client_kind: str) -> None:
    """Once something new has come max_elapsed is over, and a pause is one of any healthy stream."""
    configure(max_elapsed=1.0)
    server.script("truncate_clean", ScriptedResponse((*FRAMES[:6], Wait(1.5), *FRAMES[6:], End())), after=3)
    seen = consume(server, client_kind)
    assert (seen.text, seen.error, len(server.requests)) == (TEXT, None, 2)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_wait_that_would_pass_max_elapsed_is_not_begun(server: Server, client_kind: str) -> None:
    """Neither a backoff nor what a server asks for in Retry-After."""
    configure(max_elapsed=1.0, backoff_initial=5.0, backoff_max=5.0)
    server.reset(fault="rst", times=None)
    started = time.monotonic()
    assert consume(server, client_kind).error.stopped_by == "time"
    configure(max_elapsed=1.0, backoff_initial=0.0)
    server.script("rst", replying({}, 503, (("retry-after", "30"),)))
    seen = consume(server, client_kind)
    assert (seen.error.stopped_by, seen.error.fault) == ("time", "disconnected")
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize(
    ("steps", "limit", "seconds"),
    [((Wait(),), "linger_timeout", 0.3), ((Repeat((BEAT, Wait(0.05))),), "idle_timeout", 0.8)],
    ids=["silence", "heartbeats"],
)
def test_a_complete_answer_ends_a_stream_that_its_server_does_not_end(
    server: Server, client_kind: str, steps: tuple[Step, ...], limit: str, seconds: float, warned: Any
) -> None:
    """After silence on the wire, or without an event for the idle timeout: told, and not asked for again."""
    configure(linger_timeout=0.3, idle_timeout=0.8)
    server.script(ScriptedResponse((*FRAMES[:-1], *steps)))
    started = time.monotonic()
    seen = consume(server, client_kind)
    assert seconds <= time.monotonic() - started < seconds + 0.4
    assert (seen.text, seen.error, len(server.requests)) == (TEXT, None, 1)
    (note,) = seen.report.notes
    assert limit in note
    (line,) = warned()
    assert limit in line


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_usage_that_comes_late_is_waited_for(server: Server, client_kind: str) -> None:
    """What follows the last finish_reason within the linger timeout is handed over; a comment puts it off."""
    configure(linger_timeout=0.4)
    frames = [Send(frame) for frame in build_answer("chat", "usage", AnswerVariant(1)).encode()]
    late = (Wait(0.25), BEAT, Wait(0.25))
    server.script(ScriptedResponse((*frames[:-2], *late, *frames[-2:], End())))
    assert consume(server, client_kind).items[-1][1]["usage"]["total_tokens"] == 33


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_connection_that_is_used_again_keeps_no_clock(server: Server, client_kind: str) -> None:
    """The socket waits as long as the next request wants, and its `read` is the library's own again."""
    configure(idle_timeout=0.1)

    def later(request: Request) -> ScriptedResponse:
        return ScriptedResponse((Wait(0.3), Send(b"{}"), End()), headers=(("content-type", "application/json"),))

    async def body() -> None:
        async with opened(server, client_kind) as client:
            server.script("no_done", later)
            stream = await chat(client)
            socket = stream.response.extensions["network_stream"]
            await stream.__anext__()
            assert "read" in vars(socket), "while the stream is read, its clock is on the socket"
            assert [item async for item in stream]
            assert "read" not in vars(socket)
            await client.chat.completions.create(model="m", messages=[])
        assert server.connections == 1, "it was the same connection"

    run(client_kind, body)

"""Whatever serves a stream and whoever reads it, the faults are met: guarded, observed and without the guard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import (
    Injection,
    Server,
    cut,
    disconnect,
    duplicate,
    error,
    faults,
    gap,
    garble,
    glue,
    html,
    refuse,
    slow,
    split,
    stall,
)
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.ported import HTTP, unported
from tests.support.programs import needs
from tests.support.programs import run as run_program
from tests.support.responses import has_responses
from tests.support.streams import CLIENT_KINDS, alone, chat, client_for, completions, consume, opened, responses, run

HEAD = 3
RECOVERED: dict[str, tuple[Injection, str]] = {
    "cut": (cut(after_events=HEAD), "truncated"),
    "cut in bytes": (cut(after_bytes=700), "truncated"),
    "disconnect": (disconnect(after_events=HEAD), "disconnected"),
    "stall": (stall(after_events=HEAD), "stalled"),
    "garble": (garble(after_events=HEAD), "malformed"),
    "error": (error(after_events=HEAD), "upstream_error"),
    "html": (html(), "not_a_stream"),
    "slow and cut": (slow(seconds=4) & cut(after_events=HEAD), "truncated"),
}
HARMLESS = {"split": split(), "glue": glue(after_events=2), "slow": slow(seconds=4), "split and glue": glue() & split()}


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("ask", [chat, completions, pytest.param(responses, marks=has_responses)])
@pytest.mark.parametrize("fault", RECOVERED)
def test_the_guard_recovers(server: Server, client_kind: str, ask: Any, fault: str) -> None:
    """From an injected fault as from a real one, and it is judged to be what it is."""
    injection, kind = RECOVERED[fault]
    with faults(injection) as planned:
        seen = consume(server, client_kind, ask)
    assert seen.error is None
    assert ask is responses or seen.text == TEXT
    assert [attempt.fault for attempt in seen.report.attempts] == [kind, None]
    assert (len(server.requests), planned.pending) == (2, ())


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("ask", [chat, completions, pytest.param(responses, marks=has_responses)])
@pytest.mark.parametrize("fault", HARMLESS)
def test_the_harmless_need_no_second_request(server: Server, client_kind: str, ask: Any, fault: str) -> None:
    """Reads in pieces, pauses and lost blank lines: the same items, one request."""
    with faults(HARMLESS[fault]):
        seen = consume(server, client_kind, ask)
    assert seen.error is None
    assert (seen.report.outcome, len(server.requests)) == ("complete", 1)
    assert len(seen.items) == len(consume(server, client_kind, ask).items)


@has_responses
@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_numbered_events_show_a_gap_and_a_double(server: Server, client_kind: str) -> None:
    """In Responses they are noticed; a chat cannot, which the table of faults says."""
    with faults(gap(after_events=5)):
        seen = consume(server, client_kind, responses)
    assert seen.report.attempts[0].fault == "gap"
    whole = len(consume(server, client_kind, responses).items)
    with faults(duplicate(after_events=5)):
        seen = consume(server, client_kind, responses)
    assert (seen.report.outcome, len(seen.items)) == ("complete", whole)
    whole = len(consume(server, client_kind).items)
    with faults(gap(after_events=5), duplicate(after_events=5)):
        lost, doubled = consume(server, client_kind), consume(server, client_kind)
    assert (len(lost.items), len(doubled.items)) == (whole - 1, whole + 1)
    assert (lost.report.outcome, doubled.report.outcome) == ("complete", "complete")


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("mode", ["off", "observe"])
def test_without_the_guard_the_same_faults_strike(server: Server, client_kind: str, mode: str) -> None:
    """So that a test can show what its application does alone; observing changes nothing of it."""
    if mode == "observe":
        switch.observe()
    ask = consume if mode == "observe" else alone
    whole = ask(server, client_kind).text
    with faults(cut(after_events=HEAD)):
        seen = ask(server, client_kind)
    assert seen.error is None
    assert 0 < len(seen.text) < len(whole), "a silent loss"
    if mode == "observe":
        assert seen.report.outcome == "failed"
    with faults(disconnect(after_events=HEAD)):
        broken = ask(server, client_kind).error
    library_error = broken if isinstance(broken, HTTP.RemoteProtocolError) else broken.__cause__
    assert isinstance(library_error, HTTP.RemoteProtocolError)
    assert "peer closed connection without sending complete message body" in str(library_error)
    assert str(library_error.request.url).endswith("/chat/completions")
    with faults(stall(after_events=HEAD)):
        silent = ask(server, client_kind).error
    assert isinstance(silent, openai.APITimeoutError | HTTP.ReadTimeout)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_reissue_is_waited_out(server: Server, client_kind: str, status: int) -> None:
    """`refuse` behind a cut answers the re-issue; the server never sees it."""
    with faults(cut(after_events=HEAD), refuse(status=status, retry_after=30)):
        seen = consume(server, client_kind)
    assert (seen.text, len(server.requests)) == (TEXT, 2)
    assert [attempt.status for attempt in seen.report.attempts] == [200, status, 200]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_refused_request_is_the_sdks_own_matter(server: Server, client_kind: str) -> None:
    """It retries as it does, without the guard too, and raises its own error where it may not."""
    with faults(refuse(retry_after=60)):
        assert alone(server, client_kind).text == TEXT
    with faults(refuse(status=429, times=None)):
        assert isinstance(alone(server, client_kind).error, openai.RateLimitError)
    with faults(refuse(status=400)):
        assert isinstance(alone(server, client_kind).error, openai.BadRequestError)
    assert len(server.requests) == 1


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_every_attempt_may_break(server: Server, client_kind: str) -> None:
    """With `times` beyond the retries the typed error comes, of the class the SDK alone would raise."""
    with faults(disconnect(after_events=HEAD, times=None)):
        seen = consume(server, client_kind, max_retries=3)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert isinstance(seen.error, HTTP.RemoteProtocolError)
    assert (seen.error.stopped_by, len(server.requests)) == ("retries", 4)


@pytest.mark.usefixtures("guarded")
def test_at_a_tool_call(server: Server) -> None:
    """The call is cut after its first delta has come; the guard repeats it whole."""
    server.reset(answer="tool_calls")
    whole = consume(server).items
    with faults(cut(on="tool_call")):
        seen = consume(server)
    assert [one for _, one in seen.items][-1]["choices"] == [one for _, one in whole][-1]["choices"]
    assert len(seen.items) == len(whole)
    assert seen.report.recoveries == ["replay"]


@has_responses
@pytest.mark.usefixtures("guarded")
def test_the_servers_own_refusal_uses_no_fault_up(server: Server) -> None:
    """A fault waits for a stream: neither an error's body nor a plain answer is one."""
    with faults(cut(after_events=HEAD)) as planned, client_for(server) as client:
        client.chat.completions.create(model="m", messages=[])
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve("resp_none", stream=True)
        assert len(planned.pending) == 1
        assert consume(server).report.recoveries == ["replay"]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("reader", ["iter_lines", "iter_bytes", "iter_raw", "iter_text", "read"])
@pytest.mark.parametrize("guard", ["on", "off"])
def test_readers_of_the_bytes_meet_them_once(server: Server, client_kind: str, reader: str, guard: str) -> None:
    """However they are built on each other."""
    if guard == "on":
        switch.enable()

    async def body() -> Any:
        async with opened(server, client_kind) as client:
            streaming = client.chat.completions.with_streaming_response
            async with streaming.create(model="m", messages=[], stream=True) as raw:
                made = getattr(raw.http_response, f"a{reader}")()
                return await made if reader == "read" else [one async for one in made]

    def count(read: Any) -> int:
        joined = read if isinstance(read, bytes) else b"\n".join(
            one if isinstance(one, bytes) else one.encode() for one in read
        )  # fmt: skip
        return int(joined.count(b"chatcmpl-"))

    whole = count(run(client_kind, body))
    with faults(gap(after_events=1)):
        assert count(run(client_kind, body)) == whole - 1


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("content", ["content", "stream"])
@pytest.mark.parametrize("mode", ["on", "off"])
def test_a_mock_transport(client_kind: str, content: str, mode: str) -> None:
    """A body that is there from the start, or that comes in pieces, of the library's own mocks."""
    if mode == "on":
        switch.enable()
        configure(retry_budget=None)
    sent: list[Any] = []
    frames = [
        f"data: {json.dumps(chunk)}\n\n".encode()
        for chunk in (
            *({"id": "1", "choices": [{"index": 0, "delta": {"content": word}}]} for word in ("a", "b", "c")),
            {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        )
    ]

    class Pieces(HTTP.SyncByteStream, HTTP.AsyncByteStream):
        def __iter__(self) -> Any:
            yield from frames

        async def __aiter__(self) -> Any:
            for frame in frames:
                yield frame

    def answer(request: Any) -> Any:
        sent.append(request)
        body: Any = {"content": b"".join(frames)} if content == "content" else {"stream": Pieces()}
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, **body)

    async def body() -> str:
        http_client = (HTTP.Client if client_kind == "sync" else HTTP.AsyncClient)(transport=HTTP.MockTransport(answer))
        async with opened(None, client_kind, base_url="http://mock.test", http_client=http_client) as client:
            stream = await chat(client)
            chunks = [one async for one in stream]
            if mode == "off":
                await stream.response.aclose()
            return "".join(one.choices[0].delta.content or "" for one in chunks)

    with faults(split(size=9) & cut(after_events=2)):
        assert run(client_kind, body) == ("abc" if mode == "on" else "ab")
    assert len(sent) == (2 if mode == "on" else 1)


@pytest.mark.usefixtures("guarded")
def test_a_stall_that_nothing_ends_is_told(server: Server) -> None:
    """A test does not hang, nor does it pass: one sentence says what is missing."""
    with faults(stall(after_events=1)), client_for(server, timeout=None) as client:
        stream = chat(client)
        with pytest.raises(RuntimeError, match="a stall was injected that no timeout ends"):
            list(stream)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_what_is_too_slow_has_stalled(server: Server, client_kind: str) -> None:
    """Pauses run by the clock that applies: the guard's, where it is shorter than the read timeout."""
    configure(first_event_timeout=2.0, idle_timeout=2.0)
    with faults(slow(seconds=3)):
        report: Any = consume(server, client_kind).report
    assert report.attempts[0].fault == "stalled"
    assert 2.0 <= report.attempts[0].seconds < 3.0
    with faults(slow(seconds=1.5)):
        assert consume(server, client_kind).report.outcome == "complete"


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_the_type_of_a_struck_response_is_one_of_the_librarys(server: Server, client_kind: str) -> None:
    """What an application looks at is as it was."""

    async def body() -> Any:
        async with opened(server, client_kind) as client:
            stream = await chat(client)
            response = unported(stream.response)
            await stream.close()
            return isinstance(response, HTTP.Response), type(response).__name__, type(unported(stream))

    with faults(split()):
        assert run(client_kind, body) == (
            True,
            "Response",
            openai.Stream if client_kind == "sync" else openai.AsyncStream,
        )


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_nested_blocks(server: Server, client_kind: str) -> None:
    """A response suffers the inner block's faults and then the outer one's; each block ends with its own."""
    switch.enable()
    with faults(split(size=40)) as outer:
        with faults(cut(after_events=HEAD)) as inner:
            seen = consume(server, client_kind)
        assert (inner.pending, outer.pending) == ((), ())
        assert seen.report.recoveries == ["replay"]
    assert consume(server, client_kind).report.outcome == "complete"


def test_nothing_outlives_its_block(server: Server) -> None:
    """Left by an exception too: no stage, no clock, no listener is left."""
    from openai_stream_guard.observability import publish as logs
    from openai_stream_guard.sdk import RUNTIME
    from openai_stream_guard.transport import clock as timing

    def state() -> tuple[Any, ...]:
        return timing.current, list(RUNTIME.test_hooks), list(logs.attached)

    before = state()
    with pytest.raises(ZeroDivisionError), faults(cut()):  # noqa: PT012 - where it is raised is the point
        assert state() != before
        raise ZeroDivisionError
    assert state() == before
    assert alone(server).text == TEXT


def test_in_real_time_it_is_really_waited(server: Server) -> None:
    """For a demonstration, or where the application's own clocks are to be tested."""
    import time

    started = time.monotonic()
    with faults(slow(seconds=0.003), real_time=True):
        assert alone(server).text == TEXT
    assert time.monotonic() - started >= 0.03


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_cut_body_is_over_as_any_other(server: Server, client_kind: str) -> None:
    """So many bytes come, whoever reads them, and the response is closed where they end, as the library does."""

    async def body() -> Any:
        async with opened(server, client_kind) as client:
            stream = await chat(client)
            read = b"".join([one async for one in stream.response.aiter_bytes()])
            return len(read), stream.response.is_closed

    with faults(cut(after_bytes=700)):
        assert run(client_kind, body) == (700, True)


HALF_READ = """
import gc, trio, openai, openai_stream_guard
from openai_stream_guard.testing import Server, cut, disconnect, faults

async def main(fault):
    with Server() as server, faults(fault(after_events=3)):
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
            try:
                async for _ in await client.chat.completions.create(model="m", messages=[], stream=True):
                    pass
            except openai.APIError as error:
                print(error.fault)
    gc.collect()

openai_stream_guard.enable()
for fault in (cut, disconnect):
    trio.run(main, fault)
"""


def test_a_fault_leaves_nothing_half_read(tmp_path: Path) -> None:
    """trio warns of each generator that is dropped before its end, and of none where a connection really breaks."""
    needs("trio")
    program = tmp_path / "program.py"
    program.write_text(HALF_READ)
    done = run_program("-W", "error", program, cwd=tmp_path)
    assert done.stdout.split() == ["truncated", "disconnected"]
    assert "ResourceWarning" not in done.stderr

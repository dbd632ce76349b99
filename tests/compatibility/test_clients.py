"""The promise holds whatever carries the bytes and runs the loop: one law a test, for every client that people use."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import openai
import pytest

import openai_stream_guard
from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import AnswerVariant, End, Repeat, ScriptedResponse, Send, Server, Wait, build_answer
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.clients import OWN, VARIANTS, Variant, consume_by, leave_the_module_as_it_is
from tests.support.streams import KEY, chat, said_by, settles

IDLE = 0.3
DRAINS = hasattr(openai._streaming, "drain_response_async")
"""Whether the SDK itself reads on after `[DONE]`; earlier releases close at once, and aiohttp may not have the end."""
BEAT = Send(b": keep-alive\n\n")
FRAMES = [Send(frame) for frame in build_answer("chat", "text", AnswerVariant(1)).encode()]

pytestmark = pytest.mark.usefixtures("guarded")


def skip_without(variant: Variant) -> None:
    """Where a client cannot be had the test is skipped, or fails where all of them are meant to be there."""
    if reason := variant.missing():
        (pytest.fail if "EVERY_CLIENT" in os.environ else pytest.skip)(reason)


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Variant]:
    """Each client that can be had here."""
    skip_without(request.param)
    leave_the_module_as_it_is(monkeypatch)
    yield request.param
    if openai._client is not None:
        openai._client.close()


@pytest.fixture
def server(variant: Variant) -> Iterator[Server]:
    """A server that speaks what the variant's client speaks."""
    with variant.server() as running:
        yield running


def without_ids(seen: Any) -> list[Any]:
    """The items, but for what no two answers of the server share."""
    return [(kind, {**dumped, "id": "", "created": 0}) for kind, dumped in seen.items]


def test_a_healthy_stream_is_the_sdks_own(variant: Variant, server: Server) -> None:
    """The same items by as many requests over no more connections than without the guard."""
    with switch.restored():
        switch.disable()
        theirs = consume_by(variant, server, streams=3)
        connections = server.connections
    server.reset()
    ours = consume_by(variant, server, streams=3)
    assert without_ids(ours) == without_ids(theirs)
    assert (ours.text, ours.error) == (TEXT * 3, None)
    assert [report.outcome for report in ours.reports] == ["complete"] * 3
    assert len(server.requests) == 3
    if "aiohttp" not in variant.needs or DRAINS:  # else it is by chance that a connection is used again, ours or not
        assert server.connections <= connections  # the module-level client may go on with the one it has


@pytest.mark.parametrize("fault", ["truncate_clean", "rst", "fin_no_terminator", "garbage_event"])
def test_a_cut_stream_comes_out_whole(variant: Variant, server: Server, fault: str) -> None:
    """Whatever ends it in the middle of its text, by one more request, with nothing missing and nothing twice."""
    server.reset(fault=fault, after=6)
    seen = consume_by(variant, server)
    assert (seen.text, seen.error, len(server.requests)) == (TEXT, None, 2)
    assert seen.reports[0].recoveries == ["replay"]


@pytest.mark.parametrize("fault", ["truncate_clean", "rst", "fin_no_terminator"])
def test_a_stream_that_always_breaks_is_the_typed_error(variant: Variant, server: Server, fault: str) -> None:
    """With the class that this client raises without the guard, if it raises at all."""
    server.reset(fault=fault, after=6, times=None)
    seen = consume_by(variant, server)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert seen.error.fault == ("truncated" if fault == "truncate_clean" else "disconnected")
    assert seen.error.partial_text == seen.text != ""
    assert len(server.requests) == 3
    with switch.restored():
        switch.disable()
        theirs = consume_by(variant, server).error
    assert theirs is None or isinstance(seen.error, type(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [(Wait(),), (Repeat((BEAT, Wait(0.03))),)], ids=["silence", "heartbeats"])
def test_a_stalled_stream_is_given_up_by_its_clock(variant: Variant, server: Server, steps: Any) -> None:
    """Silence and heartbeats alike end an attempt after `idle_timeout`, and the next one brings the rest.

    But for HTTP/2 without a loop, where silence lasts as long as the request's own read timeout.
    """
    configure(idle_timeout=IDLE)
    server.script(ScriptedResponse((*FRAMES[:6], *steps)))
    timeout = {"timeout": IDLE} if variant.http2 and variant.loop == "sync" else {}
    seen = consume_by(variant, server, **timeout)
    attempt = seen.reports[0].attempts[0]
    assert (seen.text, seen.error, attempt.fault) == (TEXT, None, "stalled")
    assert IDLE <= attempt.seconds < 2.5 * IDLE


@pytest.mark.slow
def test_a_slow_stream_runs_by_no_clock(variant: Variant, server: Server) -> None:
    """Only the time since the last event counts."""
    configure(idle_timeout=IDLE)
    slowly = [step for frame in FRAMES for step in (Wait(0.1 * IDLE), frame)]
    server.script(ScriptedResponse((*slowly, End())))
    seen = consume_by(variant, server)
    assert (seen.text, seen.reports[0].outcome, len(server.requests)) == (TEXT, "complete", 1)


def test_a_consumer_that_leaves_closes_the_stream(variant: Variant, server: Server) -> None:
    """It is abandoned: nothing is asked for again, and a server that would go on is hung up on or told so."""
    server.script(ScriptedResponse((*FRAMES[:6], Repeat((BEAT, Wait(0.02))))))
    started = time.monotonic()
    seen = consume_by(variant, server, only=3)
    assert len(seen.items) == 3
    assert seen.reports[0].outcome == "abandoned"
    assert time.monotonic() - started < 2
    if not variant.http2 and variant.name != "module-level client":  # its client is closed after the test
        assert settles(lambda: server.open_connections == 0)
    assert len(server.requests) == 1


def test_a_stalled_stream_leaves_the_others_of_its_connection_alone() -> None:
    """HTTP/2 carries many streams: the one that stalls is given up, and its neighbour reads on where it was."""
    variant = next(one for one in VARIANTS if one.name == "HTTP/2, asyncio")
    skip_without(variant)
    slowly = [step for frame in FRAMES for step in (Wait(0.2 * IDLE), frame)]

    async def read(client: Any) -> tuple[str, Any]:
        stream = await chat(client)
        text = "".join([said_by(item.model_dump()) async for item in stream])
        return text, openai_stream_guard.report(stream)

    async def main() -> Any:
        client = variant.client(server)
        async with client:
            return await asyncio.gather(read(client), read(client))

    configure(idle_timeout=IDLE)
    with variant.server() as server:
        server.script(ScriptedResponse((*FRAMES[:6], Wait())), ScriptedResponse((*slowly, End())))
        stalled, neighbour = asyncio.run(main())
        assert (stalled[0], neighbour[0]) == (TEXT, TEXT)
        assert sorted([stalled[1].outcome, neighbour[1].outcome]) == ["complete", "recovered"]
        assert (len(server.requests), server.connections) == (3, 1)


def test_what_is_only_observed_has_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The silence of a client whose reads could be cancelled is waited out, as without the guard."""
    variant = next(one for one in VARIANTS if one.name == "aiohttp")
    skip_without(variant)
    monkeypatch.setenv("OPENAI_STREAM_GUARD", "observe")
    switch.start()
    configure(idle_timeout=0.05)
    with variant.server() as server:
        server.script(ScriptedResponse((*FRAMES[:6], Wait(0.15), *FRAMES[6:], End())))
        seen = consume_by(variant, server)
    assert (seen.text, seen.error, len(server.requests)) == (TEXT, None, 1)


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_a_client_of_either_library_is_taken_or_refused_at_once(library: str) -> None:
    """The SDK takes its own library's; the other's it takes from 2.54 on, or refuses where the client is made."""
    http = pytest.importorskip(library, reason=f"{library} is not installed")
    takes = library == OWN or importlib.util.find_spec("openai._httpx2") is not None
    with http.Client() as carrier, nullcontext() if takes else pytest.raises(TypeError, match="http_client"):
        openai.OpenAI(api_key=KEY, http_client=carrier)

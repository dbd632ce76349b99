"""A healthy stream passes through the guard as if there were none: same items, one request, no word."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from openai_stream_guard import activation as switch
from openai_stream_guard.testing import (
    ANSWERS,
    FAULTS,
    End,
    Equal,
    ScriptedResponse,
    Send,
    Server,
    build_answer,
    healthy,
    streaming,
)
from openai_stream_guard.testing.server.answers.answer import AnswerVariant
from tests.support.streams import (
    CLIENT_KINDS,
    VERSION,
    alone,
    chat,
    completions,
    consume,
    opened,
    responses,
    run,
    scripted,
)

ASKS: dict[str, Callable[[Any], Any]] = {"chat": chat, "completions": completions, "responses": responses}
EVENT = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}

pytestmark = pytest.mark.usefixtures("guarded")


def chunk(*choices: dict[str, Any], **more: Any) -> bytes:
    """One chat chunk as an event."""
    return b"data: " + json.dumps({**EVENT, "choices": list(choices), **more}).encode() + b"\n\n"


def said(text: str, finish: str | None = None, index: int = 0) -> dict[str, Any]:
    """One entry of `choices`."""
    return {"index": index, "delta": {"content": text} if text else {}, "finish_reason": finish}


HI, STOP, DONE = chunk(said("Hi")), chunk(said("", "stop")), b"data: [DONE]\n\n"
ODD: dict[str, ScriptedResponse] = {
    "empty choices": streaming([chunk(), HI, chunk(), STOP, DONE]),
    "choices null": streaming(
        [b'data: {"id":"","object":"","created":0,"model":"","choices":null}\n\n', HI, STOP, DONE]
    ),
    "azure prompt filter with an empty id": streaming(
        [chunk(id="", object="", model="", prompt_filter_results=[{"prompt_index": 0}]), HI, STOP, DONE]
    ),
    "usage unasked": streaming([HI, STOP, chunk(usage=USAGE), DONE]),
    "usage unasked, in every chunk": streaming(
        [chunk(said("Hi"), usage=USAGE), chunk(said("", "stop"), usage=USAGE), DONE]
    ),
    "late usage without done": streaming([HI, STOP, chunk(usage=USAGE)]),
    "late choice without text": streaming([HI, STOP, chunk(said("")), DONE]),
    "done alone ends it": streaming([HI, DONE]),
    "unterminated done": streaming([HI, STOP, b"data: [DONE]"]),
    "named events": streaming([b"event: message\n" + HI, b"event: chunk\n" + STOP, DONE]),
    "a foreign named event": streaming([HI, b'event: citations\ndata: {"citations":["a"]}\n\n', STOP, DONE]),
    "error null": streaming([chunk(said("Hi"), error=None), STOP, DONE]),
    "content-type of plain json": ScriptedResponse(
        streaming([HI, STOP, DONE]).steps, headers=(("content-type", "application/json"),)
    ),
    "no content-type": ScriptedResponse(streaming([HI, STOP, DONE]).steps, headers=()),
    "finish reason empty until the end": streaming([chunk(said("Hi", "")), STOP, DONE]),
    "several choices in one chunk": streaming(
        [chunk(said("a"), said("b", index=1)), chunk(said("", "stop"), said("", "stop", 1)), DONE]
    ),
    "a long pause of comments": streaming([b": OPENROUTER PROCESSING\n\n"] * 50 + [HI, STOP, DONE]),
    "empty answer": streaming([STOP, DONE]),
    "everything after done": streaming([HI, STOP, DONE, DONE, b": bye\n\n"]),
}
for name in ANSWERS["chat"]:
    if name != "huge":
        ODD[f"answer {name}"] = healthy(build_answer("chat", name, AnswerVariant(1)))
# Streams of the Responses API on which the SDK alone fails, or loses an event.
LOST_ALONE = {("no_final_newline", "responses"), ("trailing_after_done", "responses")}
CATALOGUE = [
    (fault.name, api)
    for fault in FAULTS.values()
    if isinstance(fault.promise, Equal)
    for api in (ASKS if fault.name != "slow" else ["chat"])
    if fault.api in (None, api) and (fault.name, api) not in LOST_ALONE
]


def same(server: Server, play: ScriptedResponse, client_kind: str, ask: Callable[[Any], Any]) -> None:
    """Assert that guarded and unguarded consumers of these bytes cannot tell the difference."""
    server.script(play, play)
    plain = alone(server, client_kind, ask)
    before = len(server.requests)
    seen = consume(server, client_kind, ask)
    assert plain.error is None
    assert seen.error is None
    assert seen.items == plain.items
    assert seen.kind is plain.kind
    assert seen.kind is (openai.Stream if client_kind == "sync" else openai.AsyncStream)
    assert len(server.requests) == before + 1
    assert seen.report is not None
    assert seen.report.outcome == "complete"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize("name", ODD)
def test_an_odd_but_healthy_stream_passes_untouched(server: Server, name: str, client_kind: str, warned: Any) -> None:
    """Every item equals the unguarded SDK's, in one request, and nothing is logged at WARNING."""
    same(server, ODD[name], client_kind, chat)
    assert not warned()


@pytest.mark.parametrize(("fault", "api"), CATALOGUE)
def test_a_fault_that_is_none_passes_untouched(server: Server, fault: str, api: str, warned: Any) -> None:
    """What the catalogue promises to be equal is equal, whichever API sends it."""
    if api == "responses" and VERSION < (1, 66):
        pytest.skip(f"openai {openai.__version__} has no Responses API")
    client_kind = CLIENT_KINDS[(len(fault) + len(api)) % 2]
    same(server, scripted(fault, api), client_kind, ASKS[api])
    assert not warned()


def test_a_server_that_ignores_n_costs_no_second_request(server: Server, warned: Any) -> None:
    """Two choices were asked for and one comes, finished and followed by [DONE]: that is all there will be."""
    same(server, streaming([HI, STOP, DONE]), "sync", lambda client: chat(client, n=2))
    assert not warned()


def test_a_stream_to_a_server_of_http_1_0_passes_untouched(server: Server) -> None:
    """A body that ends with its connection, as HTTP/1.0 servers send it, is complete by its end mark."""
    play = ScriptedResponse((Send(HI), Send(STOP), Send(DONE), End()), framing="close")
    for client_kind in CLIENT_KINDS:
        same(server, play, client_kind, chat)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_hundred_streams_open_as_many_connections_as_unguarded(server: Server, client_kind: str) -> None:
    """The guard leaves each connection as fit for the next stream as the SDK does."""

    async def hundred() -> None:
        async with opened(server, client_kind) as client:
            for _ in range(100):
                assert len([item async for item in await chat(client)]) == 15

    def connections() -> int:
        server.reset()
        run(client_kind, hundred)
        return server.connections

    guarded = connections()
    switch.disable()
    assert guarded <= connections()


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_each_event_is_handed_over_before_the_next_is_sent(server: Server, client_kind: str) -> None:
    """A server that waits for the consumer between two events gets an answer out at all."""
    turns = threading.Semaphore(0)
    missed = []

    def paced() -> Iterator[Any]:
        for event in (HI, HI, HI, STOP, DONE):
            yield Send(event)
            if event is not DONE and not turns.acquire(timeout=5):
                missed.append(event)
        yield End()

    async def main() -> None:
        async with opened(server, client_kind) as client:
            async for _ in await chat(client):
                turns.release()

    server.script(ScriptedResponse(paced()))
    run(client_kind, main)
    assert not missed

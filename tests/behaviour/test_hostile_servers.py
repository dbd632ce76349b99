"""The law: whatever a server sends, for however long, a guarded stream takes bounded memory and time, and ends in its
answer or in the typed error. Over real sockets, in every case with a peak measured by `tracemalloc`.

What a server may send is bounded by policy: these tests set small limits, so that they reach them soon.
"""

from __future__ import annotations

import gzip
import json
import pickle
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from openai_stream_guard import OpenAIStreamParseError, Policy, configure
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.engine import delivery, recovery
from openai_stream_guard.engine.decisions import Fail
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.session import Session
from openai_stream_guard.testing import End, Repeat, ScriptedResponse, Send, Server, Wait, replying
from openai_stream_guard.testing.server.scripted_response import EVENT_STREAM, Step
from tests.support.responses import has_background, has_responses
from tests.support.streams import CLIENT_KINDS, VERSION, chat, consume, opened, responses, run, scripted

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("guarded")]

MiB = 1 << 20
SOON = 15.0
"""Seconds. All of this takes below one on a machine that has nothing else to do."""
LIMITS: dict[str, Any] = {
    "max_event_bytes": MiB,
    "max_held_bytes": MiB,
    "idle_timeout": 0.3,
    "max_elapsed": 0.5,
    "max_retries": 0,
}


@pytest.fixture(autouse=True)
def limited(guarded: None) -> Iterator[None]:
    configure(**LIMITS)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # the server is a thread of this process, and mostly busy
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What the SDK imports with its first stream is no stream's cost."""
    with Server() as server:
        for ask in (chat, responses) if VERSION >= (1, 66) else (chat,):
            consume(server, ask=ask)


@dataclass
class Cost:
    """What reading one stream took."""

    error: Any
    items: int
    seconds: float
    peak: int
    """Bytes above what was allocated before."""


def endure(server: Server, client_kind: str = "sync", ask: Callable[[Any], Any] = chat) -> Cost:
    """Read a stream to its end, keeping nothing of it."""
    cost = Cost(None, 0, 0.0, 0)

    async def main() -> None:
        async with opened(server, client_kind, timeout=5.0) as client:
            try:
                stream = await ask(client)
                async for _ in stream:
                    cost.items += 1
            except Exception as error:
                cost.error = error

    tracemalloc.start()
    before, started = tracemalloc.get_traced_memory()[0], time.monotonic()
    try:
        run(client_kind, main)
        cost.seconds = time.monotonic() - started
        cost.peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert cost.error is None or isinstance(cost.error, OpenAIStreamParseError), repr(cost.error)
    return cost


def event(value: object) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def delta(number: int, **more: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "a"}, **more}]}


def endless(*start: bytes, then: bytes, pause: float = 0.0) -> ScriptedResponse:
    """These parts, and after them the same one for ever."""
    again: tuple[Step, ...] = (Send(then), Wait(pause)) if pause else (Send(then),)
    return ScriptedResponse((*map(Send, start), Repeat(again)))


FIRST = event(delta(0))
NEVER_ENDING: dict[str, tuple[ScriptedResponse, str, int]] = {
    # name: what is sent, the fault it comes to, and how many bytes it may take at most
    "event": (endless(FIRST, b"data: ", then=b"x" * 65536), "oversized", 8 * MiB),
    "event of JSON": (endless(FIRST, b'data: {"x": "', then=b"x" * 65536), "oversized", 8 * MiB),
    "event of data lines": (endless(FIRST, then=b"data: x\n" * 8192), "oversized", 8 * MiB),
    "event of empty data lines": (endless(FIRST, then=b"data:\n" * 8192), "oversized", 8 * MiB),
    "event name": (endless(FIRST, b"event: ", then=b"x" * 65536), "oversized", 8 * MiB),
    "line that is no field": (endless(FIRST, then=b"x" * 65536), "oversized", 8 * MiB),
    "brackets": (endless(FIRST, b"data: ", then=b"[" * 65536), "oversized", 8 * MiB),
    "comment in one line": (endless(FIRST, b": ", then=b"x" * 65536), "oversized", 8 * MiB),
    "retry in one line": (endless(FIRST, b"retry: ", then=b"1" * 65536), "oversized", 8 * MiB),
    "id in one line": (endless(FIRST, b"id: ", then=b"1" * 65536), "oversized", 8 * MiB),
    "comments": (endless(FIRST, then=b": ping\n\n" * 1024), "stalled", 2 * MiB),
    "retry lines": (endless(FIRST, then=b"retry: 1\n\n" * 1024), "stalled", 2 * MiB),
    "id lines": (endless(FIRST, then=b"id: 1\n\n" * 1024), "stalled", 2 * MiB),
    "blank lines": (endless(FIRST, then=b"\n" * 8192), "stalled", 2 * MiB),
    "lines that are no field": (endless(FIRST, then=b"nothing\n" * 1024), "stalled", 2 * MiB),
    "pings dressed as events": (endless(FIRST, then=event({"type": "ping"}) * 128), "stalled", 2 * MiB),
    "keep-alives, slowly": (endless(FIRST, then=b": keep-alive\n\n", pause=0.02), "stalled", 2 * MiB),
    "an event, byte by byte": (endless(FIRST, b'data: {"x": "', then=b"x", pause=0.02), "stalled", 2 * MiB),
    "one line, byte by byte": (endless(FIRST, then=b"x", pause=0.02), "stalled", 2 * MiB),
    "silence": (ScriptedResponse((Send(FIRST), Wait())), "stalled", 2 * MiB),
}


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize("name", NEVER_ENDING)
def test_what_never_ends_is_ended(server: Server, name: str, client_kind: str) -> None:
    """An endless event, line, comment or keep-alive is `oversized` or `stalled`, in memory of the limit's order."""
    scripted_answer, fault, most = NEVER_ENDING[name]
    configure(idle_timeout=0.3 if fault == "stalled" else 5.0)
    server.script(scripted_answer)
    cost = endure(server, client_kind)
    assert cost.error.fault == fault
    assert cost.items == 1
    assert cost.peak < most
    assert cost.seconds < SOON


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_a_gzip_bomb_is_read_one_network_read_at_a_time(server: Server, client_kind: str) -> None:
    """A quarter of a gibibyte in a quarter of a mebibyte: an HTTP library unpacks a read of 64 KiB to 64 MiB at most,
    and not a second one is asked for."""
    configure(idle_timeout=5.0)
    bomb = gzip.compress(b"data: " + b"\0" * (256 * MiB), 9)
    headers = (*EVENT_STREAM, ("content-encoding", "gzip"))
    steps = tuple(Send(bomb[at : at + 16384]) for at in range(0, len(bomb), 16384))
    server.script(ScriptedResponse((*steps, End()), headers=headers))
    cost = endure(server, client_kind)
    assert cost.error.fault == "oversized"
    assert cost.peak < 4 * 64 * MiB
    assert len(cost.error.raw_tail) <= 1024
    assert cost.seconds < SOON


def many_choices(count: int) -> ScriptedResponse:
    """A choice more with every event."""
    chunks = [event({"choices": [{"index": number, "delta": {"content": "a"}}]}) for number in range(count)]
    return ScriptedResponse((*(Send(b"".join(chunks[at : at + 500])) for at in range(0, count, 500)), End()))


def many_tools(count: int) -> ScriptedResponse:
    """A tool call more with every event."""
    calls = ([{"index": n, "id": f"call_{n}", "function": {"name": "f", "arguments": "{"}}] for n in range(count))
    chunks = [event({"choices": [{"index": 0, "delta": {"tool_calls": call}}]}) for call in calls]
    return ScriptedResponse((*(Send(b"".join(chunks[at : at + 500])) for at in range(0, count, 500)), End()))


def many_kinds(count: int) -> ScriptedResponse:
    """An event of a new kind every time."""
    chunks = [event({f"kind{number}": 1}) for number in range(count)]
    return ScriptedResponse((*(Send(b"".join(chunks[at : at + 500])) for at in range(0, count, 500)), End()))


def many_at_once(count: int) -> ScriptedResponse:
    """All choices in one event."""
    chunk = {"choices": [{"index": number, "delta": {"content": "a"}} for number in range(count)]}
    return ScriptedResponse((Send(event(chunk)), End()))


MANY = (many_choices, many_tools, many_kinds, many_at_once)


@pytest.mark.parametrize("make", MANY, ids=lambda make: make.__name__)
def test_more_parts_than_any_answer_has_are_oversized(
    server: Server, make: Callable[[int], ScriptedResponse], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever tells them apart, and whether they come one by one or at once: the stream ends at the limit."""
    monkeypatch.setattr(delivery, "MAX_ENTRIES", 1000)
    server.script(make(1100))
    cost = endure(server, ask=lambda client: chat(client, n=2))  # of one choice, all indexes are one
    assert cost.error.fault == "oversized"
    assert "parts" in str(cost.error)
    assert cost.items <= 1001


@pytest.mark.parametrize("make", MANY[:2], ids=lambda make: make.__name__)
def test_a_million_parts_take_no_more_than_the_limit(make: Callable[[int], ScriptedResponse]) -> None:
    """The same without a socket, at the true limit: a million choices or tool calls cost what 65,536 do."""
    session = Session(
        StreamRequest("post", "/chat/completions", "h", {"n": 2}), Policy(), HostMemory(), now=0.0, max_retries=0
    )
    sends = [step.data for step in make(70_000).steps if isinstance(step, Send)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for data in sends:
        if session.decision is None:
            session.receive(data, 0.0)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert isinstance(session.decision, Fail)
    assert session.decision.first_failure.fault.kind == "oversized"
    assert held < 64 * MiB


def test_numbers_and_nesting_beyond_reason_are_malformed_or_values(server: Server) -> None:
    """A hundred thousand brackets or digits are a fault like any damaged event, found at once."""
    deep = b"[" * 100_000 + b"]" * 100_000
    inner = b'{"x":' * 100_000 + b"1" + b"}" * 100_000
    digits = b"1" * 100_000
    for payload in (
        deep,
        inner,
        b'{"choices": [], "x": ' + deep + b"}",
        b'{"choices": [], "created": ' + digits + b"}",
        b'{"choices": [], "created": -' + digits + b"}",
        b'{"choices": [{"index": ' + digits + b', "delta": {"content": "a"}}]}',
        digits,
    ):
        server.script(ScriptedResponse((Send(FIRST), Send(event(payload)), End())))
        cost = endure(server)
        assert cost.error.fault == "malformed", payload[:40]
        assert cost.seconds < SOON
        assert cost.peak < 32 * MiB
        assert pickle.loads(pickle.dumps(cost.error)).fault == "malformed"
    for payload in (b'{"choices": [], "x": 1e400}', b'{"choices": [], "x": 0.' + digits + b"}"):
        server.script(ScriptedResponse((Send(FIRST), Send(event(payload)), Send(event(b"[DONE]")), End())))
        assert endure(server).error is None or endure(server).error.fault == "malformed"


@has_responses
@pytest.mark.parametrize(
    "start", [2**63 - 2, 2**63, 2**64, 10**400, -(2**63)], ids=("a little below", "2^63", "2^64", "10^400", "-2^63")
)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_sequence_numbers_have_no_largest(server: Server, client_kind: str, start: int) -> None:
    """Numbers past 64 bits count on like any; a gap of that size is a gap, and waits for nothing."""
    scripted_answer = scripted("clean", "responses")
    values = [json.loads(step.data.split(b"data: ", 1)[1]) for step in scripted_answer.steps if isinstance(step, Send)]
    shifted = [event({**value, "sequence_number": value["sequence_number"] + start}) for value in values]
    server.script(ScriptedResponse((*map(Send, shifted), End())))
    cost = endure(server, client_kind, responses)
    assert (cost.error, cost.items) == (None, len(values))
    if start > 0:
        server.script(ScriptedResponse((*map(Send, [event(values[0]), *shifted[1:]]), End())))
        assert endure(server, client_kind, responses).error.fault == "gap"


ERRORS: list[Any] = [
    [], [1], 5, -1, True, 1.5, "words", {"message": ["a"]}, {"message": {"a": 1}}, {"message": None, "code": {}},
    {"code": ["x"], "type": 7, "param": {}}, {"code": 10**30}, {"code": "5" * 5000}, {"error": {"error": {"error": 1}}},
    {"message": "m" * 100_000}, {"message": "a\r\nX-Header: b", "type": "\x1b[31m"}, {"status": [500]},
]  # fmt: skip


@pytest.mark.parametrize("ask", [chat, pytest.param(responses, marks=has_responses)], ids=["chat", "responses"])
@pytest.mark.parametrize("named", [b"", b"event: error\n"])
def test_errors_of_any_type_are_the_typed_error(server: Server, ask: Any, named: bytes) -> None:
    """Whatever stands for an error object: it is raised with the body as it came, and can be printed and pickled."""
    for body in ERRORS:
        server.script(ScriptedResponse((Send(named + event({"error": body})), End())), *["clean"] * 2)
        cost = endure(server, ask=ask)
        if cost.error is None:
            assert not body
            continue
        assert cost.error.fault in ("upstream_error", "truncated"), body
        again = pickle.loads(pickle.dumps(cost.error))
        assert (str(again), again.body) == (str(cost.error), cost.error.body)


def test_an_error_nested_beyond_reason_is_cut_down(server: Server) -> None:
    """Its body is kept to a depth that can be pickled and printed."""
    deep: Any = {"message": "deep", "type": "server_error"}
    for _ in range(150):
        deep = {"message": "deep", "inner": [deep]}
    server.script(ScriptedResponse((Send(event({"error": deep})), End())))
    error = endure(server).error
    assert (error.fault, str(error)) == ("upstream_error", "deep")
    assert len(repr(error.body)) < 2000
    assert pickle.loads(pickle.dumps(error)).body == error.body


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_a_replay_that_never_catches_up_is_given_up(server: Server, client_kind: str) -> None:
    """A second answer that keeps the connection busy without repeating the first costs `max_elapsed`, not for ever."""
    configure(max_retries=5)
    silent = event({"id": "c", "choices": [{"index": 0, "delta": {}}]}) * 64
    server.script(scripted("truncate_clean", after=6), *[endless(then=silent)] * 5)
    cost = endure(server, client_kind)
    assert (cost.error.fault, cost.error.stopped_by) == ("truncated", "time")
    assert cost.error.attempts[1].fault == "stalled"
    assert cost.seconds < SOON
    assert cost.peak < 4 * MiB


def test_a_replay_that_holds_too_much_is_oversized(server: Server) -> None:
    """One that goes on elsewhere, and would have to be held back for ever, meets `max_held_bytes`."""
    configure(max_retries=5, max_elapsed=20)
    other = event({"id": "c", "choices": [{"index": 1, "delta": {"content": "x" * 1000}}]}) * 8
    server.script(scripted("truncate_clean", after=6), endless(then=other))
    cost = endure(server, ask=lambda client: chat(client, n=2))
    assert cost.error.attempts[1].fault == "oversized"
    assert len(server.requests) == 2
    assert cost.peak < 16 * MiB


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
@pytest.mark.parametrize("value", ["1000000000", "1" * 400, "1e999", "Fri, 01 Jan 9999 00:00:00 GMT"])
def test_nobody_waits_for_ever_because_a_server_says_so(
    server: Server, client_kind: str, header: str, value: str
) -> None:
    """A `Retry-After` of thirty years is a refusal."""
    configure(max_retries=3, max_elapsed=100)
    refusal = replying({"error": {"message": "later"}}, 503, ((header, value),))
    server.script(scripted("truncate_clean", after=6), *[refusal] * 4)
    cost = endure(server, client_kind)
    if not (header == "retry-after-ms" and "GMT" in value):  # which is no number, and counts as absent
        assert cost.error.stopped_by == "not_retryable"
        assert len(server.requests) == 2
    assert cost.seconds < SOON


@has_background
def test_a_job_that_never_ends_is_polled_no_longer_than_max_elapsed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A background response that stays in progress for ever costs requests only for so long."""
    monkeypatch.setattr(recovery, "MIN_POLL", 0.05)
    configure(max_retries=3, backoff_initial=0.05, backoff_max=0.05)
    gone = replying({"error": {"message": "This response can no longer be streamed."}}, 400)
    busy = replying({"id": "resp_1", "object": "response", "status": "in_progress", "output": []})
    server.script("truncate_clean", gone, *[busy] * 50, after=1)
    cost = endure(server, ask=lambda client: client.responses.create(model="m", input="", stream=True, background=True))
    assert (cost.error.fault, cost.error.stopped_by) == ("truncated", "time")
    assert cost.seconds < SOON
    assert 3 < len(server.requests) < 20


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_what_follows_a_whole_answer_is_not_waited_for(server: Server, client_kind: str) -> None:
    """After `[DONE]` a server may send on for ever: the answer is whole, and the consumer has it at once."""
    server.script(endless(FIRST, event(delta(1, finish_reason="stop")), event(b"[DONE]"), then=b": more\n\n" * 1024))
    cost = endure(server, client_kind)
    assert cost.error is None
    assert cost.items == 2
    assert cost.seconds < SOON
    assert cost.peak < 4 * MiB

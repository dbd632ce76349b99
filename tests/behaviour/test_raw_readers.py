"""The law: who reads a response's own bytes gets every one of them untouched, and the typed error where some are
missing; nothing is ever asked for again behind his back, and under observation nothing changes at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import openai_stream_guard
from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import AnswerVariant, End, ScriptedResponse, Send, Server, Wait, build_answer
from openai_stream_guard.testing.server.scripted_response import EVENT_STREAM
from tests.support.ported import unported
from tests.support.streams import CLIENT_KINDS, VERSION, awaited, client_for, opened, run, scripted, silence_for

pytestmark = pytest.mark.usefixtures("guarded")

FRAMES = build_answer("chat", "text", AnswerVariant(1)).encode()
WHOLE = b"".join(FRAMES)


def zipped(parts: list[bytes]) -> ScriptedResponse:
    """These parts, compressed and flushed one by one."""
    squeeze = zlib.compressobj(wbits=31)
    sent = [squeeze.compress(part) + squeeze.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    steps = (*map(Send, sent), Send(squeeze.flush()), End())
    return ScriptedResponse(steps, headers=(*EVENT_STREAM, ("content-encoding", "gzip")))


def plain(parts: list[bytes]) -> ScriptedResponse:
    """These parts as they are."""
    return ScriptedResponse((*map(Send, parts), End()))


# How bytes are read: each gives what it read, part by part.

READERS: dict[str, Callable[[Any], Any]] = {
    "iter_bytes": lambda response: response.iter_bytes(),
    "iter_bytes of 7": lambda response: response.iter_bytes(7),
    "iter_lines": lambda response: response.iter_lines(),
    "iter_text": lambda response: response.iter_text(),
    "read": lambda response: _read_all(response),
    "http_response.iter_raw": lambda response: response.http_response.aiter_raw(),
    "http_response.iter_lines": lambda response: response.http_response.aiter_lines(),
}


async def _read_all(response: Any) -> Any:
    yield await response.read()


class Got:
    """What a reader got, and how it ended."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.error: Any = None
        self.report: Any = None


def ask(client: Any) -> Any:
    """A streaming response whose bytes one reads oneself."""
    return client.chat.completions.with_streaming_response.create(model="m", messages=[], stream=True)


def read(
    server: Server, reader: str, client_kind: str = "sync", asking: Callable[[Any], Any] = ask, **options: Any
) -> Got:
    """Read one response to its end."""
    got = Got()
    run(client_kind, _read, got, server, reader, client_kind, asking, options)
    return got


async def _read(
    got: Got, server: Server, reader: str, client_kind: str, asking: Callable[[Any], Any], options: dict[str, Any]
) -> None:
    async with opened(server, client_kind, **options) as client, asking(client) as response:
        try:
            async for part in READERS[reader](response):
                got.parts.append(part)
        except Exception as error:
            got.error = error
        got.report = openai_stream_guard.report(unported(response))


def joined(parts: list[Any]) -> bytes:
    """What the parts come to, whatever they are."""
    return b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)


def without_guard(server: Server, *arguments: Any, **options: Any) -> Got:
    """The same by the SDK alone."""
    with switch.restored():
        switch.disable()
        return read(server, *arguments, **options)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("encoded", [plain, zipped], ids=["plain", "gzip"])
@pytest.mark.parametrize("reader", READERS)
def test_a_healthy_body_is_read_to_the_byte(server: Server, reader: str, encoded: Any, client_kind: str) -> None:
    """The same parts as from the SDK alone, in one request, and the report says complete."""
    server.script(encoded(FRAMES), encoded(FRAMES))
    alone, got = without_guard(server, reader, client_kind), read(server, reader, client_kind)
    assert alone.error is got.error is None
    if reader == "http_response.iter_raw":
        assert joined(got.parts) == joined(alone.parts)
    else:
        assert got.parts == alone.parts
        assert joined(got.parts).replace(b"\n", b"") == WHOLE.replace(b"\n", b"")
    assert len(server.requests) == 2
    judged = encoded is plain or reader != "http_response.iter_raw"
    assert got.report.outcome == ("complete" if judged else "abandoned")


BROKEN = {
    "truncate_clean": ("truncated", None),
    "truncate_mid_event": ("truncated", None),
    "fin_mid_chunk": ("disconnected", "RemoteProtocolError"),
    "rst": ("disconnected", "ReadError"),
    "stall": ("stalled", "ReadTimeout"),
    "stall_heartbeat": ("stalled", None),
    "gzip_corrupt": ("malformed", "DecodingError"),
}


IN_PARTS = [reader for reader in READERS if reader != "read"]
BREAKS = [
    (reader, fault, CLIENT_KINDS[(place + IN_PARTS.index(reader)) % 3])
    for place, fault in enumerate(BROKEN)
    for reader in IN_PARTS
    if (reader, fault) != ("http_response.iter_raw", "gzip_corrupt")  # nobody decodes what is read raw
]
"""Each reader meets each fault, and each fault each kind of client."""


@pytest.mark.parametrize(("reader", "fault", "client_kind"), BREAKS, ids="-".join)
def test_missing_bytes_are_the_typed_error(server: Server, reader: str, fault: str, client_kind: str) -> None:
    """After all the bytes that came, never asked for again, and also an instance of the transport's own class."""
    verdict, drop_in = BROKEN[fault]
    configure(idle_timeout=silence_for(fault))
    server.reset(fault=fault, after=6)
    got = read(server, reader, client_kind)
    assert isinstance(got.error, OpenAIStreamParseError)
    assert (got.error.fault, len(server.requests)) == (verdict, 1)
    assert drop_in in (None, *(kind.__name__ for kind in type(got.error).__mro__))
    assert got.report.outcome == "failed"


@pytest.mark.parametrize("encoded", [plain, zipped], ids=["plain", "gzip"])
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_what_came_before_the_break_is_read_to_the_byte(server: Server, client_kind: str, encoded: Any) -> None:
    """Half an event is handed on like any other bytes; then comes the error."""
    half = FRAMES[6][: len(FRAMES[6]) // 2]
    server.script(encoded([*FRAMES[:6], half]))
    got = read(server, "iter_bytes", client_kind)
    assert (got.error.fault, joined(got.parts)) == ("truncated", b"".join(FRAMES[:6]) + half)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("fault", ["truncate_clean", "rst"])
def test_reading_all_at_once_is_judged_too(server: Server, fault: str, client_kind: str) -> None:
    """`read()` of a body that is not whole is the error, and not half of it."""
    server.reset(fault=fault, after=6)
    got = read(server, "read", client_kind)
    assert isinstance(got.error, OpenAIStreamParseError)
    assert got.parts == []


@pytest.mark.parametrize("fault", ["garbage_event", "error_event", "html_200", "json_200", "invalid_utf8"])
def test_what_stands_in_the_bytes_is_the_readers_to_see(server: Server, fault: str) -> None:
    """A damaged event, an error of the API's or a page that is no stream reaches him as it is."""
    server.script(fault, fault, after=6)
    alone, got = without_guard(server, "iter_bytes"), read(server, "iter_bytes")
    assert got.error is None
    assert joined(got.parts).count(b"\n") == joined(alone.parts).count(b"\n")
    assert got.report.outcome == "failed"


def test_a_break_behind_what_the_reader_sees_is_still_raised(server: Server) -> None:
    """A damaged event does not make a dropped connection look like an end."""
    steps = (*map(Send, FRAMES[:4]), Send(b"data: 7f3a garbage\n\n"), Wait(0.05))
    server.script(ScriptedResponse(steps))
    got = read(server, "iter_bytes")
    assert got.error is not None
    assert joined(got.parts).endswith(b"garbage\n\n")


def test_a_break_behind_the_end_is_none(server: Server) -> None:
    """Once the answer was whole, what becomes of the connection does not matter."""
    server.reset(fault="fin_after_done")
    got = read(server, "iter_lines")
    assert got.error is None
    assert got.report.outcome == "complete"


@pytest.mark.parametrize("reader", ["iter_lines", "iter_bytes"])
def test_a_raw_response_is_read_by_its_http_response(server: Server, reader: str) -> None:
    """`with_raw_response…http_response` leads to the same bytes, and to the same error."""

    def lines(client: Any) -> Iterator[Any]:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
        return getattr(raw.http_response, reader)()

    with client_for(server) as client:
        assert joined(list(lines(client))).count(b"data: ") == len(FRAMES)
        server.script("truncate_clean", after=6)
        with pytest.raises(OpenAIStreamParseError):
            list(lines(client))


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_reader_who_leaves_is_no_fault(server: Server, client_kind: str) -> None:
    """The response is closed with its `with` block, and told as abandoned."""

    async def leave() -> Any:
        async with opened(server, client_kind) as client, ask(client) as response:
            parts = response.iter_bytes()
            await parts.__anext__()
            await awaited(parts.close() if client_kind == "sync" else parts.aclose())
        return openai_stream_guard.report(unported(response))

    report = run(client_kind, leave)
    assert report is not None
    assert report.outcome == "abandoned"


# Sound, which the SDK reads by itself.


def speak(client: Any) -> Any:
    """Speech as events, read as it comes."""
    speech = client.audio.speech.with_streaming_response
    return speech.create(model="m", voice="alloy", input="hi", extra_body={"stream_format": "sse"})


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_speech_is_whole_or_the_error(server: Server, client_kind: str) -> None:
    """Its last event is its end; a stream of sound that lacks it is truncated."""
    got = read(server, "iter_bytes", client_kind, speak)
    assert got.error is None
    assert joined(got.parts) == b"".join(build_answer("speech", "speech", AnswerVariant(1)).encode())
    assert got.report.outcome == "complete"
    for fault, verdict in (("truncate_clean", "truncated"), ("rst", "disconnected")):
        server.reset(fault=fault, after=2)
        got = read(server, "iter_lines", client_kind, speak)
        assert (got.error.fault, len(server.requests)) == (verdict, 1)


@pytest.mark.skipif(VERSION < (1, 109), reason="this SDK does not know stream_format")
def test_speech_by_its_own_parameter_and_as_sound(server: Server) -> None:
    """`stream_format="sse"` is guarded; sound itself is no stream of events, and left alone."""
    kind = {"model": "m", "voice": "alloy", "input": "hi"}
    with client_for(server) as client:
        with client.audio.speech.with_streaming_response.create(**kind, stream_format="sse") as response:
            assert b"speech.audio.done" in response.read()
            assert openai_stream_guard.report(response) is not None
        with client.audio.speech.with_streaming_response.create(**kind) as response:
            assert response.read() == bytes(range(256)) * 3
            assert openai_stream_guard.report(response) is None


# Observed.


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("fault", ["clean", "truncate_clean", "fin_mid_chunk", "rst", "garbage_event", "gzip_corrupt"])
@pytest.mark.parametrize("reader", ["iter_lines", "iter_bytes"])
def test_observation_changes_nothing(
    server: Server, reader: str, fault: str, client_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts and exception are those of the SDK alone; the report says what there was."""
    monkeypatch.setenv("OPENAI_STREAM_GUARD", "observe")
    switch.start()
    scripted_answer = scripted(fault, after=6)
    server.script(scripted_answer, scripted_answer)
    alone, got = without_guard(server, reader, client_kind), read(server, reader, client_kind)
    assert type(got.error) is type(alone.error)
    assert str(got.error) == str(alone.error)
    assert joined(got.parts) == joined(alone.parts)
    assert got.report.outcome == ("complete" if fault == "clean" else "failed")


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("mode", ["on", "observe"])
def test_what_comes_long_after_the_finish_is_read(
    server: Server, mode: str, client_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of bytes gets all of them; only where the guard reads events does it stop waiting for more."""
    monkeypatch.setenv("OPENAI_STREAM_GUARD_LINGER_TIMEOUT", "0.02")
    monkeypatch.setenv("OPENAI_STREAM_GUARD", mode)
    switch.start()
    finished = next(place for place, frame in enumerate(FRAMES) if b'"finish_reason":"stop"' in frame) + 1
    server.script(ScriptedResponse((*map(Send, FRAMES[:finished]), Wait(0.15), *map(Send, FRAMES[finished:]), End())))
    got = read(server, "iter_bytes", client_kind)
    assert (got.error, joined(got.parts)) == (None, WHOLE)

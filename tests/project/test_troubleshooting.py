"""The law: each row of the page's troubleshooting table comes true, with the SDK alone and with the guard.

Every row has a scene here. It is played over real sockets: the SDK alone must show the texts of the row, and the guard
must do what the last column says.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError, Policy, report
from openai_stream_guard import activation as switch
from openai_stream_guard.config.policy import SETTINGS
from openai_stream_guard.diagnosis.causes import CLOSED
from openai_stream_guard.testing import AnswerVariant, ScriptedResponse, Server, build_answer
from openai_stream_guard.testing.server.scripted_response import End, Repeat, Send, Wait
from tests.support.pages import SUPPORT, table
from tests.support.pages import read as text_of
from tests.support.streams import VERSION, chat, client_for, run, said_by, scripted


@dataclass(frozen=True)
class Played:
    """What a program got out of a scene."""

    text: str | None = None
    """What the answer said; None where it did not come to that."""
    error: Exception | None = None
    requests: int = 1
    hint: str | None = None

    @property
    def seen(self) -> str:
        """What a traceback shows: the error and those it comes from, each with its class."""
        told, error = [], self.error
        while error is not None:
            told.append(f"{type(error).__name__}: {error}")
            error = error.__cause__
        return "\n".join(told)


Scene = Callable[[Server], Played]
SCENES: dict[str, Scene] = {}
"""By what is seen, as it stands on the page but for its marks of code."""


def shows(*texts: str) -> Callable[[Scene], Scene]:
    """Name the row of the page that a scene is for."""

    def named(scene: Scene) -> Scene:
        SCENES.update(dict.fromkeys(texts, scene))
        return scene

    return named


def read(server: Server, *, loads: bool = False, **options: Any) -> Played:
    """A program that streams a chat; `loads`: and takes its tool calls' arguments apart."""
    text, stream = "", None
    arguments: dict[int, str] = defaultdict(str)
    played = Played()
    with client_for(server, **options) as client:
        try:
            stream = chat(client)
            for chunk in stream:
                text += said_by(chunk.model_dump())
                calls = chunk.choices[0].delta.tool_calls if chunk.choices else None
                for call in calls or ():
                    arguments[call.index] += call.function.arguments or ""
            text += str([json.loads(said) for said in arguments.values()]) if loads else ""
            played = Played(text)
        except Exception as error:
            played = Played(error=error)
        found = report(stream)
        if stream is not None:
            stream.response.close()  # openai 1 alone leaves a broken stream open
    return replace(played, requests=len(server.requests), hint=None if found is None else found.hint)


def respond(server: Server, *parts: bytes | str) -> Played:
    """A program that uses the helper for Responses."""
    if parts and isinstance(parts[0], str):
        server.script(scripted(parts[0], "responses"))
    elif parts:
        server.script(streamed(parts))
    with client_for(server) as client:
        try:
            with client.responses.stream(model="m", input="") as stream:
                return replace(Played(stream.get_final_response().output_text), requests=len(server.requests))
        except Exception as error:
            return Played(error=error, requests=len(server.requests))


def streamed(parts: Any) -> ScriptedResponse:
    """These bytes, as a stream of events that ends in good order."""
    return ScriptedResponse((*map(Send, parts), End()), headers=scripted("clean").headers)


def faulty(name: str, **options: Any) -> Scene:
    """A chat that one fault of the catalogue strikes, once."""

    def scene(server: Server) -> Played:
        server.script(scripted(name))
        return read(server, **options)

    return scene


@shows("Incomplete chunk received while parsing SSE stream")
def every_attempt_breaks(server: Server) -> Played:
    """Whatever is tried, the body ends too early."""
    server.reset(fault="truncate_clean", times=None)
    return read(server, max_retries=1)


shows("peer closed connection without sending complete message body (incomplete chunked read)")(faulty("fin_mid_chunk"))
shows("peer closed connection without sending complete message body (received")(faulty("truncate_content_length"))
shows("Connection error.", "Connection reset by peer")(faulty("rst"))
shows("illegal chunk header")(faulty("bad_chunk_header"))
shows("Request timed out.", "ReadTimeout")(faulty("stall", timeout=1.0))
shows("Error -3 while decompressing data")(faulty("gzip_corrupt"))
shows("Expecting value: line 1 column 1 (char 0)")(faulty("retry_only"))
shows("Extra data: line 1 column")(faulty("glued_prefix"))
shows("Extra data: line 2 column")(faulty("missing_blank"))
shows("Unterminated string starting at")(faulty("blank_inside"))
shows("Invalid control character at")(faulty("data_line_cut"))
shows("'utf-8' codec can't decode byte")(faulty("invalid_utf8"))
shows("no exception: the text stops in mid-sentence, finish_reason is None")(faulty("truncate_clean"))
shows("no exception: not one chunk, of an empty body")(faulty("empty_body"))


@shows("Response payload is not completed")
def incomplete_over_aiohttp(server: Server) -> Played:
    """The client's transport is aiohttp's."""
    server.script(scripted("fin_no_terminator"))

    async def main() -> Played:
        try:
            http_client = openai.DefaultAioHttpClient()
        except (AttributeError, ImportError, RuntimeError) as error:
            pytest.skip(f"this SDK has no aiohttp client here: {error}")
        async with client_for(server, "async", http_client=http_client) as client:
            try:
                chunks = [chunk async for chunk in await chat(client)]
            except Exception as error:
                return Played(error=error)
            return Played("".join(said_by(chunk.model_dump()) for chunk in chunks), requests=len(server.requests))

    return run("asyncio", main)


@shows("Server disconnected without sending a response.")
def no_answer(server: Server) -> Played:
    """Every connection is closed once the request was read: before there is any response."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            peer, _ = listener.accept()
            with peer:
                # With a part unread, the connection would be reset in place of closed.
                while (piece := peer.recv(65536)) and not piece.endswith(b"}"):
                    pass

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        played = read(server, base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1", max_retries=0)
        thread.join(5)
    return replace(played, requests=1)


@shows("An error occurred during streaming")
def error_without_message(server: Server) -> Played:
    """The API says that something of its own went wrong, and not what."""
    first = build_answer("chat", "text", AnswerVariant(0)).encode()[0]
    server.script(streamed([first, b'data: {"error":{"type":"server_error"}}\n\n']))
    return read(server)


@shows("Didn't receive a `response.completed` event.")
def responses_cut(server: Server) -> Played:
    """The body ends too early, in good order."""
    return respond(server, "truncate_clean")


def _responses(serial: int) -> list[bytes]:
    return build_answer("responses", "text", AnswerVariant(serial)).encode()


@shows("Expected to have received `response.created` before")
def responses_beheaded(server: Server) -> Played:
    """The first event is missing."""
    return respond(server, *_responses(1)[1:])


@shows("Lifecycle response identity changed.")
def responses_mixed(server: Server) -> Played:
    """The last event is of another response."""
    return respond(server, *_responses(1)[:-1], _responses(2)[-1])


@shows("Attempted to read or stream content, but the stream has been closed.")
def read_after_closing(server: Server) -> Played:
    """The `with` block is left before the stream is read."""
    with client_for(server) as client:
        with client.chat.completions.create(model="m", messages=[], stream=True) as stream:
            pass
        try:
            return Played(str(list(stream)))
        except Exception as error:
            return Played(error=error)


@shows("content has already been streamed")
def read_twice(server: Server) -> Played:
    """Somebody wants the body once more."""
    ask = {"model": "m", "messages": [], "stream": True}
    with client_for(server) as client, client.chat.completions.with_streaming_response.create(**ask) as response:
        list(response.iter_lines())
        try:
            return Played(str(list(response.iter_lines())))
        except Exception as error:
            return Played(error=error)


@shows("list index out of range")
def chunk_without_choices(server: Server) -> Played:
    """The usage comes in a chunk of its own."""
    server.reset(answer="usage")
    with client_for(server) as client, chat(client) as stream:
        try:
            return Played("".join(chunk.choices[0].delta.content or "" for chunk in stream))
        except Exception as error:
            return Played(error=error)


@shows("a JSONDecodeError of your own json.loads(tool_call.function.arguments)")
def half_a_tool_call(server: Server) -> Played:
    """The body ends in the middle of a tool call."""
    server.reset(answer="tool_calls")
    server.script(scripted("tool_cut"))
    return read(server, loads=True)


@shows("no exception: not one chunk, of a page or JSON")
def a_page(server: Server) -> Played:
    """A web server answers."""
    server.script("html_200")
    return read(server)


@shows("no exception: the program hangs")
def only_comments(server: Server) -> Played:
    """Comments come for three times the read timeout; a server that really hangs sends them for ever."""
    beat = (Send(b": keep-alive\n\n"), Wait(0.05))
    first = build_answer("chat", "text", AnswerVariant(0)).encode()[0]
    server.script(ScriptedResponse((Send(first), Repeat(beat, 20), End()), headers=scripted("clean").headers))
    return read(server, timeout=0.3)


# The table, and what is claimed in it.


@dataclass(frozen=True)
class Row:
    """One row of the page's table."""

    shown: tuple[str, ...]
    cause: str
    remedy: str
    guard: str

    @property
    def does(self) -> str:
        """What the guard does, in the words that the last column begins with."""
        found = re.match(r"\*\*(.+?)\*\*", self.guard)
        assert found is not None, self.guard
        return found[1]


def rows() -> list[Row]:
    """The table of the page."""
    return [Row(_shown(first), *rest) for first, *rest in table(text_of(SUPPORT), "what you see")]


def _shown(cell: str) -> tuple[str, ...]:
    if not cell.startswith("`"):
        return (cell.replace("`", ""),)
    return tuple(long or short for long, short in re.findall(r"``(.+?)``|`([^`]+)`", cell))


GUARD = {shown: row for row in rows() for shown in row.shown}
HEALED = [
    shown
    for shown, scene in SCENES.items()
    if GUARD[shown].does == "retries" and scene not in (responses_cut, incomplete_over_aiohttp)
]
"""What heals in a program that keeps its stream, and so can ask for the report."""
SINCE = {"Connection error.": (3, 14), "Request timed out.": (3, 14)}
"""Texts that are younger than the oldest SDK we support: before, the transport's own error came through."""


class Unscripted(Server):
    """A server that is healthy whatever it is told."""

    def script(self, *parts: Any, after: int | None = None) -> None:
        """Take no notice."""

    def reset(self, *, answer: str = "text", **fault: Any) -> None:
        """Take notice of the answer only."""
        super().reset(answer=answer)


def played(scene: Scene, server: Server) -> Played:
    """A scene from its beginning."""
    server.reset()
    return scene(server)


def healthy(scene: Scene) -> str | None:
    """What the same program gets where nothing is wrong."""
    with Unscripted() as server:
        return played(scene, server).text


@pytest.fixture
def scene(shown: str) -> Scene:
    """The scene for a text, unless this SDK cannot show it."""
    if SINCE.get(shown, (0,)) > VERSION:
        pytest.skip(f"openai {openai.__version__} does not say {shown!r}")
    if "response" in SCENES[shown].__name__:
        source = Path(openai.__file__).parent / "lib" / "streaming" / "responses" / "_responses.py"
        if not source.exists() or shown.partition("`")[0] not in source.read_text(encoding="utf-8"):
            pytest.skip(f"openai {openai.__version__} does not say {shown!r}")
    return SCENES[shown]


def test_every_row_has_its_scene_and_every_scene_its_row() -> None:
    """No claim without a test, and in the table's order none twice."""
    listed = [shown for row in rows() for shown in row.shown]
    assert sorted(listed) == sorted(SCENES)
    assert {row.does for row in rows()} == {"raises", "repairs", "retries", "leaves it"}


@pytest.mark.parametrize("shown", SCENES)
def test_the_sdk_alone_shows_what_the_row_says(server: Server, scene: Scene, shown: str) -> None:
    """The text, in the exception or those below it; or no exception, and not the whole answer."""
    switch.disable()
    alone = played(scene, server)
    if shown.startswith("no exception") or scene is every_attempt_breaks:
        assert alone.error is None
        assert alone.text != healthy(scene)
    elif scene is half_a_tool_call:
        assert type(alone.error) is json.JSONDecodeError
    else:
        assert shown in alone.seen
    assert alone.requests == 1


@pytest.mark.parametrize("shown", SCENES)
def test_the_guard_does_what_the_row_says(server: Server, scene: Scene, shown: str) -> None:
    """It repairs in one request, retries in a second, raises its error, or leaves the SDK's as it is."""
    switch.enable(Policy(backoff_initial=0.0, backoff_max=0.0, retry_budget=None, idle_timeout=0.6))
    guarded = played(scene, server)
    match GUARD[shown].does:
        case "repairs" | "retries" as does:
            assert guarded.error is None
            assert guarded.text == healthy(scene)
            assert guarded.requests == (1 if does == "repairs" else 2)
        case "raises":
            assert isinstance(guarded.error, OpenAIStreamParseError)
            assert shown in str(guarded.error)
            assert guarded.error.hint.startswith(guarded.hint or "-")
        case "leaves it":
            switch.disable()
            alone = played(scene, server)
            assert shown in guarded.seen
            assert type(guarded.error) is type(alone.error)
            assert guarded.requests == alone.requests == 1


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("fault", ["html_200", "json_200", "empty_body"])
def test_what_is_no_stream_at_all_is_raised_in_the_end(server: Server, fault: str) -> None:
    """Where nothing but that ever comes, there is one typed error."""
    server.reset(fault=fault, times=None)
    assert isinstance(read(server, max_retries=1).error, OpenAIStreamParseError)


@pytest.mark.usefixtures("guarded")
def test_reading_a_closed_stream_gets_a_note(server: Server) -> None:
    """The exception is the library's own, and below it stands what to do; under observation it does not."""
    assert read_after_closing(server).error.__notes__ == [CLOSED]
    switch.observe(Policy())
    assert not hasattr(read_after_closing(server).error, "__notes__")


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("shown", HEALED)
def test_a_healed_stream_keeps_its_hint(server: Server, scene: Scene, shown: str) -> None:
    """The report tells the cause of what was healed, so that it can be removed."""
    switch.enable(Policy(backoff_initial=0.0, backoff_max=0.0, retry_budget=None, idle_timeout=0.3))
    assert played(scene, server).hint


def test_the_settings_named_in_the_table_exist() -> None:
    """A remedy that is a setting of ours is one."""
    named = {name for row in rows() for name in re.findall(r"`(\w+)(?:=[^`]*)?`", row.remedy)}
    assert {"idle_timeout", "max_retries"} <= named & set(SETTINGS)

"""The chat service under test: what its users see when the model's stream breaks, with the guard and without.

This file is an example to copy from. The API is the loopback server here; a mock or a cassette would do as well.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import openai
import pytest
import uvicorn
from fastapi import FastAPI

from openai_stream_guard.sse import Decoder
from openai_stream_guard.testing import (
    AnswerVariant,
    Injection,
    Server,
    StreamGuard,
    build_answer,
    cut,
    disconnect,
    error,
    garble,
    glue,
    healthy,
    html,
    refuse,
    stall,
)
from tests.examples.chat_service import create_app

OPENAI = tuple(int(part) for part in openai.__version__.split(".")[:2])

CALL = healthy(build_answer("chat", "one_call", AnswerVariant(1)))
"""A response of the API that asks for the weather."""


@dataclass
class Seen:
    """What the page shows at the end."""

    text: str = ""
    tools: list[str] = field(default_factory=list)
    end: str | None = None
    said: Any = None

    def show(self, name: str, data: Any) -> None:
        """One event."""
        match name:
            case "token":
                self.text += data["text"]
            case "tool":
                self.tools.append(data["name"])
            case _:
                self.end, self.said = name, data


class Browser:
    """What the page does, without a screen."""

    def __init__(self, app: FastAPI) -> None:
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chat.test")

    async def ask(self) -> Seen:
        """Ask, and read the answer to its end."""
        response = await self.http.post("/chat", json={"question": "What is the weather in Zürich?"})
        seen = Seen()
        for event in Decoder().feed(response.content):
            seen.show(event.event, json.loads(event.data))
        return seen


@pytest.fixture
def api() -> Iterator[Server]:
    """OpenAI's API, on loopback."""
    with Server() as server:
        yield server


@pytest.fixture
async def app(api: Server) -> AsyncIterator[FastAPI]:
    """The service, whose model is the API here."""
    async with openai.AsyncOpenAI(base_url=api.base_url, api_key="none") as client:
        yield create_app(client)


@pytest.fixture
async def browser(app: FastAPI) -> AsyncIterator[Browser]:
    """A browser that shows the service's page."""
    browser = Browser(app)
    async with browser.http:
        yield browser


@pytest.mark.parametrize("guard", ["on", "off"])
async def test_a_healthy_answer(
    stream_guard: StreamGuard, api: Server, browser: Browser, guard: Literal["on", "off"]
) -> None:
    """It is shown and kept, and costs one request: the guard changes nothing."""
    stream_guard.switch(guard)
    seen = await browser.ask()
    assert seen.text.startswith("Zürich’s blue trams")
    assert (seen.end, seen.said["answer"]) == ("done", seen.text)
    assert len(api.requests) == 1


FAULTS = [
    cut(after_events=3),
    cut(after_bytes=700),
    disconnect(after_events=3),
    stall(after_events=3),
    garble(after_events=3),
    error(after_events=3),
    glue(after_events=3),
    html(),
    refuse(status=503, retry_after=20),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_the_user_does_not_notice(
    stream_guard: StreamGuard, app: FastAPI, browser: Browser, fault: Injection
) -> None:
    """Whatever breaks the stream once: the page shows the whole answer, and nothing of it twice."""
    whole = await browser.ask()
    stream_guard.faults.add(fault)
    seen = await browser.ask()
    stream_guard.assert_whole(seen.text, whole.text)
    assert seen == whole
    assert app.state.answers == [whole.text, whole.text]


@pytest.mark.parametrize("fault", [cut(after_events=3), html()], ids=str)
async def test_without_the_guard_half_an_answer_is_taken_for_a_whole_one(
    stream_guard: StreamGuard, app: FastAPI, browser: Browser, fault: Injection
) -> None:
    """No exception: the page shows half a sentence or nothing, calls it done, and the service keeps it."""
    whole = await browser.ask()
    stream_guard.switch("off")
    stream_guard.faults.add(fault)
    seen = await browser.ask()
    assert seen.end == "done"
    assert len(seen.text) < len(whole.text)
    assert app.state.answers == [whole.text, seen.text]


@pytest.mark.parametrize("fault", [disconnect(after_events=3), stall(after_events=3)], ids=str)
async def test_without_the_guard_the_answer_breaks_off(
    stream_guard: StreamGuard, app: FastAPI, browser: Browser, fault: Injection
) -> None:
    """After ten minutes, where nothing comes any more. The service knows no exception but the SDK's."""
    stream_guard.switch("off")
    stream_guard.faults.add(fault)
    started = stream_guard.clock.now()
    if OPENAI < (3, 14):  # the HTTP library's own exceptions come through, and end the response
        with pytest.raises(Exception, match=r"incomplete chunked read|timed out") as raised:
            await browser.ask()
        assert type(raised.value).__name__ in ("RemoteProtocolError", "ReadTimeout")
    else:
        seen = await browser.ask()
        assert (seen.end, seen.said["partial"]) == ("error", seen.text)
    assert app.state.answers == []
    assert (stream_guard.clock.now() - started > 590) == fault.name.startswith("stall")


async def test_without_the_guard_a_garbled_byte_ends_the_response(stream_guard: StreamGuard, browser: Browser) -> None:
    """With an exception that the service has never heard of."""
    stream_guard.switch("off")
    stream_guard.faults.garble(after_events=3)
    with pytest.raises(UnicodeDecodeError):
        await browser.ask()


async def test_a_tool_is_run_once_and_with_all_its_arguments(
    stream_guard: StreamGuard, api: Server, browser: Browser
) -> None:
    """A call that was cut in its arguments is asked for again, and the answer that follows is whole."""
    api.script(CALL, CALL)
    stream_guard.faults.cut(on="tool_call", after_events=1)
    seen = await browser.ask()
    assert (seen.tools, seen.end) == (["get_weather"], "done")
    assert [report.outcome for report in stream_guard.reports] == ["recovered", "complete"]
    assert [sent.way for sent in stream_guard.requests] == [None, "replay", None]
    assert api.requests[-1].body["messages"][-1]["content"] == "Zürich: sunny for 3 days"


async def test_without_the_guard_the_tool_gets_half_its_arguments(
    stream_guard: StreamGuard, api: Server, browser: Browser
) -> None:
    """And the response ends with a `JSONDecodeError` of the service's own."""
    stream_guard.switch("off")
    api.script(CALL)
    stream_guard.faults.cut(on="tool_call", after_events=1)
    with pytest.raises(json.JSONDecodeError, match="Unterminated string"):
        await browser.ask()


async def test_an_api_that_stays_broken(stream_guard: StreamGuard, app: FastAPI, browser: Browser) -> None:
    """The page shows what came and says that it broke off; the service keeps nothing of it."""
    stream_guard.configure(max_retries=2)
    stream_guard.faults.cut(after_events=3, times=None)
    seen = await browser.ask()
    assert (seen.end, seen.said["partial"]) == ("error", seen.text)
    assert seen.text == "Zürich’s blue"
    assert app.state.answers == []
    assert len(stream_guard.requests) == 3
    assert stream_guard.sleeps == [0.5, 1.0]
    stream_guard.assert_failed(fault="truncated")


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The service's address, where uvicorn serves it."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def address(api: Server) -> Iterator[str]:
    """The service in a thread of its own, over sockets."""
    with served(create_app(openai.AsyncOpenAI(base_url=api.base_url, api_key="none"))) as address:
        yield address


def test_over_sockets(stream_guard: StreamGuard, address: str) -> None:
    """The page is served, and a break in mid-answer is not noticed on it."""
    assert "<title>Chat</title>" in httpx.get(address).text
    stream_guard.faults.disconnect(after_events=3)
    seen = Seen()
    for event in Decoder().feed(httpx.post(f"{address}/chat", json={"question": "?"}).content):
        seen.show(event.event, json.loads(event.data))
    assert (seen.end, seen.said["answer"]) == ("done", seen.text)
    stream_guard.assert_recovered(by="replay")


@pytest.mark.parametrize("guard", ["on", "off"])
def test_a_browser_that_goes_away(
    stream_guard: StreamGuard, api: Server, address: str, guard: Literal["on", "off"]
) -> None:
    """The API's stream is closed with it, and nothing is asked for again."""
    stream_guard.switch(guard)
    api.script("stall", after=5)
    with httpx.stream("POST", f"{address}/chat", json={"question": "?"}) as response:
        assert next(response.iter_text()).startswith("event: token")
        assert api.open_connections == 1
    end = time.monotonic() + 5
    while api.open_connections and time.monotonic() < end:
        time.sleep(0.01)
    assert (api.open_connections, len(api.requests)) == (0, 1)
    assert [report.outcome for report in stream_guard.reports] == (["abandoned"] if guard == "on" else [])

"""What real servers were seen to send, as data, and how the tests read it: the real SDK over real sockets.

Whether a stream was read right is decided here without any of the package's own judging code: the oracle for items is
the SDK alone, and what has to be raised is stated by hand for each case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import openai_stream_guard
from openai_stream_guard.testing import End, Reset, ScriptedResponse, Send, Server, Wait

from .ported import unported
from .streams import awaited, opened, run

ARGUMENTS: dict[str, dict[str, Any]] = {
    "chat": {"messages": []},
    "completions": {"prompt": ""},
    "responses": {"input": ""},
    "images": {"prompt": "tram"},
    "transcriptions": {"file": b"wav"},
}
CHUNK = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":['
ATTEMPTS_AT_MOST = 3
"""By the default settings of the SDK: one request and two retries."""
REAL_PAUSE = 0.03
"""Seconds that a server really waits where the pause itself is on the test clock: enough for a read of its own."""


@dataclass(frozen=True)
class ServerCase:
    """One row of `vectors/servers.jsonl`; the columns are those of the file."""

    id: str
    what: str
    api: str
    request: dict[str, Any]
    responses: list[list[dict[str, Any]]]
    streams: int
    expect: str
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def longest_pause(self) -> float:
        """In seconds."""
        return max([step["pause"] for steps in self.responses for step in steps if "pause" in step], default=0.0)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing in it is a fault, also for one who cannot ask again."""
        return self.expect == "whole"

    def as_chunks_of_openai(self) -> ServerCase:
        """The same with the fields without which the SDK's chat helper passes over a chunk."""
        text = json.dumps(self.responses)
        text = re.sub(r'\{(?:\\"id\\":\\"c\\",)?\\"choices\\":\[', json.dumps(CHUNK)[1:-1], text)
        text = text.replace(r"[{\"delta\"", r"[{\"index\":0,\"delta\"")
        return replace(self, id=f"{self.id}-whole-chunks", responses=json.loads(text))

    def body(self, number: int) -> bytes:
        """All bytes of the response to request `number`, from 0."""
        steps = self.responses[min(number, len(self.responses) - 1)]
        return b"".join(step["send"].encode() for step in steps if "send" in step)

    def scripted_responses(self, *, real_pauses: bool, count: int = 12) -> list[ScriptedResponse]:
        """What the server does for each of its first requests."""
        return [self._scripted_response(number, real_pauses) for number in range(count)]

    def _scripted_response(self, number: int, real_pauses: bool) -> ScriptedResponse:
        steps: list[Any] = []
        for step in self.responses[min(number, len(self.responses) - 1)]:
            if "send" in step:
                steps.append(Send(step["send"].encode()))
            elif "pause" in step:
                seconds = step["pause"] if real_pauses else min(step["pause"], REAL_PAUSE)
                steps.append(Wait(seconds))
            else:
                assert step == {"end": "reset"}
                steps.append(Reset())
        headers = self.headers[min(number, len(self.headers) - 1)] if self.headers else {}
        content_type = headers.get("content-type", "text/event-stream; charset=utf-8")
        return ScriptedResponse((*steps, End()), headers=(("content-type", content_type),))

    def __str__(self) -> str:
        return self.id


def server_cases() -> list[ServerCase]:
    """Every row."""
    text = (Path(__file__).parents[1] / "vectors" / "servers.jsonl").read_text(encoding="utf-8")
    return [ServerCase(**json.loads(line)) for line in text.splitlines() if line]


@dataclass
class Heard:
    """What a consumer got out of one stream."""

    items: list[Any] = field(default_factory=list)
    error: Any = None
    report: Any = None

    def add(self, item: Any) -> None:
        """One more item, as a plain value. A server's odd values are no concern of pydantic's serializer here."""
        self.items.append((type(item).__name__, plain_value(item)))

    async def read(self, ask: Callable[[], Awaitable[Any]]) -> None:
        """Make a request, read its stream to the end that it comes to, and close it."""
        stream = None
        try:
            stream = await ask()
            async for item in stream:
                self.add(item)
        except Exception as error:
            self.error = error
        self.report = openai_stream_guard.report(unported(stream))
        if stream is not None:
            await stream.close()


def plain_value(item: Any) -> Any:
    """An item without its class."""
    return item.model_dump(warnings=False) if hasattr(item, "model_dump") else item


def resource_of(client: Any, api: str) -> tuple[Any, str]:
    """Where an API lives in the SDK, and its method."""
    match api:
        case "chat":
            return client.chat.completions, "create"
        case "images":
            return client.images, "generate"
        case "transcriptions":
            return client.audio.transcriptions, "create"
        case _:
            return getattr(client, api), "create"


def listen(
    server: Server,
    api: str,
    body: dict[str, Any],
    *,
    door: str = "create",
    client_kind: str = "sync",
    timeout: float = 5.0,
) -> Heard:
    """Read one stream to its end, by a client of its own.

    Args:
        door: `create`, `with_raw_response`, `with_streaming_response`, or `stream`, the helper that some APIs have.
    """
    heard = Heard()
    run(client_kind, _listen, heard, server, api, body, door, client_kind, timeout)
    return heard


async def _listen(
    heard: Heard, server: Server, api: str, body: dict[str, Any], door: str, client_kind: str, timeout: float
) -> None:
    async with opened(server, client_kind, timeout=timeout) as client, AsyncExitStack() as stack:
        resource, method = resource_of(client, api)
        arguments = {"model": "m", **ARGUMENTS[api], **body}

        async def ask() -> Any:
            if door == "stream":
                return await stack.enter_async_context(resource.stream(**arguments))
            if door == "create":
                return await getattr(resource, method)(**arguments, stream=True)
            if door == "with_raw_response":
                return (await resource_method(resource, door, method)(**arguments, stream=True)).parse()
            response = resource_method(resource, door, method)(**arguments, stream=True)
            return await awaited((await stack.enter_async_context(response)).parse())

        await heard.read(ask)


def resource_method(resource: Any, door: str, method: str) -> Any:
    """A method of a resource, through one of its doors."""
    return getattr(getattr(resource, door), method)


def listen_raw(
    server: Server, api: str, body: dict[str, Any], *, reader: str, client_kind: str = "sync", timeout: float = 5.0
) -> Heard:
    """Read the bytes of one response by `iter_bytes` or `iter_lines`, as its items."""
    heard = Heard()
    run(client_kind, _listen_raw, heard, server, api, body, reader, client_kind, timeout)
    return heard


async def _listen_raw(
    heard: Heard, server: Server, api: str, body: dict[str, Any], reader: str, client_kind: str, timeout: float
) -> None:
    async with opened(server, client_kind, timeout=timeout) as client, AsyncExitStack() as stack:
        resource, method = resource_of(client, api)
        arguments = {"model": "m", **ARGUMENTS[api], **body, "stream": True}
        response = None
        try:
            manager = resource_method(resource, "with_streaming_response", method)(**arguments)
            response = await stack.enter_async_context(manager)
            async for part in getattr(response, reader)():
                heard.items.append(part)
        except Exception as error:
            heard.error = error
        heard.report = openai_stream_guard.report(unported(response))


@contextmanager
def serving(case: ServerCase, *, real_pauses: bool = False) -> Iterator[Server]:
    """A server that does what the case says, and is unknown to the guard: its port is new."""
    with Server() as server:
        server.script(*case.scripted_responses(real_pauses=real_pauses))
        yield server

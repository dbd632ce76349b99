"""How the tests consume streams: the real SDK over real sockets, synchronous and asynchronous clients by one text."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import openai
import trio

import openai_stream_guard
from openai_stream_guard import StreamReport
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import FAULTS, ScriptedResponse, Server, build_answer
from openai_stream_guard.testing.server.answers.answer import AnswerVariant

from .ported import Ported, at_once, unported

VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])
"""Of the SDK, without its patch level."""
CLIENT_KINDS = ("sync", "asyncio", "trio")
KEY = "sk-planted0123456789"
PATHS = {"chat": "/chat/completions", "completions": "/completions", "responses": "/responses"}

Ask = Callable[[Any], Any]


def silence_for(fault: str) -> float:
    """Seconds without an event after which a test has waited enough: few only where the fault is that none comes."""
    return 0.3 if FAULTS[fault].verdict == "stalled" else 20.0


def chat(client: Any, **body: Any) -> Any:
    """Ask for a chat stream."""
    return client.chat.completions.create(model="m", messages=[], stream=True, **body)


def completions(client: Any) -> Any:
    """Ask for a stream of the legacy completions."""
    return client.completions.create(model="m", prompt="", stream=True)


def responses(client: Any) -> Any:
    """Ask for a stream of the Responses API."""
    return client.responses.create(model="m", input="", stream=True)


def helpers_of(client: Any) -> Any:
    """Where `.stream()` lives in this SDK."""
    return client.chat.completions if hasattr(client.chat.completions, "stream") else client.beta.chat.completions


@dataclass
class Seen:
    """What a consumer got out of one stream."""

    items: list[tuple[type, Any]] = field(default_factory=list)
    error: Any = None
    report: StreamReport | None = None
    kind: type | None = None

    @property
    def text(self) -> str:
        """All that the chunks said."""
        return "".join(said_by(dumped) for _, dumped in self.items)

    def add(self, item: Any) -> None:
        """One more item, as a plain value."""
        self.items.append((type(item), item.model_dump()))


def said_by(dumped: Any) -> str:
    """The text in one dumped chunk of chat or completions."""
    return "".join((one.get("delta") or one).get("content") or one.get("text") or "" for one in dumped["choices"])


def client_for(server: Server | None, client_kind: str = "sync", **options: Any) -> Any:
    """A client of this server; it reads neither proxies nor, which takes long, certificates."""
    quick = {"verify": False, "trust_env": False}
    if client_kind == "sync":
        kind, http_client = openai.OpenAI, openai.DefaultHttpxClient(**quick)
    else:
        kind, http_client = openai.AsyncOpenAI, openai.DefaultAsyncHttpxClient(**quick)
    url = {} if server is None else {"base_url": server.base_url}
    defaults = {**url, "api_key": KEY, "timeout": 5.0, "http_client": http_client}
    return kind(**{**defaults, **options})


@asynccontextmanager
async def opened(server: Server | None, client_kind: str, **options: Any) -> AsyncIterator[Any]:
    """A client of any kind, to be used as an asynchronous one, and closed in the end."""
    client = client_for(server, client_kind, **options)
    async with Ported(client) if client_kind == "sync" else client as found:
        yield found


def run(client_kind: str, body: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Run a coroutine function for this kind of client; see `ported`."""

    async def main() -> Any:
        return await body(*arguments)

    if client_kind == "sync":
        return at_once(main())
    if client_kind != "trio":
        return asyncio.run(main())
    with warnings.catch_warnings():
        # The SDK drops its generators half-read, even after a whole stream, and trio tells; see test_sdk_closing.py.
        warnings.filterwarnings("ignore", "Async generator .* was garbage collected", ResourceWarning)
        return trio.run(main)


async def awaited(value: Any) -> Any:
    """The value, or what it comes to when it has to be awaited."""
    return await value if hasattr(value, "__await__") else value


def consume(server: Server, client_kind: str = "sync", ask: Ask = chat, **options: Any) -> Seen:
    """One stream to its end, by a client of its own."""
    seen = Seen()
    run(client_kind, _consume, seen, server, client_kind, ask, options)
    return seen


async def _consume(seen: Seen, server: Server, client_kind: str, ask: Ask, options: dict[str, Any]) -> None:
    stream = None
    async with opened(server, client_kind, **options) as client:
        try:
            stream = await awaited(ask(client))
            seen.kind = type(unported(stream))
            async for item in stream:
                seen.add(item)
        except Exception as error:
            seen.error = error
        seen.report = openai_stream_guard.report(unported(stream))
        if switch.current_mode() != "on" and stream is not None:
            await stream.response.aclose()  # openai 1 alone leaves a broken stream open


def alone(server: Server, client_kind: str = "sync", ask: Ask = chat, **options: Any) -> Seen:
    """The same by the SDK alone."""
    with switch.restored():
        switch.disable()
        return consume(server, client_kind, ask, **options)


def scripted(fault: str, api: Any = "chat", answer: str = "text", after: int | None = None) -> ScriptedResponse:
    """The bytes of one catalogue fault, the same every time: ids and all."""
    found = FAULTS[fault]
    return found.apply(build_answer(api, found.answer or answer, AnswerVariant(1)), after)


def idle(client: Any) -> bool:
    """Whether no connection of the client is in use."""
    connections = client._client._transport._pool.connections
    return all(one.is_idle() or one.is_closed() for one in connections)


def settles(condition: Callable[[], bool]) -> bool:
    """Whether something comes true within five seconds, which a busy machine may take for what is done at once."""
    end = time.monotonic() + 5.0
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()

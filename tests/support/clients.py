"""The clients that people give the SDK, other than its own default: what carries the bytes, and what runs the loop."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest

import openai_stream_guard
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import Server

from .ported import Ported, unported
from .streams import KEY, VERSION, Seen, awaited, chat, run

READ_TIMEOUT = 5.0
QUICK = {"trust_env": False, "timeout": READ_TIMEOUT}


@dataclass(frozen=True)
class Variant:
    """One way to make a client, and to run what uses it."""

    name: str
    client: Callable[[Server], Any]
    loop: str = "sync"
    needs: tuple[str, ...] = ()
    """Packages."""
    http2: bool = False
    tls: bool = False
    since: tuple[int, int] = (1, 40)
    """The first release of the SDK that can do it."""

    def __str__(self) -> str:
        return self.name

    def missing(self) -> str:
        """Why it cannot be had here; empty where it can."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if absent:
            return f"{' and '.join(absent)} not installed"
        return f"openai {openai.__version__} has no such client" if self.since > VERSION else ""

    def server(self) -> Server:
        """A server that speaks what the client speaks."""
        if self.http2:
            from .http2 import Http2Server

            return Http2Server()
        if self.tls:
            from .tls import TlsServer

            return TlsServer()
        return Server()

    def opened(self, server: Server) -> Any:
        """The client; skips the test where the SDK refuses it."""
        try:
            return self.client(server)
        except TypeError as error:
            pytest.skip(f"openai {openai.__version__} refuses it: {error}")


def given(library: str, *, sync: bool = True, **options: Any) -> Callable[[Server], Any]:
    """A client of the SDK that was given an HTTP client of this library."""

    def client(server: Server) -> Any:
        http = importlib.import_module(library)
        kind, carrier = (openai.OpenAI, http.Client) if sync else (openai.AsyncOpenAI, http.AsyncClient)
        return kind(base_url=server.base_url, api_key=KEY, http_client=carrier(**QUICK, **options))

    return client


def by_aiohttp(server: Server) -> Any:
    """The SDK's own client over aiohttp."""
    carrier = openai.DefaultAioHttpClient(**QUICK, verify=False)
    return openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY, http_client=carrier)


def by_default(server: Server) -> Any:
    """The SDK's asynchronous client as it comes."""
    return openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY, timeout=READ_TIMEOUT)


def azure(kind: Any) -> Callable[[Server], Any]:
    """A client for a deployment on Azure."""

    def client(server: Server) -> Any:
        endpoint = server.base_url.removesuffix("/v1")
        return kind(azure_endpoint=endpoint, api_version="1", api_key=KEY, timeout=READ_TIMEOUT)

    return client


def by_module(server: Server) -> Any:
    """No client of one's own: `openai.chat.completions.create`."""
    openai.api_type, openai.api_key, openai.base_url = "openai", KEY, server.base_url + "/"
    openai.timeout = READ_TIMEOUT
    return openai


OWN = "httpx2" if VERSION >= (3, 0) else "httpx"
OTHER = "httpx" if VERSION >= (3, 0) else "httpx2"
VENDORED = Path(openai.__file__).with_name("_vendor") / "httpx_aiohttp"
AIOHTTP = ("aiohttp",) if VENDORED.is_dir() else ("aiohttp", "httpx_aiohttp")
"""What the SDK's client over aiohttp needs: openai 3 brings the transport along."""
VARIANTS = (
    Variant("module-level client", by_module),
    Variant("Azure, sync", azure(openai.AzureOpenAI)),
    Variant("Azure, asyncio", azure(openai.AsyncAzureOpenAI), "asyncio"),
    Variant(f"{OTHER} client, sync", given(OTHER), needs=(OTHER,)),
    Variant(f"{OTHER} client, asyncio", given(OTHER, sync=False), "asyncio", needs=(OTHER,)),
    Variant("anyio on trio", by_default, "anyio on trio"),
    Variant("uvloop", by_default, "uvloop", needs=("uvloop",)),
    Variant("aiohttp", by_aiohttp, "asyncio", needs=AIOHTTP, since=(1, 90)),
    Variant("aiohttp on uvloop", by_aiohttp, "uvloop", needs=(*AIOHTTP, "uvloop"), since=(1, 90)),
    Variant("HTTP/2, sync", given(OWN, http1=False, http2=True), needs=("h2",), http2=True),
    Variant("HTTP/2, asyncio", given(OWN, sync=False, http1=False, http2=True), "asyncio", ("h2",), http2=True),
    Variant("HTTP/2, trio", given(OWN, sync=False, http1=False, http2=True), "trio", ("h2",), http2=True),
    Variant("TLS, sync", given(OWN, verify=False), needs=("trustme",), tls=True),
    Variant("TLS, asyncio", given(OWN, sync=False, verify=False), "asyncio", ("trustme",), tls=True),
    Variant("TLS, trio", given(OWN, sync=False, verify=False), "trio", ("trustme",), tls=True),
    Variant("TLS, aiohttp", by_aiohttp, "asyncio", (*AIOHTTP, "trustme"), since=(1, 90), tls=True),
)


def leave_the_module_as_it_is(patch: pytest.MonkeyPatch) -> None:
    """What `by_module` and the client that the module makes for itself set is set back after the test."""
    for name in ("api_type", "api_key", "base_url", "timeout"):
        patch.setattr(openai, name, getattr(openai, name))
    for name in ("http_client", "_client"):
        patch.setattr(openai, name, None)


def run_in(loop: str, body: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine function under one of the loops that people use."""
    match loop:
        case "anyio on trio":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Async generator .* was garbage collected", ResourceWarning)
                return anyio.run(body, backend="trio")
        case "uvloop":
            import uvloop

            return uvloop.run(body())
        case _:
            return run(loop, body)


@dataclass
class Consumed(Seen):
    """What came of several streams by one client: the items of all, the error that ended them, the last report."""

    reports: list[Any] = field(default_factory=list)


def consume_by(variant: Variant, server: Server, *, streams: int = 1, only: int | None = None, **options: Any) -> Any:
    """Read streams one after the other by one client of this variant.

    Args:
        only: read so many items, then close the stream.
    """
    seen = Consumed()
    run_in(variant.loop, lambda: _consume(seen, variant, server, streams, only, options))
    return seen


async def _consume(
    seen: Consumed, variant: Variant, server: Server, streams: int, only: int | None, options: dict[str, Any]
) -> None:
    made = variant.opened(server)
    client = Ported(made) if variant.loop == "sync" else made
    try:
        for _ in range(streams):
            stream = await chat(client, **options)
            try:
                count = 0
                async for item in stream:
                    seen.add(item)
                    count += 1
                    if count == only:
                        await stream.close()
                        break
            except Exception as error:
                seen.error = error
            seen.reports.append(openai_stream_guard.report(unported(stream)))
            if switch.current_mode() != "on":
                await stream.response.aclose()  # openai 1 alone leaves a broken stream open
    finally:
        if made is not openai:
            await awaited(client.close())

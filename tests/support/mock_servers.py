"""Servers without sockets, for laws that are tried on hundreds of streams: the real SDK over a mock transport."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import openai

import openai_stream_guard
from openai_stream_guard import Policy

from .ported import HTTP, Ported
from .real_servers import ARGUMENTS, Heard, resource_of
from .streams import run

_numbers = itertools.count()
POLICY = Policy(backoff_initial=0.0, backoff_max=0.0, retry_budget=None)


@dataclass(frozen=True)
class Body:
    """One response: its reads, and how it ends."""

    reads: tuple[bytes, ...]
    end: Literal["clean", "reset"] = "clean"
    content_type: str = "text/event-stream"


@dataclass
class MockServer:
    """A host of its own, which no stream has been asked of; the last body repeats."""

    bodies: Sequence[Body]
    requests: int = 0
    base_url: str = field(default_factory=lambda: f"http://host-{next(_numbers)}.test/v1")

    def ask(
        self, api: str, request: dict[str, Any] | None = None, *, sync: bool = True, timeout: float = 60.0
    ) -> Heard:
        """One stream, read to its end."""
        arguments = {"model": "m", **ARGUMENTS[api], **(request or {}), "stream": True}
        heard = Heard()
        run("sync" if sync else "asyncio", self._ask, api, arguments, sync, timeout, heard)
        return heard

    async def _ask(self, api: str, arguments: dict[str, Any], sync: bool, timeout: float, heard: Heard) -> None:
        def answer(request: Any) -> Any:
            body = self.bodies[min(self.requests, len(self.bodies) - 1)]
            self.requests += 1
            return streamed(body.reads, body.end, sync=sync, content_type=body.content_type)

        async with client_over(answer, sync=sync, base_url=self.base_url, timeout=timeout) as client:
            resource, method = resource_of(client, api)
            await heard.read(lambda: getattr(resource, method)(**arguments))


def client_over(answer: Callable[[Any], Any], *, sync: bool, base_url: str, **options: Any) -> Any:
    """A client of the SDK whose requests this function answers, to be used as an asynchronous one."""
    http = (HTTP.Client if sync else HTTP.AsyncClient)(transport=HTTP.MockTransport(answer), trust_env=False)
    kind = openai.OpenAI if sync else openai.AsyncOpenAI
    made = kind(base_url=base_url, api_key="none", http_client=http, **options)
    return Ported(made) if sync else made


def streamed(reads: Iterable[bytes], end: str, *, sync: bool, content_type: str = "text/event-stream") -> Any:
    """A response in these reads, which then is reset, or falls silent until the transport gives up, or just ends."""

    def body() -> Iterator[bytes]:
        yield from reads
        if end == "reset":
            raise HTTP.ReadError("[Errno 104] Connection reset by peer")
        if end == "silence":
            raise HTTP.ReadTimeout("nothing came in time")

    async def abody() -> AsyncIterator[bytes]:
        for read in body():
            yield read

    return HTTP.Response(200, headers={"content-type": content_type}, content=body() if sync else abody())


def by_the_sdk_alone(api: str, body: Body, request: dict[str, Any] | None = None) -> Heard:
    """What the SDK makes of one response while the guard is off."""
    openai_stream_guard.disable()
    try:
        return MockServer([body]).ask(api, request)
    finally:
        openai_stream_guard.enable()

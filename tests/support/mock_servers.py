"""Servers without sockets, for laws that are tried on hundreds of streams: the real SDK over a mock transport."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
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
        transport = HTTP.MockTransport(lambda sent: self._answer(_body if sync else _abody))
        http = (HTTP.Client if sync else HTTP.AsyncClient)(transport=transport, trust_env=False)
        kind = openai.OpenAI if sync else openai.AsyncOpenAI
        made = kind(base_url=self.base_url, api_key="none", http_client=http, timeout=timeout)
        async with Ported(made) if sync else made as client:
            resource, method = resource_of(client, api)
            await heard.read(lambda: getattr(resource, method)(**arguments))

    def _answer(self, content: Any) -> Any:
        body = self.bodies[min(self.requests, len(self.bodies) - 1)]
        self.requests += 1
        return HTTP.Response(200, headers={"content-type": body.content_type}, content=content(body))


def _body(body: Body) -> Iterator[bytes]:
    yield from body.reads
    if body.end == "reset":
        raise HTTP.ReadError("[Errno 104] Connection reset by peer")


async def _abody(body: Body) -> AsyncIterator[bytes]:
    for read in _body(body):
        yield read


def by_the_sdk_alone(api: str, body: Body, request: dict[str, Any] | None = None) -> Heard:
    """What the SDK makes of one response while the guard is off."""
    openai_stream_guard.disable()
    try:
        return MockServer([body]).ask(api, request)
    finally:
        openai_stream_guard.enable()


@contextmanager
def logged(level: int = logging.WARNING) -> Iterator[list[logging.LogRecord]]:
    """What the guard logs inside the block, at this level and above."""
    logger, kept = logging.getLogger("openai_stream_guard"), _Kept(level)
    before = logger.level
    logger.setLevel(min(level, logging.INFO))
    logger.addHandler(kept)
    try:
        yield kept.records
    finally:
        logger.removeHandler(kept)
        logger.setLevel(before)


class _Kept(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

"""What an exchange does whatever the HTTP library and the event loop are about to do themselves."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from types import ModuleType

import pytest

from openai_stream_guard.dialects import Asked
from openai_stream_guard.exchange import AsyncExchange
from openai_stream_guard.hosts import Hosts
from openai_stream_guard.policy import Policy
from openai_stream_guard.session import Session
from tests.streams import VERSION

http: ModuleType = importlib.import_module("httpx2" if VERSION >= (3, 0) else "httpx")


async def chunks() -> AsyncIterator[bytes]:
    """A body that takes a moment to be closed."""
    try:
        yield b"data: 1\n\n"
    finally:
        await asyncio.sleep(0)


async def never(verdict: object) -> None:
    raise AssertionError(verdict)


@pytest.mark.asyncio
async def test_a_body_that_is_being_closed_already_does_not_keep_the_response_open() -> None:
    """An event loop that ends closes all generators at once, of which one may be closed by one thing only."""
    request = http.Request("POST", "http://host/v1/chat/completions")
    response = http.Response(200, request=request)
    session = Session(Asked("post", "/chat/completions", "host"), Policy(), Hosts(), now=0.0, max_retries=0)
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    response.aclose = close
    body = chunks()
    exchange = AsyncExchange(response, session, never, chunks=body)
    await exchange.read()
    elsewhere = asyncio.create_task(body.aclose())  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    await exchange.release()
    await elsewhere
    assert closed == [True]

"""Every door of the SDK leads through the guard: each way of asking for a stream, by every kind of client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest

from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.streams import (
    CLIENT_KINDS,
    awaited,
    chat,
    client_for,
    completions,
    helpers_of,
    run,
)

pytestmark = pytest.mark.usefixtures("guarded")


def text_of(items: Any) -> str:
    """What chunks say."""
    return "".join(one.choices[0].delta.content or "" for one in items if one.choices)


# Entry points: each asks for a chat stream, and returns its text.


def by_create(client: Any) -> str:
    return text_of(chat(client))


def by_with_statement(client: Any) -> str:
    with chat(client) as stream:
        return text_of(stream)


def by_raw_response(client: Any) -> str:
    raw = client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
    stream = raw.parse()
    assert type(stream) is openai.Stream
    return text_of(stream)


def by_streaming_response(client: Any) -> str:
    with client.chat.completions.with_streaming_response.create(model="m", messages=[], stream=True) as response:
        return text_of(response.parse())


def by_helper(client: Any) -> str:
    with helpers_of(client).stream(model="m", messages=[]) as stream:
        return stream.until_done().get_final_completion().choices[0].message.content


def by_options(client: Any) -> str:
    return text_of(chat(client.with_options(max_retries=1)))


def by_post(client: Any) -> str:
    kind = openai.types.chat.ChatCompletionChunk
    body = {"model": "m", "messages": [], "stream": True}
    return text_of(
        client.post("/chat/completions", cast_to=kind, body=body, stream=True, stream_cls=openai.Stream[kind])
    )


def by_completions(client: Any) -> str:
    return "".join(one.choices[0].text for one in completions(client))


ENTRIES = (
    by_create, by_with_statement, by_raw_response, by_streaming_response, by_helper, by_options, by_post,
    by_completions,
)  # fmt: skip
FAULTS_MET = ("truncate_clean", "rst", "html_200")


@pytest.mark.parametrize("fault", FAULTS_MET)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_every_entry_point_is_guarded(server: Server, entry: Callable[[Any], str], fault: str) -> None:
    """A stream that breaks before its text comes out whole by whichever door it was asked for."""
    server.reset(fault=fault)
    with client_for(server) as client:
        assert entry(client) == TEXT
    assert [request.headers.get("x-stainless-retry-count", "0") for request in server.requests] == ["0", "1"]


async def a_by_create(client: Any) -> str:
    return text_of([one async for one in await chat(client)])


async def a_by_raw_response(client: Any) -> str:
    raw = await client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
    stream = await awaited(raw.parse())
    assert type(stream) is openai.AsyncStream
    return text_of([one async for one in stream])


async def a_by_streaming_response(client: Any) -> str:
    asked = client.chat.completions.with_streaming_response.create(model="m", messages=[], stream=True)
    async with asked as response:
        return text_of([one async for one in await response.parse()])


async def a_by_helper(client: Any) -> str:
    async with helpers_of(client).stream(model="m", messages=[]) as stream:
        return (await stream.get_final_completion()).choices[0].message.content


async def a_by_completions(client: Any) -> str:
    return "".join([one.choices[0].text async for one in await completions(client)])


ASYNC_ENTRIES = (a_by_create, a_by_raw_response, a_by_streaming_response, a_by_helper, a_by_completions)


@pytest.mark.parametrize("fault", FAULTS_MET)
@pytest.mark.parametrize("entry", ASYNC_ENTRIES, ids=lambda entry: entry.__name__)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[1:])
def test_every_asynchronous_entry_point_is_guarded(server: Server, client_kind: str, entry: Any, fault: str) -> None:
    """The same for the asynchronous client, under asyncio and trio."""

    async def main() -> str:
        async with client_for(server, client_kind) as client:
            return str(await entry(client))

    server.reset(fault=fault)
    assert run(client_kind, main) == TEXT
    assert len(server.requests) == 2


def test_the_module_level_client_is_guarded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`openai.chat.completions.create` needs no client of one's own."""
    monkeypatch.setattr(openai, "api_key", "k")
    monkeypatch.setattr(openai, "base_url", server.base_url + "/")
    monkeypatch.setattr(openai, "_client", None, raising=False)
    monkeypatch.setattr(openai, "api_type", "openai", raising=False)
    server.reset(fault="truncate_clean")
    assert by_create(openai) == TEXT
    openai._client.close()


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_a_re_issue_to_azure_carries_a_fresh_token(server: Server, client_kind: str) -> None:
    """The token provider is asked again, and the deployment's path is not prefixed twice."""
    tokens: list[str] = []

    def next_token() -> str:
        tokens.append(f"token-{len(tokens)}")
        return tokens[-1]

    kind = openai.AzureOpenAI if client_kind == "sync" else openai.AsyncAzureOpenAI
    client = kind(
        azure_endpoint=server.base_url.removesuffix("/v1"), api_version="1", azure_ad_token_provider=next_token
    )
    server.reset(fault="truncate_clean")
    if client_kind == "sync":
        with client:
            assert by_create(client) == TEXT
    else:

        async def main() -> str:
            async with client:
                return await a_by_create(client)

        assert asyncio.run(main()) == TEXT
    assert len(tokens) == 2
    path = "/openai/deployments/m/chat/completions?api-version=1"
    assert [request.path for request in server.requests] == [path, path]

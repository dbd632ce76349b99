"""The law: every way of asking the SDK for a stream leads through the guard, by every kind of client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.ported import Ported, unported
from tests.support.responses import has_responses
from tests.support.streams import (
    CLIENT_KINDS,
    awaited,
    chat,
    completions,
    consume,
    helpers_of,
    opened,
    responses,
    run,
)

pytestmark = pytest.mark.usefixtures("guarded")


async def text_of(stream: Any) -> str:
    """What chunks say."""
    return "".join([one.choices[0].delta.content or "" async for one in stream if one.choices])


# Entry points: each asks for a chat stream, and returns its text.


async def by_create(client: Any) -> str:
    return await text_of(await chat(client))


async def by_with_statement(client: Any) -> str:
    async with await chat(client) as stream:
        return await text_of(stream)


async def by_raw_response(client: Any) -> str:
    raw = await client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
    stream = await awaited(raw.parse())
    assert type(unported(stream)) in (openai.Stream, openai.AsyncStream)
    return await text_of(stream)


async def by_streaming_response(client: Any) -> str:
    asked = client.chat.completions.with_streaming_response.create(model="m", messages=[], stream=True)
    async with asked as response:
        return await text_of(await response.parse())


async def by_helper(client: Any) -> str:
    async with helpers_of(client).stream(model="m", messages=[]) as stream:
        return (await stream.get_final_completion()).choices[0].message.content


async def by_options(client: Any) -> str:
    return await text_of(await chat(client.with_options(max_retries=1)))


async def by_post(client: Any) -> str:
    kind = openai.types.chat.ChatCompletionChunk
    body = {"model": "m", "messages": [], "stream": True}
    stream_cls: Any = openai.Stream if isinstance(unported(client), openai.OpenAI) else openai.AsyncStream
    asked = {"cast_to": kind, "body": body, "stream": True, "stream_cls": stream_cls[kind]}
    return await text_of(await client.post("/chat/completions", **asked))


async def by_completions(client: Any) -> str:
    return "".join([one.choices[0].text async for one in await completions(client)])


ENTRIES = (
    by_create, by_with_statement, by_raw_response, by_streaming_response, by_helper, by_options, by_post,
    by_completions,
)  # fmt: skip


@pytest.mark.parametrize("fault", ["truncate_clean", "rst", "html_200"])
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_every_entry_point_is_guarded(server: Server, client_kind: str, entry: Any, fault: str) -> None:
    """A stream that breaks before its text comes out whole by whichever door it was asked for."""

    async def main() -> str:
        async with opened(server, client_kind) as client:
            return str(await entry(client))

    server.reset(fault=fault)
    assert run(client_kind, main) == TEXT
    assert [request.headers.get("x-stainless-retry-count", "0") for request in server.requests] == ["0", "1"]


def test_the_module_level_client_is_guarded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`openai.chat.completions.create` needs no client of one's own."""
    monkeypatch.setattr(openai, "api_key", "k")
    monkeypatch.setattr(openai, "base_url", server.base_url + "/")
    monkeypatch.setattr(openai, "_client", None, raising=False)
    monkeypatch.setattr(openai, "api_type", "openai", raising=False)
    server.reset(fault="truncate_clean")
    assert run("sync", by_create, Ported(openai)) == TEXT
    openai._client.close()


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize(
    ("ask", "path"),
    [(chat, "deployments/m/chat/completions"), pytest.param(responses, "responses", marks=has_responses)],
)
def test_a_re_issue_to_azure_carries_a_fresh_token(server: Server, client_kind: str, ask: Any, path: str) -> None:
    """The token provider is asked again, and the deployment's path is not prefixed twice."""
    tokens: list[str] = []

    def next_token() -> str:
        tokens.append(f"token-{len(tokens)}")
        return tokens[-1]

    endpoint = {"azure_endpoint": server.base_url.removesuffix("/v1"), "api_version": "1"}
    is_sync = client_kind == "sync"
    kind: Any = openai.AzureOpenAI if is_sync else openai.AsyncAzureOpenAI

    async def main() -> list[Any]:
        client = kind(**endpoint, azure_ad_token_provider=next_token)
        async with Ported(client) if is_sync else client as azure:
            return [item async for item in await ask(azure)]

    server.script("truncate_clean", after=9)
    assert len(run(client_kind, main)) == len(consume(server, client_kind, ask).items)
    assert len(tokens) == 2
    assert [request.path for request in server.requests[:2]] == [f"/openai/{path}?api-version=1"] * 2

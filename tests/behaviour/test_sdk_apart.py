"""What the guard has no part in is left alone, and streams read at the same time do not meet."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import openai
import pytest

import openai_stream_guard
from openai_stream_guard import guarding, sdk
from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.streams import (
    CLIENT_KINDS,
    chat,
    client_for,
    opened,
    run,
)

pytestmark = pytest.mark.usefixtures("guarded")


def text_of(items: Any) -> str:
    """What chunks say."""
    return "".join(one.choices[0].delta.content or "" for one in items if one.choices)


def test_a_replaced_decoder_is_left_alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who brings a decoder of their own gets exactly what the SDK makes of it."""

    class Mine(openai._streaming.SSEDecoder):
        pass

    server.reset(fault="truncate_clean")
    with client_for(server) as client:
        monkeypatch.setattr(client, "_make_sse_decoder", Mine)
        stream = chat(client)
        assert text_of(stream) != TEXT
    assert openai_stream_guard.report(stream) is None
    assert len(server.requests) == 1


def test_a_stream_built_by_hand_is_left_alone(server: Server) -> None:
    """A response that came by no streaming request of the SDK is none of the guard's business."""
    server.reset(fault="truncate_clean")
    with client_for(server) as client:
        body = {"model": "m", "messages": [], "stream": True}
        response = client._client.post(f"{server.base_url}/chat/completions", json=body)
        kind = openai.types.chat.ChatCompletionChunk
        stream: Any = openai.Stream(cast_to=kind, response=response, client=client)
        assert text_of(stream) != TEXT
    assert openai_stream_guard.report(stream) is None


def test_a_request_that_is_no_stream_is_left_alone(server: Server) -> None:
    """A plain completion carries no trace of the guard."""
    with client_for(server) as client:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=[])
        assert raw.parse().choices[0].message.content == TEXT
    assert openai_stream_guard.report(raw) is None
    assert sdk.KEY not in raw.http_response.extensions


def test_streams_in_threads_do_not_meet(server: Server) -> None:
    """Two streams of one client, read by turns in two threads, each with a fault, come out whole."""
    server.reset(fault="truncate_clean", times=2)
    texts: dict[int, str] = {}
    turn = threading.Barrier(2, timeout=5)
    with client_for(server) as client:

        def read(number: int) -> None:
            with guarding(max_retries=2):
                stream = chat(client)
            turn.wait()
            texts[number] = text_of(stream)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == {0: TEXT, 1: TEXT}
    assert len(server.requests) == 4


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_interleaved_streams_do_not_meet(server: Server, client_kind: str) -> None:
    """Two streams of one client read item by item come out whole, each with its own retries."""
    server.reset(fault="truncate_clean", times=2)

    async def main() -> list[Any]:
        async with opened(server, client_kind) as client:
            left, right = await chat(client), await chat(client)
            pairs = [(await left.__anext__(), await right.__anext__()) for _ in range(15)]
            assert ([one async for one in left], [one async for one in right]) == ([], [])
            return pairs

    for items in zip(*run(client_kind, main), strict=True):
        assert text_of(items) == TEXT
    assert len(server.requests) == 4


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_no_context_variable_stays_set_across_an_item(server: Server, client_kind: str) -> None:
    """While the consumer holds an item its context is as it was before it asked, a re-issue in between or not."""
    server.reset(fault="truncate_clean")

    def values() -> dict[str, Any]:
        ours = {}
        for variable, value in contextvars.copy_context().items():
            if variable.name.startswith("openai_stream_guard"):
                ours[variable.name] = value
        return {name: value for name, value in ours.items() if value not in (None, False)}

    async def main() -> list[Any]:
        async with opened(server, client_kind) as client:
            return [values() async for _ in await chat(client)]

    seen = run(client_kind, main)
    assert len(seen) == 15
    assert seen == [{}] * 15

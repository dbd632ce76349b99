"""The same damage through the real SDK: its client, its decoder's seam, its typed items; only the transport is ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import openai

import openai_stream_guard
from openai_stream_guard import OpenAIStreamParseError, sdk
from openai_stream_guard import activation as switch
from openai_stream_guard.apis.request import Resume
from openai_stream_guard.engine.server_habits import Server
from openai_stream_guard.testing.server.answers import stored_id
from tests.support.streams import VERSION

from .damage import Damaged, Fault, damaged
from .law import Seen, verdict
from .recorded import HOST, POLICIES, RecoveryMethod, Stream
from .sdk_cuts import HTTP

Again = Callable[[Stream, RecoveryMethod, int, "Resume | None", str], "Damaged | None"]


def serves(stream: Stream) -> bool:
    """Whether this release of the SDK has the API."""
    needed = ((1, 109) if stream.background else (1, 66)) if stream.api == "responses" else (1, 40)
    return needed <= VERSION


class Transport:
    """Answers the first request with a damaged response, and all others in health."""

    def __init__(self, stream: Stream, way: RecoveryMethod, client_kind: str, again: Again) -> None:
        self._stream, self._way, self._colour, self._again = stream, way, client_kind, again

    def begin(self, offset: int, first: Damaged) -> None:
        """The next request is the first."""
        self._offset, self._first, self.requests = offset, first, 0

    def __call__(self, request: Any) -> Any:
        self.requests += 1
        response = self._first if self.requests == 1 else self._answer(request)
        if response is None:
            return HTTP.Response(404, json={"error": {"message": "no such response"}})
        body = _body(response) if self._colour == "sync" else _abody(response)
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    def _answer(self, request: Any) -> Damaged | None:
        path = request.url.raw_path.decode()
        if request.method == "GET":
            after = int(parse_qs(path.partition("?")[2])["starting_after"][0])
            return self._again(self._stream, self._way, self._offset, Resume(stored_id(path) or "", after), "")
        body = json.loads(request.content)
        prefix = body["messages"][-1]["content"] if body.get("continue_final_message") else ""
        return self._again(self._stream, self._way, self._offset, None, prefix)

    def client(self) -> Any:
        """A client on this transport."""
        kind, http = (openai.OpenAI, HTTP.Client) if self._colour == "sync" else (openai.AsyncOpenAI, HTTP.AsyncClient)
        transport = HTTP.MockTransport(self)
        return kind(base_url=f"http://{HOST}/v1", api_key="none", http_client=http(transport=transport))


def _body(response: Damaged) -> Iterator[bytes]:
    yield from response.reads
    if response.end == "reset":
        raise HTTP.RemoteProtocolError("peer closed connection without sending complete message body")
    if response.end != "clean":
        raise HTTP.ReadTimeout("nothing came in time")


async def _abody(response: Damaged) -> AsyncIterator[bytes]:
    for data in _body(response):
        yield data


def _asked(client: Any, stream: Stream) -> Any:
    endpoint = client.chat.completions if stream.api == "chat" else getattr(client, stream.api)
    return endpoint.create(**stream.body, stream=True)


def run(
    stream: Stream, way: RecoveryMethod, client_kind: str, fault: Fault, offsets: range, seed: int, again: Again
) -> Iterator[tuple[int, str]]:
    """The verdict on each offset."""
    transport = Transport(stream, way, client_kind, again)
    with switch.restored():
        switch.enable(POLICIES[way])
        if client_kind == "sync":
            with transport.client() as client:
                for offset in offsets:
                    first = _begin(stream, fault, offset, seed, transport)
                    yield offset, verdict(stream, way, fault, first, _see(client, stream, transport))
        else:
            yield from asyncio.run(_arun(transport, stream, way, fault, offsets, seed))


async def _arun(
    transport: Transport, stream: Stream, way: RecoveryMethod, fault: Fault, offsets: range, seed: int
) -> list[tuple[int, str]]:
    found = []
    async with transport.client() as client:
        for offset in offsets:
            first = _begin(stream, fault, offset, seed, transport)
            found.append((offset, verdict(stream, way, fault, first, await _asee(client, stream, transport))))
    return found


def _begin(stream: Stream, fault: Fault, offset: int, seed: int, transport: Transport) -> Damaged:
    sdk.RUNTIME.hosts.forget()  # one run must not learn from another
    sdk.RUNTIME.hosts.habits.expect_finish(Server(HOST, stream.path, "m"))
    first = damaged(stream.frames, fault, offset, seed)
    transport.begin(offset, first)
    return first


def _see(client: Any, stream: Stream, transport: Transport) -> Seen:
    items, error, opened = list[Any](), None, None
    try:
        opened = _asked(client, stream)
        for item in opened:
            items.append(_plain(item))
    except Exception as raised:
        error = raised
    return _seen(items, error, opened, transport)


async def _asee(client: Any, stream: Stream, transport: Transport) -> Seen:
    items, error, opened = list[Any](), None, None
    try:
        opened = await _asked(client, stream)
        async for item in opened:
            items.append(_plain(item))
    except Exception as raised:
        error = raised
    return _seen(items, error, opened, transport)


def _plain(item: Any) -> Any:
    """The JSON that an item was made of."""
    return item.to_dict(warnings=False) if hasattr(item, "to_dict") else item


def _seen(items: list[Any], error: Exception | None, opened: Any, transport: Transport) -> Seen:
    report = openai_stream_guard.report(opened)
    outcome = None if report is None else report.outcome
    return Seen(items, error, isinstance(error, OpenAIStreamParseError), outcome, transport.requests)

"""The same damage through the real SDK: its client, its decoder, its typed items; only the transport is ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import openai_stream_guard
from openai_stream_guard import OpenAIStreamParseError, sdk
from openai_stream_guard import activation as switch
from openai_stream_guard.apis.request import Resume
from openai_stream_guard.engine.server_habits import Server
from openai_stream_guard.testing.server.answers import stored_id
from tests.support.mock_servers import client_over, streamed
from tests.support.ported import HTTP, unported
from tests.support.responses import nameless
from tests.support.streams import VERSION, helpers_of
from tests.support.streams import run as run_for

from .damage import Damaged, Fault, damaged
from .law import Seen, verdict
from .recorded import HOST, POLICIES, RecoveryMethod, Stream

Again = Callable[[Stream, RecoveryMethod, int, "Resume | None", str], "Damaged | None"]


def serves(stream: Stream) -> bool:
    """Whether this release of the SDK has the API."""
    needed = ((1, 109) if stream.background else (1, 66)) if stream.api == "responses" else (1, 40)
    return needed <= VERSION


class Transport:
    """Answers the first request with a damaged response, and all others in health."""

    def __init__(self, stream: Stream, way: RecoveryMethod, client_kind: str, again: Again) -> None:
        self._stream, self._way, self._client_kind, self._again = stream, way, client_kind, again

    def begin(self, offset: int, first: Damaged) -> None:
        """The next request is the first."""
        self._offset, self._first, self.requests = offset, first, 0

    def __call__(self, request: Any) -> Any:
        self.requests += 1
        response = self._first if self.requests == 1 else self._answer(request)
        if response is None:
            return HTTP.Response(404, json={"error": {"message": "no such response"}})
        end = "silence" if response.end == "comments" else response.end  # a transport does not tell them apart
        return streamed(response.reads, end, sync=self._client_kind == "sync")

    def _answer(self, request: Any) -> Damaged | None:
        path = request.url.raw_path.decode()
        if request.method == "GET":
            after = int(parse_qs(path.partition("?")[2])["starting_after"][0])
            return self._again(self._stream, self._way, self._offset, Resume(stored_id(path) or "", after), "")
        body = json.loads(request.content)
        prefix = body["messages"][-1]["content"] if body.get("continue_final_message") else ""
        return self._again(self._stream, self._way, self._offset, None, prefix)

    def client(self) -> Any:
        """A client on this transport, to be used as an asynchronous one."""
        return client_over(self, sync=self._client_kind == "sync", base_url=f"http://{HOST}/v1")


def run(
    stream: Stream,
    way: RecoveryMethod,
    client_kind: str,
    fault: Fault,
    offsets: range,
    seed: int,
    again: Again,
    door: str,
) -> Iterator[tuple[int, str]]:
    """The verdict on each offset."""
    transport = Transport(stream, way, client_kind, again)
    with switch.restored():
        yield from run_for(client_kind, _run, transport, stream, way, fault, offsets, seed, door)


async def _run(
    transport: Transport,
    stream: Stream,
    way: RecoveryMethod,
    fault: Fault,
    offsets: range,
    seed: int,
    door: str,
) -> list[tuple[int, str]]:
    found = []
    async with transport.client() as client:
        switch.disable()
        transport.begin(0, Damaged(stream.frames, "clean", 0))
        _, unbroken = await _see(client, stream, transport, door)
        switch.enable(POLICIES[way])
        for offset in offsets:
            sdk.RUNTIME.hosts.forget()  # one run must not learn from another
            sdk.RUNTIME.hosts.habits.expect_finish(Server(HOST, stream.path, "m"))
            first = damaged(stream.frames, fault, offset, seed)
            transport.begin(offset, first)
            seen, snapshot = await _see(client, stream, transport, door)
            kind = verdict(stream, way, fault, first, seen)
            is_all = kind == "whole" and len(seen.items) == len(stream.items)
            if is_all and (snapshot != unbroken or _id_of(seen, -1) != _id_of(seen, 0)):
                kind = "wrong: the final snapshot is another"
            found.append((offset, kind))
    return found


def _id_of(seen: Seen, place: int) -> Any:
    return seen.items[place].get("id")


async def _see(client: Any, stream: Stream, transport: Transport, door: str) -> tuple[Seen, Any]:
    """What a consumer gets, and the final snapshot of the SDK's `.stream()` without names."""
    items, error, opened, snapshot = list[Any](), None, None, None
    try:
        if door == "create":
            endpoint = client.chat.completions if stream.api == "chat" else getattr(client, stream.api)
            opened = await endpoint.create(**stream.body, stream=True)
            async for item in opened:
                items.append(_plain(item))
        else:
            async with helpers_of(client).stream(**stream.body) as opened:
                async for event in opened:
                    if event.type == "chunk":
                        items.append(_plain(event.chunk))
                snapshot = nameless(opened.current_completion_snapshot.model_dump())
    except Exception as raised:
        error = raised
    report = openai_stream_guard.report(unported(opened))
    outcome = None if report is None else report.outcome
    return Seen(items, error, isinstance(error, OpenAIStreamParseError), outcome, transport.requests), snapshot


def _plain(item: Any) -> Any:
    """The JSON that an item was made of."""
    return item.to_dict(warnings=False) if hasattr(item, "to_dict") else item

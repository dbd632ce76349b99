"""`report` says what happened to a stream, by whatever handle the SDK gave its user."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest

from openai_stream_guard import disable, guarding, report
from openai_stream_guard.testing import Server
from tests.support.ported import unported
from tests.support.streams import CLIENT_KINDS, awaited, chat, client_for, consume, helpers_of, opened, run

pytestmark = pytest.mark.usefixtures("guarded")


async def stream(client: Any) -> Any:
    handle = await chat(client)
    assert [item async for item in handle]
    return handle


async def raw_response(client: Any) -> Any:
    handle = await client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
    assert [item async for item in await awaited(handle.parse())]
    return handle


async def http_response(client: Any) -> Any:
    return (await raw_response(client)).http_response


async def parsed(client: Any) -> Any:
    return await awaited((await raw_response(client)).parse())


async def streaming_response(client: Any) -> Any:
    asked = client.chat.completions.with_streaming_response.create(model="m", messages=[], stream=True)
    async with asked as handle:
        assert [item async for item in await handle.parse()]
        return handle


async def helper(client: Any) -> Any:
    async with helpers_of(client).stream(model="m", messages=[]) as handle:
        assert [item async for item in handle]
        return handle


HANDLES = (stream, raw_response, http_response, parsed, streaming_response, helper)


@pytest.mark.parametrize("read", HANDLES, ids=lambda read: read.__name__)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_every_handle_has_the_report(server: Server, client_kind: str, read: Callable[[Any], Any]) -> None:
    """Stream, raw response, streaming response, HTTP response and helper stream all lead to the one report."""

    async def main() -> Any:
        async with opened(server, client_kind) as client:
            return report(unported(await read(client)))

    server.reset(fault="truncate_clean")
    found = run(client_kind, main)
    assert found is not None
    assert (found.outcome, found.recoveries) == ("recovered", ["restart"])
    assert [attempt.fault for attempt in found.attempts] == ["truncated", None]


def test_what_is_not_guarded_has_none(server: Server) -> None:
    """No report where the guard was off, nor for things that are no streams at all."""
    disable()
    with client_for(server) as client:
        handle = chat(client)
        list(handle)
    assert [report(one) for one in (handle, handle.response, None, object(), "text", 7)] == [None] * 6


def test_a_stream_that_is_not_over_is_open(server: Server) -> None:
    """Before the first read and between two reads the report says what is known so far."""
    with client_for(server) as client:
        handle = chat(client)
        assert report(handle).outcome == "open"
        next(handle)
        so_far = report(handle)
        assert so_far is not None
        assert so_far.outcome == "open"
        assert so_far.events >= 1
        list(handle)
        assert report(handle).outcome == "complete"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_closed_stream_is_abandoned_at_once(server: Server, client_kind: str) -> None:
    """The report does not wait until the stream is collected."""

    async def main() -> Any:
        async with opened(server, client_kind) as client:
            handle = await chat(client)
            await handle.__anext__()
            await handle.close()
            return report(unported(handle))

    found = run(client_kind, main)
    assert found is not None
    assert found.outcome == "abandoned"
    assert repr(found) == f"<StreamReport abandoned: no fault in 1 event and {found.bytes} bytes; 1 event delivered>"


def test_a_stream_closed_between_two_attempts_counts_none_twice(server: Server) -> None:
    """Left in the wait before a re-issue, it has the one attempt that broke, and its bytes once."""
    server.reset(fault="truncate_clean", after=6)
    broken = threading.Event()
    with client_for(server) as client:
        with guarding(backoff_initial=30.0, backoff_max=30.0, on_event=lambda notice: broken.set()):
            handle = chat(client)
        threading.Thread(target=lambda: (broken.wait(5), handle.close())).start()
        with pytest.raises(openai.APIConnectionError):
            list(handle)
        found = report(handle)
    assert found is not None
    assert found.outcome == "abandoned"
    assert found.bytes == sum(attempt.bytes for attempt in found.attempts)
    assert [attempt.fault for attempt in found.attempts] == ["truncated"]


def test_a_whole_stream_is_counted(server: Server) -> None:
    """Events, bytes, times, ids and status of a healthy stream are what the server sent."""
    found: Any = consume(server).report
    (attempt,) = found.attempts
    assert found.outcome == "complete"
    assert found.events == attempt.events == 15
    assert found.bytes == attempt.bytes > 3000
    assert attempt.request_id == server.requests[0].request_id
    assert attempt.response_id.startswith("chatcmpl-")
    assert (attempt.status, attempt.requests, attempt.way, attempt.fault) == (200, 1, None, None)
    assert 0 < found.first_event_seconds < 1
    assert 0 <= found.worst_gap_seconds < 1
    assert (found.recoveries, found.repairs, found.notes) == ([], {}, ())


def test_repairs_and_notes_are_reported(server: Server) -> None:
    """What was put right, and what was odd, is on the report of the stream that came out whole."""
    server.reset(fault="glued_objects")
    assert consume(server).report.repairs
    server.reset(fault="ping_event")
    assert consume(server).report.notes

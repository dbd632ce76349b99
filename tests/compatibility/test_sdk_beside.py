"""The law: what others have put around or in the place of `request` neither keeps the guard out nor is called again.

Tracers do so, on the class or on an instance, before this package came or after. `patchers/` plays real ones.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import _base_client

from openai_stream_guard import activation as switch
from openai_stream_guard import configure
from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.streams import CLIENT_KINDS, Seen, chat, client_for, consume

pytestmark = pytest.mark.usefixtures("guarded")


def owner(client_kind: str) -> Any:
    """The class whose `request` the guard wraps."""
    return _base_client.SyncAPIClient if client_kind == "sync" else _base_client.AsyncAPIClient


def stock(client_kind: str) -> Any:
    """The SDK's own `request`, as somebody has it who looked before the guard came."""
    return inspect.unwrap(vars(owner(client_kind))["request"])


def put(monkeypatch: pytest.MonkeyPatch, client_kind: str, request: Any) -> None:
    """Have every client of a kind call this instead."""
    monkeypatch.setattr(openai.OpenAI if client_kind == "sync" else openai.AsyncOpenAI, "request", request)


def counting(request: Any, calls: list[Any]) -> Callable[..., Any]:
    """A wrapper around `request` such as a tracer's; `calls` gets each one's arguments."""

    def traced(client: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))
        return request(client, *args, **kwargs)

    return traced


def whole(server: Server, seen: Seen) -> bool:
    """Whether an answer that was cut came out whole, in two requests."""
    assert seen.error is None
    return seen.text == TEXT and len(server.requests) == 2


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_an_older_request_put_on_the_class_is_guarded(
    server: Server, client_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a tracer leaves it there when it is told to stop, or calls it while it is at work."""
    put(monkeypatch, client_kind, stock(client_kind))
    server.reset(fault="truncate_clean", after=5)
    assert whole(server, consume(server, client_kind))


def test_an_older_request_put_on_a_client_is_guarded(server: Server) -> None:
    """As a tracer does that is given one client."""
    server.reset(fault="truncate_clean", after=5)
    with client_for(server) as client:
        client.request = types.MethodType(stock("sync"), client)
        said = [chunk.choices[0].delta.content or "" for chunk in chat(client) if chunk.choices]
    assert "".join(said) == TEXT
    assert len(server.requests) == 2


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_a_wrapper_around_request_is_called_once(
    server: Server, client_kind: str, older: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has begun a span for the stream; one for the re-issue would wait in vain for somebody to read it."""
    calls: list[Any] = []
    put(monkeypatch, client_kind, counting(stock(client_kind) if older else owner(client_kind).request, calls))
    server.reset(fault="truncate_clean", after=5)
    assert whole(server, consume(server, client_kind))
    assert len(calls) == 1


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_an_older_request_is_left_alone_where_the_guard_is(
    server: Server, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off, and in observe mode, nothing is sent again."""
    put(monkeypatch, "sync", stock("sync"))
    switch.disable()
    if mode == "observe":
        monkeypatch.setattr(switch, "_settings", switch.Settings("observe", switch.current_policy(), {}))
    server.reset(fault="truncate_clean", after=5)
    with client_for(server) as client:
        stream = chat(client)
        list(stream)
        stream.response.close()
    assert len(server.requests) == 1


def test_a_policy_holds_that_is_set_around_the_call(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read when the answer begins, which is inside the call."""
    put(monkeypatch, "sync", stock("sync"))
    configure(recovery=())
    server.reset(fault="truncate_clean", after=5)

    def ask(client: Any) -> Any:
        with switch.guarding(recovery=("replay",)):
            return chat(client)

    assert whole(server, consume(server, ask=ask))


def test_a_raw_response_is_guarded_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header is not sent again, which would bring back no stream."""
    put(monkeypatch, "sync", stock("sync"))
    server.reset(fault="truncate_clean", after=5)

    def raw(client: Any) -> Any:
        return client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True).parse()

    assert whole(server, consume(server, ask=raw))

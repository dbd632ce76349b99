"""What was sent is there to look at, and no credential is in it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from openai_stream_guard import activation as switch
from openai_stream_guard.testing import Server, cut, refuse
from openai_stream_guard.testing.clock import Clock
from openai_stream_guard.testing.harness import Harness, installed
from openai_stream_guard.testing.sent_requests import HEADERS, sent_request
from tests.support.ported import HTTP
from tests.support.responses import has_background
from tests.support.streams import CLIENT_KINDS, KEY, VERSION, alone, consume


def recorded(server: Server, client_kind: str, *injections: Any, consuming: Any = consume, **options: Any) -> Harness:
    """What a harness of one stream has recorded."""
    harness = Harness(Clock())
    for injection in injections:
        harness.faults.add(injection)
    with installed(harness):
        consuming(server, client_kind, **options)
    return harness


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_each_request_is_recorded_with_its_way(server: Server, client_kind: str) -> None:
    """In order: how it came to be sent, what answered, and what was done to it."""
    sent = recorded(server, client_kind, cut(after_events=3), refuse(status=429)).requests
    assert [(one.way, one.attempt, one.status, one.faults, one.struck) for one in sent] == [
        (None, 1, 200, ("cut(after_events=3)",), True),
        ("replay", 2, 429, ("refuse(status=429)",), True),
        ("replay", 3, 200, (), False),
    ]
    assert all(one.method == "POST" and one.url == f"{server.base_url}/chat/completions" for one in sent)
    assert sent[0].body == {"messages": [], "model": "m", "stream": True}


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_the_sdks_own_retries_are_recorded(server: Server, client_kind: str) -> None:
    """With the guard off too; they have no way, and where the SDK says so a number."""
    sent = recorded(server, client_kind, refuse(), consuming=alone).requests
    assert [one.way for one in sent] == [None, None]
    if VERSION >= (1, 50):
        assert [one.attempt for one in sent] == [1, 2]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_what_the_sdk_would_have_slept_can_be_foretold(server: Server, client_kind: str) -> None:
    """Its backoffs are not shortened by chance on a test clock; what the server asks for is heeded."""
    harness = recorded(
        server, client_kind, refuse(), refuse(retry_after=9), refuse(), refuse(), consuming=alone, max_retries=4
    )
    assert harness.clock is not None
    assert harness.clock.sleeps in ([0.5, 9.0, 2.0, 4.0], [1.0, 9.0, 4.0, 8.0]), "as this SDK counts its retries"


@pytest.mark.usefixtures("guarded")
def test_no_credential_is_kept(server: Server) -> None:
    """Neither in headers, nor in the address, nor where a body repeats one."""
    headers = {"api-key": KEY, "cookie": KEY, "x-own-secret": KEY, "idempotency-key": "7"}
    query = {"token": "geheim", "api-version": "2024"}
    extra = {"user": KEY}
    harness = Harness(Clock())
    with installed(harness), openai.OpenAI(base_url=server.base_url, api_key=KEY) as client:
        client.chat.completions.create(
            model="m", messages=[], stream=True, extra_headers=headers, extra_query=query, extra_body=extra
        ).close()
    (sent,) = harness.requests
    assert KEY not in repr(sent)
    assert "geheim" not in repr(sent)
    assert set(sent.headers) <= HEADERS
    assert sent.headers["idempotency-key"] == "7"
    assert sent.url.endswith("?token=[redacted]&api-version=2024")


def test_no_credential_of_a_tool_is_kept() -> None:
    """Those that a body hands on to other servers, whatever they look like; everything else of it is kept."""
    tool = {
        "type": "mcp",
        "server_url": "https://mcp.test/sse",
        "authorization": "geheim",
        "headers": {"X-Own": "geheim"},
    }
    body = {
        "model": "m",
        "max_output_tokens": 7,
        "input": f"is {KEY} a key?",
        "tools": [tool, {"type": "function", "parameters": {"properties": {"api_key": {"type": "string"}}}}],
        "extra": [{"access_token": "geheim", "secrets": ["geheim", 1]}],
    }
    sent = sent_request(HTTP.Request("POST", "http://host/v1/responses", json=body), None)
    assert KEY not in repr(sent)
    assert "geheim" not in repr(sent)
    assert sent.body == {
        "model": "m",
        "max_output_tokens": 7,
        "input": "is *** a key?",
        "tools": [
            {**tool, "authorization": "[redacted]", "headers": {"X-Own": "[redacted]"}},
            {"type": "function", "parameters": {"properties": {"api_key": {"type": "string"}}}},
        ],
        "extra": [{"access_token": "[redacted]", "secrets": ["[redacted]", 1]}],
    }


def test_an_address_with_a_password() -> None:
    """And a body that is no JSON."""
    sent = sent_request(HTTP.Request("POST", "http://user:geheim@host:8/v1", content=b"\xff"), None)
    assert (sent.url, sent.body) == ("http://host:8/v1", None)
    streamed = sent_request(HTTP.Request("POST", "http://host/v1", content=iter([b"{}"])), None)
    assert streamed.body is None


@has_background
@pytest.mark.usefixtures("guarded")
def test_a_resumed_response(server: Server) -> None:
    """What was asked for instead: another method and address."""
    sent = recorded(
        server,
        "sync",
        cut(after_events=5),
        ask=lambda client: client.responses.create(model="m", input="", stream=True, background=True),
    ).requests
    assert [(one.method, one.way) for one in sent] == [("POST", None), ("GET", "resume")]
    assert "starting_after=4" in sent[1].url


def test_only_streams_are_recorded(server: Server) -> None:
    """Other requests are nobody's business here."""
    harness = Harness(Clock())
    switch.enable()
    with installed(harness), openai.OpenAI(base_url=server.base_url, api_key=KEY) as client:
        client.chat.completions.create(model="m", messages=[])
        HTTP.get(server.base_url + "/chat/completions", trust_env=False)
    assert harness.requests == []

"""Chance strikes every test the same way again, and never so that a healthy application fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import openai
import pytest

from openai_stream_guard import Policy
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import AnswerVariant, Server, build_answer, faults
from openai_stream_guard.testing.chaos import chaos
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.agents import EVENTS, has_agents, session_events
from tests.support.ported import HTTP
from tests.support.responses import has_background, has_responses
from tests.support.streams import chat, client_for, completions, responses

SEEDS = range(60)
BODIES: dict[str, Any] = {"/chat/completions": "chat", "/completions": "completions", "/responses": "responses"}


def answering_once(request: Any) -> Any:
    """A mock that knows each question once, as pytest-httpx's responses do."""
    api = next(api for path, api in BODIES.items() if request.url.path.endswith(path))
    return HTTP.Response(200, content=b"".join(build_answer(api, "text", AnswerVariant(1)).encode()))


def through_a_mock(ask: Callable[[Any], Any]) -> tuple[list[Any], int]:
    """What an application gets from it, and how many requests reached it."""
    asked: list[Any] = []

    def answer(request: Any) -> Any:
        asked.append(request)
        assert len(asked) == 1, "a second request reached the mock"
        return answering_once(request)

    http_client = HTTP.Client(transport=HTTP.MockTransport(answer), trust_env=False)
    with openai.OpenAI(base_url="http://mock.test/v1", api_key="k", http_client=http_client) as client:
        stream = ask(client)
        return [item.model_dump() for item in stream], len(asked)


def struck(seed: object, test: str, ask: Callable[[Any], Any]) -> tuple[str, list[Any]]:
    """The fault of a test, and what its application got."""
    with chaos(str(seed), test, guarded=False) as striking:
        items, requests = through_a_mock(ask)
    assert requests == 1
    assert striking.description is not None
    return striking.description, items


@pytest.mark.parametrize("ask", [chat, completions])
def test_what_is_healthy_passes(ask: Callable[[Any], Any]) -> None:
    """Whatever strikes: the same items, from a mock that answers once; and every kind of fault comes up."""
    whole, _ = through_a_mock(ask)
    kinds, places = set(), set()
    for seed in SEEDS:
        description, items = struck(seed, "t", ask)
        assert items == whole, description
        kinds.add(description.partition("(")[0])
        places |= set(re.findall(r"after_events=(\d)", description))
    assert kinds == {"cut", "disconnect", "stall", "garble", "error", "html", "split", "slow", "glue"}
    assert len(places) > 3


@has_responses
def test_responses_too() -> None:
    """They are stored unless told otherwise, so that most faults strike before anything shows."""
    for store in (None, False):
        ask: Callable[[Any], Any] = responses if store is None else lambda client: client.responses.create(
            model="m", input="", stream=True, store=False
        )  # fmt: skip
        whole, _ = through_a_mock(ask)
        for seed in SEEDS:
            description, items = struck(seed, "t", ask)
            assert items == whole, description


@has_agents
def test_where_errors_are_values() -> None:
    """Sessions of agents, which are never begun again, suffer only what needs no second request, and no error."""
    body = b"".join(frame.encode() for frame in EVENTS)

    def answer(request: Any) -> Any:
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    def read() -> list[Any]:
        http_client = HTTP.Client(transport=HTTP.MockTransport(answer), trust_env=False)
        with openai.OpenAI(base_url="http://mock.test/v1", api_key="k", http_client=http_client) as client:
            return [item.model_dump() for item in session_events(client)]

    whole, kinds = read(), set()
    for seed in SEEDS:
        with chaos(str(seed), "t", guarded=False) as striking:
            assert read() == whole, striking.description
        kinds.add(str(striking.description).partition("(")[0])
    assert kinds == {"split", "slow", "glue"}


def test_the_same_seed_and_test_are_struck_alike() -> None:
    """Others are not."""
    first = [struck(seed, "t", chat)[0] for seed in SEEDS[:20]]
    assert first == [struck(seed, "t", chat)[0] for seed in SEEDS[:20]]
    assert first != [struck(seed, "u", chat)[0] for seed in SEEDS[:20]]
    assert len(set(first)) > 8


def test_a_server_that_never_says_the_same_twice() -> None:
    """From a socket only what a restart or a repair heals: nothing is shown before."""
    with Server(sampled=True) as server:
        for seed in SEEDS[:30]:
            server.reset()
            with chaos(str(seed), "t", guarded=False) as striking, client_for(server) as client:
                items = list(chat(client))
            assert items[-1].choices[0].finish_reason == "stop", striking.description
            assert len(server.requests) <= 2


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        ({"max_retries": 0}, {}),
        ({"recovery": "none"}, {}),
        ({"repair": "off", "max_retries": 0}, {}),
        ({"max_elapsed": 0.1}, {}),
        ({"recovery": "replay"}, {}),
        ({"recovery": "restart"}, {}),
        ({"delivery": "atomic", "recovery": "restart"}, {}),
        ({"repair": "off"}, {}),
        ({}, {"max_retries": 0}),
        ({}, {"timeout": None}),
    ],
)
def test_the_policy_is_heeded(server: Server, policy: dict[str, Any], options: dict[str, Any]) -> None:
    """No fault is chosen that this policy does not survive."""
    for seed in SEEDS[:25]:
        with switch.restored():
            switch.enable(Policy(**policy))
            with chaos(str(seed), "t", guarded=False) as striking, client_for(server, **options) as client:
                said = "".join(one.choices[0].delta.content or "" for one in chat(client))
        assert said == TEXT, striking.description


@has_background
@pytest.mark.parametrize(
    "body",
    [
        {"background": True},
        {"previous_response_id": "resp_1"},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}]},
    ],
)
def test_what_the_guard_would_not_send_again_is_not_broken(server: Server, body: dict[str, Any]) -> None:
    """A job, or a request whose state lives on the server."""
    for seed in SEEDS[:25]:
        with chaos(str(seed), "t", guarded=False) as striking, client_for(server) as client:
            items = list(client.responses.create(model="m", input="", stream=True, **body))
        assert items[-1].type == "response.completed", striking.description


def test_readers_of_the_bytes_are_spared(server: Server) -> None:
    """They cannot be recovered: only the harmless strikes them."""
    for seed in SEEDS[:15]:
        with chaos(str(seed), "t", guarded=False) as striking, client_for(server) as client:
            asking = client.chat.completions.with_streaming_response.create(model="m", messages=[], stream=True)
            with asking as raw:
                assert list(raw.iter_lines())[-2] == "data: [DONE]"
        assert striking.description is not None
        assert striking.description.startswith(("split", "slow"))


def test_one_fault_for_one_test(server: Server) -> None:
    """The first stream; none where the test plans its own, or where the guard is off."""
    with chaos("1", "t", guarded=False) as striking, client_for(server) as client:
        list(chat(client))
        description, count = striking.description, len(server.requests)
        list(chat(client))
        assert (striking.description, len(server.requests)) == (description, count + 1)
    with faults() as planned, chaos("1", "t", guarded=True) as striking, client_for(server) as client:
        planned.split()
        switch.disable()
        list(chat(client))
        switch.enable()
        list(chat(client))
        assert striking.description is None
    assert not switch.is_enabled()

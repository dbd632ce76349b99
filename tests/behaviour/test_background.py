"""The law: with `background="always"` any cut of a Responses stream is resumed exactly; where that cannot be, all is as
the program had asked.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import openai
import pytest

import openai_stream_guard
from openai_stream_guard import OpenAIStreamParseError, configure, guarding, observe
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.testing import Server, ServerBehaviour, StreamGuard, cut, replying
from tests.support.responses import (
    asking,
    consume,
    create,
    cut_at,
    has_background,
    has_responses,
    help_along,
    offsets,
    unbroken,
)
from tests.support.streams import CLIENT_KINDS, client_for

pytestmark = [has_responses, has_background]

LOCAL = {"background": "always", "background_hosts": ("127.0.0.1",)}
ZDR = "Background mode needs data retention."


@pytest.fixture(autouse=True)
def always(guarded: None) -> None:
    """The setting, for the loopback server too."""
    configure(**LOCAL)


def sent(server: Server) -> list[Any]:
    """What each request said of `background`; the method of those that say nothing by a body."""
    return [request.body.get("background") if request.body else request.method for request in server.requests]


def refusing(error: dict[str, Any], status: int = 400) -> Any:
    """A server's part: refuse what is asked for in the background."""

    def choose(request: Any) -> Any:
        return replying({"error": error}, status)

    return choose


# Resumed.


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("name", ["several", "reasoning", "function_call"])
def test_any_number_of_cuts_is_one_generation(server: Server, name: str, client_kind: str) -> None:
    """More cuts than `max_retries`, since a resume that brings something new generates nothing and costs nothing."""
    server.reset(answer=name)
    server.script(*["truncate_clean", "rst", "fin_mid_chunk"] * 2, after=3)
    seen = consume(server, client_kind)
    assert seen.error is None
    assert [item["sequence_number"] for _, item in seen.items] == list(range(len(seen.items)))
    assert sent(server) == [True, *["GET"] * 6]
    assert seen.report is not None
    assert seen.report.recoveries == ["resume"] * 6
    assert len(seen.items) == len(unbroken(name, background=True)[0])


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_the_helper_is_resumed_too(server: Server, client_kind: str) -> None:
    """Through `.stream()`: one final response, with the texts of all its parts."""
    server.reset(answer="several")
    server.script(cut_at(offsets("several", background=True)[0][20]))
    seen = help_along(server, client_kind)
    assert seen.error is None
    assert seen.final.status == "completed"
    assert sent(server) == [True, "GET"]


def test_a_raw_response_counts_as_parsed(server: Server) -> None:
    """`with_raw_response` is asked for in the background, and what `parse` returns is resumed."""
    server.script("truncate_clean", after=6)
    with client_for(server) as client:
        raw = client.responses.with_raw_response.create(model="m", input="", stream=True)
        items = list(raw.parse())
    assert items[-1].type == "response.completed"
    assert sent(server) == [True, "GET"]


def test_a_resume_carries_what_was_to_be_included(server: Server) -> None:
    """`include`, and `include_obfuscation`: else the rest would be told otherwise than the beginning."""
    server.script("truncate_clean", after=6)
    ask = asking(include=["reasoning.encrypted_content"], stream_options={"include_obfuscation": False})
    assert consume(server, "sync", ask).error is None
    query = server.requests[1].path.partition("?")[2].replace("%5B%5D", "[]")
    assert set(query.split("&")) == {
        "include[]=reasoning.encrypted_content", "include_obfuscation=false", "stream=true", "starting_after=5",
    }  # fmt: skip


def test_azure_is_asked_in_the_background(server: Server) -> None:
    """Its client has a path and a query of its own, in each request."""
    client = openai.AzureOpenAI(
        azure_endpoint=server.base_url.removesuffix("/v1"), api_key="k", api_version="2025-04-01-preview"
    )
    server.script("truncate_clean", after=6)
    with client, client.responses.create(model="m", input="", stream=True) as stream:
        assert list(stream)[-1].type == "response.completed"
    assert [request.path.partition("?")[0].rpartition("/resp")[0] for request in server.requests] == [
        "/openai", "/openai/responses",
    ]  # fmt: skip
    assert all("api-version=2025-04-01-preview" in request.path for request in server.requests)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_nothing_can_be_resumed_before_the_first_event(server: Server, client_kind: str) -> None:
    """No id is known: another response is asked for, and the report says that the first may be left behind."""
    server.script(cut_at(100))
    seen = consume(server, client_kind)
    assert (seen.error, sent(server)) == (None, [True, True])
    assert seen.report is not None
    assert seen.report.notes == ("nothing had come of a background response, which may be left behind",)
    assert seen.report.recoveries == ["restart"]


# Polled.


def test_what_can_no_longer_be_streamed_is_polled_with_growing_pauses(
    server: Server, stream_guard: StreamGuard
) -> None:
    """`max_elapsed` stands still while the API says that the response is being made."""
    stream_guard.configure(**LOCAL, max_elapsed=20.0, backoff_initial=1.0, backoff_max=8.0)
    stream_guard.faults.add(cut(after_events=6))
    server.behaviour = ServerBehaviour(streamable=False, pending_polls=9)
    seen = consume(server)
    assert seen.error is None
    assert stream_guard.clock.sleeps == [1.0, 1.0, 2.0, 4.0, *[8.0] * 7]
    assert [item["type"] for _, item in seen.items][-1] == "response.completed"


def test_polling_ends_with_the_idle_timeout(server: Server, stream_guard: StreamGuard) -> None:
    """The API may say `in_progress` for ever."""
    stream_guard.configure(**LOCAL, idle_timeout=60.0)
    stream_guard.faults.add(cut(after_events=6))
    server.behaviour = ServerBehaviour(streamable=False, pending_polls=10**6)
    seen = consume(server)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert seen.error.stopped_by == "time"
    assert 50 < sum(stream_guard.clock.sleeps) < 62


# What is left as the program asks.

RESPONSE = {"model": "m", "input": ""}


@pytest.mark.parametrize(
    ("request_", "may"),
    [
        (StreamRequest("post", "/responses", "api.openai.com", RESPONSE), True),
        (StreamRequest("post", "/responses?beta=true", "eu.api.openai.com:443", RESPONSE), True),
        (StreamRequest("post", "/responses", "x.openai.azure.com", RESPONSE), True),
        (StreamRequest("post", "/responses", "gateway:8000", RESPONSE), True),
        (StreamRequest("post", "/responses", "api.openai.com", {**RESPONSE, "store": True}), True),
        (StreamRequest("post", "/responses", "api.openai.com", {**RESPONSE, "background": None}), True),
        (StreamRequest("post", "/responses", "api.openai.com", {**RESPONSE, "background": False}), False),
        (StreamRequest("post", "/responses", "api.openai.com", {**RESPONSE, "background": True}), False),
        (StreamRequest("post", "/responses", "api.openai.com", {**RESPONSE, "store": False}), False),
        (StreamRequest("post", "/responses", "gateway:9000", RESPONSE), False),
        (StreamRequest("post", "/responses", "api.openai.com.evil.test", RESPONSE), False),
        (StreamRequest("post", "/chat/completions", "api.openai.com", RESPONSE), False),
        (StreamRequest("post", "/responses/resp_1/cancel", "api.openai.com", RESPONSE), False),
        (StreamRequest("get", "/responses/resp_1", "api.openai.com", RESPONSE), False),
    ],
)
def test_which_requests_may_be_changed(request_: StreamRequest, may: bool) -> None:
    """A new response of an API that keeps it, where the program has not said how it is to be kept."""
    assert request_.may_add_background(("gateway:8000",)) is may


@pytest.mark.parametrize("body", [{"store": False}, {"background": False}, {"extra_body": {"store": False}}])
def test_what_the_program_says_stands(server: Server, body: dict[str, Any]) -> None:
    """Its request goes out as it made it."""
    consume(server, "sync", asking(**body))
    assert sent(server) == [body.get("background")]


def test_the_body_of_the_program_is_not_touched(server: Server) -> None:
    """Neither what it gave in `extra_body`; null there is the API's default, and gives way."""
    extra = {"background": None, "metadata": {"a": "b"}}
    consume(server, "sync", asking(extra_body=extra))
    assert sent(server) == [True]
    assert server.requests[0].body["metadata"] == {"a": "b"}
    assert extra == {"background": None, "metadata": {"a": "b"}}


def test_other_requests_are_untouched(server: Server) -> None:
    """One that does not stream, chat, and everything where streams are only observed or the host is not named."""
    with client_for(server) as client:
        client.responses.create(model="m", input="")
        list(client.chat.completions.create(model="m", messages=[], stream=True))
        with guarding(background_hosts=()):
            list(create(client))
        observe()
        list(create(client))
    assert sent(server) == [None] * 4


@pytest.mark.parametrize("client_kind", ["sync", "async"])
async def test_a_streaming_response_is_left_as_asked(server: Server, client_kind: str) -> None:
    """Who reads by `with_streaming_response` reads the bytes; the report says why nothing was changed."""
    if client_kind == "sync":
        with (
            client_for(server) as client,
            client.responses.with_streaming_response.create(model="m", input="", stream=True) as response,
        ):
            list(response.iter_lines())
    else:
        async with (
            client_for(server, "async") as client,
            client.responses.with_streaming_response.create(model="m", input="", stream=True) as response,
        ):
            [_ async for _ in response.iter_lines()]
    report = openai_stream_guard.report(response)
    assert report is not None
    assert report.notes == (
        "background is left as the program asked, since it reads the response by with_streaming_response",
    )
    assert sent(server) == [None]


# Refused, or ignored.


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "?", "param": "background"}, 400),
        ({"message": "?", "param": "store"}, 403),
        ({"message": ZDR, "param": None}, 400),
        ({"message": "Not with zero_data_retention."}, 403),
    ],
)
def test_a_refusal_is_asked_again_as_the_program_asked(
    server: Server, records: list[logging.LogRecord], error: dict[str, Any], status: int, client_kind: str
) -> None:
    """Remembered, for this model and account, and told once."""
    server.script(refusing(error, status))
    for model in ("m", "m", "n"):
        assert consume(server, client_kind, partial(create_model, model=model)).error is None
    assert sent(server) == [True, None, None, True]
    told = [record for record in records if record.levelno == logging.WARNING]
    assert [record.getMessage().partition(", host")[0].partition(" server: ")[2] for record in told] == [
        "the API keeps no background responses of this model, so that the guard asks for none"
    ]


def create_model(client: Any, model: str) -> Any:
    """Ask for a stream of this model."""
    return client.responses.create(model=model, input="", stream=True)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"message": "The background tool is unknown.", "param": "tools"}, 400),
        ({"message": "Invalid model.", "param": None}, 400),
        ({"message": ZDR, "param": None}, 404),
        ({"message": ZDR, "param": None}, 401),
    ],
)
def test_every_other_error_goes_through(server: Server, error: dict[str, Any], status: int) -> None:
    """As it would have without the guard, in one request; and the next stream is asked for in the background."""
    server.script(refusing(error, status))
    assert isinstance(consume(server).error, openai.APIStatusError)
    assert consume(server).error is None
    assert sent(server) == [True, True]


def test_an_error_of_both_requests_is_the_programs_own(server: Server) -> None:
    """It is raised as the SDK raises it, and nothing is remembered: it was not about the background."""
    server.script(refusing({"message": ZDR}), refusing({"message": "something else"}))
    error = consume(server).error
    assert isinstance(error, openai.BadRequestError)
    assert "something else" in error.message
    assert consume(server).error is None
    assert sent(server) == [True, None, True]


def test_a_refusal_is_that_of_an_account(server: Server) -> None:
    """A project without data retention says nothing of another one."""
    server.script(refusing({"message": ZDR}))
    consume(server, api_key="one")
    consume(server, api_key="two")
    consume(server, api_key="one")
    assert sent(server) == [True, None, True, None]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_host_that_ignores_it_is_told_once_and_not_asked_again(
    server: Server, records: list[logging.LogRecord], client_kind: str
) -> None:
    """Its first event says that nothing is kept: the ordinary rules hold, a message is replayed."""
    server.behaviour = ServerBehaviour(background="ignored")
    server.script("truncate_clean", after=8)
    assert consume(server, client_kind).error is None
    assert consume(server, client_kind).error is None
    assert sent(server) == [True, True, None]
    assert sum("keeps no background" in record.getMessage() for record in records) == 1


def test_what_is_not_kept_is_not_generated_anew_where_that_is_unsafe(server: Server) -> None:
    """A call was seen, and its response is stored, though not in the background."""
    server.reset(answer="function_call")
    server.behaviour = ServerBehaviour(background="ignored")
    server.script("truncate_clean", after=8)
    error = consume(server).error
    assert isinstance(error, OpenAIStreamParseError)
    assert error.stopped_by == "unsafe"
    assert 'background="always"' in error.hint

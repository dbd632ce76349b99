"""A re-issue is the same request once more, and counted: never more than 1 + max_retries in all."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.testing import Server, replying
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.streams import (
    CLIENT_KINDS,
    VERSION,
    chat,
    client_for,
    consume,
)

pytestmark = pytest.mark.usefixtures("guarded")

OVERLOADED = {"error": {"message": "busy", "type": "server_error"}}


@pytest.mark.parametrize(
    ("of_client", "of_policy", "requests"),
    [(2, None, 3), (0, None, 1), (3, None, 4), (2, 0, 1), (0, 1, 2), (2, 4, 5)],
)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_a_lasting_fault_costs_one_request_and_the_retries(
    server: Server, client_kind: str, of_client: int, of_policy: int | None, requests: int
) -> None:
    """Where every answer breaks there are exactly 1 + max_retries requests, the policy's or else the client's."""
    configure(max_retries=of_policy)
    server.reset(fault="truncate_clean", times=None)
    seen = consume(server, client_kind, max_retries=of_client)
    assert len(server.requests) == requests
    assert seen.error.stopped_by == "retries"
    assert len(seen.error.attempts) == requests
    sent = [request.headers.get("x-stainless-retry-count", "0") for request in server.requests]
    assert sent == [str(number) for number in range(requests)]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_retries_that_the_sdk_spent_before_the_headers_do_not_count(server: Server, client_kind: str) -> None:
    """One 503 before the stream leaves two of two re-issues; it is reported."""
    if VERSION < (1, 50):
        pytest.skip(f"openai {openai.__version__} does not tell how many retries a response took")
    server.script("status_503", *["truncate_clean"] * 5)
    seen = consume(server, client_kind, max_retries=2)
    assert len(server.requests) == 4
    assert [attempt.requests for attempt in seen.error.attempts] == [2, 1, 1]


REFUSALS = {
    "503 with Retry-After": (503, (("retry-after", "0"),), 3),
    "503 with retry-after-ms": (503, (("retry-after-ms", "20"),), 3),
    "429": (429, (), 3),
    "400": (400, (), 2),
    "401": (401, (), 2),
    "503 that asks for an hour": (503, (("retry-after", "3600"),), 2),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_a_refused_re_issue_is_counted_and_the_first_error_raised(server: Server, name: str, client_kind: str) -> None:
    """A refusal costs one retry; one that no retry cures ends recovery. The error is the first failure's."""
    status, headers, requests = REFUSALS[name]
    refusal = replying(OVERLOADED, status, headers)
    server.script("truncate_clean", *[refusal] * 5)
    seen = consume(server, client_kind)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert seen.error.fault == "truncated"
    assert len(server.requests) == requests
    refused = seen.error.attempts[1:]
    assert [attempt.status for attempt in refused] == [status] * (requests - 1)
    assert [attempt.fault for attempt in refused] == [None] * (requests - 1)
    assert seen.error.stopped_by == ("retries" if requests == 3 else "not_retryable")


def test_a_connection_that_is_refused_counts_as_a_refusal() -> None:
    """With no server left to ask, the first failure is raised once the retries are spent."""
    with Server(fault="truncate_clean") as server, client_for(server) as client:
        configure(max_retries=1, backoff_initial=0.05, backoff_max=0.05)
        stream = chat(client)
        server.script()

        def gone() -> None:
            server.__exit__(None, None, None)

        next(stream)
        gone()
        with pytest.raises(OpenAIStreamParseError) as caught:
            list(stream)
    assert caught.value.fault in ("truncated", "disconnected")
    assert caught.value.attempts[1].status is None


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_the_default_headers_and_body_are_sent_again(server: Server, client_kind: str) -> None:
    """A re-issue is the request as the caller made it, extra headers, query and body included."""

    def ask(client: Any) -> Any:
        return chat(client, extra_headers={"x-mine": "1"}, extra_query={"q": "2"}, extra_body={"top_k": 3}, seed=4)

    server.reset(fault="truncate_clean")
    assert consume(server, client_kind, ask).text == TEXT
    first, second = server.requests
    assert first.body == second.body
    assert first.path == second.path
    told = {"x-stainless-retry-count", "content-length"}
    assert {k: v for k, v in first.headers.items() if k not in told} == {
        k: v for k, v in second.headers.items() if k not in told
    }


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_what_the_program_edits_meanwhile_is_not_sent(server: Server, client_kind: str) -> None:
    """The bytes of the first request are sent again, whatever became of the objects that they were made of."""
    messages: list[Any] = [{"role": "user", "content": "naïve 🚋 \u2028"}]
    extra = {"nested": {"of": [1, 2.5, None, True]}}

    def ask(client: Any) -> Any:
        return client.chat.completions.create(
            model="m", messages=messages, temperature=0.1, stream=True, extra_body=extra
        )

    def edit(_: object) -> None:
        messages.append({"role": "assistant", "content": "…"})
        extra["nested"]["of"].append("more")

    configure(on_event=edit)
    server.reset(fault="rst", after=4)
    seen = consume(server, client_kind, ask)
    assert seen.error is None
    first, second = server.requests
    assert first.body == second.body
    assert len(messages) > 1

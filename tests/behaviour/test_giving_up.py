"""The law: the error that ends a stream says why recovery stopped, and holds the answer as far as it came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion

from openai_stream_guard import OpenAIStreamParseError, configure, sdk
from openai_stream_guard.diagnosis.causes import hint
from openai_stream_guard.diagnosis.evidence import Evidence
from openai_stream_guard.notices import StoppedBy
from openai_stream_guard.testing import End, ScriptedResponse, Send, Server, replying
from tests.support.budgets import borrow
from tests.support.simulated import ANSWERS, answer_variant
from tests.support.streams import Seen, chat, client_for, completions, consume, helpers_of

pytestmark = pytest.mark.usefixtures("guarded")


def always(server: Server, **options: Any) -> Seen:
    """Every answer breaks after some text."""
    server.reset(fault="truncate_clean", after=6, times=None)
    return consume(server, **options)


def retries(server: Server) -> Seen:
    """The number of re-issues is limited."""
    configure(max_retries=1)
    return always(server)


def time(server: Server) -> Seen:
    """So is the time."""
    configure(max_elapsed=0.1, backoff_initial=5.0, backoff_max=5.0)
    return always(server)


def budget(server: Server) -> Seen:
    """And what a host may be burdened with."""
    configure(retry_budget=0.0)
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    while borrow(sdk.RUNTIME.hosts.budget, host):
        pass
    return always(server)


def policy(server: Server) -> Seen:
    """The user wants no replay."""
    configure(recovery=("restart",))
    return always(server)


def unsafe(server: Server) -> Seen:
    """A stored answer would be stored twice."""
    return always(server, ask=lambda client: chat(client, extra_body={"store": True}))


def diverged(server: Server) -> Seen:
    """The second answer is another."""
    with Server(sampled=True) as sampled:
        sampled.script("truncate_clean", after=6)
        seen = consume(sampled)
    server.reset()
    return seen


def not_retryable(server: Server) -> Seen:
    """The re-issue is refused for good."""
    server.script("truncate_clean", replying({"error": {"message": "no"}}, 401), after=6)
    return consume(server)


STOPS: dict[str, tuple[Callable[[Server], Seen], list[tuple[str | None, str | None, int | None]]]] = {
    "retries": (retries, [("truncated", None, 200), ("truncated", "replay", 200)]),
    "time": (time, [("truncated", None, 200)]),
    "budget": (budget, [("truncated", None, 200)]),
    "policy": (policy, [("truncated", None, 200)]),
    "unsafe": (unsafe, [("truncated", None, 200)]),
    "diverged": (diverged, [("truncated", None, 200), ("diverged", "replay", 200)]),
    "not_retryable": (not_retryable, [("truncated", None, 200), (None, "replay", 401)]),
}


@pytest.mark.parametrize("stopped_by", get_args(StoppedBy))
def test_each_reason_to_stop_is_told(server: Server, stopped_by: StoppedBy) -> None:
    """`stopped_by`, the hint for it, and one attempt for each request, the refused ones too."""
    cause, attempts = STOPS[stopped_by]
    seen = cause(server)
    error = seen.error
    assert error.stopped_by == stopped_by
    assert error.fault == "truncated", "of the first failure"
    assert [(attempt.fault, attempt.way, attempt.status) for attempt in error.attempts] == attempts
    assert error.partial_text == seen.text != ""
    assert error.partial.choices[0].message.content == seen.text
    assert seen.report is not None
    assert error.hint == f"{seen.report.hint}{hint(Evidence(), stopped_by)}"
    assert (seen.report.outcome, seen.report.attempts) == ("failed", error.attempts)
    assert {attempt.requests for attempt in error.attempts} == {1}


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_partial_answer_is_what_the_sdk_has_added_up(server: Server, answer: str) -> None:
    """At every event the message of each choice is that of the SDK's own snapshot, with the id that was delivered."""
    configure(max_retries=0)
    frames = answer_variant(answer, 1).encode()
    body: Any = {"model": "m", "messages": [], **({"n": 2} if answer == "n2" else {})}
    with client_for(server) as client:
        for after in range(1, len(frames) - 3):
            server.script(ScriptedResponse((*map(Send, frames[:after]), End())))
            with helpers_of(client).stream(**body) as stream, pytest.raises(OpenAIStreamParseError) as raised:
                for _ in stream:
                    pass
            error, snapshot = raised.value, stream.current_completion_snapshot.model_dump()
            assert type(error.partial) is ChatCompletion
            assert error.partial.id == snapshot["id"]
            messages = [told(choice["message"]) for choice in snapshot["choices"]]
            found = [told(choice.message.model_dump()) for choice in error.partial.choices]
            # A choice of which only the role came has no text: whether it is listed is of no account.
            assert [message for message in found if message] == [message for message in messages if message], after


def told(message: dict[str, Any]) -> Any:
    """A dumped message without what is empty in it, and without what only the helper adds."""
    kept: Any = {}
    for name, part in message.items():
        if name in ("role", "parsed", "parsed_arguments", "index") or part in (None, "", [], {}):
            continue
        if isinstance(part, list):
            part = [told(entry) for entry in part]
        kept[name] = told(part) if isinstance(part, dict) else part
    return kept


def test_the_partial_answer_of_legacy_completions(server: Server) -> None:
    """Its type is the SDK's, its text the delivered one."""
    configure(max_retries=0)
    for after in (1, 5, 9):
        server.reset(fault="rst", after=after)
        seen = consume(server, ask=completions)
        assert type(seen.error.partial) is Completion
        assert seen.error.partial.choices[0].text == seen.error.partial_text == seen.text != ""
        assert seen.error.partial.id == seen.items[0][1]["id"]


def test_a_failed_replay_leaves_the_partial_answer_as_delivered() -> None:
    """Later attempts that got further in bytes, and delivered no more, have left no trace in it."""
    configure(max_retries=2)
    with Server(sampled=True) as server:
        server.script("truncate_clean", after=4)
        seen = consume(server)
    assert len(seen.error.attempts) == 2
    assert seen.error.partial.choices[0].message.content == seen.error.partial_text == seen.text
    assert seen.error.partial.id == seen.items[0][1]["id"]

"""The law: where a continuation was allowed and nothing forbids it, a broken chat answer goes on from where it broke
off; whatever becomes of that, the first error is never hidden.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.testing import Server, ServerBehaviour
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.streams import CLIENT_KINDS, client_for, consume, helpers_of, run, said_by

pytestmark = pytest.mark.usefixtures("guarded")

ASKED: list[dict[str, Any]] = [{"role": "user", "content": "Why?"}]


def ask(client: Any, **body: Any) -> Any:
    """A chat with a message in it."""
    return client.chat.completions.create(**{"model": "m", "messages": ASKED, "stream": True, **body})


def asking(**body: Any) -> Any:
    """The same, with these parameters."""
    return lambda client: ask(client, **body)


def by_hand(body: dict[str, Any], text: str) -> dict[str, Any]:
    """A continuation that a user wrote."""
    body["messages"].append({"role": "assistant", "content": text})
    return {**body, "mine": True}


def allow(how: Any, *ways: str) -> None:
    """Let streams be continued."""
    configure(recovery=("continue", *ways), continuation=how)


def final(server: Server, client_kind: str) -> Any:
    """What `.stream()` and `get_final_completion()` give."""

    async def main() -> Any:
        async with client_for(server, "async") as client, helpers_of(client).stream(model="m", messages=ASKED) as made:
            return await made.get_final_completion()

    if client_kind != "sync":
        return run(client_kind, main)
    with client_for(server) as client, helpers_of(client).stream(model="m", messages=ASKED) as made:
        return made.get_final_completion()


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("prefill", ["continued", "echoed"])
@pytest.mark.parametrize("how", ["vllm", "prefill", by_hand], ids=["vllm", "prefill", "by_hand"])
def test_an_answer_goes_on_from_anywhere(server: Server, how: Any, prefill: Any, client_kind: str) -> None:
    """Every character once, the seam's white space too, under one chunk id, also where the prefix is repeated."""
    allow(how)
    server.behaviour = ServerBehaviour(prefill=prefill)
    for after in (2, 3, 7, 12):
        server.reset(fault="rst" if after == 3 else "truncate_clean", after=after)
        seen = consume(server, client_kind, ask)
        assert (seen.text, seen.error) == (TEXT, None)
        assert len({dumped["id"] for _, dumped in seen.items}) == 1
        assert [dumped["choices"][0]["finish_reason"] for _, dumped in seen.items].count("stop") == 1
        assert [dumped["choices"][0]["delta"].get("role") for _, dumped in seen.items].count("assistant") == 1
        assert seen.report is not None
        assert (seen.report.outcome, seen.report.recoveries) == ("recovered", ["continue"])
        assert seen.report.notes == ("the seam of a continuation is not verified",)
        first, second = (request.body for request in server.requests)
        said = "".join(dumped["choices"][0]["delta"]["content"] or "" for _, dumped in seen.items[:after])
        assert first["messages"] == ASKED
        assert second["messages"][:-1] == ASKED
        assert second["messages"][-1]["content"] == said
        marks = {"vllm": second.get("continue_final_message"), "prefill": second["messages"][-1].get("prefix")}
        assert marks.get(how, second.get("mine")) is True


def test_a_server_that_strips_white_space_cannot_be_told(server: Server) -> None:
    """What comes is taken as it comes: nothing is put in between."""
    allow("vllm")
    server.behaviour = ServerBehaviour(prefill="stripped")
    server.script("truncate_clean", after=5)
    seen = consume(server, "sync", ask)
    assert seen.error is None
    assert seen.text.replace(" ", "") == TEXT.replace(" ", "")


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("delivery", ["live", "tool_calls"])
def test_any_chat_model_goes_on_behind_an_anchor(server: Server, delivery: Any, client_kind: str) -> None:
    """Its last words are asked for and dropped again: every character once, one id, one role, one end, no note."""
    configure(recovery=("continue",), continuation="anchored", delivery=delivery)
    for after in (6, 9, 12):
        server.reset(fault="rst" if after == 9 else "truncate_clean", after=after)
        seen = consume(server, client_kind, ask)
        assert (seen.text, seen.error) == (TEXT, None)
        for name in ("role", "finish_reason"):
            values = [one["delta"].get(name) or one.get(name) for _, dumped in seen.items for one in dumped["choices"]]
            assert len([value for value in values if value]) == 1
        assert len({dumped["id"] for _, dumped in seen.items}) == 1
        assert seen.report is not None
        assert (seen.report.outcome, seen.report.recoveries, seen.report.notes) == ("recovered", ["continue"], ())
        first, second = (request.body for request in server.requests)
        assert first["messages"] == second["messages"][:-2] == ASKED
        partial, asks = second["messages"][-2:]
        said = partial["content"]
        assert said == TEXT[: len(said)]
        assert asks["role"] == "user"
        assert asks["content"].endswith(said[-20:].rstrip())


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("anchored", ["forgetful", "restarting", "chatty", "fenced", "refusing"])
def test_what_does_not_begin_with_the_anchor_adds_nothing(server: Server, anchored: Any, client_kind: str) -> None:
    """It costs one request, and what is raised is the first error, with what was said before it."""
    allow("anchored", "replay")
    server.behaviour = ServerBehaviour(anchored=anchored)
    server.script("rst", after=10)
    seen = consume(server, client_kind, ask)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert (seen.error.fault, seen.error.stopped_by) == ("disconnected", "diverged")
    assert [(attempt.way, attempt.fault) for attempt in seen.error.attempts] == [
        (None, "disconnected"),
        ("continue", "diverged"),
    ]
    assert len(server.requests) == 2
    said = server.requests[1].body["messages"][-2]["content"]
    assert seen.text == seen.error.partial_text == said == TEXT[: len(said)]


def test_a_model_that_cannot_repeat_itself_is_not_remembered_for_it(server: Server) -> None:
    """A missed anchor says nothing of whether the same request gets the same answer."""
    server.behaviour = ServerBehaviour(anchored="chatty")
    for ways, recovered in ((("continue",), False),) * 3 + ((("replay",), True),):
        configure(recovery=ways, continuation="anchored" if "continue" in ways else None)
        server.script("truncate_clean", after=10)
        assert (consume(server, "sync", ask).error is None) == recovered


def test_a_text_without_an_anchor_is_repeated_instead(server: Server) -> None:
    """Too short a text proves nothing: the next way that is allowed, or the error; and `atomic` has delivered none."""
    for ways, after, delivery, recoveries in (
        (("replay",), 3, "live", ["replay"]),
        ((), 3, "live", []),
        (("restart",), 10, "atomic", ["restart"]),
    ):
        configure(delivery=delivery)
        allow("anchored", *ways)
        server.reset(fault="truncate_clean", after=after)
        seen = consume(server, "sync", ask)
        assert seen.report is not None
        assert seen.report.recoveries == recoveries
        assert (seen.error is None) == bool(recoveries)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_the_helper_reads_a_continued_answer(server: Server, client_kind: str) -> None:
    """`get_final_completion()` is the whole answer, or the first error."""

    allow("anchored")
    server.script("truncate_clean", after=10)
    assert final(server, client_kind).choices[0].message.content == TEXT
    server.behaviour = ServerBehaviour(anchored="chatty")
    server.script("truncate_clean", after=10)
    with pytest.raises(OpenAIStreamParseError) as caught:
        final(server, client_kind)
    assert (caught.value.fault, caught.value.stopped_by) == ("truncated", "diverged")


def test_the_usage_and_the_limit_count_the_anchor(server: Server) -> None:
    """What was spent on it a second time is paid for, and is no part of the answer's own limit."""
    allow("anchored")
    server.reset(answer="usage", fault="truncate_clean", after=10)
    options = {"stream_options": {"include_usage": True}, "max_tokens": 20}
    seen = consume(server, "sync", asking(**options))
    assert (seen.error, seen.text) == (None, TEXT)
    anchor = server.requests[1].body["messages"][-1]["content"].rpartition("\n\n")[2]
    words = sum(bool(said_by(dumped)) for _, dumped in seen.items)
    usage = seen.items[-1][1]["usage"]
    assert usage["completion_tokens"] == words + len(anchor.split())
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 20 - 9 < server.requests[1].body["max_tokens"] < 20


def test_where_each_chunk_counts_the_tokens_that_is_what_was_spent(server: Server) -> None:
    """And not how many deltas there were."""
    allow("vllm")
    server.reset(answer="compatible", fault="truncate_clean", after=6)
    seen = consume(server, "sync", asking(max_tokens=100))
    assert seen.error is None
    tokens = seen.items[0][1]["usage"]["completion_tokens"]
    assert server.requests[1].body["max_tokens"] == 100 - tokens < 100 - 6


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize("how", ["vllm", "anchored"])
def test_an_answer_is_continued_as_often_as_it_breaks(server: Server, how: Any, client_kind: str) -> None:
    """Each time behind all that was said, within the retries."""
    allow(how)
    server.script("truncate_clean", "truncate_clean", "rst", after=6 if how == "anchored" else 4)
    seen = consume(server, client_kind, ask, max_retries=3)
    assert (seen.text, seen.error) == (TEXT, None)
    place = -2 if how == "anchored" else -1
    beginnings = [request.body["messages"][place]["content"] for request in server.requests[1:]]
    for earlier, later in pairwise(beginnings):
        assert later.startswith(earlier)
        assert len(later) > len(earlier) or how == "anchored"  # so few chunks may hold nothing but the anchor
    assert seen.report is not None
    assert [attempt.way for attempt in seen.report.attempts] == [None, *["continue"] * 3]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_limit_is_that_of_the_whole_answer(server: Server, name: str) -> None:
    """What was spent is taken off it, so that both generations together stay within."""
    allow("vllm")
    whole = consume(server, "sync", asking(extra_body={name: 8}))
    server.reset(fault="truncate_clean", after=4)
    seen = consume(server, "sync", asking(extra_body={name: 8}))
    assert seen.text == whole.text
    assert seen.items[-1][1]["choices"][0]["finish_reason"] == "length"
    assert [request.body[name] for request in server.requests] == [8, 5]


@pytest.mark.filterwarnings("ignore::openai_stream_guard.StreamGuardWarning")  # of just these combinations
def test_nothing_is_continued_unless_both_fields_say_so(server: Server) -> None:
    """The way has to be allowed and its dialect named."""
    for fields in ({"recovery": ("continue",)}, {"recovery": ("restart",), "continuation": "vllm"}):
        configure(**{"continuation": None, **fields})
        server.reset(fault="truncate_clean", after=6)
        seen = consume(server, "sync", ask)
        assert (seen.error.stopped_by, len(server.requests)) == ("policy", 1)


def test_a_restart_goes_first(server: Server) -> None:
    """Where nothing was said there is nothing to go on from."""
    allow("vllm", "restart")
    server.script("truncate_clean", after=1)
    seen = consume(server, "sync", ask)
    assert (seen.text, seen.error) == (TEXT, None)
    assert server.requests[1].body == server.requests[0].body


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_refusal_does_not_hide_the_first_error(server: Server, client_kind: str) -> None:
    """The provider says 400: what is raised is the cut, and the refusal stands among the attempts."""
    allow("prefill")
    server.behaviour = ServerBehaviour(prefill="refused")
    server.script("rst", after=6)
    seen = consume(server, client_kind, ask)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert (seen.error.fault, seen.error.stopped_by) == ("disconnected", "not_retryable")
    assert TEXT.startswith(seen.error.partial_text)
    assert [(attempt.way, attempt.status) for attempt in seen.error.attempts] == [(None, 200), ("continue", 400)]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize(("how", "prefill"), [("prefill", "refused"), (by_hand, "refused")])
def test_a_refused_continuation_leaves_the_next_way_open(
    server: Server, how: Any, prefill: Any, client_kind: str
) -> None:
    """The refusal is about what was added to the request, so that the request itself may be sent again."""
    allow(how, "replay")
    server.behaviour = ServerBehaviour(prefill=prefill)
    server.script("rst", after=6)
    seen = consume(server, client_kind, ask)
    assert (seen.text, seen.error) == (TEXT, None)
    assert seen.report is not None
    assert seen.report.recoveries == ["replay"]
    assert server.requests[2].body == server.requests[0].body


def raising(body: dict[str, Any], text: str) -> dict[str, Any]:
    """A continuation with a mistake in it."""
    raise ZeroDivisionError(text)


def wrong(body: dict[str, Any], text: str) -> Any:
    """A continuation that returns nothing."""


MISTAKES = {
    raising: "the continuation raised ZeroDivisionError",
    wrong: "no continuation could be made of the request",
}


@pytest.mark.parametrize("how", MISTAKES)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_users_mistake_does_not_hide_the_first_error(server: Server, how: Any, client_kind: str) -> None:
    """Nothing is sent, the cut is raised, the report says why, and the answer's text is in no note."""
    allow(how)
    server.script("truncate_clean", after=6)
    seen = consume(server, client_kind, ask)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert (seen.error.fault, seen.error.stopped_by, len(server.requests)) == ("truncated", "policy", 1)
    assert seen.error.partial_text == seen.text
    assert "ZeroDivisionError" not in repr(seen.error.__context__)
    assert seen.report is not None
    assert seen.report.notes == (MISTAKES[how],)


@pytest.mark.parametrize("how", MISTAKES)
def test_where_nothing_can_be_continued_it_may_be_repeated(server: Server, how: Any) -> None:
    """The next way that is allowed."""
    allow(how, "replay")
    server.script("truncate_clean", after=6)
    seen = consume(server, "sync", ask)
    assert (seen.text, seen.error) == (TEXT, None)
    assert seen.report is not None
    assert seen.report.recoveries == ["replay"]


def test_a_continuation_is_made_only_where_it_can_be_asked_for(server: Server) -> None:
    """Where no retry is left the callable is not called."""
    called: list[str] = []
    allow(lambda body, text: called.append(text))
    server.script("truncate_clean", after=6)
    seen = consume(server, "sync", ask, max_retries=0)
    assert (seen.error.stopped_by, called) == ("retries", [])


def test_a_sampling_model_goes_on_where_it_would_not_repeat_itself() -> None:
    """That is what a continuation is for: no replay could have led on here."""
    with Server(sampled=True) as sampling:
        allow("vllm", "replay")
        sampling.script("truncate_clean", after=6)
        seen = consume(sampling, "sync", ask)
        assert seen.error is None
        assert seen.report is not None
        assert seen.report.recoveries == ["continue"]


# The helper never takes a part for the whole.


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize("answer", ["text", "tool_calls"])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_the_helper_returns_no_truncated_answer(server: Server, answer: str, after: int, client_kind: str) -> None:
    """`get_final_completion()` is the whole answer, or the typed error."""

    server.reset(answer=answer, fault="truncate_clean", after=after)
    assert final(server, client_kind).choices[0].finish_reason in ("stop", "tool_calls")
    server.reset(answer=answer, fault="truncate_clean", after=after, times=None)
    with pytest.raises(OpenAIStreamParseError):
        final(server, client_kind)

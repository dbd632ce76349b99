"""The law: whatever breaks a chat or completions stream, the consumer of the real SDK gets one answer whole and once,
or a true prefix of it and the first error. Here sockets break; `tests.proof.cuts` cuts at every byte.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.testing import FAULTS, AnswerVariant, Fault, Server, build_answer
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.responses import nameless
from tests.support.streams import Ask, Seen, alone, chat, completions, consume, silence_for

pytestmark = pytest.mark.usefixtures("guarded")

BROKEN = [fault for fault in FAULTS.values() if fault.verdict and fault.api in (None, "chat")]
LATE = {"early_finish_cut", "early_finish_rst", "error_after_finish"}
"""Those that strike behind text wherever they are to strike."""
CALLERS: dict[str, tuple[str, Ask]] = {
    "chat": ("sync", chat),
    "async chat": ("asyncio", chat),
    "completions": ("sync", completions),
}
CASES = [
    pytest.param(
        *(caller, fault, after),
        id=f"{caller}-{fault.name}-{after}",
        marks=() if caller == next(iter(CALLERS)) else pytest.mark.slow,
    )
    for caller in CALLERS
    for fault in BROKEN
    for after in ((None,) if not fault.placed else (1, 6) if caller == next(iter(CALLERS)) else (6,))
    # A legacy completion as plain JSON looks like a chunk that says all of it, and is one: see the last test.
    if caller != "completions" or (fault.api is None and fault.name != "json_200")
]
"""Who asks, what strikes, and where: before the first text (of chat), or after some."""


@cache
def unbroken(caller: str, answer: str) -> list[Any]:
    """What a caller gets of the whole answer, from the SDK alone."""
    with Server(answer=answer) as server:
        return plain(alone(server, *CALLERS[caller]))


def plain(seen: Seen) -> list[Any]:
    """The items without what differs from one answer to the next."""
    return [nameless(dumped) for _, dumped in seen.items]


def assert_promised(fault: Fault, server: Server, seen: Seen, *, every_time: bool, max_retries: int) -> None:
    """What the catalogue says of a fault, which tests of applications go by."""
    promise = fault.promised(every_time=every_time, max_retries=max_retries)
    assert len(server.requests) == promise.requests
    assert getattr(promise, "fault", None) == (None if seen.error is None else seen.error.fault)


@pytest.mark.parametrize(("caller", "fault", "after"), CASES)
def test_a_fault_that_strikes_once_is_not_seen(server: Server, caller: str, fault: Fault, after: int | None) -> None:
    """Before and after text the stream comes out as the unbroken one, in two requests, unless the API says no."""
    client_kind, ask = CALLERS[caller]
    configure(idle_timeout=silence_for(fault.name), first_event_timeout=silence_for(fault.name))
    whole = unbroken(caller, fault.answer or "text")
    server.reset(fault=fault, after=after)
    seen = consume(server, client_kind, ask)
    assert_promised(fault, server, seen, every_time=False, max_retries=2)
    if not fault.retryable:
        assert isinstance(seen.error, OpenAIStreamParseError)
        assert (seen.error.fault, seen.error.stopped_by, len(server.requests)) == (
            "upstream_error",
            "not_retryable",
            1,
        )
        assert plain(seen) == whole[: len(plain(seen))]
        return
    assert seen.error is None
    assert plain(seen) == whole
    assert len(server.requests) == 2


@pytest.mark.parametrize(("caller", "fault", "after"), CASES)
def test_a_fault_that_strikes_always_is_raised(server: Server, caller: str, fault: Fault, after: int | None) -> None:
    """The typed error comes after exactly 1 + max_retries requests, and what was delivered is a true prefix."""
    client_kind, ask = CALLERS[caller]
    configure(idle_timeout=silence_for(fault.name), first_event_timeout=silence_for(fault.name))
    whole = unbroken(caller, fault.answer or "text")
    server.reset(fault=fault, after=after, times=None)
    seen = consume(server, client_kind, ask, max_retries=1)
    assert_promised(fault, server, seen, every_time=True, max_retries=1)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert seen.error.fault == fault.verdict
    assert seen.error.stopped_by == ("retries" if fault.retryable else "not_retryable")
    assert len(server.requests) == len(seen.error.attempts) == (2 if fault.retryable else 1)
    assert plain(seen) == whole[: len(plain(seen))]
    assert seen.error.partial_text == seen.text
    assert bool(seen.text) == (after == 6 or (caller, after) == ("completions", 1) or fault.name in LATE)


@pytest.mark.parametrize("client_kind", ["sync", "asyncio", "trio"])
def test_a_model_that_does_not_repeat_itself_costs_two_requests_and_then_none(client_kind: str) -> None:
    """The first error stands with a true prefix; after two divergences no cut is worth another request."""
    with Server(sampled=True) as server:
        server.script("truncate_clean", "rst", after=6)
        seen = consume(server, client_kind)
        variants = [build_answer("chat", "text", AnswerVariant(serial, sampled=True)) for serial in range(1, 6)]
        answers = [variant.plain["choices"][0]["message"]["content"] for variant in variants]
        assert seen.error.fault == "truncated", "the first failure, not the later one"
        assert seen.error.stopped_by == "diverged"
        assert len(server.requests) == 2
        assert seen.text
        assert answers[0].startswith(seen.text)
        assert [attempt.fault for attempt in seen.error.attempts] == ["truncated", "diverged"]

        server.script("truncate_clean", "rst", "truncate_clean", after=6)
        assert consume(server, client_kind).error.stopped_by == "diverged"
        again = consume(server, client_kind)
        assert (again.error.stopped_by, len(server.requests)) == ("diverged", 5)
        assert answers[4].startswith(again.text)

        server.script("truncate_clean", after=0)
        assert consume(server, client_kind).error is None, "a restart is no replay"

        def other_model(client: Any) -> Any:
            return client.chat.completions.create(model="other", messages=[], stream=True)

        server.script("truncate_clean", after=6)
        assert consume(server, client_kind, other_model).report.attempts[1].way == "replay", (
            "of that one nothing is known"
        )


def test_a_cut_after_the_finish_is_whole_in_one_request(server: Server) -> None:
    """Once the answer has finished nothing is asked for again, whatever becomes of the connection."""
    for fault in ("fin_after_finish", "fin_after_done", "no_final_blank_no_done"):
        server.reset(fault=fault)
        seen = consume(server)
        assert (seen.text, seen.error, len(server.requests)) == (TEXT, None, 1)
        assert seen.report.outcome == "complete"


def test_a_legacy_completion_as_plain_json_is_whole(server: Server) -> None:
    """It has the shape of a chunk that says everything and finishes: nothing is missing, nothing asked for again."""
    server.reset(fault="json_200", times=None)
    seen = consume(server, ask=completions)
    assert (seen.text, seen.error, len(server.requests)) == (TEXT, None, 1)

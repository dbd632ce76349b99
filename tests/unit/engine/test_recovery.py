"""The law: the way on is a function of the policy, the request and what was delivered, and of nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from openai_stream_guard.apis.registry import adapter_for
from openai_stream_guard.apis.request import Resume, StreamRequest
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.engine.decisions import Refusal, Reissue, Wait
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.host_queue import CAPACITY
from openai_stream_guard.engine.recovery import MIN_POLL, Recovery, RecoveryPlan, choose_recovery
from tests.support.budgets import borrow

BOTH, RESTART, REPLAY, NONE = ("restart", "replay"), ("restart",), ("replay",), ()
OPT_IN = ("resume", "continue", "stateful")


@pytest.mark.parametrize("recently_diverged", [False, True])
@pytest.mark.parametrize("visible", [False, True])
@pytest.mark.parametrize("recovery", [BOTH, RESTART, REPLAY, NONE, OPT_IN])
@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/threads/runs"])
@pytest.mark.parametrize("resendable", [True, False])
@pytest.mark.parametrize("store", [None, False, True])
def test_what_cannot_be_sent_twice_is_not(
    path: str, resendable: bool, store: bool | None, recovery: tuple[str, ...], visible: bool, recently_diverged: bool
) -> None:
    """Every combination: first what is safe at all, then what the policy allows, then what is worth trying."""
    asked = StreamRequest("post", path, "host", {"store": store}, resendable=resendable)
    transcript = Transcript()
    transcript.add([((0, "content"), "Blue")] if visible else [], [((0, "role"), "assistant")], "usage")
    way = choose_recovery(
        Policy(recovery=recovery), asked, adapter_for(asked), transcript, recently_diverged=recently_diverged
    )
    if path == "/threads/runs" or not resendable:
        assert way == "unsafe"
    elif not visible:
        assert way == (RecoveryPlan("restart") if "restart" in recovery else "policy")
    elif "replay" not in recovery:
        assert way == "policy"
    elif store:
        assert way == "unsafe"
    else:
        assert way == ("diverged" if recently_diverged else RecoveryPlan("replay"))


@pytest.mark.parametrize(
    ("path", "body", "visible", "recently_diverged", "expected"),
    [
        ("/chat/completions", {}, False, False, RecoveryPlan("restart")),
        ("/chat/completions", {}, False, True, RecoveryPlan("restart")),
        ("/chat/completions", {}, True, False, RecoveryPlan("replay")),
        ("/chat/completions", {}, True, True, "diverged"),
        ("/chat/completions", {"store": True}, False, False, RecoveryPlan("restart")),
        ("/chat/completions", {"store": True}, True, False, "unsafe"),
        ("/completions", {}, True, False, RecoveryPlan("replay")),
        ("/threads/t/runs", {}, False, False, "unsafe"),
        ("/images/generations", {}, False, False, "unsafe"),
    ],
)
def test_the_default_policy(
    path: str, body: dict[str, object], visible: bool, recently_diverged: bool, expected: object
) -> None:
    """The safety table, row by row."""
    asked = StreamRequest("post", path, "host", body)
    transcript = Transcript()
    transcript.add([((0, "content"), "Blue")] if visible else [])
    assert (
        choose_recovery(Policy(), asked, adapter_for(asked), transcript, recently_diverged=recently_diverged)
        == expected
    )


def recovering(asked: StreamRequest, hosts: HostMemory | None = None, **policy: Any) -> Recovery:
    """The recovery of a stream, without a budget unless asked."""
    settings = Policy(**{"retry_budget": None, **policy})
    return Recovery(settings, asked, hosts or HostMemory(), max_retries=2, jitter=lambda: 0.0, note=str)


CHAT = StreamRequest("post", "/chat/completions", "host", {"model": "m"})
STORED = StreamRequest("post", "/responses", "host")
POLL = Resume("resp_1", 3, poll=True)


@pytest.mark.parametrize("backoff_initial", [0.0, 2.0])
def test_a_poll_is_never_at_once(backoff_initial: float) -> None:
    """It costs no retry, so that nothing else would hold it back."""
    decision = recovering(STORED, backoff_initial=backoff_initial).poll(POLL, 0.0)
    assert isinstance(decision, Reissue)
    assert decision.delay == max(backoff_initial, MIN_POLL)


def test_a_poll_that_is_refused_says_nothing_of_the_host() -> None:
    """It is repeated, later than the one before, and no other stream waits for it."""
    recovery = recovering(STORED, backoff_initial=1.0)
    recovery.failed(0.0)
    assert isinstance(recovery.poll(POLL, 0.0), Reissue)
    again = recovery.refused(Refusal(retryable=True, status=503), 1.0)
    assert isinstance(again, Reissue)
    assert (again.resume, again.delay) == (POLL, 2.0)


def test_a_reissue_has_what_is_left_of_max_elapsed() -> None:
    """From the fault on, the wait included."""
    recovery = recovering(CHAT, backoff_initial=1.0, max_elapsed=10.0)
    recovery.failed(100.0)
    decision = recovery.plan(adapter_for(CHAT), Transcript(), 102.0)
    assert isinstance(decision, Reissue)
    assert (decision.delay, decision.within) == (1.0, 7.0)


def test_max_elapsed_counts_from_the_first_fault_without_progress_after_it() -> None:
    """An attempt that breaks without anything new does not wind the clock up again."""
    recovery = recovering(CHAT, max_elapsed=10.0)
    assert recovery.deadline == math.inf
    recovery.failed(100.0)
    recovery.failed(105.0)
    assert recovery.deadline == 110.0
    recovery.succeeded()
    assert recovery.deadline == math.inf
    recovery.failed(120.0)
    assert recovery.deadline == 130.0


def test_time_in_which_a_second_answer_repeats_does_not_count() -> None:
    """The clock of `max_elapsed` stands still for it, and goes on where it had stopped."""
    recovery = recovering(CHAT, max_elapsed=10.0)
    recovery.failed(100.0)
    recovery.repeated(8.0)
    assert recovery.deadline == math.inf
    recovery.repeated(None)
    assert recovery.deadline == 118.0


def test_a_divergence_that_others_met_meanwhile_forbids_a_replay() -> None:
    """The memory is asked again when the wait is over."""
    hosts, transcript = HostMemory(), Transcript()
    recovery = recovering(CHAT, hosts)
    transcript.add([((0, "content"), "Blue")])
    recovery.failed(0.0)
    planned = recovery.plan(adapter_for(CHAT), transcript, 0.0)
    assert isinstance(planned, Reissue)
    assert planned.way == "replay"
    for now in (0.1, 0.2):
        hosts.record_divergence("host", "m", False, now)
    assert recovery.proceed(0.5) == "diverged"


REFUSALS = [
    (Refusal(True, status=503), True, 0, 0),
    (Refusal(True, error="ConnectError"), True, 0, 0),
    (Refusal(True, status=504), True, 1, 1),
    (Refusal(True, status=408), True, 1, 1),
    (Refusal(True, error="ReadError", lost=True), True, 1, 1),
    (Refusal(True, status=429), False, 0, 0),
    (Refusal(True, status=409), False, 0, 0),
]


@pytest.mark.parametrize(
    ("refusal", "is_host", "retries", "tokens"), REFUSALS, ids=["503", "refused", "504", "408", "lost", "429", "409"]
)
def test_what_a_refusal_speaks_for_and_costs(refusal: Refusal, is_host: bool, retries: int, tokens: int) -> None:
    """The host, or this stream alone. What may have generated an answer costs a retry and a token."""
    hosts = HostMemory()
    recovery = recovering(CHAT, hosts, retry_budget=0.1)
    recovery.failed(0.0)
    recovery.plan(adapter_for(CHAT), Transcript(), 0.0)
    assert isinstance(recovery.proceed(0.5), Reissue)
    recovery.refused(refusal, 1.0)
    state = hosts.budget._hosts["host"]
    assert (state.refusing, state.tokens, recovery._retries) == (is_host, CAPACITY - tokens, retries)


def test_an_answer_without_an_event_is_none() -> None:
    """Headers and then nothing: the host is waited for like one that refuses. One event makes it an answer."""
    for events in (0, 1):
        hosts = HostMemory()
        recovery = recovering(CHAT, hosts, retry_budget=0.1)
        recovery.failed(0.0)
        planned = recovery.plan(adapter_for(CHAT), Transcript(), 0.0)
        assert isinstance(planned, Reissue)
        assert isinstance(recovery.proceed(0.5), Reissue)
        recovery.answered(planned, 0.6)
        if events:
            recovery.received(0.7)
        recovery.failed(0.8)
        state = hosts.budget._hosts["host"]
        assert (state.refusing, state.doubtful_since is None) == (not events, not events)


def test_a_time_that_a_refusal_names_is_kept() -> None:
    """By all that wait for the host, however long it is; unless it is so long that it means no."""
    for named, kept in ((100.0, 101.0), (200.0, -math.inf)):
        hosts = HostMemory()
        recovery = recovering(CHAT, hosts, retry_budget=0.1)
        recovery.failed(0.0)
        recovery.plan(adapter_for(CHAT), Transcript(), 0.0)
        recovery.proceed(0.5)
        recovery.refused(Refusal(True, status=503, retry_after=named), 1.0)
        assert hosts.budget._hosts["host"].promised_at == kept


def test_the_rest_of_a_stored_response_needs_no_token() -> None:
    """It generates nothing; a second answer does."""
    hosts = HostMemory()
    for _ in range(int(CAPACITY)):
        assert borrow(hosts.budget, "host")
    recovery = recovering(STORED, hosts, retry_budget=0.1)
    recovery.failed(0.0)
    for resume, sent in ((Resume("resp_1", 3), Reissue), (None, Wait)):
        recovery._planned = Reissue(0.0, "resume", 1, resume)
        assert isinstance(recovery.proceed(1.0), sent)
        recovery.ended(complete=False)

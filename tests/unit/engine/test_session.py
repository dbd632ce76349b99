"""The law: for every series of cuts, faults and refusals, what was delivered is a prefix of one answer and nothing
twice; a session that finishes has delivered all of it; there are never more than `1 + max_retries` requests.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.engine.decisions import Timeouts
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.session import Session
from openai_stream_guard.notices import FaultSeen
from openai_stream_guard.testing import AnswerVariant, build_answer
from tests.support.chunks import chunk
from tests.support.simulated import ANSWERS, End, Response, answer_variant, body, play, request_for, said

NO_BUDGET = Policy(retry_budget=None)
WHOLE = {
    name: said(json.loads(frame.data) for frame in answer_variant(name, 0).frames if frame.data != "[DONE]")
    for name in ANSWERS
}


def cut(
    name: str, serial: int, offset: int, end: End = "clean", *, sampled: bool = False, regroup: bool = False
) -> Response:
    """An answer up to a byte offset, in one read."""
    return Response([body(answer_variant(name, serial, sampled=sampled, regroup=regroup))[:offset]], end)


def whole(name: str, serial: int, *, regroup: bool = False) -> Response:
    """An unbroken answer."""
    return Response([body(answer_variant(name, serial, regroup=regroup))])


def is_prefix(texts: dict[tuple[object, ...], str], of: dict[tuple[object, ...], str]) -> bool:
    """Whether every text is the beginning of the one at its place."""
    return all(of.get(path, "").startswith(text) for path, text in texts.items())


@settings(deadline=None, max_examples=150)
@given(data=st.data(), name=st.sampled_from(ANSWERS), retries=st.integers(0, 4), size=st.integers(1, 400))
def test_any_faults_and_any_cuts_of_the_reads_give_the_answer_once_or_a_true_prefix(
    data: st.DataObject, name: str, retries: int, size: int
) -> None:
    """Whatever breaks, regrouped deltas included: whole, or given up with a prefix of every channel."""
    responses = []
    for serial in range(retries + 1):
        raw = body(answer_variant(name, serial, regroup=True))
        offset = data.draw(st.integers(0, len(raw)))
        end: End = data.draw(st.sampled_from(["clean", "reset", "refused"] if serial else ["clean", "reset"]))
        reads = [raw[start : min(start + size, offset)] for start in range(0, offset, size)]
        responses.append(Response([] if end == "refused" else reads, end))
    responses.append(Response([], "refused"))  # for as long as it takes
    policy = NO_BUDGET.replace(max_retries=retries)
    outcome = play([*responses, *responses[-1:] * 20], policy, asked=request_for(name))
    texts = said(outcome.values)
    assert is_prefix(texts, WHOLE[name])
    assert (
        outcome.network.requests - sum(attempt.refused for attempt in outcome.session.report().attempts) <= 1 + retries
    )
    if outcome.gave_up is None:
        texts.pop(("usage",), None)
        assert texts == {path: text for path, text in WHOLE[name].items() if path != ("usage",)}


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(ANSWERS), offset=st.integers(0, 4000), end=st.sampled_from(["clean", "reset"]))
def test_atomic_delivery_is_all_or_nothing(name: str, offset: int, end: End) -> None:
    """Nothing is handed over before the answer is whole, so that any break is a restart, of a sampling model too."""
    policy = NO_BUDGET.replace(delivery="atomic")
    raw = body(answer_variant(name, 0))
    responses = [cut(name, 0, min(offset, len(raw) - 1), end, sampled=True), whole(name, 1)]
    outcome = play(responses, policy, asked=request_for(name))
    assert outcome.gave_up is None
    recoveries = outcome.session.report().recoveries
    assert recoveries in ([], ["restart"])
    if recoveries:
        assert said(outcome.values) == WHOLE[name]
    failed = play([cut(name, 0, min(offset, 300), end)], policy.replace(max_retries=0), asked=request_for(name))
    assert failed.values == []


@pytest.mark.parametrize("end", [(), (chunk({}, "stop"),)], ids=["[DONE]", "finish"])
def test_an_end_before_the_delivered_point_is_a_divergence(end: tuple[dict[str, object], ...]) -> None:
    """A second answer that is whole but shorter cannot be the first one again."""
    first = laughs(chunk({"content": "ha ha ha"}), done=False)
    outcome = play([first, laughs(chunk({"content": "ha"}), *end)], NO_BUDGET)
    assert outcome.gave_up is not None
    assert outcome.gave_up.stopped_by == "diverged"
    assert said(outcome.values)[0, "content"] == "ha ha ha"


@pytest.mark.parametrize(
    ("policy", "offset", "requests", "stopped_by"),
    [
        (Policy(retry_budget=None, max_retries=0), 0, 1, "retries"),
        (Policy(retry_budget=None, max_retries=3), 0, 4, "retries"),
        (Policy(retry_budget=None, recovery=()), 0, 1, "policy"),
        (Policy(retry_budget=None, recovery=("replay",)), 0, 1, "policy"),
        (Policy(retry_budget=None, recovery=("restart",)), 1500, 1, "policy"),
        (Policy(retry_budget=None, max_retries=9, backoff_initial=50.0, backoff_max=50.0), 0, 3, "time"),
        (Policy(retry_budget=0.0, max_retries=20, backoff_initial=0.0), 0, 11, "budget"),
        (Policy(retry_budget=None, max_event_bytes=100), 150, 1, "not_retryable"),
    ],
)
def test_recovery_stops_where_the_policy_says(policy: Policy, offset: int, requests: int, stopped_by: str) -> None:
    """Retries, time, budget and allowed ways all bound it, and the error says which."""
    outcome = play([cut("text", serial, offset) for serial in range(25)], policy)
    assert outcome.gave_up is not None
    assert (outcome.network.requests, outcome.gave_up.stopped_by) == (requests, stopped_by)


def test_what_the_sdk_retried_before_the_headers_is_not_deducted() -> None:
    """Those requests were refused, and generated nothing."""
    outcome = play([cut("text", 0, 0), whole("text", 1)], NO_BUDGET.replace(max_retries=1), requests=3)
    assert outcome.gave_up is None
    assert [attempt.requests for attempt in outcome.session.report().attempts] == [3, 1]


def test_a_host_that_refuses_is_waited_for() -> None:
    """Refusals cost no retry: after twenty seconds of them the default of two still suffices."""
    refused = [Response([], "refused")] * 7
    outcome = play([cut("text", 0, 0), *refused, whole("text", 1)], NO_BUDGET.replace(max_retries=1))
    assert outcome.gave_up is None
    assert outcome.network.slept == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    report = outcome.session.report()
    assert (report.outcome, report.waited_seconds) == ("recovered", 23.0)
    assert "waited 23.0 s for the host to accept requests" in report.notes


def test_a_host_that_refuses_for_long_is_given_up() -> None:
    """No wait is begun that would end after `outage_timeout`; `max_retries=0` sends nothing again at all."""
    outcome = play([cut("text", 0, 0), *[Response([], "refused")] * 20], NO_BUDGET)
    assert outcome.gave_up is not None
    assert (outcome.gave_up.stopped_by, outcome.network.now) == ("time", 27.5)
    outcome = play([cut("text", 0, 0), Response([], "refused")], NO_BUDGET.replace(max_retries=0))
    assert outcome.gave_up is not None
    assert (outcome.gave_up.stopped_by, outcome.network.requests) == ("retries", 1)


def test_a_refused_reissue_costs_a_retry_without_a_timeout_for_outages() -> None:
    """As in earlier releases; the first failure is the one that is told."""
    responses = [cut("text", 0, 0), Response([], "refused"), Response([], "refused")]
    outcome = play(responses, NO_BUDGET.replace(max_retries=2, outage_timeout=0.0))
    assert outcome.gave_up is not None
    assert outcome.gave_up.first_failure.fault.kind == "truncated"
    report = outcome.session.report()
    assert [(attempt.fault, attempt.way) for attempt in report.attempts] == [
        ("truncated", None),
        (None, "restart"),
        (None, "restart"),
    ]


def test_keep_alives_do_not_hold_the_idle_clock() -> None:
    """Comments are no events: a stream of nothing else is stalled once the idle time is over."""
    begun = answer_variant("text", 0).encode()[0]
    outcome = play(
        [Response([begun, *[b": ping\n\n"] * 100], pause=1.0)],
        NO_BUDGET.replace(max_retries=0),
        timeouts=Timeouts(first_event=50.0, idle=10.0),
    )
    assert outcome.gave_up is not None
    assert outcome.gave_up.first_failure.fault.kind == "stalled"
    assert outcome.network.now == pytest.approx(11.0)


def test_a_program_that_takes_its_time_is_no_silence_of_the_stream() -> None:
    """However long it is busy with an item, also after the last finish_reason: the clock runs while it waits."""
    frames = answer_variant("usage", 0).encode()
    reads = [part for frame in frames for part in (b": ping\n\n", frame[:9], frame[9:])]
    outcome = play([Response(reads, pause=1.0)], NO_BUDGET, timeouts=Timeouts(idle=4.5), busy=60.0)
    report = outcome.session.report()
    assert (report.outcome, report.notes) == ("complete", ())
    assert said(outcome.values) == WHOLE["usage"]


def test_the_first_event_has_a_clock_of_its_own() -> None:
    """A model may think longer before its first event than between two."""
    late = Response([*[b": ping\n\n"] * 40, body(answer_variant("text", 0))], pause=1.0)
    timeouts = Timeouts(first_event=60.0, idle=5.0)
    assert play([late], NO_BUDGET, timeouts=timeouts).gave_up is None
    assert play([late, late, late], NO_BUDGET, timeouts=Timeouts(first_event=20.0)).gave_up is not None


def test_no_clock_runs_where_none_was_set() -> None:
    """A stream that lives, however slowly, is healthy by default."""
    slow = Response([part + b"\n\n" for part in body(answer_variant("text", 0)).split(b"\n\n")], pause=3600.0)
    outcome = play([slow], NO_BUDGET)
    assert outcome.session.report().outcome == "complete"


def test_a_complete_answer_is_not_lost_to_a_connection_that_only_says_that_it_lives() -> None:
    """Comments keep the wire from being silent; without an event the idle timeout ends the stream, and tells it."""
    raw = body(answer_variant("text", 0))
    finished = raw[: raw.index(b"data: [DONE]")]
    pings = Response([finished, *[b": ping\n\n"] * 20], pause=1.0)
    outcome = play([pings], NO_BUDGET, timeouts=Timeouts(idle=9.0, linger=5.0))
    report = outcome.session.report()
    assert report.outcome == "complete"
    assert outcome.network.now == pytest.approx(10.0)
    (note,) = report.notes
    assert "idle_timeout" in note


def test_recovery_has_a_deadline_from_the_fault_to_the_next_new_item() -> None:
    """A second answer that only drips out what was delivered is given up when max_elapsed is over."""
    dripping = Response([bytes([byte]) for byte in body(answer_variant("text", 1))], pause=0.1)
    outcome = play([cut("text", 0, 3000), dripping], NO_BUDGET.replace(max_elapsed=20.0))
    assert outcome.gave_up is not None
    assert outcome.gave_up.stopped_by == "time"
    assert outcome.network.now < 25
    reasons = [notice.reason for notice in outcome.notices if isinstance(notice, FaultSeen)]
    assert reasons[1] == "nothing new within max_elapsed after a fault", "and not that nothing came at all"


def spoken(count: int) -> list[bytes]:
    """So many words, an event each."""
    return [b"data: %b\n\n" % json.dumps(chunk({"content": f"{word} "})).encode() for word in range(count)]


ENDED = [b"data: %b\n\n" % json.dumps(chunk({}, "stop")).encode(), b"data: [DONE]\n\n"]


@pytest.mark.parametrize("cut_after", [100, 130, 1000])
def test_the_clock_of_a_recovery_stands_still_while_words_come_again(cut_after: int) -> None:
    """Rule 10: at a word a second it takes longer than max_elapsed, 120 s, to come back to where it broke."""
    whole = [*spoken(1100), *ENDED]
    outcome = play([Response(whole[:cut_after], "reset", pause=1.0), Response(whole, pause=1.0)], NO_BUDGET)
    assert outcome.gave_up is None
    assert said(outcome.values)[0, "content"] == "".join(f"{word} " for word in range(1100))
    assert outcome.network.now > cut_after + 1100


def test_the_clock_of_a_recovery_begins_when_the_program_asks_for_more() -> None:
    """Rule 10: it may work longer than max_elapsed on the events that came in one read with the fault."""
    whole = [*spoken(9), *ENDED]
    broken = Response([b"".join([*whole[:3], b'data: {"id": "x", broken}\n\n'])])
    outcome = play([broken, Response(whole)], NO_BUDGET, busy=100.0)
    assert outcome.gave_up is None
    assert said(outcome.values)[0, "content"] == "".join(f"{word} " for word in range(9))
    assert outcome.network.within == [pytest.approx(120.0, abs=1.0)]


@pytest.mark.parametrize("delivery", ["atomic", "tool_calls"])
def test_what_is_held_has_come_nearer_to_the_end(delivery: str) -> None:
    """A second answer that takes longer than max_elapsed is no late one, as long as it goes on."""
    name = "text" if delivery == "atomic" else "tool_calls"
    slow = Response(answer_variant(name, 1).encode(), pause=3.0)
    policy = NO_BUDGET.replace(delivery=delivery, max_elapsed=10.0, backoff_initial=0.0)
    outcome = play([cut(name, 0, 700), slow], policy)
    assert outcome.network.now > 20
    assert (outcome.gave_up, said(outcome.values)) == (None, WHOLE[name])


def logprob(text: str, finish: str | None = None, tokens: tuple[str, ...] = ()) -> bytes:
    """A chunk whose log probabilities are of these tokens."""
    value = chunk({"content": text}, finish)
    value["choices"][0]["logprobs"] = {"content": [{"token": token} for token in tokens]}
    return b"data: %b\n\n" % json.dumps(value).encode()


@pytest.mark.parametrize("tokens", [("Hello",), ()])
def test_a_divergence_in_the_chunk_that_finishes_is_one(tokens: tuple[str, ...]) -> None:
    """Its finish_reason has not been handed over, so nothing is whole."""
    first = Response([logprob("Hel", tokens=("Hel",))])
    outcome = play([first, Response([logprob("Hello", "stop", tokens), b"data: [DONE]\n\n"])], NO_BUDGET)
    assert outcome.gave_up is not None
    assert outcome.gave_up.stopped_by == "diverged"
    assert said(outcome.values)[0, "content"] == "Hel"


LAUGHING = StreamRequest(
    "post", "/chat/completions", "host:1", {"model": "m", "messages": [{"role": "user", "content": "?"}]}
)


def laughs(*values: dict[str, object], done: bool = True) -> Response:
    """Chunks, and then `[DONE]`, or a cut."""
    frames = [b"data: %b\n\n" % json.dumps(value).encode() for value in values]
    return Response([*frames, *[b"data: [DONE]\n\n"] * done])


@pytest.mark.parametrize("last", [chunk(None, "stop"), chunk({}, "stop"), None])
def test_a_continuation_that_may_be_a_repetition_is_not_lost(last: dict[str, object] | None) -> None:
    """Text that began as what was delivered did: new where the answer finishes there, else nobody knows."""
    first = laughs(chunk({"content": "ha ha ha"}), done=False)
    second = laughs(chunk({"content": "ha"}), *([] if last is None else [last]))
    policy = NO_BUDGET.replace(recovery=("continue",), continuation="vllm")
    outcome = play([first, second], policy, asked=LAUGHING)
    assert said(outcome.values)[0, "content"] == ("ha ha ha" if last is None else "ha ha haha")
    assert (outcome.gave_up is None) == (last is not None)


def test_an_end_inside_what_follows_the_finish_is_told() -> None:
    """The same in good order as by a reset: the answer is complete, and something after it is lost."""
    raw = body(answer_variant("usage", 0))
    for end in ("clean", "reset"):
        report = play([Response([raw[: raw.index(b'"usage":{')]], end)], NO_BUDGET).session.report()
        assert report.outcome == "complete"
        assert report.notes != ()


@pytest.mark.parametrize(("added", "events", "is_due"), [(True, 9, True), (True, 0, False), (False, 9, False)])
def test_what_is_to_be_cancelled(added: bool, events: int, is_due: bool) -> None:
    """A response that the guard had made in the background and gave up, if its id is known; none of the program's."""
    answer = build_answer("responses", "text", AnswerVariant(0, background=True))
    body = {"model": "m", "background": True}
    request = StreamRequest("post", "/responses", "host:1", body, background_added=added)
    broken = Response([b"".join(answer.encode()[:events])], "reset")
    session = play([broken], NO_BUDGET.replace(max_retries=0), asked=request).session
    assert session.outcome == "failed"
    assert session.response_to_cancel == (answer.plain["id"] if is_due else None)


def test_a_complete_response_is_not_to_be_cancelled() -> None:
    """Nor one that its consumer is still reading."""
    answer = build_answer("responses", "text", AnswerVariant(0, background=True))
    body = {"model": "m", "background": True}
    request = StreamRequest("post", "/responses", "host:1", body, background_added=True)
    session = Session(request, NO_BUDGET, HostMemory(), now=0.0, max_retries=2)
    *parts, end = answer.encode()
    session.receive(b"".join(parts), 0.1)
    assert session.response_to_cancel is None
    session.receive(end, 0.2)
    session.abandon(0.3)
    assert (session.outcome, session.response_to_cancel) == ("abandoned", None)

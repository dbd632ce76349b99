"""The law: what was recorded, run again, is recorded as the same; and where something is lost, nothing is claimed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.capture import recording
from openai_stream_guard.capture.recording import Capture
from openai_stream_guard.capture.rerun import rerun
from openai_stream_guard.capture.ssecap import dump, load
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.engine.decisions import Timeouts
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.server_habits import Server
from openai_stream_guard.testing import FAULTS, AnswerVariant, Raw, Repeat, Send, build_answer
from tests.support.recorded import NO_BUDGET, record
from tests.support.simulated import ANSWERS, CHAT, End, Response, answer_variant, body

RESPONSES = StreamRequest("post", "/responses", "host:1", {"model": "m"})
LAST = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'


def words(count: int) -> list[bytes]:
    """So many events of a chat."""
    return [
        b'data: {"choices": [{"index": 0, "delta": {"content": "word %d"}}]}\n\n' % number for number in range(count)
    ]


def answers(capture: Capture, **settings: Any) -> list[str]:
    """Whether each attempt is judged as it was, by way of a file."""
    return [one.comparison for one in rerun(load(dump(capture)), **settings)]


@settings(deadline=None, max_examples=100)
@given(
    data=st.data(),
    name=st.sampled_from(ANSWERS),
    size=st.integers(1, 300),
    delivery=st.sampled_from(["live", "atomic"]),
)
def test_any_story_is_told_again(data: st.DataObject, name: str, size: int, delivery: Any) -> None:
    """Any cuts, attempts, regrouped deltas, another answer, a slow program: each attempt is judged as it was."""
    responses = []
    for serial in range(data.draw(st.integers(1, 4))):
        raw = body(answer_variant(name, serial, regroup=True, sampled=data.draw(st.booleans())))
        offset = data.draw(st.integers(0, len(raw)))
        end: End = data.draw(st.sampled_from(["clean", "reset"]))
        reads = [raw[start : min(start + size, offset)] for start in range(0, offset, size)]
        responses.append(Response(reads, end, data.draw(st.sampled_from([0.0, 0.125, 1.0]))))
    busy = data.draw(st.sampled_from([0.0, 0.3, 2.0]))
    capture = record(responses, NO_BUDGET.replace(delivery=delivery), timeouts=Timeouts(2.0, 0.9), busy=busy)
    runs = rerun(load(dump(capture)))
    assert [one.recording for one in runs] == list(capture.attempts)
    assert [one.comparison for one in runs] == ["same"] * len(capture.attempts)
    assert not any(one.partial for one in runs)


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS.values() if fault.api != "responses"], ids=lambda one: one.name
)
def test_every_fault_byte_by_byte(fault: Any) -> None:
    """Also where each byte is a read of its own, and where nothing is wrong at all."""
    steps = fault.apply(build_answer("chat", fault.answer or "text", AnswerVariant(1))).steps
    sent = b"".join(step.data for step in steps if isinstance(step, Send | Raw) for _ in (1,))
    if any(isinstance(step, Repeat) for step in steps):
        sent += b": keep-alive\n\n" * 20
    capture = record([Response([bytes([byte]) for byte in sent], pause=0.01)], timeouts=Timeouts(1e9, 1.0))
    (one,) = rerun(load(dump(capture)))
    assert one.comparison == "same"
    assert one.recording == capture.attempts[0]
    assert [step.offset for step in one.steps if step.size] == list(range(len(capture.attempts[0].reads)))


def test_what_the_program_took_for_itself_is_known_again() -> None:
    """A silence counts from when the program was done with the last event, on another machine too."""
    reads = [*words(3), b": keep-alive\n\n", b": keep-alive\n\n"]
    capture = record(
        [Response(reads, pause=0.5)], NO_BUDGET.replace(recovery=()), timeouts=Timeouts(0.9, 0.9), busy=0.5
    )
    (recording,) = capture.attempts
    assert [read.waiting_since for read in recording.reads] == [0.0, 1.0, 2.0, 3.0, 3.0]
    assert recording.verdict is not None
    assert recording.verdict.reason == "no event for 1.0 s, though bytes arrive; the limit is idle_timeout"
    assert answers(capture) == ["same"]


def test_what_was_learnt_of_a_host_is_known_again() -> None:
    """A `[DONE]` is no end where the server was seen to send a finish_reason, also on another machine."""
    hosts = HostMemory()
    hosts.habits.expect_finish(Server(CHAT.host, CHAT.path, CHAT.model))
    reads = [*words(3), b"data: [DONE]\n\n"]
    learnt = record([Response(reads)], NO_BUDGET, hosts=hosts)
    assert learnt.attempts[0].rule == "learnt"
    assert learnt.attempts[0].verdict is not None
    assert learnt.attempts[0].verdict.fault == "truncated"
    assert answers(learnt) == ["same"]
    (other,) = rerun(learnt, end_rule="lenient")
    assert other.comparison == "different"
    assert other.verdict is not None
    assert other.verdict.fault is None


def test_another_setting_shows_what_it_would_have_made_of_it() -> None:
    """With a repair that the stream did not have, the first attempt does not break, and no other is made."""
    glued = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n' * 2 + b"\n"
    unrepaired = NO_BUDGET.replace(repair="off")
    capture = record([Response([*words(1), glued + LAST + b"data: [DONE]\n\n"])] * 2, unrepaired)
    assert answers(capture) == ["same", "same"]
    (one,) = rerun(capture, repair="safe")
    assert one.comparison == "different"
    assert one.verdict is not None
    assert (one.verdict.fault, one.verdict.repairs) == (None, {"missing_blank_line": 1})
    capture = record([Response([*words(1), glued, LAST])] * 2, unrepaired)
    (one,) = rerun(capture, repair="safe")  # what came behind the fault was not read, so that nobody knows it
    assert (one.verdict, one.comparison) == (None, "different")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that is soon full."""
    monkeypatch.setattr(recording, "MAX_BYTES", 1000)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [1, 7, 64, 5000])
@pytest.mark.parametrize("end", ["clean", "reset", "garbage"])
def test_of_a_lost_beginning_nothing_is_claimed(end: str, size: int) -> None:
    """The last bytes show the same fault, from the first whole event on, and it is said that it is a part."""
    raw = b"".join(words(40)) + (b"data: {oops\n\n" if end == "garbage" else b"")
    reads = [raw[start : start + size] for start in range(0, len(raw), size)]
    capture = record([Response(reads, "reset" if end == "reset" else "clean")], NO_BUDGET.replace(max_retries=0))
    (one,) = rerun(load(dump(capture)))
    assert one.recording.lost_bytes == len(raw) - sum(len(read.data) for read in one.recording.reads) > 0
    assert one.partial
    assert one.comparison == "same"
    assert one.judged_from >= one.recording.lost_bytes
    assert raw[one.judged_from :].startswith(b"data: ")
    assert raw[: one.judged_from].endswith(b"\n\n")
    assert sum(len(step.payloads) for step in one.steps) < 40
    if end == "garbage":
        assert one.fault_offset == len(raw) - len(b"data: {oops\n\n")


@pytest.mark.usefixtures("small")
def test_what_only_the_beginning_shows_is_not_known() -> None:
    """A second answer cannot be held against a first whose beginning is lost, and that is not called a difference."""
    second = [b'data: {"choices": [{"index": 0, "delta": {"content": "something else"}}]}\n\n']
    capture = record([Response(words(40)), Response(second)], NO_BUDGET)
    judged = [recording.verdict.fault for recording in capture.attempts if recording.verdict]
    assert judged == ["truncated", "diverged"]
    runs = rerun(load(dump(capture)))
    assert [one.comparison for one in runs] == ["same", "unknown"]
    assert [one.isolated for one in runs] == [False, True]


@pytest.mark.usefixtures("small")
def test_numbers_that_go_on_are_no_gap() -> None:
    """The events of the Responses API are numbered; those that were not kept are not missing."""
    events = [
        b"data: %s\n\n"
        % json.dumps({"type": "response.output_text.delta", "sequence_number": number, "delta": "x"}).encode()
        for number in range(40)
    ]
    first = b'data: {"type": "response.created", "sequence_number": 0, "response": {"id": "r"}}\n\n'
    whole = [first, *events[1:]]
    capture = record([Response(whole)], NO_BUDGET, request=RESPONSES)
    assert answers(capture) == ["same"]
    gap = record([Response([*whole[:30], *whole[31:]])], NO_BUDGET, request=RESPONSES)
    assert gap.attempts[0].verdict is not None
    assert gap.attempts[0].verdict.fault == "gap"
    assert answers(gap) == ["same"]


def test_a_recording_that_breaks_off_has_no_verdict() -> None:
    """What is left is shown, and nothing is compared."""
    lines = dump(record([Response(words(3))], Policy(recovery=()))).splitlines(keepends=True)
    (one,) = rerun(load(b"".join(lines[:4])))
    assert (len(one.steps), one.verdict, one.comparison) == (2, None, "unknown")

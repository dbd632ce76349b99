"""The law: a report is the sum of what the attempt log was told, and telling changes no report given before."""

from __future__ import annotations

from typing import Any

import pytest

from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.attempt_log import AttemptLog
from openai_stream_guard.engine.decisions import Refusal
from openai_stream_guard.notices import Attempt, FaultKind

OK = ResponseHead(200)


def close(log: AttemptLog, now: float, fault: FaultKind | None = None, **more: Any) -> None:
    """End the open attempt."""
    given = {"events": 0, "bytes": 0, "repairs": {}, "response_id": None} | more
    log.close_attempt(fault, now, **given)


def test_a_whole_stream_is_one_attempt() -> None:
    """All that was said of the attempt stands in the report, the SDK's own retries included."""
    log = AttemptLog(10.0, 2, ResponseHead(200, "req_1"))
    log.progress(3, 12.0)
    close(log, 15.0, events=3, bytes=900, repairs={"glued_prefix": 1}, response_id="chatcmpl-1")
    report = log.report("complete")
    assert report.attempts == (Attempt(None, None, 2, 3, 900, 5.0, "req_1", "chatcmpl-1", 200),)
    assert (report.outcome, report.recoveries, report.events, report.bytes) == ("complete", [], 3, 900)
    assert (report.repairs, report.notes) == ({"glued_prefix": 1}, ())
    assert report.first_event_seconds == 2.0


def test_times_count_from_the_request_and_between_events() -> None:
    """The first event from the request on, with what the SDK sent before; then the mean, whoever waited for whom."""
    log = AttemptLog(10.0, 2, OK, requested_at=7.0)
    log.progress(1, 12.0)
    assert log.report("open").chunk_seconds is None
    log.progress(2, 13.0)
    log.progress(1, 15.0)
    report = log.report("open")
    assert (report.first_event_seconds, report.first_chunk_seconds, report.chunk_seconds) == (2.0, 5.0, 1.0)


def test_attempts_add_up() -> None:
    """Bytes and repairs are those of all attempts; a refused re-issue is one too, without either."""
    log = AttemptLog(0.0, 1, ResponseHead(200, "req_1"))
    close(log, 1.0, "truncated", bytes=10, repairs={"glued_prefix": 1, "bare_json": 2})
    log.refused("restart", Refusal(True, status=503, request_id="req_2"))
    log.open_attempt("restart", 4.0, 1, ResponseHead(200, "req_3"))
    close(log, 6.0, bytes=5, repairs={"glued_prefix": 3})
    report = log.report("recovered")
    assert [attempt.fault for attempt in report.attempts] == ["truncated", None, None]
    assert [attempt.way for attempt in report.attempts] == [None, "restart", "restart"]
    assert [attempt.status for attempt in report.attempts] == [200, 503, 200]
    assert [attempt.refused for attempt in report.attempts] == [False, True, False]
    assert [attempt.request_id for attempt in report.attempts] == ["req_1", "req_2", "req_3"]
    assert [attempt.seconds for attempt in report.attempts] == [1.0, 0.0, 2.0]
    assert (report.bytes, report.repairs) == (15, {"glued_prefix": 4, "bare_json": 2})


def test_a_way_is_a_recovery_once_it_has_led_on() -> None:
    """By handing something over, or by coming out whole; and then once. The first attempt is none."""
    log = AttemptLog(0.0, 1, OK)
    log.progress(1, 1.0)
    log.mark_recovered(9.0)
    log.open_attempt("replay", 2.0, 1, OK)
    log.progress(0, 3.0)
    assert log.report("open").recoveries == [], "it repeats, and has not led on yet"
    log.progress(1, 4.0)
    log.progress(1, 5.0)
    log.open_attempt("replay", 6.0, 1, OK)
    log.open_attempt("restart", 7.0, 1, OK)
    log.mark_recovered(9.0)
    assert log.report("open").recoveries == ["replay", "restart"]
    assert log.delivered == 3


def test_the_wait_for_the_first_event_is_the_consumers() -> None:
    """It counts from the first read of all to the first event that was handed over, attempts between included."""
    log = AttemptLog(100.0, 1, OK)
    assert log.report("open").first_event_seconds is None
    log.progress(0, 101.0)
    log.open_attempt("restart", 105.0, 1, OK)
    log.progress(2, 107.0)
    log.progress(2, 109.0)
    assert log.report("open").first_event_seconds == 7.0


@pytest.mark.parametrize(("times", "worst"), [([], 0.0), ([5.0], 0.0), ([5.0, 6.0, 9.0, 10.0], 3.0)])
def test_the_worst_gap_lies_between_two_events(times: list[float], worst: float) -> None:
    """The wait for the first event is not among the gaps."""
    log = AttemptLog(0.0, 1, OK)
    for now in times:
        log.progress(1, now)
    assert log.report("open").worst_gap_seconds == worst


def test_the_worst_gap_may_be_a_recovery() -> None:
    """A stall and the request that ended it are one wait, though the clock of the new attempt starts anew."""
    log = AttemptLog(0.0, 1, OK)
    log.progress(1, 1.0)
    log.open_attempt("replay", 300.0, 1, OK)
    assert log.progress_at == 300.0
    log.progress(0, 302.0)
    assert log.report("open").worst_gap_seconds == 301.0


def test_notes_are_counted() -> None:
    """What happens a thousand times is one note."""
    log = AttemptLog(0.0, 1, OK)
    for text in ("a ping", "odd", "a ping", "a ping"):
        log.note(text)
    assert log.report("open").notes == ("a ping (3 times)", "odd")


def test_a_report_does_not_change() -> None:
    """What was told stays told, whatever happens next."""
    log = AttemptLog(0.0, 1, OK)
    before = log.report("open")
    log.note("odd")
    log.progress(1, 1.0)
    close(log, 2.0, "stalled", bytes=1, repairs={"bare_json": 1})
    assert before == AttemptLog(0.0, 1, OK).report("open")


def test_what_recovery_took_is_from_a_fault_to_the_next_delivery() -> None:
    """Of every fault that was recovered from: refusals and repetitions count to it, reading on does not."""
    log = AttemptLog(0.0, 1, ResponseHead(200, "req_1"))
    log.progress(1, 1.0)
    close(log, 2.0, "truncated")
    log.refused("replay", Refusal(True, status=503, request_id="req_2"))
    log.open_attempt("replay", 4.0, 1, ResponseHead(200, "req_3"))
    log.progress(0, 5.0)
    close(log, 6.0, "disconnected")
    log.open_attempt("replay", 7.0, 1, ResponseHead(200, "req_4"))
    assert log.report("open").recovery_seconds == 0.0
    log.progress(1, 7.5)
    log.progress(1, 20.0)
    assert log.report("open").recovery_seconds == 5.5
    close(log, 21.0, "truncated")
    assert log.report("failed").recovery_seconds == 5.5, "from the last fault nothing recovered"

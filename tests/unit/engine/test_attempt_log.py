"""The law: a report is the sum of what the ledger was told, and telling changes no report given before."""

from __future__ import annotations

from typing import Any

import pytest

from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.attempt_log import AttemptLog
from openai_stream_guard.engine.decisions import Refusal
from openai_stream_guard.notices import Attempt, FaultKind

OK = ResponseHead(200)


def close(ledger: AttemptLog, now: float, fault: FaultKind | None = None, **more: Any) -> None:
    """End the open attempt."""
    given = {"events": 0, "bytes": 0, "repairs": {}, "response_id": None} | more
    ledger.close_attempt(fault, now, **given)


def test_a_whole_stream_is_one_attempt() -> None:
    """All that was said of the attempt stands in the report, the SDK's own retries included."""
    ledger = AttemptLog(10.0, 2, ResponseHead(200, "req_1"))
    ledger.progress(3, 12.0)
    close(ledger, 15.0, events=3, bytes=900, repairs={"glued_prefix": 1}, response_id="chatcmpl-1")
    report = ledger.report("complete")
    assert report.attempts == (Attempt(None, None, 2, 3, 900, 5.0, "req_1", "chatcmpl-1", 200),)
    assert (report.outcome, report.recoveries, report.events, report.bytes) == ("complete", [], 3, 900)
    assert (report.repairs, report.notes) == ({"glued_prefix": 1}, ())
    assert report.first_event_seconds == 2.0


def test_attempts_add_up() -> None:
    """Bytes and repairs are those of all attempts; a refused re-issue is one too, without either."""
    ledger = AttemptLog(0.0, 1, ResponseHead(200, "req_1"))
    close(ledger, 1.0, "truncated", bytes=10, repairs={"glued_prefix": 1, "bare_json": 2})
    ledger.refused("restart", Refusal(True, status=503, request_id="req_2"))
    ledger.open_attempt("restart", 4.0, 1, ResponseHead(200, "req_3"))
    close(ledger, 6.0, bytes=5, repairs={"glued_prefix": 3})
    report = ledger.report("recovered")
    assert [attempt.fault for attempt in report.attempts] == ["truncated", None, None]
    assert [attempt.way for attempt in report.attempts] == [None, "restart", "restart"]
    assert [attempt.status for attempt in report.attempts] == [200, 503, 200]
    assert [attempt.refused for attempt in report.attempts] == [False, True, False]
    assert [attempt.request_id for attempt in report.attempts] == ["req_1", "req_2", "req_3"]
    assert [attempt.seconds for attempt in report.attempts] == [1.0, 0.0, 2.0]
    assert (report.bytes, report.repairs) == (15, {"glued_prefix": 4, "bare_json": 2})


def test_a_way_is_a_recovery_once_it_has_led_on() -> None:
    """By handing something over, or by coming out whole; and then once. The first attempt is none."""
    ledger = AttemptLog(0.0, 1, OK)
    ledger.progress(1, 1.0)
    ledger.mark_recovered(9.0)
    ledger.open_attempt("replay", 2.0, 1, OK)
    ledger.progress(0, 3.0)
    assert ledger.report("open").recoveries == [], "it repeats, and has not led on yet"
    ledger.progress(1, 4.0)
    ledger.progress(1, 5.0)
    ledger.open_attempt("replay", 6.0, 1, OK)
    ledger.open_attempt("restart", 7.0, 1, OK)
    ledger.mark_recovered(9.0)
    assert ledger.report("open").recoveries == ["replay", "restart"]
    assert ledger.delivered == 3


def test_the_wait_for_the_first_event_is_the_consumers() -> None:
    """It counts from the first read of all to the first event that was handed over, attempts between included."""
    ledger = AttemptLog(100.0, 1, OK)
    assert ledger.report("open").first_event_seconds is None
    ledger.progress(0, 101.0)
    ledger.open_attempt("restart", 105.0, 1, OK)
    ledger.progress(2, 107.0)
    ledger.progress(2, 109.0)
    assert ledger.report("open").first_event_seconds == 7.0


@pytest.mark.parametrize(("times", "worst"), [([], 0.0), ([5.0], 0.0), ([5.0, 6.0, 9.0, 10.0], 3.0)])
def test_the_worst_gap_lies_between_two_events(times: list[float], worst: float) -> None:
    """The wait for the first event is not among the gaps."""
    ledger = AttemptLog(0.0, 1, OK)
    for now in times:
        ledger.progress(1, now)
    assert ledger.report("open").worst_gap_seconds == worst


def test_the_worst_gap_may_be_a_recovery() -> None:
    """A stall and the request that ended it are one wait, though the clock of the new attempt starts anew."""
    ledger = AttemptLog(0.0, 1, OK)
    ledger.progress(1, 1.0)
    ledger.open_attempt("replay", 300.0, 1, OK)
    assert ledger.progress_at == 300.0
    ledger.progress(0, 302.0)
    assert ledger.report("open").worst_gap_seconds == 301.0


def test_notes_are_counted() -> None:
    """What happens a thousand times is one note."""
    ledger = AttemptLog(0.0, 1, OK)
    for text in ("a ping", "odd", "a ping", "a ping"):
        ledger.note(text)
    assert ledger.report("open").notes == ("a ping (3 times)", "odd")


def test_a_report_does_not_change() -> None:
    """What was told stays told, whatever happens next."""
    ledger = AttemptLog(0.0, 1, OK)
    before = ledger.report("open")
    ledger.note("odd")
    ledger.progress(1, 1.0)
    close(ledger, 2.0, "stalled", bytes=1, repairs={"bare_json": 1})
    assert before == AttemptLog(0.0, 1, OK).report("open")


def test_what_recovery_took_is_from_a_fault_to_the_next_delivery() -> None:
    """Of every fault that was recovered from: refusals and repetitions count to it, reading on does not."""
    ledger = AttemptLog(0.0, 1, ResponseHead(200, "req_1"))
    ledger.progress(1, 1.0)
    close(ledger, 2.0, "truncated")
    ledger.refused("replay", Refusal(True, status=503, request_id="req_2"))
    ledger.open_attempt("replay", 4.0, 1, ResponseHead(200, "req_3"))
    ledger.progress(0, 5.0)
    close(ledger, 6.0, "disconnected")
    ledger.open_attempt("replay", 7.0, 1, ResponseHead(200, "req_4"))
    assert ledger.report("open").recovery_seconds == 0.0
    ledger.progress(1, 7.5)
    ledger.progress(1, 20.0)
    assert ledger.report("open").recovery_seconds == 5.5
    close(ledger, 21.0, "truncated")
    assert ledger.report("failed").recovery_seconds == 5.5, "from the last fault nothing recovered"

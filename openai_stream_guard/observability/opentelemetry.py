"""From notices to OpenTelemetry: span events where something went wrong, counters and histograms for every stream.

Imported only in a program that uses OpenTelemetry itself; where it has set up no SDK, all this does nothing. The
README's tables of names are this module in words, and a test compares the two.

Attributes with names of OpenTelemetry's own follow its semantic conventions:
https://opentelemetry.io/docs/specs/semconv/gen-ai/ and https://opentelemetry.io/docs/specs/semconv/attributes-registry/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..notices import Ended, FaultSeen, Notice, Recovering, Refused, StreamReport

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError("OpenTelemetry is not installed; pip install 'openai-stream-guard[otel]' brings it") from error

Attributes: TypeAlias = dict[str, str | int | float | Sequence[str]]

SECONDS_BUCKETS = tuple(0.01 * 2**power for power in range(16))
"""The bounds that the conventions advise for the duration of a model's answer, and two more: stalls last minutes."""

_meter = metrics.get_meter("openai_stream_guard")
_STREAMS = _meter.create_counter("openai_stream_guard.streams", "{stream}", "Streams that ended, by how they did.")
_FAULTS = _meter.create_counter("openai_stream_guard.faults", "{fault}", "Attempts that broke, by what broke them.")
_REISSUES = _meter.create_counter(
    "openai_stream_guard.reissues", "{request}", "Requests sent again, by the way of recovery; each may be billed."
)
_REPAIRS = _meter.create_counter("openai_stream_guard.repairs", "{repair}", "Repairs of framing, by their kind.")
_FIRST_EVENT = _meter.create_histogram(
    "openai_stream_guard.first_event.duration",
    "s",
    "From the first read to the first event.",
    explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
)
_WORST_GAP = _meter.create_histogram(
    "openai_stream_guard.worst_gap.duration",
    "s",
    "The longest wait between two events of a stream.",
    explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
)
_RECOVERY = _meter.create_histogram(
    "openai_stream_guard.recovery.duration",
    "s",
    "What recovery added to a stream: from a fault to the next newly delivered event.",
    explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
)


def recorder() -> Callable[[Notice], None]:
    """What to call with each notice of the stream whose request is being made.

    Its events go to the span that is current now, wherever the stream is read; once that has ended, to the one that
    is current then.
    """
    asking = trace.get_current_span()

    def record(notice: Notice) -> None:
        where = _place(notice)
        _measure(notice, where)
        span = asking if asking.is_recording() else trace.get_current_span()
        if span.is_recording() and (event := _event(notice)) is not None:
            name, said = event
            span.add_event(f"openai_stream_guard.{name}", {**_known(said), **where})

    return record


def _place(notice: Notice) -> Attributes:
    """Whom the stream is from: what every event and every measurement has."""
    name, _, port = notice.host.rpartition(":")
    if not port.isdigit():
        name, port = notice.host, ""
    place: Attributes = {"server.address": name.strip("[]")}
    if port:
        place["server.port"] = int(port)
    if notice.model is not None:
        place["gen_ai.request.model"] = notice.model
    return place


def _known(said: Mapping[str, str | int | float | Sequence[str] | None]) -> Attributes:
    return {name: value for name, value in said.items() if value is not None}


def _measure(notice: Notice, where: Attributes) -> None:
    if isinstance(notice, FaultSeen):
        _FAULTS.add(1, {"error.type": str(notice.attempt.fault), **where})
    if not isinstance(notice, Ended):
        return
    report = notice.report
    outcome: Attributes = {"openai_stream_guard.outcome": report.outcome, **where}
    if report.outcome == "failed":
        outcome["error.type"] = _first_fault(report)
    _STREAMS.add(1, outcome)
    for attempt in report.attempts:
        if attempt.way is not None:
            _REISSUES.add(1, {"openai_stream_guard.way": attempt.way, **where})
    for kind, count in report.repairs.items():
        _REPAIRS.add(count, {"openai_stream_guard.repair": kind, **where})
    if report.first_event_seconds is not None:
        _FIRST_EVENT.record(report.first_event_seconds, where)
        _WORST_GAP.record(report.worst_gap_seconds, where)
    if report.recoveries:
        _RECOVERY.record(report.recovery_seconds, where)


def _first_fault(report: StreamReport) -> str:
    return next(str(attempt.fault) for attempt in report.attempts if attempt.fault is not None)


def _event(notice: Notice) -> tuple[str, Mapping[str, str | int | float | Sequence[str] | None]] | None:
    """Name and attributes of the span event for a notice; None for the end of a stream with nothing to tell."""
    match notice:
        case FaultSeen(reason, number, attempt):
            return "fault", {
                "error.type": attempt.fault,
                "openai_stream_guard.reason": reason,
                "openai_stream_guard.attempt": number,
                "openai_stream_guard.events": attempt.events,
                "openai_stream_guard.bytes": attempt.bytes,
                "openai_stream_guard.request_id": attempt.request_id,
                "gen_ai.response.id": attempt.response_id,
                "http.response.status_code": attempt.status,
            }
        case Recovering(way, delay, number):
            return "recovering", {
                "openai_stream_guard.way": way,
                "openai_stream_guard.attempt": number,
                "openai_stream_guard.delay": delay,
            }
        case Refused(status, number, request_id):
            return "refused", {
                "openai_stream_guard.attempt": number,
                "openai_stream_guard.request_id": request_id,
                "http.response.status_code": status,
            }
        case Ended(report, stopped_by) if len(report.attempts) > 1 or report.outcome != "complete" or report.repairs:
            return "ended", {
                "openai_stream_guard.outcome": report.outcome,
                "openai_stream_guard.stopped_by": stopped_by,
                "openai_stream_guard.attempts": len(report.attempts),
                "openai_stream_guard.recoveries": report.recoveries,
                "openai_stream_guard.repairs": tuple(report.repairs),
                "openai_stream_guard.events": report.events,
                "openai_stream_guard.bytes": report.bytes,
            }
    return None

"""Records notices with OpenTelemetry: span events for faults and recoveries, counters and histograms for all streams.

It is imported only if the program has imported OpenTelemetry. Without an OpenTelemetry SDK it does nothing. README.md
beside this file has tables of the names; a test compares them with this module.

Attributes whose names do not begin with `openai_stream_guard` follow OpenTelemetry's semantic conventions:
https://opentelemetry.io/docs/specs/semconv/gen-ai/ and https://opentelemetry.io/docs/specs/semconv/attributes-registry/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..notices import Ended, FaultSeen, Notice, Recovering, Refused, StreamReport, Waiting

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError("OpenTelemetry is not installed; pip install 'openai-stream-guard[otel]' brings it") from error

Attributes: TypeAlias = dict[str, str | int | float | Sequence[str]]

SECONDS_BUCKETS = tuple(0.01 * 2**power for power in range(16))
"""The bucket bounds that the conventions advise for model calls, and two more, since stalls take minutes."""

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
_FIRST_CHUNK = _meter.create_histogram(
    "openai_stream_guard.time_to_first_chunk",
    "s",
    "From the request to the first event that was delivered.",
    explicit_bucket_boundaries_advisory=SECONDS_BUCKETS,
)
_PER_CHUNK = _meter.create_histogram(
    "openai_stream_guard.time_per_output_chunk",
    "s",
    "Mean time from one delivered event of a stream to the next.",
    explicit_bucket_boundaries_advisory=tuple(0.001 * 2**power for power in range(16)),
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
    """Return a listener for the stream whose request is being sent.

    Its span events go to the span that is current now, wherever the stream is read; once that span has ended, to the
    one that is current then.
    """
    request_span = trace.get_current_span()

    def record(notice: Notice) -> None:
        server = _server_attributes(notice)
        _measure(notice, server)
        span = request_span if request_span.is_recording() else trace.get_current_span()
        if span.is_recording() and (event := _span_event(notice)) is not None:
            name, attributes = event
            known = {key: value for key, value in attributes.items() if value is not None}
            known["openai_stream_guard.stream_id"] = notice.stream_id
            span.add_event(f"openai_stream_guard.{name}", {**known, **server})

    return record


def _server_attributes(notice: Notice) -> Attributes:
    """Return the attributes of every event and measurement: which server and which model."""
    name, _, port = notice.host.rpartition(":")
    if not port.isdigit():
        name, port = notice.host, ""
    attributes: Attributes = {"server.address": name.strip("[]")}
    if port:
        attributes["server.port"] = int(port)
    if notice.model is not None:
        attributes["gen_ai.request.model"] = notice.model
    return attributes


def _measure(notice: Notice, server: Attributes) -> None:
    if isinstance(notice, FaultSeen):
        _FAULTS.add(1, {"error.type": str(notice.attempt.fault), **server})
    if not isinstance(notice, Ended):
        return
    report = notice.report
    outcome: Attributes = {"openai_stream_guard.outcome": report.outcome, **server}
    if report.outcome == "failed":
        outcome["error.type"] = _first_fault(report)
    _STREAMS.add(1, outcome)
    for attempt in report.attempts:
        if attempt.way is not None:
            _REISSUES.add(1, {"openai_stream_guard.way": attempt.way, **server})
    for kind, count in report.repairs.items():
        _REPAIRS.add(count, {"openai_stream_guard.repair": kind, **server})
    if report.first_event_seconds is not None:
        _FIRST_EVENT.record(report.first_event_seconds, server)
        _WORST_GAP.record(report.worst_gap_seconds, server)
    if report.first_chunk_seconds is not None:
        _FIRST_CHUNK.record(report.first_chunk_seconds, server)
    if report.chunk_seconds is not None:
        _PER_CHUNK.record(report.chunk_seconds, server)
    if report.recoveries:
        _RECOVERY.record(report.recovery_seconds, server)


def _first_fault(report: StreamReport) -> str:
    return next(str(attempt.fault) for attempt in report.attempts if attempt.fault is not None)


def _span_event(notice: Notice) -> tuple[str, Mapping[str, str | int | float | Sequence[str] | None]] | None:
    """Return name and attributes of the span event for a notice; None for the end of a stream without incidents."""
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
                "error.type": notice.error or (None if status is None else str(status)),
            }
        case Waiting(reason, seconds, number):
            return "waiting", {
                "openai_stream_guard.waits_for": reason,
                "openai_stream_guard.attempt": number,
                "openai_stream_guard.limit": seconds,
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

"""Publishes notices: to the log, to the user's hook and to OpenTelemetry."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from ..notices import (
    CancelSent,
    Ended,
    FaultSeen,
    Notice,
    Recovering,
    Refused,
    ServerNotice,
    StoppedBy,
    StreamReport,
    Waiting,
    counted,
)
from ..redaction import redact_tail

logger = logging.getLogger("openai_stream_guard")
MAX_LINE = 199
"""Characters of a line without a hint, so that what collects logs does not cut it."""
Listener: TypeAlias = Callable[[Notice], object]
Fields: TypeAlias = dict[str, object]

attached: list[Listener] = []
"""Listeners to every stream while tests run; see `openai_stream_guard.testing`."""


def listeners(on_event: Listener | None) -> tuple[Listener, ...]:
    """Return the listeners to a stream whose request is being sent: the user's hook, and OpenTelemetry if it is in use.

    OpenTelemetry is in use where the program has imported it. No setting is needed: without an OpenTelemetry SDK its
    API does nothing.
    """
    found = () if on_event is None else (on_event,)
    if "opentelemetry.trace" not in sys.modules and "opentelemetry.metrics" not in sys.modules:
        return found
    recorder = _recorder()
    return found if recorder is None else (*found, recorder())


@functools.cache
def _recorder() -> Callable[[], Listener] | None:
    try:
        from .opentelemetry import recorder
    except Exception as error:  # an old or broken OpenTelemetry must not prevent streaming
        logger.warning("streams are not recorded by OpenTelemetry (%s: %s)", type(error).__name__, error)
        return None
    return recorder


def publish(notice: Notice, listeners: Sequence[Listener] = ()) -> None:
    """Log a notice and pass it to the listeners. An exception of a listener is logged and goes no further."""
    _log(notice)
    transport_error = sys.exc_info()[1]
    for listener in (*attached, *listeners):
        try:
            listener(notice)
        except Exception as error:
            _unlink(error, transport_error)
            logger.exception("on_event callback raised; the stream goes on")


def _unlink(error: BaseException, transport_error: BaseException | None) -> None:
    """Remove the transport's exception, which may quote the answer, from the context of an exception to be logged."""
    while (context := error.__context__) is not None:
        if context is transport_error:
            error.__context__ = None
            return
        error = context


def publish_raw(tail: bytes, credentials: Collection[str], stream_id: str) -> None:
    """Log the last bytes of a faulty attempt, which hold answer text. Called only with the setting `log_raw`."""
    fields: Fields = {"stream_id": stream_id, "stream_event": "raw_tail"}
    logger.debug("stream %s raw tail: %r", stream_id, redact_tail(tail, credentials), extra=fields)


def _log(notice: Notice) -> None:
    """Log a notice: one WARNING for each stream that broke, and how it ended as INFO or ERROR; all else below.

    The fields are attributes of the record as well (`extra`), for logs in JSON.
    """
    fields: Fields = {"stream_id": notice.stream_id, "server": notice.host, "model": notice.model}
    where = f"host {_short(notice.host)}, model {_short(notice.model)}"
    match notice:
        case FaultSeen(reason, number, attempt):
            fields |= {"stream_event": "fault", "attempt": number, "fault": attempt.fault, "reason": reason}
            fields |= {"events": attempt.events, "bytes": attempt.bytes, "request_id": attempt.request_id}
            text = f"{attempt.fault} after {attempt.events} events, {attempt.bytes} bytes, attempt {number}"
            where += f", request id {attempt.request_id}, {reason}"
            _write(logging.WARNING if number == 1 else logging.INFO, text, where, fields)
            if number == 1 and notice.hint:
                fields = {"stream_id": notice.stream_id, "stream_event": "hint", "hint": notice.hint}
                _write(logging.INFO, notice.hint, "", fields)
        case Recovering(way, delay, number):
            fields |= {"stream_event": "recovering", "attempt": number, "way": way, "delay_seconds": delay}
            _write(logging.DEBUG, f"by {way} in {delay:.2f} s, attempt {number}", where, fields)
        case Refused(status, number, request_id):
            fields |= {"stream_event": "refused", "attempt": number, "http_status": status}
            fields |= {"request_id": request_id, "error": notice.error, "error_message": notice.error_message}
            refusal = f"status {status}" if status is not None else notice.error or "no response"
            refusal += f" ({notice.error_message})" if notice.error_message else ""
            text = f"{refusal}, attempt {number}"
            where += f", request id {request_id}"
            _write(logging.INFO, text, where, fields)
        case Waiting(reason, seconds, number):
            fields |= {"stream_event": "waiting", "attempt": number, "waits_for": reason, "limit_seconds": seconds}
            what = "the host to accept requests" if reason == "host" else "a token of the retry budget"
            _write(logging.INFO, f"up to {seconds:.1f} s for {what}, attempt {number}", where, fields)
        case ServerNotice(text, is_warning):
            fields |= {"stream_event": "server", "text": text}
            _write(logging.WARNING if is_warning else logging.INFO, _short(text, 110), where, fields)
        case Ended(report, stopped_by):
            level, text = _ending(report, stopped_by)
            fields |= {"stream_event": "ended", "outcome": report.outcome, "attempts": len(report.attempts)}
            fields |= {"stopped_by": stopped_by, "recoveries": list(report.recoveries), "events": report.events}
            fields |= {"bytes": report.bytes, "waited_seconds": report.waited_seconds}
            fields |= {"recovery_seconds": report.recovery_seconds}
            _write(level, text, where, fields)
        case CancelSent(response_id, status, error):
            fields |= {"stream_event": "cancel", "response_id": response_id, "http_status": status, "error": error}
            level = logging.INFO if error is None else logging.WARNING
            _write(level, f"{notice.outcome}: {response_id}", where, fields)


def _ending(report: StreamReport, stopped_by: StoppedBy | None) -> tuple[int, str]:
    tries = counted(len(report.attempts), "attempt")
    faults = [attempt.fault for attempt in report.attempts if attempt.fault is not None]
    match report.outcome:
        case "recovered":
            return logging.INFO, f"recovered by {', '.join(report.recoveries) or 'asking again'} in {tries}"
        case "failed":
            return logging.ERROR, f"failed: {faults[0] if faults else 'unknown'} in {tries}, stopped by {stopped_by}"
        case "abandoned" if report.attempts and (report.attempts[-1].fault or report.attempts[-1].refused):
            return logging.WARNING, f"closed by the program after a fault ({faults[-1]}), before it was asked for again"
    return logging.DEBUG, f"{report.outcome}, {counted(report.events, 'event')}"


def _write(level: int, text: str, where: str, fields: Fields) -> None:
    if logger.isEnabledFor(level):
        # The kind of event is in the template, by which some collectors group records.
        template = f"stream %s {fields['stream_event']}: %s"
        line = f"{text}, {where}" if where else text
        room = MAX_LINE - len(template) - 4  # the id is longer than its two placeholders
        logger.log(level, template, fields["stream_id"] or "-", _short(line, room) if where else line, extra=fields)


def _short(value: str | None, limit: int = 32) -> str:
    """Shorten a value; the field has all of it."""
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

"""Publishes notices: to the log (WARNING for a fault, INFO for a recovery), the user's hook and OpenTelemetry."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from ..notices import Ended, FaultSeen, Notice, Recovering, Refused, ServerNotice
from ..redaction import redact_tail

logger = logging.getLogger("openai_stream_guard")
Listener: TypeAlias = Callable[[Notice], object]

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


def publish_raw(tail: bytes, credentials: Collection[str]) -> None:
    """Log the last bytes of a faulty attempt, which hold answer text. Called only with the setting `log_raw`."""
    logger.debug("raw tail of the faulty attempt: %r", redact_tail(tail, credentials))


def _log(notice: Notice) -> None:
    match notice:
        case FaultSeen(reason, number, attempt, host, model, hint):
            logger.warning(
                "stream fault: %s (%s), attempt %d, %d events, %d bytes, request id %s, host %s, model %s. %s",
                attempt.fault, reason, number, attempt.events, attempt.bytes, attempt.request_id, host, model, hint,
            )  # fmt: skip
        case Recovering(way, delay, number, host, model):
            logger.debug("asking again by %s in %.2f s, attempt %d, host %s, model %s", way, delay, number, host, model)
        case Refused(status, number, request_id, host, model):
            logger.warning(
                "re-issue refused: status %s, attempt %d, request id %s, host %s, model %s",
                status, number, request_id, host, model,
            )  # fmt: skip
        case ServerNotice(text, is_warning, host, model):
            logger.log(logging.WARNING if is_warning else logging.INFO, "%s, host %s, model %s", text, host, model)
        case Ended(report, stopped_by, host, model) if report.outcome == "recovered":
            logger.info(
                "stream recovered by %s in %d attempts, host %s, model %s",
                ", ".join(report.recoveries) or "asking again", len(report.attempts), host, model,
            )  # fmt: skip
        case Ended(report, stopped_by, host, model) if report.outcome == "failed":
            logger.debug("stream failed, stopped by %s, host %s, model %s", stopped_by, host, model)
        case Ended(report, _, host, model):
            logger.debug("stream %s, %d events, host %s, model %s", report.outcome, report.events, host, model)

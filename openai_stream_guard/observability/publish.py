"""Who is told of a notice: the log (a WARNING for a fault, an INFO for a recovery), the user's hook, OpenTelemetry."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from ..notices import Ended, FaultSeen, Notice, Recovering, Refused
from ..redaction import redact_tail

logger = logging.getLogger("openai_stream_guard")
Listener: TypeAlias = Callable[[Notice], object]

attached: list[Listener] = []
"""Who is told of every stream, while tests run; see `openai_stream_guard.testing`."""


def listeners(on_event: Listener | None) -> tuple[Listener, ...]:
    """Who listens to the stream that is being asked for: the user's hook, and OpenTelemetry where the program uses it.

    A program that does has imported it. Its libraries need no switch for that: where no SDK is set up, its API does
    nothing.
    """
    heard = () if on_event is None else (on_event,)
    if "opentelemetry.trace" not in sys.modules and "opentelemetry.metrics" not in sys.modules:
        return heard
    recorder = _recorder()
    return heard if recorder is None else (*heard, recorder())


@functools.cache
def _recorder() -> Callable[[], Listener] | None:
    try:
        from .opentelemetry import recorder
    except Exception as error:  # an old or a broken OpenTelemetry is no reason not to stream
        logger.warning("streams are not recorded by OpenTelemetry (%s: %s)", type(error).__name__, error)
        return None
    return recorder


def publish(notice: Notice, listeners: Sequence[Listener] = ()) -> None:
    """Log a notice and hand it to those who listen, whose errors are logged and go no further."""
    _log(notice)
    handled = sys.exc_info()[1]
    for listener in (*attached, *listeners):
        try:
            listener(notice)
        except Exception as error:
            _forget(error, handled)
            logger.exception("a listener to the notices raised (on_event is one); the stream goes on")


def _forget(error: BaseException, handled: BaseException | None) -> None:
    """Unlink the transport's exception, during which a notice may be given: its words may be the answer's."""
    while (before := error.__context__) is not None:
        if before is handled:
            error.__context__ = None
            return
        error = before


def publish_raw(tail: bytes, credentials: Collection[str]) -> None:
    """Log the last bytes of a faulty attempt, for those who asked for it by `log_raw`: they hold answer text."""
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
        case Ended(report, stopped_by, host, model) if report.outcome == "recovered":
            logger.info(
                "stream recovered by %s in %d attempts, host %s, model %s",
                ", ".join(report.recoveries) or "asking again", len(report.attempts), host, model,
            )  # fmt: skip
        case Ended(report, stopped_by, host, model) if report.outcome == "failed":
            logger.debug("stream failed, stopped by %s, host %s, model %s", stopped_by, host, model)
        case Ended(report, _, host, model):
            logger.debug("stream %s, %d events, host %s, model %s", report.outcome, report.events, host, model)

"""From notices to log records: one WARNING for a fault, one INFO for a recovery, no word of any answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .masking import masked
from .notices import Ended, FaultSeen, Notice, Recovering, Refused

logger = logging.getLogger("openai_stream_guard")


def publish(notice: Notice, on_event: Callable[[Notice], object] | None = None) -> None:
    """Log a notice and hand it to the user's hook, whose errors are logged and go no further."""
    _log(notice)
    if on_event is not None:
        try:
            on_event(notice)
        except Exception:
            logger.exception("on_event raised; the stream goes on")


def publish_raw(tail: bytes) -> None:
    """Log the last bytes of a faulty attempt, for those who asked for it by `log_raw`: they hold answer text."""
    logger.debug("raw tail of the faulty attempt: %r", masked(tail))


def _log(notice: Notice) -> None:
    match notice:
        case FaultSeen(reason, number, attempt, host, model):
            logger.warning(
                "stream fault: %s (%s), attempt %d, %d events, %d bytes, request id %s, host %s, model %s",
                attempt.fault, reason, number, attempt.events, attempt.bytes, attempt.request_id, host, model,
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

"""How long a stream is waited for, and whose limit that is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from .decisions import Timeouts

if TYPE_CHECKING:
    from .attempt_log import AttemptLog

Phase: TypeAlias = Literal["first_event", "events", "complete", "subscription"]
"""What is waited for: the first event, the next one, the end of a stream whose answer is complete, or whatever a stream
may bring that is not one answer."""


Deadline: TypeAlias = tuple[float, str]
"""When a stream has been waited for long enough, and the name of the limit."""


def next_deadline(phase: Phase, timeouts: Timeouts, log: AttemptLog, resumed_at: float, *, goes_on: bool) -> Deadline:
    """Return the first limit that a stream will reach if nothing more comes.

    Before the first event every byte is a sign of life, comments included: queues send them for minutes. After it only
    events are. A complete answer is waited for until the wire is silent, so that nothing behind a mark is lost. A
    subscription may have nothing to say for as long as its keep-alives come.

    Args:
        resumed_at: when the program asked for more; its own time is no silence of the stream.
        goes_on: whether this host is known to go on after its end marks.
    """
    last_byte = max(log.read_at, resumed_at)
    idle = (max(log.progress_at, resumed_at) + timeouts.idle, "idle_timeout")
    match phase:
        case "first_event":
            silence = (last_byte + timeouts.first_byte, "the request's read timeout")
            return min((log.progress_at + timeouts.first_event, "first_event_timeout"), silence)
        case "subscription":
            return (last_byte + timeouts.idle, "idle_timeout")
        case "complete" if timeouts.linger == math.inf:
            return (math.inf, "")
        case "complete" if not goes_on:
            return min((last_byte + timeouts.linger, "linger_timeout"), idle)
    return idle

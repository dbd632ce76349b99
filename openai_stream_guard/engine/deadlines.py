"""How long a stream is waited for, and whose limit that is."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

from .decisions import Timeouts

Phase: TypeAlias = Literal["first_event", "events", "complete"]
"""What is waited for: the first event, the next one, or the end of a stream whose answer is complete."""


class Deadline(NamedTuple):
    """When a stream has been waited for long enough, and the name of the limit."""

    at: float
    limit: str


def next_deadline(
    phase: Phase, timeouts: Timeouts, *, opened: float, last_byte: float, last_event: float, goes_on: bool
) -> Deadline:
    """Return the first limit that a stream will reach if nothing more comes.

    Before the first event every byte is a sign of life, comments included: queues send them for minutes. After it only
    events are. A complete answer is waited for until the wire is silent, so that nothing behind a mark is lost.

    Args:
        opened: when the attempt began.
        goes_on: whether this host is known to go on after its end marks.
    """
    idle = Deadline(last_event + timeouts.idle, "idle_timeout")
    match phase:
        case "first_event":
            silence = Deadline(last_byte + timeouts.first_byte, "the request's read timeout")
            return min(Deadline(opened + timeouts.first_event, "first_event_timeout"), silence)
        case "complete" if timeouts.linger == math.inf:
            return Deadline(math.inf, "")
        case "complete" if not goes_on:
            return min(Deadline(last_byte + timeouts.linger, "linger_timeout"), idle)
    return idle

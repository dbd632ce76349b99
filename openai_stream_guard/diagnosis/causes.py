"""From evidence to the likely cause and its remedy, by one ordered table: the first cause that applies is the answer.

A cause claims no more than its evidence shows: what was seen is stated as a fact, what follows from it as likely. The
times and defaults of products come from their own documentation.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..notices import Attempt, StoppedBy
from .cause import Cause
from .causes_bad_answer import BAD_ANSWER
from .causes_early_end import EARLY_END
from .causes_waiting import WAITING
from .evidence import Evidence

__all__ = ["CAUSES", "CLOSED", "Cause", "advice", "hint", "likely_causes"]

CAUSES: tuple[Cause, ...] = (*BAD_ANSWER, *EARLY_END, *WAITING)
"""In order of precedence."""

CLOSED = (
    "The stream was closed before it was read to its end: read it inside its `with` block, and before the client or "
    "the function that made it goes away."
)
"""Added to the HTTP library's own error for reading a closed stream, which is not a fault of the stream."""

_STOPS: dict[StoppedBy, str] = {
    "retries": "max_retries was reached.",
    "time": "Its host did not come back within `outage_timeout`, or nothing new came within `max_elapsed`.",
    "budget": "No token of this host's `retry_budget` could be had within `outage_timeout`, since re-issues broke too.",
    "policy": "The recovery policy allows no further recovery here.",
    "unsafe": "Sending this request again could repeat an effect.",
    "diverged": "This model does not repeat itself, so a second answer cannot be joined to what was delivered; "
    'with delivery="atomic" the second one may be another.',
    "not_retryable": "Asking again would not help.",
}


_UNSAFE_RESPONSE = (
    'A response with `store=False` can be asked for again, and with the setting background="always" each is resumed '
    "where it broke."
)


def likely_causes(evidence: Evidence) -> tuple[Cause, ...]:
    """Return every cause that the evidence points to, the likeliest first. Empty for most whole streams."""
    return tuple(cause for cause in CAUSES if cause.explains(evidence))


def advice(evidence: Evidence) -> str:
    """Return the likely cause and its remedy in one sentence. Empty for a whole stream in which nothing is odd."""
    likeliest = next((cause for cause in CAUSES if cause.explains(evidence)), None)
    return "" if likeliest is None else likeliest.advice(evidence)


def hint(evidence: Evidence, stopped_by: StoppedBy, attempts: Sequence[Attempt] = ()) -> str:
    """Return the likely cause and its remedy, and why recovery stopped."""
    sentences = [advice(evidence), _STOPS[stopped_by]]
    if stopped_by == "unsafe" and evidence.marks == "terminal_event":
        sentences.append(_UNSAFE_RESPONSE)
    if attempts and attempts[-1].error is not None:
        sentences.append(f"The last re-issue got no response ({attempts[-1].exception}).")
    return " ".join(sentences)

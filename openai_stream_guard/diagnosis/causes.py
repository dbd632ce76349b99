"""From evidence to the likely cause and its remedy, by one ordered table: the first cause that applies is the answer.

A cause claims no more than its evidence shows: what was seen is stated as a fact, what follows from it as likely. The
times and defaults of products come from their own documentation.
"""

from __future__ import annotations

from ..notices import StoppedBy
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
    "time": "max_elapsed was reached.",
    "budget": "The retry budget of this host is spent.",
    "policy": "The recovery policy allows no further recovery here.",
    "unsafe": "Sending this request again could repeat an effect.",
    "diverged": "This model does not repeat itself, so a second answer cannot be joined to what was delivered; "
    'with delivery="atomic" the second one may be another.',
    "not_retryable": "Asking again would not help.",
}


def likely_causes(evidence: Evidence) -> tuple[Cause, ...]:
    """Return every cause that the evidence points to, the likeliest first. Empty for most whole streams."""
    return tuple(cause for cause in CAUSES if cause.explains(evidence))


def advice(evidence: Evidence) -> str:
    """Return the likely cause and its remedy in one sentence. Empty for a whole stream in which nothing is odd."""
    causes = likely_causes(evidence)
    return causes[0].advice(evidence) if causes else ""


def hint(evidence: Evidence, stopped_by: StoppedBy) -> str:
    """Return the likely cause and its remedy, and why recovery stopped."""
    return f"{advice(evidence)} {_STOPS[stopped_by]}"

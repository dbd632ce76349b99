"""From evidence to the likely cause and its remedy: one table, in which the first row that applies is the answer.

A row claims no more than its evidence shows: what was seen is said as a fact, what follows from it as likely. Times
and defaults of products are those of their own documentation.
"""

from __future__ import annotations

from ..notices import StoppedBy
from .cause import Row
from .causes_bad_answer import ANSWERS
from .causes_early_end import CUTS
from .causes_waiting import WAITS
from .evidence import Evidence

__all__ = ["CLOSED", "ROWS", "Row", "advice", "explanations", "hint"]

ROWS: tuple[Row, ...] = (*ANSWERS, *CUTS, *WAITS)
"""Ordered: the first row that explains the evidence is the likely cause."""

CLOSED = (
    "The stream was closed before it was read to its end: read it inside its `with` block, and before the client or "
    "the function that made it goes away."
)
"""On the HTTP library's own error for reading a closed stream, which is no fault of the stream's."""


def explanations(evidence: Evidence) -> tuple[Row, ...]:
    """Every row that the evidence points to, the likeliest first; none for most streams that came out whole."""
    return tuple(row for row in ROWS if row.explains(evidence))


def advice(evidence: Evidence) -> str:
    """The likely cause of a fault and its remedy, in one sentence; empty for a whole stream that shows nothing odd."""
    found = explanations(evidence)
    return found[0].advice(evidence) if found else ""


_STOPS: dict[StoppedBy, str] = {
    "retries": "max_retries was reached.",
    "time": "max_elapsed was reached.",
    "budget": "The retry budget of this host is spent.",
    "policy": "The recovery policy allows no way on from here.",
    "unsafe": "Sending this request again could repeat an effect.",
    "diverged": "This model does not repeat itself, so a second answer cannot be joined to what was delivered; "
    'with delivery="atomic" the second one may be another.',
    "not_retryable": "Asking again would not help.",
}


def hint(evidence: Evidence, stopped_by: StoppedBy) -> str:
    """Likely cause and remedy, and why the guard went no further."""
    return f"{advice(evidence)} {_STOPS[stopped_by]}"

"""One entry of the table of causes: when it applies, and what to say."""

from __future__ import annotations

from collections.abc import Callable

from ..notices import FaultKind
from ..records import Record
from .evidence import Evidence, Party


class Cause(Record):
    """
    A likely cause of a fault, and its remedy.

    `claim` and `remedy` are the two halves of one sentence. They may name fields of the evidence as `{e.silence:.0f}`.
    """

    name: str
    faults: tuple[FaultKind | None, ...]
    """The faults that it can explain; None for a stream that arrived whole and shows this all the same."""
    applies: Callable[[Evidence], bool]
    claim: str
    remedy: str

    def explains(self, evidence: Evidence) -> bool:
        """Return whether the evidence points to this cause."""
        return evidence.fault in self.faults and self.applies(evidence)

    def claim_about(self, evidence: Evidence) -> str:
        """Return what was seen and what likely caused it, with the figures of this evidence."""
        return self.claim.format(e=evidence)

    def remedy_for(self, evidence: Evidence) -> str:
        """Return what helps, with the figures of this evidence."""
        return self.remedy.format(e=evidence)

    def advice(self, evidence: Evidence) -> str:
        """Return cause and remedy as one sentence."""
        return f"{self.claim_about(evidence)}: {self.remedy_for(evidence)}."


def always(e: Evidence) -> bool:
    """Apply to all evidence: for the last entry of a fault."""
    return True


def names(e: Evidence, party: Party) -> bool:
    """Return whether the response's headers name this product."""
    return party in e.clues.parties

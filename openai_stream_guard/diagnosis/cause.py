"""What a row of the table is: a cause, when it applies, and what to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..notices import FaultKind
from .evidence import Evidence, Party


@dataclass(frozen=True)
class Row:
    """One cause. Its texts may name times, as fields of `e`; together they make a sentence."""

    name: str
    faults: tuple[FaultKind | None, ...]
    """The faults it can explain; None for a stream that came out whole and yet shows this."""
    applies: Callable[[Evidence], bool]
    cause: str
    """Begins the sentence."""
    remedy: str
    """Ends it."""

    def explains(self, evidence: Evidence) -> bool:
        """Whether the evidence points to this."""
        return evidence.fault in self.faults and self.applies(evidence)

    def advice(self, evidence: Evidence) -> str:
        """The sentence for this evidence."""
        return f"{self.cause.format(e=evidence)}: {self.remedy.format(e=evidence)}."


def always(e: Evidence) -> bool:
    """Of the last row for a fault."""
    return True


def names(e: Evidence, party: Party) -> bool:
    """Whether the headers name this product."""
    return party in e.clues.parties

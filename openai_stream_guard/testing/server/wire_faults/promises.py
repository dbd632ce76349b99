"""What a guarded stream promises under a fault, as values, and whether an outcome keeps it.

It knows outcomes and nothing of how they came about: no server, no SDK.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What a consumer got out of one stream.

    `items` are the items as plain values, with the ids that differ from answer to answer taken out; `text` is
    all they say. `error` is the exception that ended the stream, `drop_in` whether it is an instance of the
    class that the unguarded SDK raises there (True where that raises none), and `warnings` counts the guard's
    log records at WARNING and above. A stream on which somebody had to hang up, because nothing more came, is
    a `hang`.
    """

    items: tuple[object, ...]
    text: str
    requests: int
    error: Exception | None = None
    drop_in: bool = True
    warnings: int = 0
    hang: bool = False


@dataclass(frozen=True, slots=True)
class Equal:
    """Odd but healthy: exactly the items of the healthy stream, in one request, and not a word of warning."""

    def __str__(self) -> str:
        return "equal"

    def kept(self, outcome: Outcome, reference: Outcome) -> bool:
        """Whether the outcome is as promised, given the unguarded outcome of the unbroken answer."""
        return Whole(requests=1).kept(outcome, reference) and outcome.warnings == 0


@dataclass(frozen=True, slots=True)
class Whole:
    """Broken, but it comes out as the healthy stream does, in at most so many requests."""

    requests: int

    def __str__(self) -> str:
        return "whole in 1" if self.requests == 1 else f"whole in <= {self.requests}"

    def kept(self, outcome: Outcome, reference: Outcome) -> bool:
        """Whether the outcome is as promised, given the unguarded outcome of the unbroken answer."""
        if outcome.error is not None or outcome.hang:
            return False
        return outcome.items == reference.items and outcome.requests <= self.requests


@dataclass(frozen=True, slots=True)
class Raises:
    """The typed error with this `fault`, after so many requests, with only a true prefix delivered."""

    fault: str
    requests: int

    def __str__(self) -> str:
        return self.fault

    def kept(self, outcome: Outcome, reference: Outcome) -> bool:
        """Whether the outcome is as promised, given the unguarded outcome of the unbroken answer."""
        if getattr(outcome.error, "fault", None) != self.fault or not outcome.drop_in or outcome.hang:
            return False
        delivered = len(outcome.items)
        return outcome.items == reference.items[:delivered] and outcome.requests == self.requests


Promise: TypeAlias = Equal | Whole | Raises

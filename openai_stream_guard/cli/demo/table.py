"""The demo's table: the text of each cell, the width of each column, the colors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ...testing import Outcome, Raises
from ..terminal import BOLD, GREEN, RED, paint
from .rows import Row

HEADINGS: Final = ("fault", "SDK alone", "guarded", "promised", "requests", "s")
WIDTHS: Final = (29, 25, 22, 14, 8, 4)
"""Of the columns; with the mark in front, a line has 109 characters."""
LEGEND: Final = (
    "Characters delivered/expected, and what was wrong. `after 6`: the fault strikes after six events.\n"
    "`X`: a promise was broken. Requests and seconds are those of the guarded stream."
)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcomes of one row: unguarded, guarded, and of the healthy stream that both are compared with."""

    row: Row
    reference: Outcome
    alone: Outcome
    guarded: Outcome
    seconds: float

    @property
    def alone_is_right(self) -> bool:
        """Whether the SDK alone delivered exactly the healthy stream, or raised where no answer can be had."""
        if isinstance(self.row.promise, Raises):
            return self.alone.error is not None and not self.alone.hang
        return _is_right(self.alone, self.reference)

    @property
    def kept(self) -> bool:
        """Whether the guarded stream kept the promise."""
        return self.row.promise.kept(self.guarded, self.reference)


def heading() -> str:
    """Return how to read the table, and the names of its columns."""
    return f"{LEGEND}\n\n{paint(' '.join([' ', *_columns(*HEADINGS)]), BOLD)}"


def line(result: Result) -> str:
    """Return one row of the table; an `X` in front marks a broken promise, for terminals without color too."""
    name, alone, guarded, *rest = _columns(
        result.row.name,
        _cell(result.alone, result.reference),
        _cell(result.guarded, result.reference),
        str(result.row.promise),
        str(result.guarded.requests),
        f"{result.seconds:.1f}",
    )
    mark = " " if result.kept else "X"
    alone = paint(alone, GREEN if result.alone_is_right else RED)
    guarded = paint(guarded, GREEN if result.kept else RED)
    return " ".join([mark, name, alone, guarded, *rest])


def summary(results: list[Result]) -> str:
    """Return the last line."""
    alone = sum(result.alone_is_right for result in results)
    kept = sum(result.kept for result in results)
    return f"{len(results)} faults: SDK alone right in {alone}, guarded right in {kept}"


def _columns(*cells: str) -> list[str]:
    words = [cell.ljust(width) for cell, width in zip(cells[:4], WIDTHS[:4], strict=True)]
    return words + [cell.rjust(width) for cell, width in zip(cells[4:], WIDTHS[4:], strict=True)]


def _cell(outcome: Outcome, reference: Outcome) -> str:
    """Return how many characters arrived, and what is wrong, if anything is."""
    wrong = "" if _is_right(outcome, reference) else _wrong(outcome, reference)
    return f"{len(outcome.text)}/{len(reference.text)} {wrong}".rstrip()


def _wrong(outcome: Outcome, reference: Outcome) -> str:
    if outcome.hang:
        return "hang"
    if outcome.error is not None:
        return str(getattr(outcome.error, "fault", type(outcome.error).__name__))
    if outcome.text != reference.text:
        return "silently short"
    return "event lost" if len(outcome.items) < len(reference.items) else "bogus event"


def _is_right(outcome: Outcome, reference: Outcome) -> bool:
    return outcome.error is None and not outcome.hang and outcome.items == reference.items

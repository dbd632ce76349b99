"""The demo's table: the text of each cell, the width of each column, the colors."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ...capture.folder import versions
from ...testing import Equal, Outcome, Raises
from ..terminal import BOLD, DIM, GREEN, RED, can_print, paint
from .rows import Row

HEADINGS: Final = ("fault", "SDK alone", "guarded", "promised", "requests", "s")
WIDTHS: Final = (29, 27, 23, 13, 8, 4)
"""Of the columns. With spaces between them a line has 109 characters."""
MEANING: Final = (
    "Right is exactly the healthy stream, nothing missing and nothing twice; or an exception if there is no answer."
)
LEGEND: Final = (
    "{right} right, {wrong} wrong; then the characters delivered of those expected, and what ended or spoiled it.\n"
    "`after 6`: the fault strikes after six events. Requests and seconds (s) are those of the guarded stream."
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

    @property
    def is_healthy(self) -> bool:
        """Whether the stream is odd, but healthy."""
        return isinstance(self.row.promise, Equal)


def marks() -> tuple[str, str]:
    """Return the marks for right and wrong, in characters that standard output has."""
    return ("✓", "✗") if can_print("✓✗") else ("+", "X")


def heading() -> str:
    """Return what is compared, how to read the table, and the names of its columns."""
    found = {"openai-stream-guard": "of an unknown version", **versions()}
    packages = ", ".join(f"{name} {found[name]}" for name in ("openai-stream-guard", "openai"))
    right, wrong = marks()
    columns = paint(" ".join(_padded(*HEADINGS)).rstrip(), BOLD)
    about = paint(f"{packages}, Python {platform.python_version()} on {sys.platform}", DIM)
    return f"{about}\n\n{MEANING}\n{LEGEND.format(right=right, wrong=wrong)}\n\n{columns}"


def line(result: Result) -> str:
    """Return one row of the table. Its marks say what is right where there is no color."""
    right, wrong = marks()
    name, alone, guarded, *rest = _padded(
        result.row.name,
        f"{right if result.alone_is_right else wrong} {_described(result.alone, result.reference)}",
        f"{right if result.kept else wrong} {_described(result.guarded, result.reference)}",
        str(result.row.promise),
        str(result.guarded.requests),
        f"{result.seconds:.1f}",
    )
    alone = paint(alone, GREEN if result.alone_is_right else RED)
    guarded = paint(guarded, GREEN if result.kept else RED)
    return " ".join([name, alone, guarded, *rest])


def summary(results: Sequence[Result]) -> str:
    """Return the last lines: healthy streams and faults are counted apart."""
    groups = {
        "odd but healthy streams": [result for result in results if result.is_healthy],
        "faults": [result for result in results if not result.is_healthy],
    }
    return "\n".join(
        f"{len(group)} {name}: the SDK alone is right in {sum(result.alone_is_right for result in group)}, "
        f"guarded in {sum(result.kept for result in group)}"
        for name, group in groups.items()
        if group
    )


def _padded(*cells: str) -> list[str]:
    words = [cell.ljust(width) for cell, width in zip(cells[:4], WIDTHS[:4], strict=True)]
    return words + [cell.rjust(width) for cell, width in zip(cells[4:], WIDTHS[4:], strict=True)]


def _described(outcome: Outcome, reference: Outcome) -> str:
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

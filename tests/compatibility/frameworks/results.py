"""What the trials came to, as a file that is kept, and as the table of the page beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.support.pages import put_between

from .cases import CASES
from .roster import FRAMEWORKS, find
from .trial import GUARDS, Guard, Outcome

FILE = Path(__file__).parent / "results.json"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- python -m tests.compatibility.frameworks: begin -->", "<!-- end -->"

PLURALS = {
    "whole": "whole",
    "typed error": "typed errors",
    "other error": "other errors",
    "silent half": "silent halves",
    "wrong tool call": "tools called with half the arguments",
    "not the answer": "wrong texts",
    "hang": "hangs",
}
SINGULARS = {"not the answer": "wrong text", "wrong tool call": "tool called with half the arguments"}


@dataclass(frozen=True)
class Row:
    """One run of one program."""

    program: str
    case: str
    guard: Guard
    outcome: Outcome

    @property
    def broken(self) -> bool:
        """Whether anything was wrong with the stream."""
        return next(case.fault for case in CASES if case.name == self.case) is not None

    @property
    def reached(self) -> bool:
        """Whether the stream was the SDK's."""
        return next(one.reached for framework in FRAMEWORKS for one in framework.programs if one.name == self.program)


@dataclass(frozen=True)
class Trial:
    """All runs of one framework, and what was installed."""

    framework: str
    versions: dict[str, str]
    """Distribution → version: the framework's own package first, then openai, httpx, httpx2."""
    made: str
    python: str
    rows: list[Row] = field(default_factory=list)


def unkept(trial: Trial) -> list[Row]:
    """The guarded runs that did not come to what the guard promises."""
    allowed = (
        {"whole", "typed error"} if find(trial.framework).keeps_causes else {"whole", "typed error", "other error"}
    )
    return [
        row
        for row in trial.rows
        if row.guard != "off" and row.reached and row.outcome.verdict not in (allowed if row.broken else {"whole"})
    ]


def load() -> list[Trial]:
    """The trials that are kept, in the roster's order."""
    if not FILE.exists():
        return []
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    return [
        Trial(**{**trial, "rows": [Row(**{**row, "outcome": Outcome(**row["outcome"])}) for row in trial["rows"]]})
        for trial in kept
    ]


def save(trials: Iterable[Trial]) -> None:
    """Keep these trials in place of older ones of the same frameworks."""
    kept = {trial.framework: trial for trial in [*load(), *trials]}
    written = [_written(kept[one.name]) for one in FRAMEWORKS if one.name in kept]
    FILE.write_text("[\n" + ",\n".join(written) + "\n]\n", encoding="utf-8")


def _written(trial: Trial) -> str:
    """JSON with a line for each run, so that a difference can be read."""
    head = {key: value for key, value in asdict(trial).items() if key != "rows"}
    rows = ",\n".join("  " + json.dumps(asdict(row), ensure_ascii=False) for row in trial.rows)
    return json.dumps(head, ensure_ascii=False)[:-1] + ', "rows": [\n' + rows + "\n]}"


def table(trials: Iterable[Trial]) -> str:
    """The README's table: a line for each framework."""
    lines = [
        "| framework | with openai | unguarded | guarded, broken once | guarded, broken every time |",
        "|---|---|---|---|---|",
    ]
    for trial in trials:
        package, version = next(iter(trial.versions.items()))
        for reached in (True, False):
            rows = [row for row in trial.rows if row.broken and row.reached is reached]
            if rows:
                name = f"{trial.framework}: `{package}` {version}"
                name += "" if reached else f", `{', '.join(sorted({row.program for row in rows}))}`"
                counts = [_counted(row.outcome for row in rows if row.guard == guard) for guard in GUARDS]
                lines.append(f"| {name} | {trial.versions['openai']} | {' | '.join(counts)} |")
    return "\n".join(lines)


def _counted(outcomes: Iterable[Outcome]) -> str:
    """How many of each there are, the good ones first."""
    found = Counter(outcome.verdict for outcome in outcomes)
    return ", ".join(_count(verdict, found[verdict]) for verdict in PLURALS if found[verdict])


def _count(verdict: str, count: int) -> str:
    return f"{count} {SINGULARS.get(verdict, verdict) if count == 1 else PLURALS[verdict]}"


def rewrite_readme() -> None:
    """Put the table of what is kept between its two marks. Raises `ValueError` where they are missing."""
    put_between(README, BEGIN, END, table(load()))

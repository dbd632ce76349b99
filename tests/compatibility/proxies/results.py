"""What came of the trials, as a file that is kept, and as the table of the page beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.pages import put_between

from .cases import BROKEN, CLOSES, EXAMINED, PACED, SILENT, Case
from .roster import PROXIES

FILE = Path(__file__).parent / "results.json"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- python -m tests.compatibility.proxies: begin -->", "<!-- end -->"

SHORTLY = {"APIConnectionError": "error", "APITimeoutError": "waits", "whole": "retries by itself"}
"""How the table calls what the SDK alone comes to, where it is not called so already."""


@dataclass(frozen=True)
class Row:
    """All that was tried with one proxy in one configuration; each by the name of the case."""

    proxy: str
    version: str
    made: str
    alone: Mapping[str, str]
    """What the SDK alone came to."""
    guarded: Mapping[str, str]
    every_time: str
    """The same where the server ends every answer early."""
    doctor: Mapping[str, str]
    """The doctor's verdict, and after it what it names first."""


def unkept(row: Row) -> list[str]:
    """The guarded streams that did not come to what the guard promises."""
    found = [f"{row.proxy}: {case}: {words}" for case, words in row.guarded.items() if words != "whole"]
    if row.every_time != "OpenAIStreamParseError":
        found.append(f"{row.proxy}: every time: {row.every_time}")
    return found


def load() -> list[Row]:
    """The rows that are kept, in the roster's order."""
    if not FILE.exists():
        return []
    return [Row(**row) for row in json.loads(FILE.read_text(encoding="utf-8"))]


def save(rows: Iterable[Row]) -> None:
    """Keep these rows in place of older ones of the same configurations."""
    kept = {row.proxy: row for row in [*load(), *rows]}
    written = [json.dumps(asdict(kept[one.name]), ensure_ascii=False) for one in PROXIES if one.name in kept]
    FILE.write_text("[\n" + ",\n".join(written) + "\n]\n", encoding="utf-8")


def table(rows: Iterable[Row]) -> str:
    """The README's table: a line for each configuration."""
    lines = [
        "| proxy | the server closes: the SDK alone | it goes silent: the SDK alone | guarded, broken once | "
        "the doctor, of a healthy server | of one that closes | of one that goes silent |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name, comma, directives = row.proxy.partition(", ")
        alone = [SHORTLY.get(row.alone[case.name], row.alone[case.name]) for case in (CLOSES, SILENT)]
        said = [_said(row, case) for case in (PACED, CLOSES, SILENT)]
        guarded = ", ".join(dict.fromkeys(row.guarded[case.name] for case in BROKEN))
        lines.append(f"| {name} {row.version}{comma}{directives} | {' | '.join([*alone, guarded, *said])} |")
    return "\n".join(lines)


def _said(row: Row, case: Case) -> str:
    verdict, _, named = row.doctor[case.name].partition(": ")
    return f"`{named}`" if named else verdict


def rewrite_readme() -> None:
    """Put the table of what is kept between its two marks. Raises `ValueError` where they are missing."""
    put_between(README, BEGIN, END, table(load()))


CASES = {"alone": BROKEN, "guarded": BROKEN, "doctor": EXAMINED}
"""Which cases each part of a row is about."""

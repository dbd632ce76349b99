"""The pages of the documentation, and the one reader of their sections, tables and programs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
RECOVERY = ROOT / "openai_stream_guard" / "engine" / "README.md"
APIS = ROOT / "openai_stream_guard" / "apis" / "README.md"
OBSERVABILITY = ROOT / "openai_stream_guard" / "observability" / "README.md"
TESTING = ROOT / "openai_stream_guard" / "testing" / "README.md"
DOCTOR = ROOT / "openai_stream_guard" / "cli" / "doctor" / "README.md"
CAPTURES = ROOT / "openai_stream_guard" / "capture" / "README.md"
SUPPORT = ROOT / ".github" / "SUPPORT.md"
SECURITY = ROOT / ".github" / "SECURITY.md"
CONTRIBUTING = ROOT / ".github" / "CONTRIBUTING.md"
MATRIX = ROOT / ".ci" / "README.md"
BENCHMARK = ROOT / "tests" / "benchmark" / "README.md"
PROOF = ROOT / "tests" / "proof" / "README.md"


def read(page: Path) -> str:
    """All of a page."""
    return page.read_text(encoding="utf-8")


def section(page: Path, heading: str) -> str:
    """What stands below a heading of the second level; an unknown heading fails the test."""
    _, found, after = read(page).partition(f"\n## {heading}\n")
    assert found, f"{page.relative_to(ROOT)} has no section {heading!r}"
    return after.partition("\n## ")[0]


def table(text: str, first: str) -> list[list[str]]:
    """The cells of the one table whose first column has this name, without its head."""
    (found,) = [block for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE) if block.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found.splitlines()[2:]]


def programs(page: Path, language: str = "python") -> list[str]:
    """The blocks of code in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE)


def anchor(heading: str) -> str:
    """What a heading is linked by, on GitHub and on PyPI."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def put_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two marks. Raises `ValueError` where they are missing."""
    before, begun, rest = read(page).partition(begin)
    _, ended, behind = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"{page.name} lacks {begin} or {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{behind}", encoding="utf-8")

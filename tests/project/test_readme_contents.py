"""The law: the README's table of contents is its sections, in their order, and each of its links leads to one."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)


def anchor(heading: str) -> str:
    """What a heading is linked by, on GitHub and on PyPI."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


LINK = re.compile(r"\[([^]]+)\]\(#([^)]+)\)")


def test_contents_are_the_sections_that_follow_them() -> None:
    """All of them, once, in order, under their own names."""
    *_, last = contents = [
        link for line in re.findall(r"^- \*\*.*$", PROSE, re.MULTILINE) for link in LINK.findall(line)
    ]
    _, _, after = PROSE.partition(f"](#{last[1]})\n")
    assert contents == [(heading, anchor(heading)) for heading in re.findall(r"^## (.*)$", after, re.MULTILINE)]


def test_every_link_within_leads_to_a_section() -> None:
    """Wherever it stands."""
    sections = {anchor(heading) for heading in re.findall(r"^## (.*)$", PROSE, re.MULTILINE)}
    assert {name for _, name in LINK.findall(PROSE)} <= sections

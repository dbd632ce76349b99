"""The law: the README's table of contents is its sections, in their order, and each of its links leads to one."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)


def anchor(heading: str) -> str:
    """What a heading is linked by, on GitHub and on PyPI."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_contents_are_the_sections_that_follow_them() -> None:
    """All of them, once, in order, under their own names."""
    contents = re.findall(r"\[([^]]+)\]\(#([^)]+)\)", PROSE)
    _, _, after = PROSE.partition(f"](#{contents[-1][1]})")
    assert contents == [(heading, anchor(heading)) for heading in re.findall(r"^## (.*)$", after, re.MULTILINE)]

"""What the GitHub workflows run is pinned, and holds no more rights than it needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(workflow: Path) -> None:
    """A tag can be moved, a commit cannot; the tag stands behind it, for people and for Dependabot."""
    used = re.findall(r"uses: (.+)", workflow.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.match(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\b", action), action


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_no_step_finds_credentials(workflow: Path) -> None:
    """A checkout leaves none behind, and a workflow begins without the right to write."""
    text = workflow.read_text(encoding="utf-8")
    checkouts = text.count("uses: actions/checkout@")
    assert len(re.findall(r"uses: actions/checkout@.*\n +with:\n +persist-credentials: false\n", text)) == checkouts
    assert re.search(r"^permissions:(?: \{\}|\n  contents: read)$", text, re.MULTILINE)

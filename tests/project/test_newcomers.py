"""The law: every path, test and command that `tests/README.md` names is there, and every room has its row."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
README = (TESTS / "README.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`((?:\w+/)+(?:[\w.]+(?:::\w+)?)?)`", README)) - {"unit/a/test_b.py"})


@pytest.mark.parametrize("path", [path for path in PATHS if not path.startswith("openai_stream_guard/")])
def test_what_is_named_is_there(path: str) -> None:
    """A file or folder, and the test in it."""
    file, _, name = path.partition("::")
    assert (TESTS / file).exists()
    assert not name or f"def {name}(" in (TESTS / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", README))))
def test_a_command_can_be_run(module: str) -> None:
    """As a module of its own."""
    assert importlib.util.find_spec(module) is not None


def test_every_room_has_its_row() -> None:
    """No folder of tests goes without a word."""
    rooms = {path.name for path in TESTS.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert rooms <= set(re.findall(r"^\| `(\w+)/` \|", README, re.MULTILINE))

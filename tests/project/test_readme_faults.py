"""The README's table of faults is the fault kit."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from openai_stream_guard.testing.faults.injections import INJECTIONS

README = Path(__file__).parents[2] / "README.md"
FOR_ALL = {"times", "every"}


def test_every_fault_has_its_row() -> None:
    """Its name and what it may be told, in the order of its signature; no row is about anything else."""
    section = README.read_text(encoding="utf-8").partition("## Test your own code")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", section, re.MULTILINE))
    takes = {name: ", ".join(one for one in inspect.signature(make).parameters if one not in FOR_ALL)
             for name, make in INJECTIONS.items()}  # fmt: skip
    assert rows == takes

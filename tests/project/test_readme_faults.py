"""The page's table of faults is the fault kit."""

from __future__ import annotations

import inspect
import re

from openai_stream_guard.testing.faults.injections import INJECTIONS
from tests.support.pages import TESTING, section

FOR_ALL = {"times", "every"}


def test_every_fault_has_its_row() -> None:
    """Its name and what it may be told, in the order of its signature; no row is about anything else."""
    rows = dict(re.findall(r"^\| `(\w+)\((.*?)\)` \|", section(TESTING, "Faults"), re.MULTILINE))
    takes = {name: ", ".join(one for one in inspect.signature(make).parameters if one not in FOR_ALL)
             for name, make in INJECTIONS.items()}  # fmt: skip
    assert rows == takes

"""The law: a type checker refuses a misspelt setting wherever one can be given, and accepts what is right."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("misspelt_program.py")
CHECKERS = {
    "mypy": ("--strict", "--no-incremental", "--python-executable", sys.executable),
    "pyright": ("--pythonpath", sys.executable),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", CHECKERS)
def test_misspelt_settings_are_refused(checker: str, tmp_path: Path) -> None:
    """Exactly the lines marked as wrong have an error."""
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    lines = PROGRAM.read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    done = subprocess.run(
        [sys.executable, "-m", checker, *CHECKERS[checker], str(PROGRAM)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    found = {int(number) for number in re.findall(r"misspelt_program\.py:(\d+):\S* ?-? ?error", done.stdout)}
    assert found == expected, done.stdout + done.stderr
    assert expected

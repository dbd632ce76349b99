"""What the pytest plugin costs a run that does not use it: `python -m tests.benchmark.plugin_cost` prints it.

Loading is timed in interpreters of their own that have imported pytest already; the cost of a test is the difference
between runs of many empty tests, with the plugin and without, in turn.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGIN = "openai_stream_guard.pytest_plugin"
SAMPLES = 15
TESTS = 3000
RUNS = 5
LOADING = "import time, pytest; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
RUNNING = """
import os, sys, time, pytest
os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
start = time.perf_counter()
pytest.main([*sys.argv[1:], "-q", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "test_empty.py"])
print(time.perf_counter() - start)
"""


def seconds(code: str, *arguments: str, folder: Path = ROOT) -> float:
    """What a fresh interpreter prints last."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def loading(module: str) -> float:
    """The median time of importing a module."""
    return statistics.median(seconds(LOADING.format(module=module)) for _ in range(SAMPLES))


def a_test(folder: Path, *options: str) -> float:
    """The time of one empty test."""
    return seconds(RUNNING, *options, folder=folder) / TESTS


if __name__ == "__main__":
    for module in (PLUGIN, "wrapt", "openai"):
        print(f"import {module:<36} {1e3 * loading(module):8.1f} ms")
    with tempfile.TemporaryDirectory() as name:
        empty = Path(name)
        (empty / "test_empty.py").write_text(
            f"import pytest\n@pytest.mark.parametrize('n', range({TESTS}))\ndef test_it(n): pass\n"
        )
        pairs = [(a_test(empty), a_test(empty, "-p", PLUGIN)) for _ in range(RUNS)]
    without, more = statistics.median(one for one, _ in pairs), statistics.median(two - one for one, two in pairs)
    print(f"an empty test {1e6 * without:37.1f} µs, and with the plugin {1e6 * more:.1f} µs more")

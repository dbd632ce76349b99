"""Plants errors into a copy of the package, one at a time, and runs the tests that belong to the file.

    python -m tests.proof.planted [--only TEXT ...] [--jobs N] [--quick] [--list]

Prints for each error whether its tests found it and which was the first; exit status 1 where one was not found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = "openai_stream_guard"


class Planted(NamedTuple):
    """An error in one file of the package."""

    file: str
    """Its path below `openai_stream_guard/`."""
    effect: str
    """What is wrong then; the name of the error."""
    found_by: str
    """The test that finds it, below `tests/`."""
    old: str
    """Stands exactly once in the file."""
    new: str


PLANTED = [Planted(**json.loads(line)) for line in Path(__file__).with_suffix(".jsonl").read_text("utf-8").splitlines()]
"""All errors, a line each in `planted.jsonl`."""
SECONDS = 600.0
"""For the tests of one error. An error that makes them hang is found too."""
BEHAVIOUR = {
    "decoding": ("test_hostile_servers", "test_real_servers"),
    "apis": ("test_real_servers", "test_real_servers_laws", "test_responses_recovery", "test_media", "test_continue"),
    "engine": ("test_giving_up", "test_deadlines", "test_held_delivery", "test_responses_recovery"),
    "transport": ("test_deadlines", "test_raw_readers", "test_interruption", "test_guest", "test_sdk_closing"),
    "sdk": ("test_sdk_reissue", "test_raw_readers", "test_guest", "test_responses_doors", "test_held_delivery"),
}
"""For each room of the package, the files of `tests/behaviour` that see the effect of its errors."""


def groups_for(error: Planted) -> Iterator[list[str]]:
    """What to run, in groups: the test that is known to find it, the unit tests of its room, those over sockets."""
    room, _, _ = error.file.partition("/")
    yield ["-m", "", f"tests/{error.found_by}"]
    yield [f"tests/unit/{room}"]
    yield [f"tests/behaviour/{stem}.py" for stem in BEHAVIOUR[room]]


def copy_of_repository(folder: Path) -> Path:
    """Copy what the tests need."""
    copy = folder / "repository"
    ignored = shutil.ignore_patterns("__pycache__", ".git", ".*_cache", ".hypothesis", ".nox", "*.egg-info", "dist")
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


def found_by(error: Planted, copy: Path, groups: int | None) -> str | None:
    """The first test of so many groups that fails with an error in its place; None where all pass."""
    file = copy / PACKAGE / error.file
    healthy = file.read_text("utf-8")
    file.write_text(healthy.replace(error.old, error.new, 1), "utf-8")
    try:
        tried = (_first_failure(copy, tests) for tests in islice(groups_for(error), groups))
        return next(filter(None, tried), None)
    finally:
        file.write_text(healthy, "utf-8")


def failing_without(copy: Path, errors: Sequence[Planted]) -> set[str]:
    """Of the tests that find these errors those that fail without any, which then prove nothing."""
    return _failures(copy, ["-m", "", *sorted({f"tests/{error.found_by}" for error in errors})])


def _first_failure(copy: Path, tests: Sequence[str]) -> str | None:
    return next(iter(_failures(copy, ["-x", *tests])), None)


def _failures(copy: Path, tests: Sequence[str]) -> set[str]:
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "PY_COLORS": "0"}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
    try:
        run = subprocess.run(
            [*command, *tests], cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"none: the tests did not end"}
    if run.returncode == 0:
        return set()
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+?::\w+)", run.stdout, re.MULTILINE)
    return set(failed) or {(run.stdout + run.stderr).strip().rpartition("\n")[2]}


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 if an error was not found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.planted", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="TEXT", help="errors with one of these in their file or effect"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="errors that are tried at the same time (1)")
    parser.add_argument("--quick", action="store_true", help="run only the test that is known to find each")
    parser.add_argument("--list", action="store_true", help="print the errors, and try none")
    options = parser.parse_args(arguments)
    chosen = [error for error in PLANTED if any(text in f"{error.file}: {error.effect}" for text in options.only)]
    if options.list:
        print(*(f"{error.file}: {error.effect}" for error in chosen), sep="\n")
        return 0
    missed, start = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            copies.put(copy := copy_of_repository(Path(folder, str(number))))
        unfit = failing_without(copy, chosen)
        print(*(f"{test} fails without any error" for test in sorted(unfit)), sep="\n", end="\n" if unfit else "")
        chosen = [error for error in chosen if f"tests/{error.found_by}" not in unfit]

        def try_one(error: Planted) -> str | None:
            copy = copies.get()
            try:
                return found_by(error, copy, 1 if options.quick else None)
            finally:
                copies.put(copy)

        for error, test in zip(chosen, pool.map(try_one, chosen), strict=True):
            missed += test is None
            print(f"{'found' if test else 'NOT FOUND':10}{error.file}: {error.effect}", flush=True)
            if test and not test.endswith(error.found_by):
                print(f"{'':10}not by its own test, but by {test}", flush=True)
    print(f"{len(chosen)} errors, {missed} not found, {time.monotonic() - start:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

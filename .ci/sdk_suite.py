"""Hold the guard to the SDK's own tests: what passes without it has to pass with it.

    python .ci/sdk_suite.py                        the newest openai
    python .ci/sdk_suite.py 2.54.0 1.109.1         these releases
    python .ci/sdk_suite.py --streams              only the test files that ask for streams or serve them

For each release: download its sdist, which contains its tests; make an environment with what they need; run them
without the guard, with it but without recovery, and with every default (but for the pauses and the budget, which
would only take time). A `.pth` file loads the guard into every process of the run, those that tests start included.
A test that passes without the guard and not with it is an error, unless `sdk_suite.json` gives the reason why the new
behaviour is the promise. A test that differs is run again, in both ways and without anything beside it; what does
not differ then is called unsteady. Prints a table for each release and exits with 1 on an unexpected difference.

Needs a package index, and about a minute for each 3,000 tests. PYTHON=… chooses the interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DATA: dict[str, Any] = json.loads((HERE / "sdk_suite.json").read_text(encoding="utf-8"))
GUARDED = {"OPENAI_STREAM_GUARD": "1", "OPENAI_STREAM_GUARD_ON_EVENT": "sdk_probe:note"}
WAYS: dict[str, dict[str, str]] = {
    "without the guard": {},
    "recovery none": {**GUARDED, "OPENAI_STREAM_GUARD_RECOVERY": "none"},
    "every default": {
        **GUARDED,
        "OPENAI_STREAM_GUARD_BACKOFF_INITIAL": "0.001",
        "OPENAI_STREAM_GUARD_RETRY_BUDGET": "none",
    },
}
ALONE, NO_RECOVERY, DEFAULTS = WAYS
STREAMING = re.compile(r"event-stream|stream=True|Stream(?:State)?\[|\.stream\(")
"""In 3.54.0 all 37 files that bring a stream to the decoder say so, and six others."""
LOADER = """{side}
import os; os.environ.get("OPENAI_STREAM_GUARD") and __import__("openai_stream_guard")
"""


@dataclass
class Run:
    """One run of some tests."""

    results: dict[str, str] = field(default_factory=dict)
    """Test → passed, failed or skipped."""
    words: dict[str, str] = field(default_factory=dict)
    """Failed test → the first line of what was wrong."""
    streams: Counter[str] = field(default_factory=Counter)
    """Outcome → guarded streams that had it."""
    active: list[bool] = field(default_factory=list)
    """For each process, whether its streams were guarded."""

    def add(self, row: dict[str, Any]) -> None:
        if "active" in row:
            self.active.append(row["active"])
        elif "stream" in row:
            self.streams[row["outcome"]] += 1
        elif self.results.get(row["test"], "passed") == "passed":
            self.results[row["test"]], self.words[row["test"]] = row["result"], row["words"]

    def lacks(self, other: Run) -> list[str]:
        """What passes in `other` and not here."""
        return [name for name, result in other.results.items() if result == "passed" != self.results.get(name)]


@dataclass(frozen=True)
class Suite:
    """The tests of one release, in an environment of their own."""

    version: str
    source: Path
    python: Path
    work: Path

    @classmethod
    def fetch(cls, wanted: str, work: Path) -> Suite:
        """Download a release's sdist (the newest's for an empty `wanted`) and install what its tests need."""
        work.mkdir(parents=True)
        base = os.environ.get("PYTHON", sys.executable)
        requirement = f"openai=={wanted}" if wanted else "openai"
        _call(base, "-m", "pip", "download", "-q", "--no-binary", "openai", "--no-deps", "-d", work, requirement)
        (sdist,) = work.glob("openai-*.tar.gz")
        version = sdist.name.removeprefix("openai-").removesuffix(".tar.gz")
        with tarfile.open(sdist) as archive:
            archive.extractall(work, filter="data")
        _call(base, "-m", "venv", work / "venv")
        python = work / "venv" / "bin" / "python"
        needed = [*DATA["requirements"]["all"], *DATA["requirements"][version.partition(".")[0]]]
        _call(python, "-m", "pip", "install", "-q", "wrapt", f"openai=={version}", *needed)
        _load_guard(python, work / "side")
        return cls(version, work / f"openai-{version}", python, work)

    def files(self, *, streams: bool) -> list[str]:
        """The test files to run."""
        found = sorted(path.relative_to(self.source) for path in (self.source / "tests").rglob("test_*.py"))
        return [
            str(path)
            for path in found
            if not any(path.match(left) or left in map(str, path.parents) for left in DATA["left_out"])
            and (not streams or STREAMING.search((self.source / path).read_text(encoding="utf-8")))
        ]

    def run(self, way: str, files: list[str], jobs: int) -> Run:
        """Run some test files."""
        record = self.work / "record.jsonl"
        record.write_text("")
        kept = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith(("OPENAI_", "PYTEST_")) and name != "PYTHONPATH"
        }
        options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "--tb=short", "-n", str(jobs)]
        done = subprocess.run(
            [self.python, "-m", "pytest", *options, *files],
            cwd=self.source,
            env={**kept, **WAYS[way], "PYTEST_PLUGINS": "sdk_probe", "SDK_SUITE_RECORD": str(record)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode not in (0, 1):  # 1: some tests failed, as they may
            sys.exit(f"{done.stdout[-5000:]}\npytest ended with {done.returncode}")
        run = Run()
        for line in record.read_text(encoding="utf-8").splitlines():
            run.add(json.loads(line))
        if WAYS[way] and not (run.active and all(run.active)):
            sys.exit(f"{done.stdout[-5000:]}\nthe guard was not at work in every process: {run.active}")
        return run


def _call(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\n{command[0]} ended with {done.returncode}")


def _load_guard(python: Path, side: Path) -> None:
    """Make the guard, and nothing else of this repository, known to an environment; its variable loads it."""
    shutil.copytree(HERE.parent / "openai_stream_guard", side / "openai_stream_guard")
    shutil.copy(HERE / "sdk_probe.py", side)
    say = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", say], capture_output=True, text=True, check=True).stdout.strip()
    Path(packages, "openai_stream_guard.pth").write_text(LOADER.format(side=side))


def accepted(test: str, way: str) -> str | None:
    """The reason why this test may differ."""
    for entry in DATA["accepted"]:
        if test.startswith(tuple(entry["tests"])) and (way == DEFAULTS or not entry.get("recovery")):
            return str(entry["why"])
    return None


def judge(suite: Suite, files: list[str], jobs: int) -> list[str]:
    """Run the tests in every way and print what came of it; the unexpected differences."""
    print(f"\nopenai {suite.version}, {len(files)} test files")
    print(f"{'':20}{'passed':>8}{'failed':>8}{'skipped':>8}{'streams':>9}{'accepted':>10}{'unsteady':>10}{'WRONG':>7}")
    alone, wrong, guarded = suite.run(ALONE, files, jobs), [], 0
    for way in WAYS:
        run = alone if way == ALONE else suite.run(way, files, jobs)
        different = run.lacks(alone)
        unexpected = [test for test in different if accepted(test, way) is None]
        again = sorted({test.partition("::")[0] for test in unexpected})
        steady = suite.run(way, again, 0).lacks(suite.run(ALONE, again, 0)) if again else []
        real = [test for test in unexpected if test in steady]
        count = Counter(run.results.values())
        print(
            f"{way:20}{count['passed']:8}{count['failed']:8}{count['skipped']:8}{run.streams.total():9}"
            f"{len(different) - len(unexpected):10}{len(unexpected) - len(real):10}{len(real):7}",
            flush=True,
        )
        wrong += [f"{way}: {test}\n    {run.words.get(test, 'did not run')}" for test in real]
        guarded += run.streams.total()
    print(f"openai {suite.version}: {len(alone.results)} tests, {guarded} guarded streams, {len(wrong)} wrong")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("versions", nargs="*", default=[""], metavar="VERSION", help="default: the newest openai")
    parser.add_argument("--streams", action="store_true", help="only the test files that ask for streams or serve them")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    asked = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as work:
        for number, version in enumerate(asked.versions):
            suite = Suite.fetch(version, Path(work, str(number)))
            wrong += judge(suite, suite.files(streams=asked.streams), asked.jobs)
    print(*wrong, sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

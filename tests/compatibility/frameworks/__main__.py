"""Try the frameworks that people use the SDK through, and write the table of README.md beside this file.

    python -m tests.compatibility.frameworks                  all of them
    python -m tests.compatibility.frameworks LangChain LLM    these
    python -m tests.compatibility.frameworks --python P LLM   this one, in an environment that has it and this package

Each gets an environment of its own, with what pip resolves; its programs stream from a server on this machine that
breaks their streams, without the guard and with it. Prints what came of each run, writes results.json and the table,
and exits with 1 if a guarded program got anything but the whole answer or the typed error. Needs a package index and
about three minutes for each framework. PYTHON=… chooses the interpreter.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cases import Case, cases_of
from .results import Row, Trial, rewrite_readme, save, unkept
from .roster import FRAMEWORKS, Framework, Program, find
from .trial import GUARDS, Guard, run

ROOT = Path(__file__).parents[3]
ASK = """
import importlib.metadata, json, sys
found = {"python": sys.version.split()[0]}
for name in sys.argv[1:]:
    try: found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: pass
print(json.dumps(found))
"""


def made(framework: Framework, folder: Path) -> Path:
    """The interpreter of a new environment that has the framework, and this package."""
    python = folder / "bin" / "python"
    subprocess.run([os.environ.get("PYTHON", sys.executable), "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", *framework.requirements, ROOT], check=True)
    return python


def tried(framework: Framework, python: Path, jobs: int) -> Trial:
    """Run everything there is to run with one framework."""
    asked = [python, "-c", ASK, framework.package, "openai", "httpx", "httpx2"]
    versions = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout)
    trial = Trial(framework.name, versions, datetime.date.today().isoformat(), versions.pop("python"))
    print(f"\n== {framework.name}, with", ", ".join(f"{name} {version}" for name, version in versions.items()))

    planned = [
        (program, case, guard, framework.settings)
        for program in framework.programs
        for case, guard in itertools.product(cases_of(program.kind), GUARDS)
        if case.fault or guard != GUARDS[2]
    ]
    with ThreadPoolExecutor(jobs) as pool:
        trial.rows.extend(pool.map(lambda plan: _tried_once(python, *plan), planned))
    return trial


def _tried_once(python: Path, program: Program, case: Case, guard: Guard, settings: Mapping[str, str]) -> Row:
    row = Row(program.name, case.name, guard, run(python, program, case, guard, settings))
    got = row.outcome
    said = f"{got.verdict}, {got.requests} request{'s' * (got.requests != 1)}"
    print(f"{program.name:<29}{case.name:<25}{guard:<22}{said:<29}{got.error or ''}".rstrip(), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.compatibility.frameworks", description=(__doc__ or "").partition("\n")[0]
    )
    names = [framework.name for framework in FRAMEWORKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; none: all")
    parser.add_argument("--python", type=Path, help="an interpreter whose environment is to be used as it is")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time (default: 2)")
    asked = parser.parse_args()
    try:
        frameworks = [find(name) for name in asked.names] or FRAMEWORKS
    except ValueError as error:
        parser.error(str(error))
    if asked.python and len(asked.names) != 1:
        parser.error("--python takes exactly one NAME")
    trials = []
    for framework in frameworks:
        with tempfile.TemporaryDirectory() as work:
            trials.append(tried(framework, asked.python or made(framework, Path(work, "venv")), asked.jobs))
        save(trials)
    rewrite_readme()
    broken = list(itertools.chain.from_iterable(map(unkept, trials)))
    print(
        "\nguarded, but neither whole nor the typed error:"
        if broken
        else "\nevery guarded stream: whole, or the typed error"
    )
    print(*broken, sep="\n")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()

"""Play the guard beside other packages that patch the SDK, and print the table beside tests/compatibility/patchers.

    python .ci/patchers.py                    all of PATCHERS in tests/compatibility/patchers/cases.py
    python .ci/patchers.py logfire            these

Each gets an environment of its own with the newest of it that there is, openai, and this package as a wheel. In both
orders, sync and async, for each API that it traces, a stream that breaks is asked for again and again while one or
the other is switched off and on. Exits with 1 if anything is not as it has to be. That the page's rows
are these, but for the versions, is a test.
Needs a package index, and this package for itself. PYTHON=… chooses the interpreter.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.compatibility.patchers.cases import CLIENT_KINDS, ORDERS, PATCHERS, Patcher, line, play, wrong  # noqa: E402 - by that path

HEADING = "| patcher | version | openai | recovers | in its spans is the whole answer of | switched off and on |\n"
HEADING += "|---|---|---|---|---|---|"


def call(*command: str | Path) -> str:
    """Run a command; what it prints."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("OPENAI", "PYTHONPATH"))}
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=kept, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\n{' '.join(map(str, command))} ended with {done.returncode}")
    return done.stdout.strip()


def row(patcher: Patcher, wheel: Path, venv: Path) -> tuple[str, list[str]]:
    """The patcher's row of the table, and what was not as it has to be."""
    call(os.environ.get("PYTHON", sys.executable), "-m", "venv", venv)
    python = venv / "bin" / "python"
    call(python, "-m", "pip", "install", "-q", wheel, patcher.name, *patcher.extra)
    say = "from importlib.metadata import version; import sys; print(*map(version, sys.argv[1:]))"
    version, openai = call(python, "-c", say, patcher.name, "openai").split()
    found = []
    for order, client_kind, api in itertools.product(ORDERS, CLIENT_KINDS, patcher.apis):
        try:
            sentences = wrong(patcher, api, play(python, patcher, order, client_kind, api, environment()))
        except RuntimeError as error:
            sentences = [str(error)]
        found += [f"{patcher.name}, {order}, {client_kind}, {api}: {sentence}" for sentence in sentences]
    return line(patcher, version, openai), found


def environment() -> dict[str, str]:
    """The variables of a program that nobody has prepared, and no waits."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("OPENAI", "PYTHON", "OTEL"))}
    return {**kept, "OPENAI_STREAM_GUARD_BACKOFF_INITIAL": "0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("patchers", nargs="*", metavar="PATCHER", help="default: all")
    asked = parser.parse_args().patchers
    unknown = set(asked) - {patcher.name for patcher in PATCHERS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(one.name for one in PATCHERS)}")
    found = []
    with tempfile.TemporaryDirectory() as work:
        call(os.environ.get("PYTHON", sys.executable), "-m", "pip", "wheel", "-q", "--no-deps", "-w", work, ROOT)
        (wheel,) = Path(work).glob("*.whl")
        print(HEADING)
        for patcher in PATCHERS:
            if not asked or patcher.name in asked:
                text, sentences = row(patcher, wheel, Path(work, patcher.name))
                found += sentences
                print(text, flush=True)
    print("", *found, sep="\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

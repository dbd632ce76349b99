"""Run this repository's tests that meet an SDK on every SDK release that people run.

    python .ci/matrix.py                           all of RELEASES
    python .ci/matrix.py 1.40.0 newest             these
    python .ci/matrix.py --contract newest         only the private names that the guard leans on: the canary

Each release gets an environment of its own; the SDK brings the HTTP library it wants. Prints a table as it goes, then
what failed, and exits with 1 if anything did. Needs a package index. PYTHON=… chooses the interpreter.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASES = ("1.40.0", "1.109.1", "2.0.0", "2.24.0", "2.54.0", "3.0.0", "3.13.0", "3.14.0", "newest")
"""The floor, the last of each major release, those that changed what the guard leans on, and what comes next."""
CONTRACT = "tests/test_sdk_contract.py"
MEETS_AN_SDK = re.compile(r"^ *(from|import) openai\b", re.MULTILINE)


def requirements(release: str) -> list[str]:
    """What to install for a release."""
    if release == "newest":
        return ["openai"]
    old = tuple(int(part) for part in release.split(".")) < (1, 55, 3)  # until then it gave httpx a gone argument
    return [f"openai=={release}", *(["httpx<0.28"] if old else [])]


def tests() -> list[str]:
    """The test files that import openai; the others are the same on every release."""
    found = sorted((ROOT / "tests").glob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in found if MEETS_AN_SDK.search(path.read_text(encoding="utf-8"))]


def call(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository, its output kept."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("OPENAI_", "PYTHONPATH"))}
    return subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def session(release: str, files: list[str], venv: Path) -> tuple[str, str]:
    """Test one release; what is installed and came out, in a line, and all that was said if it failed."""
    python = venv / "bin" / "python"
    started = time.monotonic()
    for command in (
        (os.environ.get("PYTHON", sys.executable), "-m", "venv", venv),
        (python, "-m", "pip", "install", "-q", "-e", ".[test]", *requirements(release)),
        (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files),
    ):
        done = call(*command)
        if done.returncode:
            break
    say = "import openai, openai._base_client as b; h = getattr(b, 'httpx2', None) or b.httpx; "
    say += "print('openai', openai.__version__, 'with', h.__name__, h.__version__)"
    about = call(python, "-c", say).stdout.strip().splitlines()[-1:]
    last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "")
    verdict = "FAILED" if done.returncode else "ok"
    seconds = time.monotonic() - started
    return f"{verdict:7}{''.join(about):38}{seconds:5.0f} s  {last}", done.stdout if done.returncode else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("releases", nargs="*", default=RELEASES, metavar="RELEASE", help="a version, or newest")
    parser.add_argument("--contract", action="store_true", help=f"only {CONTRACT}")
    asked = parser.parse_args()
    files, failures = [CONTRACT] if asked.contract else tests(), []
    with tempfile.TemporaryDirectory() as work:
        for release in asked.releases:
            line, said = session(release, files, Path(work, release))
            print(line, flush=True)
            if said:
                failures.append(f"\n== {release}\n{said}")
    print(*failures, sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

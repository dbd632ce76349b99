"""Check a built wheel and sdist: run by a Python that has the wheel installed, with the folder of both."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

NAME = "openai-stream-guard"
PATCH_POINTS = 6
IN_SDIST = ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "tests/project/test_architecture.py", ".ci/run")


def main(folder: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    packed = set(zipfile.ZipFile(wheel).namelist())
    strangers = {name for name in packed if not name.startswith("openai_stream_guard")}
    check(not strangers, f"only the package is in the wheel, not {sorted(strangers)}")
    check("openai_stream_guard/py.typed" in packed, "py.typed is in the wheel")
    check(any(name.endswith("licenses/LICENSE") for name in packed), "the licence is in the wheel")

    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in IN_SDIST if name not in sources]
    check(not missing, f"the sdist has what a packager needs, but {missing}")
    check(not any("__pycache__" in name for name in sources), "no cache is in the sdist")

    import openai_stream_guard

    check("site-packages" in str(openai_stream_guard.__file__), "the installed package is the one imported")
    check(openai_stream_guard.__version__ == metadata.version(NAME), "the version is the distribution's")
    check("openai" not in sys.modules, "importing the package does not import openai")
    for entry in metadata.distribution(NAME).entry_points:
        if entry.group == "console_scripts":
            check(callable(entry.load()), f"{entry.name} can be loaded")
        else:  # a plugin of a program that is not installed here: pytest
            check(
                entry.module.replace(".", "/") + ".py" in packed,
                f"{entry.group}'s {entry.name} is in the wheel",
            )
    check_status()
    print(f"{wheel.name}: {len(packed)} files, as they should be")


def check_status() -> None:
    """The command of the built wheel, in a process of its own, finds every patch point guarded."""
    done = subprocess.run(
        [sys.executable, "-m", "openai_stream_guard", "status"],
        env={**os.environ, "OPENAI_STREAM_GUARD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    states = [line.split()[0] for line in done.stdout.splitlines() if " openai._" in line]
    check(done.returncode == 0, f"`status` exits with 0, not {done.returncode}: {done.stdout}{done.stderr}")
    check(states == ["guarded"] * PATCH_POINTS, f"`status` lists {PATCH_POINTS} patch points as guarded: {done.stdout}")


def check(holds: bool, law: str) -> None:
    if not holds:
        sys.exit(f"not so: {law}")


main(Path(sys.argv[1]))

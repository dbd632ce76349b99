"""The README's tutorial about testing is run: each of its files, each of its commands, each line that these print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.suites import ROOT

pytestmark = pytest.mark.slow

SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Test your own code")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
FILES = {text.partition("\n")[0].removeprefix("# "): text for language, text in BLOCKS if language == "python"}
PLUGINS = (
    "-p",
    "openai_stream_guard.pytest_plugin",
    "-p",
    "pytest_asyncio.plugin",
    "-o",
    "asyncio_default_fixture_loop_scope=function",
    "-p",
    "no:cacheprovider",
    "-W",
    "error",
)


class Command(NamedTuple):
    """What the tutorial types, and what it says that this prints."""

    line: str
    prints: list[str]


def commands() -> list[Command]:
    """All of them, in order."""
    typed: list[Command] = []
    for line in "".join(text for language, text in BLOCKS if language == "console").splitlines():
        if line.startswith("$ "):
            typed.append(Command(line[2:], []))
        else:
            typed[-1].prints.append(line)
    return typed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the tutorial."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder: Path, line: str) -> list[str]:
    """What a command prints there, with blanks as single ones and no number of a port."""
    *settings, program, rest = re.fullmatch(r"(?:(\w+)=(\w+) )?(\w+) (.*)", line).groups()
    module = ["-m", "pytest", *PLUGINS, "--color", "no"] if program == "pytest" else []
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    if settings[0]:
        environ |= {settings[0]: settings[1]}
    command = [sys.executable, *module, *shlex.split(rest)]
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, encoding="utf-8", check=False, timeout=50
    )
    return [plain(printed) for printed in done.stdout.splitlines()]


def plain(line: str) -> str:
    return re.sub(r"(127\.0\.0\.1):\d+", r"\1:…", " ".join(line.split()))


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.line)
def test_a_command_prints_what_is_shown(folder: Path, command: Command) -> None:
    """Line by line, in that order; `…` at the end of one stands for the rest of it."""
    printed = iter(run(folder, command.line))
    for line in map(plain, command.prints):
        begin = line.removesuffix("…") if line.endswith("…") else None
        assert any(one == line or (begin is not None and one.startswith(begin)) for one in printed), line
    assert command.prints


def test_the_tests_pass(folder: Path) -> None:
    """All but those whose failure is shown."""
    failing = {name for command in commands() for name in FILES if name in command.line}
    passing = sorted(name for name in FILES if name.startswith("test_") and name not in failing)
    printed = run(folder, f"pytest {' '.join(passing)}")
    assert re.fullmatch(r"=* \d+ passed in .* =*", printed[-1]), "\n".join(printed)
    assert {"test_guarded.py", "test_async.py"} <= set(passing)


def test_every_block_is_a_file_or_a_command() -> None:
    """None is left out of what is run here."""
    assert all(re.fullmatch(r"\w+\.py", name) for name in FILES)
    assert {language for language, _ in BLOCKS} == {"python", "console"}
    assert len(FILES) + len([1 for language, _ in BLOCKS if language == "console"]) == len(BLOCKS)

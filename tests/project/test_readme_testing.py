"""What the pages say about testing is run: each of its files, each of its commands, each line that these print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.pages import README, ROOT, TESTING, read, section

pytestmark = pytest.mark.slow

TEXTS = {"README": section(README, "Test your code"), "page": read(TESTING)}
BLOCKS = {name: re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) for name, text in TEXTS.items()}
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


def files(page: str) -> dict[str, str]:
    """The files of a page: the first line of each is its name."""
    return {text.partition("\n")[0][2:]: text for language, text in BLOCKS[page] if language == "python"}


def commands(page: str) -> list[Command]:
    """All of them, in order."""
    typed: list[Command] = []
    for line in "".join(text for language, text in BLOCKS[page] if language == "console").splitlines():
        if line.startswith("$ "):
            typed.append(Command(line[2:], []))
        else:
            typed[-1].prints.append(line)
    return typed


@pytest.fixture
def folder(tmp_path: Path, page: str) -> Path:
    """A folder with the files of a page."""
    for name, text in files(page).items():
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


@pytest.mark.parametrize(
    ("page", "command"), [pytest.param(page, one, id=one.line) for page in BLOCKS for one in commands(page)]
)
def test_a_command_prints_what_is_shown(folder: Path, command: Command) -> None:
    """Line by line, in that order; `…` at the end of one stands for the rest of it."""
    printed = iter(run(folder, command.line))
    for line in map(plain, command.prints):
        begin = line.removesuffix("…") if line.endswith("…") else None
        assert any(one == line or (begin is not None and one.startswith(begin)) for one in printed), line
    assert command.prints


@pytest.mark.parametrize("page", BLOCKS)
def test_the_tests_pass(folder: Path, page: str) -> None:
    """All but those whose failure is shown."""
    named = " ".join(command.line for command in commands(page) if any(line[:2] == "E " for line in command.prints))
    passing = sorted(name for name in files(page) if name.startswith("test_") and name not in named)
    printed = run(folder, f"pytest {' '.join(passing)}")
    assert re.fullmatch(r"=* \d+ passed in .* =*", printed[-1]), "\n".join(printed)
    assert passing


@pytest.mark.parametrize("page", BLOCKS)
def test_every_block_is_a_file_or_a_command(page: str) -> None:
    """None is left out of what is run here."""
    assert all(re.fullmatch(r"\w+\.py", name) for name in files(page))
    assert {language for language, _ in BLOCKS[page]} == {"python", "console"}
    assert len(files(page)) + sum(language == "console" for language, _ in BLOCKS[page]) == len(BLOCKS[page])

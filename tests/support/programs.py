"""How tests run a program in a process of its own, with the package as it is installed, or from these sources."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT

ROOT = Path(__file__).parents[2]
NAME = "openai-stream-guard"
INSTALLED = any(importlib.metadata.distributions(name=NAME))
COMPILED = "PYTHONPYCACHEPREFIX"
"""Where the session keeps its bytecode; nothing else that steers Python is handed on."""
ENDED_EARLY = "truncate_clean"
"""The fault that the SDK alone does not notice."""

ANSWER = """
import os
from openai import OpenAI

def answer():
    client = OpenAI(base_url=os.environ["SERVER"], api_key="none", timeout=5)
    chunks = client.chat.completions.create(model="m", messages=[], stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
"""
"""A program that knows nothing of the guard."""
PRINT = ANSWER + "print(ascii(answer()))\n"


def environment(**more: str) -> dict[str, str]:
    """The variables of a process that nobody has prepared: no waits, and the package's place where it needs one."""
    foreign = ("OPENAI", "AUTOWRAPT", "PYTHON", "PYTEST", "COVERAGE")
    kept = {name: it for name, it in os.environ.items() if not name.startswith(foreign) or name == COMPILED}
    place = {} if INSTALLED else {"PYTHONPATH": str(ROOT)}
    return {**kept, **place, "OPENAI_STREAM_GUARD_BACKOFF_INITIAL": "0", "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(*arguments: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with these arguments."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def texts(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The answers that a program has printed, one a line; all it may complain of are faults, as it logs nowhere."""
    assert done.returncode == 0, done.stderr
    logged = re.compile("stream [0-9a-f]{8} (fault|hint|ended): ")
    assert [line for line in done.stderr.splitlines() if not logged.match(line)] == []
    return [ast.literal_eval(line) for line in done.stdout.splitlines()]


def whole(server: Server, done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the one answer printed is whole, though the server cut it; where not, it is a part of it."""
    (text,) = texts(done)
    assert TEXT.startswith(text)
    assert len(server.requests) == 1 + (text == TEXT)
    return text == TEXT


def needs(*modules: str) -> None:
    """Skip the test where one of these cannot be imported, or where entry points are needed and there are none."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if "autowrapt" in modules and not INSTALLED:
        pytest.skip(f"{NAME} is not installed, and so has no entry point")

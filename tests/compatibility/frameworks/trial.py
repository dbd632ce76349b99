"""One program under one case, and what is to be said of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openai_stream_guard.testing import Server

from .cases import Case, Wanted, serving, wanted
from .roster import Program

OBSERVER = Path(__file__).parent / "observer.py"
STARTUP = Path(__file__).parent / "startup"

START = 120.0
"""Seconds that a program has until its first request: some frameworks take long to be imported."""
QUIET = 12.0
"""Seconds after the last request until a program that goes on counts as hanging. The SDK alone would wait for 600."""
IDLE = 1.0
"""Seconds after which the guard calls a stream stalled."""

Guard = Literal["off", "on, fault once", "on, fault every time"]
GUARDS: tuple[Guard, ...] = ("off", "on, fault once", "on, fault every time")

Verdict = Literal["whole", "typed error", "other error", "silent half", "wrong tool call", "not the answer", "hang"]

QUIETLY = {
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "NO_COLOR": "1",
}
"""Frameworks that would call home, or fetch something, are asked not to."""


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    verdict: Verdict
    requests: int
    error: str | None = None
    """The exception that the program got, with the guard's `fault` if that led to it."""


def run(python: Path, program: Program, case: Case, guard: Guard, settings: Mapping[str, str]) -> Outcome:
    """Run a program in its framework's environment, guarded with these settings, and judge it."""
    with serving(case, program.kind, every_time=guard == GUARDS[2]) as server, tempfile.TemporaryDirectory() as home:
        said = _observe(python, program, _environment(server, home, guard, settings), server)
        return judged(said, len(server.requests), wanted(case, program.kind))


def _environment(server: Server, home: str, guard: Guard, settings: Mapping[str, str]) -> dict[str, str]:
    variables = {
        **QUIETLY,
        "PATH": os.environ["PATH"],
        "HOME": home,
        "LLM_USER_PATH": home,
        "DSPY_CACHEDIR": home,
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": server.base_url,
        "PYTHONPATH": str(STARTUP),
        "PYTHONUTF8": "1",
    }
    if guard != "off":
        variables |= {"OPENAI_STREAM_GUARD": "1", "OPENAI_STREAM_GUARD_IDLE_TIMEOUT": str(IDLE), **settings}
    return variables


def _observe(python: Path, program: Program, environment: Mapping[str, str], server: Server) -> dict[str, Any] | None:
    """What the observer says of a run; None where it had to be killed."""
    command = [str(python), str(OBSERVER), str(program.path)]
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            command, env=environment, cwd=environment["HOME"], stdout=said, stderr=complaints, start_new_session=True
        )
        try:
            if not _ends(process, server):
                return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        lines = said.read().splitlines()
        if process.returncode or not lines:
            complaints.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {complaints.read()[-2000:]}")
        told: dict[str, Any] = json.loads(lines[-1])
        return told


def _ends(process: subprocess.Popen[bytes], server: Server) -> bool:
    """Wait for a program, as long as it asks for something now and then."""
    asked, since = 0, time.monotonic()
    while process.poll() is None:
        if len(server.requests) != asked:
            asked, since = len(server.requests), time.monotonic()
        elif time.monotonic() - since > (QUIET if asked else START):
            return False
        time.sleep(0.05)
    return True


def judged(told: Mapping[str, Any] | None, requests: int, wanted: Wanted) -> Outcome:
    """What to call a run, of which the observer told this; None: it did not end."""
    if told is None:
        return Outcome("hang", requests)
    calls, errors = told["calls"], told["errors"]
    said = told["said"].rstrip().split("\n")
    printed = said[-1] if wanted.last_line else said[0]  # below the answer are a framework's own words about an error
    name = _named(errors)
    if calls not in ([], wanted.calls):
        return Outcome("wrong tool call", requests, name)
    if not (wanted.last_line or wanted.printed.startswith(printed)):
        return Outcome("not the answer", requests, name)
    if errors:
        return Outcome("typed error" if any(error["typed"] for error in errors) else "other error", requests, name)
    # A program that calls its tool itself has nothing to print; one whose framework calls it gets an answer then.
    whole = calls == wanted.calls and (printed == wanted.printed or (calls != [] and printed == ""))
    return Outcome("whole" if whole else "silent half", requests)


def _named(errors: list[dict[str, Any]]) -> str | None:
    """The exception that the program got, and the guard's where that led to it."""
    if not errors:
        return None
    name = str(errors[0]["name"])
    typed = next((error for error in errors if error["typed"]), None)
    if typed is None:
        return name
    origin = "" if typed is errors[0] else f" from {typed['name']}"
    return f"{name}{origin} ({typed['fault']})"

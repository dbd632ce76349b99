"""The law: a trial calls a run what it is, whatever framework the program is written with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from . import roster, trial
from .cases import ARGUMENTS, CASES, Case, Wanted, wanted
from .roster import Kind, Program

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
IN_PIECES = Wanted("one two three", [])
CALLING = Wanted("one two three", [ARGUMENTS])
ANEW = Wanted('{"city":"Zürich"}', [], last_line=True)
TYPED = {"name": "OpenAIStreamParseError", "typed": True, "fault": "truncated"}
OTHER = {"name": "WrapperError", "typed": False, "fault": None}
HALF = {**ARGUMENTS, "days": None}

PLAIN = """
    import openai

    client = openai.OpenAI(timeout=20)
    for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
        print(chunk.choices[0].delta.content or "", end="")
"""


def told(said: str = "", *errors: dict[str, Any], calls: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """What an observer tells."""
    return {"said": said, "calls": list(calls), "errors": list(errors)}


@pytest.mark.parametrize(
    ("observed", "wanted", "verdict", "error"),
    [
        (told("one two three"), IN_PIECES, "whole", None),
        (told("one two"), IN_PIECES, "silent half", None),
        (told(""), IN_PIECES, "silent half", None),
        (told("one two two three"), IN_PIECES, "not the answer", None),
        (told("one two", OTHER), IN_PIECES, "other error", "WrapperError"),
        (told("one two\nGet help: ask somebody", OTHER), IN_PIECES, "other error", "WrapperError"),
        (told("\nGet help: ask somebody", OTHER), CALLING, "other error", "WrapperError"),
        (told("one two", TYPED), IN_PIECES, "typed error", "OpenAIStreamParseError (truncated)"),
        (
            told("one", OTHER, TYPED),
            IN_PIECES,
            "typed error",
            "WrapperError from OpenAIStreamParseError (truncated)",
        ),
        (told("two", TYPED), IN_PIECES, "not the answer", "OpenAIStreamParseError (truncated)"),
        (told("", calls=(ARGUMENTS,)), CALLING, "whole", None),
        (told("one two three", calls=(ARGUMENTS,)), CALLING, "whole", None),
        (told("one two three"), CALLING, "silent half", None),
        (told("", calls=(HALF,)), CALLING, "wrong tool call", None),
        (told("", calls=(ARGUMENTS, ARGUMENTS)), CALLING, "wrong tool call", None),
        (told("", TYPED, calls=(HALF,)), CALLING, "wrong tool call", "OpenAIStreamParseError (truncated)"),
        (told("one two three", calls=(ARGUMENTS,)), IN_PIECES, "wrong tool call", None),
        (told('{"city":null}\n{"city":"Zürich"}\n'), ANEW, "whole", None),
        (told('{"city":null}\n{"city":"Zü"}\n'), ANEW, "silent half", None),
        (None, IN_PIECES, "hang", None),
    ],
)
def test_a_run_is_called_what_it_is(
    observed: dict[str, Any] | None, wanted: Wanted, verdict: str, error: str | None
) -> None:
    """A call with half its arguments outweighs an error, and text that is not the answer outweighs it too."""
    found = trial.judged(observed, 2, wanted)
    assert (found.verdict, found.error, found.requests) == (verdict, error, 2)


@pytest.mark.parametrize(
    ("guard", "verdict", "requests"),
    [("off", "silent half", 1), ("on, fault once", "whole", 2), ("on, fault every time", "typed error", 3)],
)
def test_only_the_variable_guards_a_program(guard: trial.Guard, verdict: str, requests: int, tmp_path: Path) -> None:
    """The same file, of the SDK alone here, gets half an answer, all of it, or the typed error."""
    (tmp_path / "plain.py").write_text(textwrap.dedent(PLAIN), encoding="utf-8")
    settings = {"PYTHONPATH": os.pathsep.join([str(trial.STARTUP), str(ROOT)])}  # it may not be installed here
    program, truncated = Program(str(tmp_path / "plain"), "text"), CASES[1]
    found = trial.run(Path(sys.executable), program, truncated, guard, settings)
    assert (found.verdict, found.requests) == (verdict, requests)


def observed(program: str, tmp_path: Path) -> dict[str, Any]:
    """What the observer tells of a program."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(program), encoding="utf-8")
    done = subprocess.run([sys.executable, str(trial.OBSERVER), str(path)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_observer_follows_what_led_to_an_exception(tmp_path: Path) -> None:
    """Causes, contexts and the members of groups are told, what `from None` hides is not."""
    program = """
        class Inner(Exception): ...
        class Hidden(Exception): ...
        try:
            try:
                raise Hidden
            except Hidden:
                raise Inner from None
        except Inner as inner:
            print("half", end="")
            raise RuntimeError from inner
    """
    found = observed(program, tmp_path)
    assert found["said"] == "half"
    assert [error["name"] for error in found["errors"]] == ["RuntimeError", "Inner"]


def test_an_observed_program_reaches_no_other_machine(tmp_path: Path) -> None:
    """A framework that calls home is stopped before a packet leaves."""
    found = observed('import socket; socket.create_connection(("192.0.2.1", 9), timeout=1)', tmp_path)
    assert [error["name"] for error in found["errors"]] == ["OSError"]


@pytest.mark.parametrize("program", [one for framework in roster.FRAMEWORKS for one in framework.programs])
def test_a_program_knows_nothing_of_the_guard(program: Program) -> None:
    """It is an ordinary program of its framework."""
    text = program.path.read_text(encoding="utf-8")
    assert "guard" not in text.lower()
    assert len(text.splitlines()) <= 30


@pytest.mark.parametrize("kind", ["tools", "text", "object"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer_wanted_is_the_one_served(kind: Kind, case: Case) -> None:
    """A fault strikes inside what is wanted, so that half of it is not all of it."""
    found = wanted(case, kind)
    assert ("unit" if kind == "object" else "東京") in found.printed
    assert found.calls == ([ARGUMENTS] if case.tool and kind != "object" else [])

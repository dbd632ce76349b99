"""The law: the README's first program, and the one that watches, do what stands beside them, on a real socket."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.streams import KEY

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
START, WATCH = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)[:2]

pytestmark = pytest.mark.usefixtures("guarded")


@pytest.fixture(autouse=True)
def environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells `OpenAI()` where to ask."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def start() -> None:
    """Run the first program, and close what it leaves to the end of the process."""
    names: dict[str, Any] = {}
    exec(START, names)
    names["client"].close()


def test_the_first_program_prints_a_broken_answer_whole(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, though it was cut."""
    server.script("truncate_clean", after=6)
    start()
    assert capsys.readouterr().out == TEXT
    assert len(server.requests) == 2


def test_it_says_what_came_of_an_answer_that_breaks_every_time(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fault, attempts and the text so far."""
    server.reset(fault="truncate_clean", after=6, times=None)
    start()
    shown, _, told = capsys.readouterr().out.rpartition("\n")[0].partition("\n")
    assert shown
    assert TEXT.startswith(shown)
    assert told == f"truncated after 3 attempts; received: {shown!r}"


def test_the_hook_tells_of_streams_that_were_not_simply_whole(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for the one that was recovered, none for the other."""
    exec(WATCH, {})
    host = server.base_url.split("/")[2]
    server.script("truncate_clean", None, after=6)
    for _ in range(2):
        start()
    lines = [line for line in capsys.readouterr().out.replace(TEXT, "").splitlines() if line]
    assert lines == [f"{host} gpt-4.1 recovered "]

"""The law: what stands first in the README does what stands beside it, and so does the program that watches."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from openai_stream_guard.cli.demo.rows import ROWS
from openai_stream_guard.config.policy import SETTINGS
from openai_stream_guard.notices import FaultKind, StoppedBy
from openai_stream_guard.testing import Equal, Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.pages import (
    BENCHMARK,
    OBSERVABILITY,
    PROOF,
    README,
    RECOVERY,
    ROOT,
    SUPPORT,
    programs,
    read,
    section,
    table,
)
from tests.support.streams import KEY

START, *_ = programs(README)
WATCH, *_ = programs(OBSERVABILITY)


@pytest.fixture
def environment(server: Server, monkeypatch: pytest.MonkeyPatch, guarded: object) -> None:
    """What tells `OpenAI()` where to ask."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def start() -> None:
    """Run the first program, and close what it leaves to the end of the process."""
    names: dict[str, Any] = {}
    exec(START, names)
    names["client"].close()


@pytest.mark.usefixtures("environment")
def test_the_first_program_prints_a_broken_answer_whole(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, though it was cut."""
    server.script("truncate_clean", after=6)
    start()
    assert capsys.readouterr().out == TEXT
    assert len(server.requests) == 2


@pytest.mark.usefixtures("environment")
def test_it_says_what_came_of_an_answer_that_breaks_every_time(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fault and the text so far."""
    server.reset(fault="truncate_clean", after=6, times=None)
    start()
    shown, _, told = capsys.readouterr().out.rpartition("\n")[0].partition("\n")
    assert shown
    assert TEXT.startswith(shown)
    assert told == f"truncated; received: {shown!r}"


@pytest.mark.usefixtures("environment")
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


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_it_has_types(tmp_path: Path) -> None:
    """A strict checker finds nothing wrong in what is copied from here."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    (tmp_path / "start.py").write_text(START, encoding="utf-8")
    (tmp_path / "watch.py").write_text(WATCH, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file", "", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_picture_shows_what_the_first_program_prints() -> None:
    """With the guard off and on; the stream's id and the port differ each time."""
    command = [sys.executable, str(ROOT / ".ci" / "pictures.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_figures_of_the_demo_are_its_rows() -> None:
    """As many streams as it plays, and the guard right in all of them."""
    said = re.findall(
        r"^(\d+) (odd but healthy streams|faults): .* right in (\d+), guarded in (\d+)$", read(README), re.MULTILINE
    )
    healthy = sum(isinstance(row.promise, Equal) for rows in ROWS.values() for row in rows)
    faults = sum(map(len, ROWS.values())) - healthy
    assert [(int(count), name, int(guarded)) for count, name, _, guarded in said] == [
        (healthy, "odd but healthy streams", healthy),
        (faults, "faults", faults),
    ]


def test_the_eight_rows_are_rows_of_the_whole_table() -> None:
    """Each with the method or the word that it has there, and what it costs there."""

    def kept(does: str, cost: str) -> tuple[str, ...]:
        return (*re.findall(r"^\*\*(\w+)\*\*(?: \(`(\w+)`\))?", does)[0], cost.partition(",")[0])

    known = {kept(does, cost) for _, does, cost in table(read(RECOVERY), "delivered so far")}
    rows = table(section(README, "When a stream breaks"), "what happened")
    assert {kept(does, cost) for _, does, cost in rows} - known == {("repairs", "", "nothing")}
    assert len(rows) == 8


def test_the_commonest_errors_are_rows_of_the_whole_table() -> None:
    """Word for word, and five of them."""
    rows = table(section(README, "Troubleshooting"), "what you see")
    assert len(rows) == 5
    assert all(row in table(read(SUPPORT), "what you see") for row in rows)
    assert {word.strip("`") for word, *_ in table(read(SUPPORT), "`stopped_by`")} == set(get_args(StoppedBy))


def test_the_cost_is_that_of_the_benchmark() -> None:
    """Each cell is one of its table, for the release that is named."""
    page = section(README, "What it costs")
    (release,) = re.findall(r"on openai ([\d.]+)", page)
    measured = {tuple(row[:5]): row[7] for row in table(section(BENCHMARK, f"openai {release}"), "bytes from")}
    doors = (("memory", "create"), ("sockets", "create"), ("memory", "helper"))
    for name, *cells in table(page, "stream"):
        stream, client = name.split(", ")
        for (source, door), cell in zip(doors, cells, strict=True):
            row = measured[source, stream, client.removesuffix("hronous"), door, "event"]
            assert cell.replace(" µs", "") == row, (name, door)


def test_the_outages_are_those_of_the_simulation() -> None:
    """Each cell of the three designs is one of the table of `tests.proof.outages`."""
    starts = ("mass cut of 460, first event", "mass cut of 460, then refusing for 5", "breaks each stream after 5")
    simulated = table(section(PROOF, "When everything breaks at once"), "outage")
    for (_, *cells), start in zip(table(section(README, "When a stream breaks"), "outage"), starts, strict=True):
        (row,) = [row for row in simulated if row[0].startswith(start)]
        assert [cell.replace("*", "") for cell in cells] == [cell.replace("*", "") for cell in row[2:5]]


def test_what_is_named_is_there() -> None:
    """The settings to look at first, and the faults of the example."""
    first, *_ = section(README, "Settings").partition("\n| ")
    assert len(named := re.findall(r"^- `(\w+)`", first, re.MULTILINE)) == 6
    assert set(named) <= set(SETTINGS)
    (_, faults), *_ = table(section(README, "What you see"), "attribute")
    assert set(re.findall(r"`(\w+)`", faults)) <= set(get_args(FaultKind))

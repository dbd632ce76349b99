"""The demo tells the truth: it passes only a guard that keeps every promise, and shows what happened readably."""

from __future__ import annotations

import io
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

import openai_stream_guard
from openai_stream_guard.cli import COMMANDS, main
from openai_stream_guard.cli.demo import guarded, play
from openai_stream_guard.cli.demo.listener import has_responses
from openai_stream_guard.cli.demo.rows import ROWS, Row
from openai_stream_guard.cli.demo.table import GREEN, RED, Result, heading, line, paint
from openai_stream_guard.testing import FAULTS, Equal, Outcome, Raises, Whole

ALL = [row for rows in ROWS.values() for row in rows]
SOME = {"some": [Row("clean"), Row("glued_objects"), Row("rst"), Row("rst", every_time=True)]}
HEALTHY = Outcome(("a", "b"), "ab", 1)


@contextmanager
def absent(settings: Mapping[str, object]) -> Iterator[None]:
    """A guard that does nothing."""
    yield


@contextmanager
def only_raising(settings: Mapping[str, object]) -> Iterator[None]:
    """A guard that finds every fault, and neither repairs nor asks again."""
    with guarded({**settings, "repair": "off", "recovery": "none"}):
        yield


def marks(output: str) -> dict[str, bool]:
    """Whether each row's promise was kept, as the table shows it."""
    rows = [row for row in output.splitlines() if re.search(r" \d\.\d$", row)]
    return {row[:29].rstrip(): row[58] in "✓+" for row in rows}


def test_the_rows_cover_every_kind_of_promise() -> None:
    """At least thirty faults: healthy ones, repairs, recoveries and typed errors, each row another."""
    kinds = Counter(str(row.promise) for row in ALL)
    assert len({row.name for row in ALL}) == len(ALL) >= 30
    assert {row.fault for row in ALL} <= set(FAULTS)
    assert kinds[str(Equal())] >= 5
    assert kinds[str(Whole(1))] >= 10
    assert kinds[str(Whole(2))] >= 10
    assert sum(isinstance(row.promise, Raises) for row in ALL) >= 5


def test_a_guard_that_keeps_its_promises_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """With the guard every row is as promised, and the exit code is 0."""
    assert play(SOME, guarded) == 0
    output = capsys.readouterr().out
    assert marks(output) == {"clean": True, "glued_objects": True, "rst": True, "rst, every time": True}
    assert output.endswith(
        "1 odd but healthy streams: the SDK alone is right in 1, guarded in 1\n"
        "3 faults: the SDK alone is right in 1, guarded in 3\n"
    )


def test_a_guard_that_does_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a guard only the healthy stream is as promised, and the exit code is 1."""
    assert play(SOME, absent) == 1
    kept = marks(capsys.readouterr().out)
    assert kept == {"clean": True, "glued_objects": False, "rst": False, "rst, every time": False}


def test_a_guard_that_only_raises_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Typed errors in place of repairs and recoveries are not what was promised."""
    assert play(SOME, only_raising) == 1
    kept = marks(capsys.readouterr().out)
    assert not kept["glued_objects"]
    assert not kept["rst"]


def test_a_stream_that_never_ends_is_a_hang(capsys: pytest.CaptureFixture[str]) -> None:
    """Heartbeats without events hold the SDK alone for ever; the table says so, and the guard gets through."""
    assert play({"": [Row("stall_heartbeat")]}, guarded) == 0
    assert re.search(r"^stall_heartbeat +. 0/81 hang +. 81/81 ", capsys.readouterr().out, re.M)


def test_faults_of_the_responses_api_are_played_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the SDK has that API; where it has not, the table says so."""
    rows = {"": [Row("clean"), Row("seq_restart")]}
    if has_responses():
        assert play(rows, guarded) == 0
        assert re.search(r"^seq_restart +. 130/130 +. 130/130 ", capsys.readouterr().out, re.M)
    monkeypatch.setattr("openai_stream_guard.cli.demo.has_responses", lambda: False)
    assert play(rows, guarded) == 0
    assert "\nseq_restart: not played, since this openai has no Responses API\n" in capsys.readouterr().out


def test_each_row_meets_a_server_that_is_not_known_yet(capsys: pytest.CaptureFixture[str]) -> None:
    """What the healthy rows teach of this server is no rule for the one that never sends a `finish_reason`."""
    assert play({"": [*[Row("clean", settings={"max_retries": n}) for n in range(5)], Row("no_finish")]}, guarded) == 0
    assert "no_finish                     ✓ 81/81                     ✓" in capsys.readouterr().out


def test_the_guard_is_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    """A demo inside a process does not switch its guard on or off."""
    before = openai_stream_guard.is_enabled()
    assert play({"": [Row("clean")]}, guarded) == 0
    assert openai_stream_guard.is_enabled() is before


def test_the_table_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line has at most 110 columns, and no color where nobody sees it."""
    play(SOME, guarded)
    lines = capsys.readouterr().out.splitlines()
    widest = [_line(Row(row.fault, every_time=row.every_time, settings=row.settings)) for row in ALL]
    assert max(map(len, lines + widest)) <= 110
    assert "\x1b" not in "".join(lines)


def _line(row: Row, alone: Outcome = HEALTHY, seen: Outcome = HEALTHY) -> str:
    return line(Result(row, HEALTHY, alone, seen, 0.5))


@pytest.mark.parametrize(
    ("alone", "words"),
    [
        (HEALTHY, "2/2"),
        (Outcome(("a",), "a", 1), "1/2 silently short"),
        (Outcome(("b",), "ab", 1), "2/2 event lost"),
        (Outcome(("a", "b", "c"), "ab", 1), "2/2 bogus event"),
        (Outcome(("a",), "a", 1, KeyError()), "1/2 KeyError"),
        (Outcome(("a",), "a", 1, KeyError(), hang=True), "1/2 hang"),
    ],
)
def test_the_table_says_what_the_sdk_alone_delivered(alone: Outcome, words: str) -> None:
    """The characters that arrived, and what was wrong in a word or two."""
    right = "✓" if alone is HEALTHY else "✗"
    assert _line(Row("clean"), alone).startswith(f"clean                         {right} {words}  ")


def test_the_sdk_alone_is_right_to_raise_where_no_answer_is_to_be_had() -> None:
    """The comparison is fair: an error of any kind is right where a typed error is the promise, silence is not."""
    row = Row("rst", every_time=True)
    assert Result(row, HEALTHY, Outcome((), "", 1, OSError()), HEALTHY, 0.1).alone_is_right
    assert not Result(row, HEALTHY, Outcome((), "", 1), HEALTHY, 0.1).alone_is_right


def test_colors_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right is green and wrong is red on a terminal, unless `NO_COLOR` is set."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert _line(Row("clean"), Outcome((), "", 1)).count(f"\x1b[{RED}m") == 1
    assert _line(Row("clean")).count(f"\x1b[{GREEN}m") == 2
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("plain", RED) == "plain"


def test_chosen_faults_are_played_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """`demo NAME` plays the rows of that fault and no other."""
    assert main(["demo", "bom", "no_done"]) == 0
    assert set(marks(capsys.readouterr().out)) == {"bom", "no_done"}


@pytest.mark.parametrize("name", ["bomb", "crlf_"])
def test_an_unknown_fault_is_a_wrong_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name is one line on standard error and exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(["demo", name])
    assert caught.value.code == 2
    assert re.fullmatch(rf"openai-stream-guard demo: unknown fault '{name}'; .*\n", capsys.readouterr().err)


def test_a_fault_that_the_demo_does_not_play_is_a_wrong_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault of another API is not passed over in silence."""
    with pytest.raises(SystemExit):
        main(["demo", "seq_disorder"])
    assert "seq_disorder" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_lists_the_exit_codes(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every `--help` says what 0, 1 and 2 mean."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert re.search(r"exit codes:\n  0  .*\n  1  .*\n  2  ", capsys.readouterr().out)


def test_the_heading_says_what_is_compared_and_how_to_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The versions first, what "right" means on one line, and the marks."""
    first, _, meaning, *rest = heading().splitlines()
    for word in ("openai-stream-guard ", "openai ", "Python "):
        assert word in first
    assert meaning.startswith("Right is ")
    assert rest[0].startswith("✓ right, ✗ wrong; ")


def test_a_terminal_without_the_marks_gets_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The marks are those that its encoding has."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert _line(Row("clean")).startswith("clean                         + 2/2 ")
    assert _line(Row("clean"), Outcome((), "", 1)).isascii()
    assert heading().isascii()

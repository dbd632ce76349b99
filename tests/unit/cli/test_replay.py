"""The law of `replay`: a capture is shown read by read and judged again, and what is none is one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openai_stream_guard.capture.recording import Capture
from openai_stream_guard.capture.ssecap import dump
from openai_stream_guard.cli import main
from openai_stream_guard.diagnosis.evidence import ResponseHead
from tests.support.commands import refused
from tests.support.recorded import NO_BUDGET, a_capture, record
from tests.support.simulated import Response, answer_variant, body

ROOT = Path(__file__).parents[3]
Run = Callable[..., tuple[int, str]]
BROKEN = b'data: {"choices": [{"index": 0, "delta": {"content": "a\x01b"}}]}\n\n'
GLUED = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n' * 2 + b"\n"
LAST = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


@pytest.fixture
def replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Replay a capture, or the contents of a file: the exit code and what was printed."""

    def run(capture: Capture | bytes, *options: str) -> tuple[int, str]:
        path = tmp_path / "x.ssecap"
        path.write_bytes(capture if isinstance(capture, bytes) else dump(capture))
        code = main(["replay", str(path), *options])
        return code, capsys.readouterr().out

    return run


def test_every_read_is_shown_with_its_time_and_place(replay: Run) -> None:
    """Read for read: when, at which offset, how many bytes and events, what was repaired; then the verdict."""
    code, shown = replay(a_capture([b"event: delta\ndata: {}\n\n", b": comment\n", b"data: []\n\ndata: {"]))
    assert code == 0
    table = [line.split() for line in shown.splitlines() if line.startswith("     ") and line.strip()[0].isdigit()]
    assert table == [
        ["0.125000", "0", "23", "1", "delta"],
        ["0.250000", "23", "10", "0"],
        ["0.375000", "33", "17", "1"],
        ["0.500000", "the", "body", "ended"],
    ]
    assert "verdict:  truncated: the body ends inside an event; 2 events, 50 bytes" in shown
    assert "the same as recorded" in shown
    assert "POST /chat/completions at host:1, model m" in shown


def test_text_is_shown_only_when_it_is_asked_for(replay: Run) -> None:
    """What a capture holds of an answer stays in it."""
    capture = record([Response([body(answer_variant("text", 1))[:900]])])
    for options in ([], ["--json"]):
        assert "blue trams" not in replay(capture, *options)[1]
        assert "Z" in replay(capture, "--text", *options)[1]
    assert '"content":"Z' in replay(capture, "--text")[1] or "content" in replay(capture, "--text")[1]
    assert "content" not in replay(capture)[1]


def test_json_is_one_object_with_all_of_it(replay: Run) -> None:
    """For programs: the same reads, events, verdicts."""
    code, shown = replay(record([Response([BROKEN], pause=0.5)], NO_BUDGET.replace(recovery=())), "--json")
    told = json.loads(shown)
    assert (code, told["same"]) == (0, True)
    (attempt,) = told["attempts"]
    assert attempt["reads"] == [{"at": 0.5, "offset": 0, "bytes": len(BROKEN), "events": [], "repairs": []}]
    assert attempt["fault_offset"] == 0
    assert attempt["verdict"] == attempt["recorded"]
    assert attempt["verdict"]["fault"] == "malformed"


def test_another_setting_is_another_verdict(replay: Run) -> None:
    """The settings may be varied, and a verdict that is not the recorded one is exit 1."""
    capture = record([Response([GLUED + LAST])] * 2, NO_BUDGET.replace(repair="off"))
    assert replay(capture)[0] == 0
    code, shown = replay(capture, "--repair", "safe")
    assert code == 1
    assert "repaired: missing_blank_line" in shown
    assert "verdict:  whole: the answer is whole; 3 events, 210 bytes, 1 missing_blank_line" in shown
    assert "recorded: malformed" in shown
    assert "NOT as recorded" in shown
    assert "Attempt 1 did not break" in shown
    code, shown = replay(record([Response([GLUED, LAST])], NO_BUDGET.replace(repair="off")), "--repair", "safe")
    assert code == 1
    assert "verdict:  none: the reads are not enough for one" in shown


def test_a_capture_that_says_otherwise_is_exit_1(replay: Run) -> None:
    """Also where somebody has changed the verdict."""
    capture = a_capture()
    (recording,) = capture.attempts
    assert recording.verdict is not None
    other = replace(recording, verdict=replace(recording.verdict, events=7))
    code, shown = replay(replace(capture, attempts=(other,)))
    assert code == 1
    assert "NOT as recorded" in shown


def test_what_is_lost_is_said(replay: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture that lost its beginning says how much, and from where it is judged."""
    monkeypatch.setattr("openai_stream_guard.capture.recording.MAX_BYTES", 200)
    code, shown = replay(a_capture([b'data: {"choices": []}\n\n'] * 20))
    assert code == 0
    assert "The first 276 bytes were not kept" in shown
    assert "Judged from the first complete event, at byte 299." in shown
    assert "the same as recorded, as far as it was kept" in shown


def test_a_cut_file_is_replayed_as_far_as_it_goes(replay: Run) -> None:
    """And that is said, and is exit 1."""
    lines = dump(a_capture()).splitlines(keepends=True)
    code, shown = replay(b"".join(lines[:3]) + lines[3][:10])
    assert code == 1
    assert "the recording is cut off" in shown
    assert "The file is cut off here" in shown
    assert "not known whether this is as recorded" in shown
    code, shown = replay(b"".join(lines[:1]))
    assert code == 1
    assert "attempt" not in shown


def test_a_capture_cannot_steer_a_terminal(replay: Run) -> None:
    """Whatever stands in a file, no control character reaches the screen."""
    capture = a_capture([b'event: \x1b[2J\ndata: {"a": "\\u001b[31m\xc2\x9b"}\n\n'])
    (recording,) = capture.attempts
    evil = replace(recording, head=ResponseHead(None, "a\rb", {"server": "\x1b]0;x\x07"}, "\u202eHTTP"))
    _, shown = replay(replace(capture, attempts=(evil,), written="\x1b[8m"), "--text")
    assert not any(ord(letter) < 32 or letter in "\x7f\x9b\u202e" for letter in shown.replace("\n", ""))
    assert "\\x1b[2J" in shown


def test_what_is_no_capture_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the file and what is wrong with it."""
    path = tmp_path / "x.ssecap"
    cases: list[tuple[bytes, str]] = [(b"", "the file is empty"), (b"{}\n", "not a capture file")]
    cases.append((dump(a_capture()).replace(b'"version": 1', b'"version": 2'), "version 2 of the format"))
    cases.append((dump(a_capture()).replace(b'"at": 0.125', b'"at": -1'), "line 3: 'at' must be a number"))
    for data, said in cases:
        path.write_bytes(data)
        error = refused("replay", str(path), capsys=capsys)
        assert error.startswith(f"openai-stream-guard replay: {path}: ")
        assert said in error
        assert error.count("\n") == 1
    assert "No such file" in refused("replay", str(tmp_path / "none"), capsys=capsys)
    assert "directory" in refused("replay", str(tmp_path), capsys=capsys)
    assert "invalid choice" in refused("replay", str(path), "--repair", "all", capsys=capsys)


def test_it_needs_no_sdk(tmp_path: Path) -> None:
    """A capture can be looked at where openai is not installed, by whoever got it in a report."""
    path = tmp_path / "x.ssecap"
    path.write_bytes(dump(a_capture()))
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "from openai_stream_guard.cli import main; sys.exit(main(['replay', sys.argv[1]]))"
    )
    done: Any = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the same as recorded" in done.stdout

"""The command line as a person uses it: whatever its terminal, its pipes and its Python are, no traceback is ours."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openai_stream_guard.capture.ssecap import dump
from openai_stream_guard.cli import COMMANDS, main
from openai_stream_guard.cli.status import as_written
from openai_stream_guard.config.policy import SETTINGS, Policy
from tests.support.programs import environment, run
from tests.support.recorded import a_capture

pytestmark = pytest.mark.slow

COMMAND = ("-m", "openai_stream_guard")
BURSTS = Path(__file__).parents[1] / "vectors" / "bursts.ssecap"
NO_OPENAI = "import sys; sys.modules['openai'] = None; from openai_stream_guard.cli import main; sys.exit(main({}))"


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """On one line, after the name of the command."""
    assert main(["--version"]) == 0
    assert re.fullmatch(r"openai-stream-guard ([0-9][^ ]*|unknown)\n", capsys.readouterr().out)


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command is in it."""
    assert main([]) == 2
    shown = capsys.readouterr().out
    assert shown.startswith("usage: openai-stream-guard")
    assert all(f"\n    {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("arguments", [["status"], ["replay", str(BURSTS)], ["doctor", "--from-capture", str(BURSTS)]])
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    """As with `| head -1`: nothing on standard error, and the exit code that a shell gives a closed pipe."""
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [sys.executable, *COMMAND, *arguments],
        cwd=tmp_path, env=environment(), stdout=writing, stderr=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        os.close(writing)
        _, error = command.communicate(timeout=50)
    assert (command.returncode, error) == (141, "")


def test_a_terminal_that_lacks_characters_gets_others(tmp_path: Path) -> None:
    """What cannot be written is escaped, and the doctor draws with other bars."""
    path = tmp_path / "x.ssecap"
    path.write_bytes(dump(a_capture(['data: {"a": "Zürich"}\n\n'.encode()])))
    for arguments in (["replay", str(path), "--text"], ["doctor", "--from-capture", str(BURSTS)], ["--help"]):
        done = run(*COMMAND, *arguments, cwd=tmp_path, PYTHONIOENCODING="ascii")
        assert done.stderr == ""
        assert done.stdout.isascii()
    assert "Z\\xfcrich" in run(*COMMAND, "replay", str(path), "--text", cwd=tmp_path, PYTHONIOENCODING="ascii").stdout


def test_nothing_that_is_given_steers_the_terminal(tmp_path: Path) -> None:
    """Neither by the environment, nor by a name in the command itself, which may come from a script."""
    shown = run(*COMMAND, "status", cwd=tmp_path, OPENAI_STREAM_GUARD="1", OPENAI_STREAM_GUARD_CAPTURE="x\x1b[2J")
    assert "x\\x1b[2J" in shown.stdout
    for arguments in (("run", "\x1b[2J"), ("replay", "\x1b[2J"), ("demo", "\x1b[2J")):
        done = run(*COMMAND, *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "\x1b" not in done.stdout + done.stderr + shown.stdout


@pytest.mark.parametrize("arguments", [["demo"], ["doctor", "--base-url", "http://127.0.0.1:1/v1", "--model", "m"]])
def test_a_missing_openai_is_one_sentence(tmp_path: Path, arguments: list[str]) -> None:
    """It says what is needed, and the exit code is 2."""
    done = run("-c", NO_OPENAI.format(arguments), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"openai-stream-guard {arguments[0]}: the openai package is needed")
    assert done.stderr.count("\n") == 1


def test_an_interrupt_ends_a_command_quietly(tmp_path: Path) -> None:
    """Ctrl-C in the middle of the demo: exit code 130, nothing on standard error."""
    with subprocess.Popen(
        [sys.executable, "-u", *COMMAND, "demo"],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        assert command.stdout is not None
        while "clean" not in command.stdout.readline():
            assert command.poll() is None
        command.send_signal(signal.SIGINT)
        _, error = command.communicate(timeout=50)
    assert (command.returncode, error) == (130, "")


SPAWNING = """
import multiprocessing, os
def work():
    pass
if __name__ == "__main__":
    processes = [multiprocessing.get_context("{method}").Process(target=work) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
"""


@pytest.mark.parametrize(("method", "told"), [("spawn", 1), ("forkserver", 1), ("fork", 0)])
def test_run_says_that_workers_are_not_reached(tmp_path: Path, method: str, told: int) -> None:
    """Once for a program whose children do not inherit the guard, unless autowrapt is there to bring it to them."""
    (tmp_path / "program.py").write_text(SPAWNING.format(method=method), encoding="utf-8")
    done = run(*COMMAND, "run", "program.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("worker processes that this program spawns are NOT guarded; install autowrapt") == told
    (tmp_path / "autowrapt").mkdir()
    (tmp_path / "autowrapt" / "__init__.py").touch()
    assert run(*COMMAND, "run", "program.py", cwd=tmp_path, PYTHONPATH=str(tmp_path)).stderr == ""


def test_run_says_that_workers_of_uvicorn_are_not_reached(tmp_path: Path) -> None:
    """The command that people type; with one worker there is nothing to say."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    (tmp_path / "app.py").write_text("async def app(scope, receive, send): pass\n", encoding="utf-8")
    for workers, told in (("2", True), ("1", False)):
        with subprocess.Popen(
            [sys.executable, *COMMAND, "run", "-m", "uvicorn", "app:app", "--port", "0", "--workers", workers],
            cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as server:  # fmt: skip
            assert server.stdout is not None
            lines = []
            while "Application startup complete" not in "".join(lines[-1:]):
                lines.append(server.stdout.readline())
                assert lines[-1], "".join(lines)
            server.send_signal(signal.SIGINT)
            time.sleep(0.05)
            server.communicate(timeout=30)
        assert any("are NOT guarded; install autowrapt" in line for line in lines) is told, "".join(lines)


def test_the_status_as_json(tmp_path: Path) -> None:
    """All of it, with our own version, and settings as they are written into their variables."""
    variables = {
        "OPENAI_STREAM_GUARD": "1",
        "OPENAI_STREAM_GUARD_RECOVERY": "none",
        "OPENAI_STREAM_GUARD_MAX_HELD_BYTES": "4 MiB",
        "OPENAI_STREAM_GUARD_ON_EVENT": "json:dumps",
    }
    done = run(*COMMAND, "status", "--json", cwd=tmp_path, **variables)
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr, told["problem"], told["error"]) == (0, "", None, None)
    assert set(told) == {
        "version",
        "openai",
        "error",
        "mode",
        "variable",
        "items",
        "patch_points",
        "settings",
        "problem",
    }
    assert f"openai-stream-guard {told['version']}\n" == run(*COMMAND, "--version", cwd=tmp_path).stdout
    assert (told["mode"], told["variable"], set(told["patch_points"].values())) == ("on", "1", {"guarded"})
    assert set(told["settings"]) == set(SETTINGS)
    changed = {name: each["value"] for name, each in told["settings"].items() if each["source"] != "default"}
    assert changed["recovery"] == "none"
    assert changed["max_held_bytes"] == "4 MiB"
    assert changed["on_event"] == "json:dumps"
    plain = run(*COMMAND, "status", cwd=tmp_path, **variables).stdout
    assert all(f" {value} " in plain for value in (*changed.values(), "256 MiB"))
    off = run(*COMMAND, "status", cwd=tmp_path).stdout
    assert "mode off (OPENAI_STREAM_GUARD is not set)" in off


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(
            max_retries=0, backoff_initial=0.25, recovery=("restart", "continue"), continuation=json.dumps,
            max_held_bytes=(1 << 20) + 1, idle_timeout=1e-7, lenient_hosts=("a:1", "b"), retry_budget=None,
            on_event=print, log_raw=True, capture="/tmp/x y",
        ),
        Policy(continuation="vllm", recovery=(), backoff_max=1234567.25, max_event_bytes=3 << 30),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_it_is_written(policy: Policy) -> None:
    """Each shown text, put into the variable, gives the value again."""
    for name, setting in SETTINGS.items():
        value = getattr(policy, name)
        assert setting.parse(as_written(name, value)) == value, name

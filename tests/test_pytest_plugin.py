"""The fixture `stream_guard`, used by an application's own tests: each test here is a pytest run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAD = """
import openai, pytest
import openai_stream_guard
from openai_stream_guard.testing import Server

@pytest.fixture
def server():
    with Server() as running:
        yield running

def read(server, **options):
    with openai.OpenAI(base_url=server.base_url, api_key="k", **options) as client:
        stream = client.chat.completions.create(model="m", messages=[], stream=True)
        return "".join(one.choices[0].delta.content or "" for one in stream)
"""


@pytest.fixture
def passes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Run tests of an application, warnings as errors; all must pass."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(tests: str, count: int) -> None:
        pytester.makepyfile(HEAD + tests)
        options = ["-p", "openai_stream_guard.pytest_plugin", "-p", "no:cacheprovider", "-W", "error"]
        result = pytester.runpytest_subprocess(*options)
        result.assert_outcomes(passed=count)

    return run


def test_a_cut_is_survived_and_reported(passes: Callable[[str, int], None]) -> None:
    """The example of the README: configure, cut, and the report says how the stream came out whole."""
    passes("""
def test_survives(stream_guard, server):
    stream_guard.configure(max_retries=2)
    whole = read(server)
    stream_guard.faults.cut(after_events=3)
    assert read(server) == whole
    assert [report.outcome for report in stream_guard.reports] == ["complete", "recovered"]
    assert stream_guard.reports[-1].recoveries == ("replay",)
    assert len(server.requests) == 3

@pytest.mark.parametrize("cut", [{}, {"after_bytes": 700}, {"times": 2}])
def test_other_cuts(stream_guard, server, cut):
    whole = read(server)
    stream_guard.faults.cut(**cut)
    assert read(server) == whole
    assert stream_guard.reports[-1].outcome == "recovered"

def test_fails(stream_guard, server):
    stream_guard.configure(max_retries=0)
    stream_guard.faults.cut(after_events=3)
    with pytest.raises(openai_stream_guard.OpenAIStreamParseError):
        read(server)
    assert stream_guard.reports[-1].outcome == "failed"
""", 5)  # fmt: skip


def test_everything_is_restored(passes: Callable[[str, int], None]) -> None:
    """After the test the guard is off again, its policy untouched, and no planned fault is left."""
    passes("""
def test_first(stream_guard, server):
    assert openai_stream_guard.is_enabled()
    stream_guard.configure(max_retries=9, delivery="atomic")
    stream_guard.faults.cut(times=5)

def test_second(server):
    from openai_stream_guard import exchange, switch
    assert not openai_stream_guard.is_enabled()
    assert switch.current_policy() == openai_stream_guard.Policy()
    assert exchange.tap_for is None
    assert len(read(server)) > 50

def test_third(stream_guard, server):
    from openai_stream_guard import switch
    assert switch.current_policy().max_retries is None
    assert read(server)
    assert len(stream_guard.reports) == 1
""", 3)  # fmt: skip


def test_nothing_waits_and_hooks_are_kept(passes: Callable[[str, int], None]) -> None:
    """No backoff and no budget in tests; an `on_event` of the test's own hears everything too."""
    passes("""
import time

def test_fast(stream_guard, server):
    heard = []
    stream_guard.configure(max_retries=20, on_event=heard.append)
    stream_guard.faults.cut(times=15)
    started = time.monotonic()
    read(server)
    assert time.monotonic() - started < 5
    assert len(server.requests) == 16
    assert len(heard) == 15 + 15 + 1
    assert len(stream_guard.reports) == 1
""", 1)  # fmt: skip


def test_a_plugin_that_is_not_used_costs_nothing(passes: Callable[[str, int], None]) -> None:
    """Loaded in every pytest run, it imports neither openai nor the guard until its fixture is asked for."""
    passes("""
import subprocess, sys

def test_lazy():
    code = "import sys, openai_stream_guard.pytest_plugin; print('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\\n"
""", 1)  # fmt: skip

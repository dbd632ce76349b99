"""All that waits runs by the timing that is current when a stream is opened."""

from __future__ import annotations

import ast
from pathlib import Path

import openai_stream_guard
from openai_stream_guard.transport import clock as timing

PACKAGE = Path(openai_stream_guard.__file__).parent
WAITING = {"sleep", "monotonic", "perf_counter", "move_on_after", "fail_after"}


def test_nothing_else_waits_or_reads_a_clock() -> None:
    """A backoff that slept elsewhere would make a user's tests wait.

    The server and the demo have their own time, and a task deadline bounds real reads, as sockets do.
    """
    own = {
        "transport/clock.py",
        "transport/timeouts.py",
        "testing/clock.py",
        "testing/server/server.py",
        "testing/leaks.py",
        "cli/demo/__init__.py",
    }
    calls = {
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).as_posix() not in own
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in WAITING
        and isinstance(node.value, ast.Name)
        and node.value.id in ("time", "anyio", "asyncio", "trio")
    }
    assert calls == set()


def test_the_time_is_real_unless_tests_say_otherwise() -> None:
    """Nothing is put in its place by importing anything."""
    import openai_stream_guard.testing  # noqa: F401 - what importing does is tested

    assert type(timing.current) is timing.RealTime

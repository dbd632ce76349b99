"""One stream through a proxy, or one visit of the doctor, and what is to be said of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from openai_stream_guard import OpenAIStreamParseError, Policy
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import Server
from tests.support.running import Program, find, free_port, running
from tests.support.streams import Seen, consume

from .cases import TEXT, Case
from .roster import Proxy

POLICY = Policy(backoff_initial=0.0, backoff_max=0.0, retry_budget=None)


@dataclass(frozen=True)
class Outcome:
    """What a program got."""

    words: str
    """`whole`, `silent half`, `wrong text`, or the class of the exception."""
    requests: int
    """How many the server behind the proxy saw."""
    text: str = ""
    hint: str = ""


@contextmanager
def before(server: Server, proxy: Proxy) -> Iterator[tuple[Program, str]]:
    """Run a proxy before a server; gives it, and its `base_url`. Raises `FileNotFoundError` where it is not here."""
    program, port = find(proxy.program), free_port()
    upstream = urlsplit(server.base_url).port
    if program is None or upstream is None:
        raise FileNotFoundError(proxy.missing)
    with TemporaryDirectory() as made:
        folder = Path(made)
        with running([program, *proxy.configure(port, upstream, folder)], port, folder) as process:
            yield process, f"http://127.0.0.1:{port}/v1"


def stream(server: Server, url: str, case: Case, client_kind: str = "sync", *, guard: bool, times: int = 1) -> Outcome:
    """Let a case happen to a program that streams through a proxy, guarded or by the SDK alone."""
    case.prepare(server, times)
    with switch.restored():
        if guard:
            switch.enable(POLICY)
        else:
            switch.disable()
        seen = consume(server, client_kind, base_url=url, timeout=case.timeout)
    return judged(seen, len(server.requests))


def judged(seen: Seen, requests: int) -> Outcome:
    """What to call it."""
    words = "wrong text"
    if seen.error is not None:
        # Some classes are joined at run time, so that an `except` for the SDK's own catches them too.
        typed = isinstance(seen.error, OpenAIStreamParseError)
        words = "OpenAIStreamParseError" if typed else type(seen.error).__name__
    elif TEXT.startswith(seen.text):
        words = "whole" if seen.text == TEXT else "silent half"
    return Outcome(words, requests, seen.text, (seen.report and seen.report.hint) or "")


@dataclass(frozen=True)
class Visit:
    """What the doctor said."""

    verdict: str
    findings: dict[str, str]
    """Name → what was found; the worst first, notes left out."""


def doctor(server: Server, url: str, case: Case) -> Visit:
    """Let the doctor meet a case, each time it asks."""
    case.prepare(server, times=4)
    command = [sys.executable, "-m", "openai_stream_guard", "doctor", "--base-url", url, "--model", "m", "--json"]
    process = subprocess.run(
        [*command, "--timeout", str(case.timeout)],
        capture_output=True,
        text=True,
        timeout=50.0,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        told: dict[str, Any] = json.loads(process.stdout)
    except ValueError:
        raise RuntimeError(f"the doctor ended with {process.returncode}: {process.stderr}") from None
    found = {one["name"]: one["what"] for one in told["findings"] if one["severity"] != "note"}
    return Visit(told["verdict"], found)

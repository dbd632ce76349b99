"""Rides along in a run of the SDK's own tests and writes down what happened, see `sdk_suite.py`.

A pytest plugin, and the guard's `on_event`: imported before pytest where the guard is, hence PYTEST_DONT_REWRITE.
Writes JSON lines to the file that SDK_SUITE_RECORD names: the outcome of every test, every guarded stream that ended,
and for every process of the run whether the guard was at work in it.
"""

from __future__ import annotations

import json
import os
from typing import Any


def note(notice: Any) -> None:
    """One notice of the guard's."""
    report = getattr(notice, "report", None)
    if report is not None and "PYTEST_CURRENT_TEST" in os.environ:
        _write(
            stream=os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0],
            outcome=report.outcome,
            faults=[attempt.fault for attempt in report.attempts if attempt.fault],
        )


def pytest_runtest_logreport(report: Any) -> None:
    """One phase of one test; with pytest-xdist told by the workers and by the controller, which alone writes."""
    if "PYTEST_XDIST_WORKER" not in os.environ and (report.when == "call" or not report.passed):
        _write(test=report.nodeid, result=report.outcome, words=_last_words(report))


def pytest_sessionfinish() -> None:
    """Whether a stream of this process is guarded: asked last, so as to disturb no test."""
    if "OPENAI_STREAM_GUARD" in os.environ:
        import openai

        from openai_stream_guard import report
        from openai_stream_guard.testing import Server

        with Server() as server, openai.OpenAI(base_url=server.base_url, api_key="-") as client:
            stream = client.chat.completions.create(model="m", messages=[], stream=True)
            list(stream)
            _write(active=report(stream) is not None)


def _last_words(report: Any) -> str:
    if report.passed:
        return ""
    words = [line[1:].strip() for line in str(report.longrepr).splitlines() if line.startswith("E ")]
    return words[0] if words else ""


def _write(**row: Any) -> None:
    with open(os.environ["SDK_SUITE_RECORD"], "a", encoding="utf-8") as record:
        record.write(json.dumps(row) + "\n")

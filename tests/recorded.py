"""Captures for tests that need no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from openai_stream_guard.apis.request import Asked
from openai_stream_guard.capture.recorder import RecordedSession
from openai_stream_guard.capture.recording import Capture
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.decisions import Clocks, Reopen, Trouble
from openai_stream_guard.engine.host_memory import Hosts

from .simulated import CHAT, Response

NO_BUDGET = Policy(retry_budget=None, backoff_initial=0.0)
HEAD = ResponseHead(headers={"server": "x"}, http_version="HTTP/1.1")


def record(
    responses: Iterable[Response],
    policy: Policy = NO_BUDGET,
    *,
    asked: Asked = CHAT,
    clocks: Clocks = Clocks(),  # noqa: B008 - frozen
    hosts: Hosts | None = None,
    started: float = 1000.0,
    busy: float = 0.0,
) -> Capture:
    """What is recorded of a stream that gets these responses.

    Args:
        busy: seconds that the program takes with what a read brought.
    """
    now = started
    session = RecordedSession(
        asked,
        policy,
        hosts or Hosts(),
        now=now,
        max_retries=9,
        clocks=clocks,
        head=HEAD,
    )
    for response in responses:
        if isinstance(session.verdict, Reopen):
            now += 0.25
            session.reopened(session.verdict, replace(HEAD, request_id="req"), now)
        for data in response.reads:
            if session.verdict is None:
                now += response.pause
                if session.receive(data, now) and session.verdict is None:
                    now += busy
                    session.waiting_since = now
        if session.verdict is None:
            now += response.pause
            if response.end == "clean":
                session.end(now)
            else:
                session.fail(Trouble("disconnected", "reset", ConnectionResetError()), now)
    return session.capture


def a_capture(reads: Sequence[bytes] = (b'data: {"choices": []}\n\n', b"\xff"), **options: Any) -> Capture:
    """Some capture of a stream that broke."""
    return record([Response(reads, pause=0.125)], NO_BUDGET.replace(recovery=()), **options)


NEVER = Clocks(math.inf, math.inf)

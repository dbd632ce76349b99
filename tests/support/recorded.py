"""Captures for tests that need no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.capture.recorder import Recorder
from openai_stream_guard.capture.recording import Capture
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.decisions import Reissue, StreamFault, Timeouts
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.session import Session

from .simulated import CHAT, Response

NO_BUDGET = Policy(retry_budget=None, backoff_initial=0.0)
HEAD = ResponseHead(headers={"server": "x"}, http_version="HTTP/1.1")


def record(
    responses: Iterable[Response],
    policy: Policy = NO_BUDGET,
    *,
    request: StreamRequest = CHAT,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    hosts: HostMemory | None = None,
    started: float = 1000.0,
    busy: float = 0.0,
) -> Capture:
    """What is recorded of a stream that gets these responses.

    Args:
        busy: seconds that the program takes with what a read brought.
    """
    now = started
    recorder = Recorder()
    session = Session(
        request,
        policy,
        hosts or HostMemory(),
        now=now,
        max_retries=9,
        timeouts=timeouts,
        head=HEAD,
        observer=recorder,
    )
    for response in responses:
        if isinstance(session.decision, Reissue):
            now += 0.25
            session.reopened(session.decision, replace(HEAD, request_id="req"), now)
        for data in response.reads:
            if session.decision is None:
                now += response.pause
                if session.receive(data, now) and session.decision is None:
                    now += busy
                    session.consumer_resumed(now)
        if session.decision is None:
            now += response.pause
            if response.end == "clean":
                session.end(now)
            else:
                session.fail(StreamFault("disconnected", "reset", ConnectionResetError()), now)
    return recorder.capture


def a_capture(reads: Sequence[bytes] = (b'data: {"choices": []}\n\n', b"\xff"), **options: Any) -> Capture:
    """Some capture of a stream that broke."""
    return record([Response(reads, pause=0.125)], NO_BUDGET.replace(recovery=()), **options)

"""Streams for the doctor that need no network: what came when, as a recording made by the session itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.capture.recorder import Recorder
from openai_stream_guard.capture.recording import Capture, Recording
from openai_stream_guard.capture.recording import Ending as Ended
from openai_stream_guard.cli.doctor.analysis import Stream, analyzed, unanswered
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.diagnosis.evidence import Ending, ResponseHead
from openai_stream_guard.engine.decisions import StreamFault, Timeouts
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.session import Session
from openai_stream_guard.notices import Notice

from .simulated import CHAT

CHUNKED = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
SECRET = "tramway"
"""What every answer says, and no report may."""
DONE = b"data: [DONE]\n\n"


def chunk(finish: str | None = None, **delta: object) -> bytes:
    """One event of a chat."""
    choice = {"index": 0, "delta": delta or {"content": SECRET}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice]}).encode() + b"\n\n"


STOP = chunk("stop", content="")
WORDS = [chunk()] * 20
Reads = Sequence[tuple[float, bytes]]


def paced(parts: Sequence[bytes], pause: float = 0.1) -> Reads:
    """Each part a read, at equal times."""
    return [(round(pause * number, 6), part) for number, part in enumerate(parts, 1)]


HEALTHY = paced([*WORDS, STOP, DONE])


def recorded(
    reads: Reads,
    end: Literal["body", "left"] | Ending = "body",
    *,
    headers: Mapping[str, str] = CHUNKED,
    version: str = "HTTP/1.1",
    request: StreamRequest = CHAT,
    end_at: float | None = None,
    busy: float = 0.0,
    notify: Callable[[Notice], None] = lambda notice: None,
) -> Capture:
    """What is recorded of these reads. `end` says how they end: an `Ending` by an error of the transport.

    Args:
        busy: seconds that the program takes with what the last read brought.
    """
    recorder = Recorder()
    session = Session(
        request,
        Policy(recovery=(), retry_budget=None),
        HostMemory(),
        now=0.0,
        max_retries=0,
        timeouts=Timeouts(read=600.0),
        head=ResponseHead(200, None, headers, version),
        notify=notify,
        observer=recorder,
    )
    for at, data in reads:
        if session.decision is None:
            session.receive(data, at)
    now = end_at if end_at is not None else (reads[-1][0] if reads else 0.0) + busy
    session.consumer_resumed(now if busy else 0.0)
    if session.decision is None:
        if end == "left":
            session.abandon(now)
        elif end == "body":
            session.end(now)
        else:
            session.fail(StreamFault("stalled" if end == "timeout" else "disconnected", "it broke", ending=end), now)
    return recorder.capture


def seen(reads: Reads, *arguments: object, headers_at: float = 0.0, **options: object) -> Stream:
    """The same, examined."""
    (stream,) = analyzed(recorded(reads, *arguments, **options), "t", headers_at=headers_at)
    return stream


def refused(status: int | None, **headers: str) -> Stream:
    """A request that got no stream."""
    recording = Recording(0.0, None, "auto", ResponseHead(status, headers=headers), ending=Ended(1.5, "transport"))
    return unanswered("t", recording, "nothing came within 1 s")

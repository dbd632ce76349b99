"""Captured streams as scripted responses: what broke in production, served again to a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ...capture.recording import Recording
from ...capture.ssecap import load
from .scripted_response import EVENT_STREAM, Close, End, Reset, ScriptedResponse, Send, Step, Wait

_FRAMING = {"content-length", "content-encoding", "transfer-encoding", "connection", "keep-alive", "x-request-id"}
"""Headers of the captured response that are dropped: the server writes its own, and does not compress."""


def captured(path: str | os.PathLike[str], *, timed: bool = False) -> tuple[ScriptedResponse, ...]:
    """
    Return the attempts of a `.ssecap` file, each as a response that breaks as the captured one did.

        server.script(*captured("20260301T101112.ssecap"))

    Each read is one write: at its recorded time if `timed`, otherwise at once. Raises `ValueError` for a file that is
    not a capture file, and `OSError` for one that cannot be read.
    """
    return tuple(_scripted(recording, timed=timed) for recording in load(Path(path).read_bytes()).attempts)


def _scripted(recording: Recording, *, timed: bool) -> ScriptedResponse:
    headers = tuple((name, value) for name, value in recording.head.headers.items() if name not in _FRAMING)
    steps = chain(_reads(recording, timed=timed), [_ending(recording)])
    return ScriptedResponse(tuple(steps), recording.head.status or 200, headers or EVENT_STREAM)


def _reads(recording: Recording, *, timed: bool) -> Iterator[Step]:
    before = 0.0
    for read in recording.reads:
        if timed and read.at > before:
            yield Wait(read.at - before)
        before = read.at
        yield Send(read.data)


def _ending(recording: Recording) -> Step:
    """What a client sees as the end that was recorded."""
    ending, verdict = recording.ending, recording.verdict
    if "stalled" in (ending and ending.fault, verdict and verdict.fault):
        return Wait()
    if ending is None or ending.by != "transport":
        return End()
    return Reset() if (ending.error or "").endswith("ReadError") else Close()

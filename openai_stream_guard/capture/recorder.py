"""Keeps what a session is told, so that it can be told the same again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..apis.request import EndRule, StreamRequest
from ..config.policy import Policy
from ..diagnosis.evidence import ResponseHead
from ..engine.decisions import StreamFault, Timeouts
from ..notices import Attempt
from ..redaction import redact
from .recording import (
    MAX_ATTEMPTS,
    Capture,
    Ending,
    ReadBuffer,
    Recording,
    Verdict,
    kept_head,
    kept_policy,
    kept_request,
    kept_text,
)


class Recorder:
    """Records every attempt of a session that has ended; a `SessionObserver`.

    Args:
        credentials: what the requests of the stream are authenticated with. They are not kept.
    """

    capture: Capture
    """What was recorded of the attempts that have ended."""

    def __init__(self, credentials: Collection[str] = ()) -> None:
        self._credentials = credentials

    def stream_opened(
        self, stream_id: str, request: StreamRequest, policy: Policy, timeouts: Timeouts, now: float
    ) -> None:
        """Begin the capture."""
        self.stream_id = stream_id
        self.capture = Capture(kept_request(request, self._credentials), kept_policy(policy, request), timeouts, now)

    def attempt_opened(
        self, head: ResponseHead, now: float, *, polled: bool = False, anchor: str | None = None
    ) -> None:
        """Begin the recording of an attempt."""
        self._buffer = ReadBuffer(self._credentials)
        self._opened = round(now - self.capture.origin, 6)
        self._head = head
        self._polled = polled
        self._anchor = None if anchor is None else kept_text(anchor, self._credentials)
        self._ending: Ending | None = None

    def _time(self, now: float) -> float:
        """Return a time in seconds since the attempt was opened; 0 for one before it."""
        return max(0.0, round(now - self.capture.origin - self._opened, 6))

    def bytes_received(self, data: bytes, now: float, waiting_since: float) -> None:
        """Keep the read."""
        self._buffer.add(data, self._time(now), self._time(waiting_since))

    def body_ended(self, fault: StreamFault | None, now: float, waiting_since: float) -> None:
        """Keep the end of the body, with the class of the transport's error and what it was classified as."""
        at, since = self._time(now), self._time(waiting_since)
        if fault is None:
            self._ending = Ending(at, "body", waiting_since=since)
            return
        error = None if fault.error is None else type(fault.error)
        name = None if error is None else f"{error.__module__}.{error.__qualname__}"
        reason = redact(fault.reason, self._credentials)
        self._ending = Ending(at, "transport", fault.kind, reason, name, fault.ending, since)

    def attempt_closed(self, attempt: Attempt, rule: EndRule, reason: str | None, repairs: Mapping[str, int]) -> None:
        """Add the attempt to the capture; without a reason it has no verdict."""
        if len(self.capture.attempts) >= MAX_ATTEMPTS:
            return
        buffer = self._buffer
        reads = buffer.reads
        ending, verdict = self._ending, None
        if reason is not None:
            ending = ending or Ending(reads[-1].at if reads else 0.0, "guard")
            verdict = Verdict(
                attempt.fault, redact(reason, self._credentials), attempt.events, attempt.bytes, dict(repairs)
            )
        recording = Recording(
            opened=self._opened,
            way=attempt.way,
            rule=rule,
            head=kept_head(self._head, self._credentials),
            polled=self._polled,
            anchor=self._anchor,
            lost_reads=buffer.lost_reads,
            lost_bytes=buffer.lost_bytes,
            reads=reads,
            ending=ending,
            verdict=verdict,
        )
        self.capture = replace(self.capture, attempts=(*self.capture.attempts, recording))

    def stream_ended(self) -> None:
        """Do nothing: the capture is complete."""

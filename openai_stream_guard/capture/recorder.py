"""A session that keeps what it is told, so that it can be told the same again.

Nothing of it is part of a session that is not recorded, which pays nothing for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from ..apis.request import StreamRequest
from ..config.policy import Policy
from ..decoding.payload import Payload
from ..diagnosis.evidence import ResponseHead
from ..engine.decisions import Reissue, StreamFault, Timeouts
from ..engine.host_memory import HostMemory
from ..engine.session import Session
from ..notices import Attempt, Ended, FaultSeen, Notice
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
)


class RecordedSession(Session):
    """A session with a recording of every attempt that has ended.

    `credentials` are what its requests are sent with, which is not kept. The other arguments are the session's.
    A notice finds the attempt that it is about recorded.
    """

    def __init__(
        self,
        asked: StreamRequest,
        policy: Policy,
        hosts: HostMemory,
        *,
        now: float,
        clocks: Timeouts = Timeouts(),  # noqa: B008 - frozen
        notify: Callable[[Notice], None] = lambda notice: None,
        head: ResponseHead = ResponseHead(),  # noqa: B008 - frozen
        credentials: Collection[str] = (),
        **rest: Any,
    ) -> None:
        super().__init__(asked, policy, hosts, now=now, clocks=clocks, notify=self._hear, head=head, **rest)
        self.capture = Capture(kept_request(asked), kept_policy(policy, asked), clocks, now)
        """What was recorded of the attempts that have ended."""
        self._tell = notify
        self._credentials = credentials
        self._repaired: Counter[str] = Counter()
        self._record(0.0, head, polled=False)

    def _record(self, opened: float, head: ResponseHead, *, polled: bool) -> None:
        self._buffer = ReadBuffer(self._credentials)
        self._opened = opened
        self._head = head
        self._polled = polled
        self._ending: Ending | None = None

    def _time(self, now: float) -> float:
        """Seconds since the attempt was opened, as they are recorded."""
        return max(0.0, round(now - (self.capture.origin + self._opened), 6))

    def _clock(self, at: float) -> float:
        """The time that this was. The session goes by it, so that it has nothing to go by that is not recorded."""
        return self.capture.origin + self._opened + at

    def _waited(self) -> float:
        """When the program was done with the last events, as it is recorded, and as the session goes by it."""
        since = self._time(self.waiting_since)
        if since:
            self.waiting_since, self._deadline = self._clock(since), None
        return since

    def receive(self, data: bytes, now: float) -> list[Payload]:
        """Keep the read, and take it."""
        at = self._time(now)
        self._buffer.add(data, at, self._waited())
        return super().receive(data, self._clock(at))

    def end(self, now: float) -> list[Payload]:
        """Note the end, and take it."""
        self._ending = Ending(self._time(now), "body", waiting_since=self._waited())
        return super().end(self._clock(self._ending.at))

    def fail(self, fault: StreamFault, now: float) -> list[Payload]:
        """Note the error's class and what it meant, and take it."""
        kind = None if fault.error is None else type(fault.error)
        name = None if kind is None else f"{kind.__module__}.{kind.__qualname__}"
        at, since = self._time(now), self._waited()
        self._ending = Ending(at, "transport", fault.kind, fault.reason, name, fault.ending, since)
        return super().fail(fault, self._clock(self._ending.at))

    def reopened(self, decision: Reissue, head: ResponseHead, now: float) -> None:
        """Begin the recording of another attempt."""
        opened = round(now - self.capture.origin, 6)
        self._record(opened, head, polled=decision.resume is not None and decision.resume.poll)
        super().reopened(decision, head, self._clock(0.0))

    def forget(self) -> None:
        """Let go of what was recorded."""
        self.capture = replace(self.capture, attempts=())
        self._record(0.0, ResponseHead(), polled=False)

    def _hear(self, notice: Notice) -> None:
        match notice:
            case FaultSeen(reason=reason, attempt=attempt):
                self._keep(attempt, reason)
            case Ended(report=report) if report.outcome in ("complete", "recovered"):
                self._keep(report.attempts[-1], "the answer is whole")
            case Ended(report=report) if report.outcome == "abandoned":
                self._keep(report.attempts[-1], None)
        self._tell(notice)

    def _keep(self, attempt: Attempt, reason: str | None) -> None:
        """Take the attempt into the capture; without a reason its reading was left off, and there is no verdict."""
        if len(self.capture.attempts) >= MAX_ATTEMPTS:
            return
        buffer, repairs = self._buffer, Counter(self.report().repairs)
        reads = buffer.reads
        ending, verdict = self._ending, None
        if reason is not None:
            ending = ending or Ending(reads[-1].at if reads else 0.0, "guard")
            found = dict(repairs - self._repaired)
            verdict = Verdict(attempt.fault, reason, attempt.events, attempt.bytes, found)
        recording = Recording(
            opened=self._opened,
            way=attempt.way,
            rule=self._attempt.rule,
            head=kept_head(self._head, self._credentials),
            polled=self._polled,
            lost_reads=buffer.lost_reads,
            lost_bytes=buffer.lost_bytes,
            reads=reads,
            ending=ending,
            verdict=verdict,
        )
        self._repaired = repairs
        self.capture = replace(self.capture, attempts=(*self.capture.attempts, recording))

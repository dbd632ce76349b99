"""What has happened to one logical stream, counted: the source of its report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..diagnosis.evidence import Evidence, ResponseHead, clues_from, complaint_from, opening_from
from ..notices import Attempt, FaultKind, Outcome, RecoveryMethod, StreamReport

if TYPE_CHECKING:
    from ..decoding.reader import Reader
    from .decisions import StreamFault, Timeouts


class AttemptLog:
    """The running account of one stream."""

    def __init__(self, now: float, requests: int, head: ResponseHead) -> None:
        self.attempts: list[Attempt] = []
        self.recoveries: list[RecoveryMethod] = []
        self.delivered = 0
        self.progress_at = now
        """When the last event came, or when the wait for the first one began."""
        self.reading = True
        """An attempt is open: between two of them there is none."""
        self._notes: Counter[str] = Counter()
        self._repairs: Counter[str] = Counter()
        self._bytes = 0
        self._started = now
        self._first_event_seconds: float | None = None
        self._last_event_at: float | None = None
        self._worst_gap = 0.0
        self._fault_at: float | None = None
        self._recovery_seconds = 0.0
        self.open_attempt(None, now, requests, head)

    def open_attempt(self, way: RecoveryMethod | None, now: float, requests: int, head: ResponseHead) -> None:
        """A response is about to be read."""
        self.way = way
        self.head = head
        self._opened = self.progress_at = now
        self._opened_with = requests
        self._recovered = way is None
        self.reads = 0
        self.read_at = self._asked_at = now
        self._consumer_busy_seconds = 0.0
        self.reading = True

    def close_attempt(
        self,
        fault: FaultKind | None,
        now: float,
        *,
        events: int,
        bytes: int,
        repairs: dict[str, int],
        response_id: str | None,
    ) -> None:
        """It is over."""
        self.reading = False
        if fault is not None and self._fault_at is None:
            self._fault_at = now
        self._bytes += bytes
        self._repairs.update(repairs)
        self.attempts.append(
            Attempt(
                fault=fault,
                way=self.way,
                requests=self._opened_with,
                events=events,
                bytes=bytes,
                seconds=now - self._opened,
                request_id=self.head.request_id,
                response_id=response_id,
                status=self.head.status,
            )
        )

    def refused(self, way: RecoveryMethod, status: int | None, request_id: str | None) -> None:
        """A re-issue got no stream."""
        self.attempts.append(Attempt(None, way, 1, 0, 0, 0.0, request_id, None, status, refused=True))

    def progress(self, delivered: int, now: float) -> None:
        """Events came, of which so many were handed over."""
        if self._last_event_at is not None:  # of whatever attempt: what a recovery takes is waited for too
            gap = now - self._last_event_at
            if gap > self._worst_gap:
                self._worst_gap = gap
        self._last_event_at = self.progress_at = now
        if delivered:
            if self._first_event_seconds is None:
                self._first_event_seconds = now - self._started
            self.delivered += delivered
            if not self._recovered:
                self.mark_recovered(now)

    def asked(self, now: float) -> None:
        """The program waits for more: what has passed since the last read was its own doing."""
        if self._asked_at <= self.read_at:  # else the transport only goes on with a read that brought nothing yet
            self._consumer_busy_seconds = max(self._consumer_busy_seconds, now - self.read_at)
        self._asked_at = now

    def evidence(self, fault: StreamFault, reader: Reader, clocks: Timeouts, now: float) -> Evidence:
        """What the cause of a trouble of the open attempt can be told from."""
        first = not self.attempts  # in later ones a wait may have been that for a recovery
        return Evidence(
            fault=fault.kind,
            ending=fault.ending,
            clues=clues_from(self.head.headers),
            opening=opening_from(reader.head),
            bytes=reader.bytes,
            events=reader.events,
            reads=self.reads,
            inside_event=reader.unfinished,
            unterminated="unterminated_event" in reader.repairs,
            done=reader.done,
            not_utf8=isinstance(fault.error, UnicodeDecodeError),
            complaint=complaint_from(fault.body),
            seconds=now - self._opened,
            first_event_seconds=(self._first_event_seconds or 0.0) if first else 0.0,
            worst_gap=self._worst_gap if first else 0.0,
            silence=now - self.read_at,
            waited=now - self.progress_at,
            consumer_busy_seconds=self._consumer_busy_seconds,
            read_timeout=clocks.read,
        )

    def mark_recovered(self, now: float) -> None:
        """The open attempt has brought the stream forward."""
        if self._fault_at is not None:
            self._recovery_seconds += now - self._fault_at
            self._fault_at = None
        if not self._recovered and self.way is not None:
            self._recovered = True
            self.recoveries.append(self.way)

    def note(self, text: str) -> None:
        """Something odd that is no fault."""
        self._notes[text] += 1

    def report(self, outcome: Outcome, hint: str | None = None) -> StreamReport:
        """All of it, frozen."""
        return StreamReport(
            outcome=outcome,
            attempts=tuple(self.attempts),
            recoveries=self.recoveries,
            repairs=self._repairs,
            notes=tuple(text if count == 1 else f"{text} ({count} times)" for text, count in self._notes.items()),
            events=self.delivered,
            bytes=self._bytes,
            first_event_seconds=self._first_event_seconds,
            worst_gap_seconds=self._worst_gap,
            recovery_seconds=self._recovery_seconds,
            hint=hint,
        )

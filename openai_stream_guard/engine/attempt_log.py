"""Counts and times of one logical stream: the source of its report, and of the evidence for a diagnosis."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ..diagnosis.evidence import Complaint, Ending, Evidence, Headers, Marks, ResponseHead, clues_from, opening_from
from ..notices import Attempt, FaultKind, Outcome, RecoveryMethod, StreamReport
from .retry_rules import judge_error

if TYPE_CHECKING:
    from ..decoding.reader import Reader
    from .decisions import StreamFault, Timeouts


class AttemptTimes(NamedTuple):
    """The times of one attempt, in seconds, as `Evidence` explains them."""

    seconds: float
    first_event_seconds: float
    worst_gap: float
    silence: float
    waited: float
    consumer_busy_seconds: float


def evidence_from(
    reader: Reader,
    headers: Headers,
    times: AttemptTimes,
    *,
    fault: FaultKind | None,
    ending: Ending,
    error: Exception | None,
    body: object = None,
    complaint: Complaint | None = None,
    reads: int,
    read_timeout: float,
    marks: Marks = "finish_reason",
    at: float = 0.0,
) -> Evidence:
    """Return what the likely cause of an attempt's end can be found from, for a live stream and a recorded one.

    Args:
        reader: the one that decoded the attempt's body.
        ending: how the body ended on the wire.
        error: the exception of the transport or of the decoding, if there was one.
        body: what the API reported, if an error ended the attempt; or its `complaint`, where that is known.
        reads: how many reads of the transport brought bytes.
        marks: how the API marks the end of an answer.
        at: when the attempt ended, on a clock that all attempts at a host share.
    """
    return Evidence(
        fault=fault,
        ending=ending,
        clues=clues_from(headers),
        opening=opening_from(reader.head),
        bytes=reader.bytes,
        events=reader.events,
        reads=reads,
        inside_event=reader.unfinished,
        unterminated="unterminated_event" in reader.repairs,
        done=reader.done,
        not_utf8=isinstance(error, UnicodeDecodeError),
        complaint=complaint or judge_error(body).complaint,
        marks=marks,
        read_timeout=read_timeout,
        at=at,
        **times._asdict(),
    )


class AttemptLog:
    """What has happened to one logical stream so far."""

    def __init__(self, now: float, requests: int, head: ResponseHead) -> None:
        self.attempts: list[Attempt] = []
        self.recoveries: list[RecoveryMethod] = []
        self.delivered = 0
        self.progress_at = now
        """When the last event of the open attempt came, or when the attempt was opened."""
        self.reading = True
        """Whether an attempt is open; between two attempts none is."""
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
        """Begin an attempt, when its response is about to be read."""
        self.way = way
        self.head = head
        self._opened = self.progress_at = now
        self._opened_with = requests
        self._recovered = way is None
        self.reads = 0
        self.read_at = self._waiting_since = now
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
        """End the open attempt."""
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
        """Record a re-issue that got no stream."""
        self.attempts.append(Attempt(None, way, 1, 0, 0, 0.0, request_id, None, status, refused=True))

    def progress(self, delivered: int, now: float) -> None:
        """Record a read that brought events, of which `delivered` were handed to the consumer."""
        if self._last_event_at is not None:  # also of an earlier attempt: the consumer waits for recovery too
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

    def consumer_waits(self, now: float) -> None:
        """Record that the consumer waits for bytes: the time since the last read was spent by the program."""
        if self._waiting_since <= self.read_at:  # else it still waits, for a read that has brought nothing yet
            self._consumer_busy_seconds = max(self._consumer_busy_seconds, now - self.read_at)
        self._waiting_since = now

    def evidence(
        self, fault: StreamFault, reader: Reader, clocks: Timeouts, now: float, marks: Marks = "finish_reason"
    ) -> Evidence:
        """Return the evidence for a fault of the open attempt; `marks` are those by which the API ends an answer."""
        first = not self.attempts  # a later attempt's waits may be waits for its recovery
        times = AttemptTimes(
            seconds=now - self._opened,
            first_event_seconds=(self._first_event_seconds or 0.0) if first else 0.0,
            worst_gap=self._worst_gap if first else 0.0,
            silence=now - self.read_at,
            waited=now - self.progress_at,
            consumer_busy_seconds=self._consumer_busy_seconds,
        )
        return evidence_from(
            reader,
            self.head.headers,
            times,
            fault=fault.kind,
            ending=fault.ending,
            error=fault.error,
            complaint=fault.verdict.complaint,
            reads=self.reads,
            read_timeout=clocks.read,
            marks=marks,
            at=now,
        )

    def mark_recovered(self, now: float) -> None:
        """Record that the open attempt brought the stream forward: its recovery method is reported, once."""
        if self._fault_at is not None:
            self._recovery_seconds += now - self._fault_at
            self._fault_at = None
        if not self._recovered and self.way is not None:
            self._recovered = True
            self.recoveries.append(self.way)

    def note(self, text: str) -> None:
        """Record something unusual that is not a fault."""
        self._notes[text] += 1

    def report(self, outcome: Outcome, hint: str | None = None) -> StreamReport:
        """Return everything so far, frozen."""
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

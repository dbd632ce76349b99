"""Counts and times of one logical stream: the source of its report, and of the evidence for a diagnosis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from ..diagnosis.evidence import Complaint, Ending, Evidence, Headers, Marks, ResponseHead, clues_from, opening_from
from ..notices import (
    Attempt,
    Ended,
    FaultKind,
    FaultSeen,
    Outcome,
    Recovering,
    RecoveryMethod,
    Refused,
    ServerNotice,
    StoppedBy,
    StreamReport,
    Waiting,
    WaitReason,
)
from ..records import Record
from ..redaction import identifier
from .retry_rules import judge_error

if TYPE_CHECKING:
    from ..decoding.reader import Reader
    from .decisions import Refusal, Reissue, StreamFault, Timeouts, Wait


_WAITS: dict[WaitReason, str] = {"host": "the host to accept requests", "budget": "a token of the retry budget"}


class AttemptTimes(Record):
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
        bytes=reader.bytes_fed,
        events=reader.events,
        reads=reads,
        inside_event=reader.unfinished or reader.event_begun,
        unterminated="unterminated_event" in reader.repairs,
        done=reader.done,
        not_utf8=isinstance(error, UnicodeDecodeError),
        complaint=complaint or judge_error(body).complaint,
        marks=marks,
        read_timeout=read_timeout,
        at=at,
        **vars(times),
    )


class AttemptLog:
    """What has happened to one logical stream so far."""

    __slots__ = (
        "_bytes", "_consumer_busy_seconds", "_credentials", "_fault_at", "_first_event_seconds", "_host",
        "_last_event_at", "_model", "_notes", "_opened", "_opened_with", "_recovered", "_recovery_seconds", "_repairs",
        "_requested_at", "_started", "_stream_id", "_wait_began_at", "_waiting_since", "_waits", "_waits_for",
        "_worst_gap", "attempts", "delivered", "head", "progress_at", "read_at", "reading", "reads", "recoveries",
        "way",
    )  # fmt: skip

    def __init__(
        self,
        now: float,
        requests: int,
        head: ResponseHead,
        *,
        host: str | None = None,
        model: str | None = None,
        stream_id: str | None = None,
        requested_at: float | None = None,
        credentials: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._credentials = credentials
        self._host = host or ""
        self._model = model
        self._stream_id = stream_id or ""
        self._requested_at = now if requested_at is None else requested_at
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
        self._waits: dict[WaitReason, float] = {}
        self._waits_for: WaitReason | None = None
        self._wait_began_at = 0.0
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
        usage: Mapping[str, object] | None = None,
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
                response_id=identifier(response_id, self._credentials()),
                status=self.head.status,
                usage=usage,
            )
        )

    def refused(self, way: RecoveryMethod, refusal: Refusal) -> None:
        """Record a re-issue that got no stream."""
        status, request_id, error, message = refusal.status, refusal.request_id, refusal.error, refusal.error_message
        self.attempts.append(
            Attempt(None, way, 1, 0, 0, 0.0, request_id, None, status, refused=True, error=error, error_message=message)
        )

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
        self, fault: StreamFault, reader: Reader, timeouts: Timeouts, now: float, marks: Marks = "finish_reason"
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
            read_timeout=timeouts.read,
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

    def wait_began(self, reason: WaitReason, now: float) -> bool:
        """Record that the stream waits before it is sent again; return whether that is the first time for this."""
        self._waits_for, self._wait_began_at = reason, now
        first = reason not in self._waits
        self._waits.setdefault(reason, 0.0)
        return first

    def wait_ended(self, now: float) -> None:
        """Record that a wait is over, if there was one."""
        if self._waits_for is not None:
            self._waits[self._waits_for] += now - self._wait_began_at
            self._waits_for = None

    def note(self, text: str) -> None:
        """Record something unusual that is not a fault."""
        self._notes[text] += 1

    def report(self, outcome: Outcome, hint: str | None = None) -> StreamReport:
        """Return everything so far, frozen."""
        notes = [text if count == 1 else f"{text} ({count} times)" for text, count in self._notes.items()]
        notes += [f"waited {seconds:.1f} s for {_WAITS[reason]}" for reason, seconds in self._waits.items()]
        return StreamReport(
            outcome=outcome,
            attempts=tuple(self.attempts),
            recoveries=self.recoveries,
            repairs=self._repairs,
            notes=tuple(notes),
            events=self.delivered,
            bytes=self._bytes,
            first_event_seconds=self._first_event_seconds,
            first_chunk_seconds=self._first_chunk_seconds,
            chunk_seconds=self._chunk_seconds,
            worst_gap_seconds=self._worst_gap,
            waited_seconds=sum(self._waits.values()),
            recovery_seconds=self._recovery_seconds,
            hint=hint,
            stream_id=self._stream_id,
        )

    @property
    def _first_chunk_seconds(self) -> float | None:
        first = self._first_event_seconds
        return None if first is None else self._started + first - self._requested_at

    @property
    def _chunk_seconds(self) -> float | None:
        first, last = self._first_event_seconds, self._last_event_at
        if first is None or last is None or self.delivered < 2:
            return None
        return (last - self._started - first) / (self.delivered - 1)

    # The notices of what was recorded last.

    def fault_seen(self, fault: StreamFault, hint: str) -> FaultSeen:
        """Return the notice of the attempt that broke."""
        reason = identifier(fault.reason, self._credentials()) or ""
        if fault.kind == "upstream_error" and (name := error_name(fault.body, self._credentials())):
            reason = f"{name}: {reason}"
        return FaultSeen(reason, len(self.attempts), self.attempts[-1], self._host, self._model, hint, self._stream_id)

    def recovering(self, reissue: Reissue) -> Recovering:
        """Return the notice of a re-issue that is due."""
        number = len(self.attempts) + 1
        return Recovering(reissue.way, reissue.delay, number, self._host, self._model, self._stream_id)

    def refusal_seen(self) -> Refused:
        """Return the notice of the re-issue that was refused."""
        last, number = self.attempts[-1], len(self.attempts)
        names = (self._host, self._model, last.error, self._stream_id)
        return Refused(last.status, number, last.request_id, *names, error_message=last.error_message)

    def waiting(self, wait: Wait) -> Waiting:
        """Return the notice of a wait."""
        number = len(self.attempts) + 1
        return Waiting(wait.reason, wait.limit, number, self._host, self._model, self._stream_id)

    def server_notice(self, text: str, is_warning: bool) -> ServerNotice:
        """Return a notice about the server."""
        return ServerNotice(text, is_warning, self._host, self._model, self._stream_id)

    def ended(self, report: StreamReport, stopped_by: StoppedBy | None) -> Ended:
        """Return the notice of the end."""
        return Ended(report, stopped_by, self._host, self._model, self._stream_id)


def error_name(body: object, credentials: Collection[str] = ()) -> str:
    """Return what an API's error object calls itself, by type and code, without its message; empty if it does not."""
    error = body.get("error", body) if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return ""
    return type_and_code(error, 60, credentials)


def type_and_code(error: Mapping[str, object], longest: int, credentials: Collection[str] = ()) -> str:
    """Return type and code of an error object, each of so many characters at most; empty if it has none."""
    parts = [(key, error.get(key)) for key in ("type", "code")]
    told = [(key, identifier(str(value), credentials)) for key, value in parts if isinstance(value, str | int)]
    return ", ".join(f"{key} {value[:longest]}" for key, value in told if value is not None)

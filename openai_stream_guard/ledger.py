"""What has happened to one logical stream, counted: the source of its report."""

from __future__ import annotations

from collections import Counter

from .notices import Attempt, FaultKind, Outcome, StreamReport, Way


class Ledger:
    """The running account of one stream."""

    def __init__(self, now: float, requests: int, status: int | None, request_id: str | None) -> None:
        self.attempts: list[Attempt] = []
        self.recoveries: list[Way] = []
        self.delivered = 0
        self.progress_at = now
        """When the last event came, or when the wait for the first one began."""
        self._notes: Counter[str] = Counter()
        self._repairs: Counter[str] = Counter()
        self._bytes = 0
        self._started = now
        self._first_event_seconds: float | None = None
        self._last_event_at: float | None = None
        self._worst_gap = 0.0
        self.open_attempt(None, now, requests, status, request_id)

    def open_attempt(
        self, way: Way | None, now: float, requests: int, status: int | None, request_id: str | None
    ) -> None:
        """A response is about to be read."""
        self.way = way
        self.request_id = request_id
        self._opened = self.progress_at = now
        self._opened_with = requests
        self._status = status
        self._led_on = False

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
                request_id=self.request_id,
                response_id=response_id,
                status=self._status,
            )
        )

    def refused(self, way: Way, status: int | None, request_id: str | None) -> None:
        """A re-issue got no stream."""
        self.attempts.append(Attempt(None, way, 1, 0, 0, 0.0, request_id, None, status))

    def progress(self, delivered: int, now: float) -> None:
        """Events came, of which so many were handed over."""
        if self._last_event_at is not None:  # of whatever attempt: what a recovery takes is waited for too
            self._worst_gap = max(self._worst_gap, now - self._last_event_at)
        self._last_event_at = self.progress_at = now
        if delivered:
            if self._first_event_seconds is None:
                self._first_event_seconds = now - self._started
            self.delivered += delivered
            self.led_on()

    def led_on(self) -> None:
        """The open attempt has brought the stream forward."""
        if not self._led_on and self.way is not None:
            self._led_on = True
            self.recoveries.append(self.way)

    def note(self, text: str) -> None:
        """Something odd that is no fault."""
        self._notes[text] += 1

    def report(self, outcome: Outcome) -> StreamReport:
        """All of it, frozen."""
        return StreamReport(
            outcome=outcome,
            attempts=tuple(self.attempts),
            recoveries=tuple(self.recoveries),
            repairs=dict(self._repairs),
            notes=tuple(text if count == 1 else f"{text} ({count} times)" for text, count in self._notes.items()),
            events=self.delivered,
            bytes=self._bytes,
            first_event_seconds=self._first_event_seconds,
            worst_gap_seconds=self._worst_gap,
        )

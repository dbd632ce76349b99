"""What a recording tells about the way that a stream took: its figures, and the evidence for `findings`.

All of it is values: a recording goes in, be it of a live stream or from a capture's file, and what is drawn, printed
and judged comes out. No text of an answer is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ...capture.recording import Capture, Ending, Read, Recording
from ...capture.rerun import Look, Step, from_a_boundary
from ...decoding.payload import Payload
from ...diagnosis.evidence import Complaint, Evidence, clues_from, complaint_from, opening_from
from ...redaction import identifier

__all__ = ["Stream", "examined", "unanswered"]

_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


@dataclass(frozen=True)
class Stream:
    """One answer, as far as it came. All times are in seconds after its request was sent."""

    title: str
    recording: Recording
    evidence: Evidence
    steps: tuple[Step, ...] = ()
    """Its reads. (Their own times are from the headers on, as recorded.)"""
    headers_at: float = 0.0
    """0 in a capture, which does not say when the request was sent."""
    gaps: tuple[tuple[float, float], ...] = ()
    """Where no byte came: from, to."""
    comments: int = 0
    """Lines that carry nothing, as keep-alives are sent."""
    finished: bool = True
    """A `finish_reason`, or the last event of its API, came."""
    wants_finish: bool = False
    """The API is one whose choices end with a `finish_reason`."""

    error: str = ""
    """The type and the code of the API's own error object, where that ended the answer; never its message."""

    refused: str | None = None
    """Why there was no stream at all."""

    @property
    def answered(self) -> bool:
        """A stream began, or what should have been one."""
        return self.refused is None

    @property
    def whole(self) -> bool:
        """It came to its end, and nothing was missing."""
        judgement = self.recording.judgement
        return judgement is not None and judgement.fault is None

    @property
    def seconds(self) -> float:
        """Until it ended, or its reading did."""
        last = self.recording.ending or (self.steps[-1] if self.steps else None)
        return self.headers_at + (last.at if last else 0.0)

    @property
    def first_event(self) -> float | None:
        """None where no event came."""
        return self.headers_at + self._events[0] if self._events else None

    @property
    def worst_gap(self) -> float:
        """The longest wait between two events."""
        times = self._events
        return max((after - before for before, after in pairwise(times)), default=0.0)

    @property
    def longest_silence(self) -> float:
        """The longest time without a byte, that before the first included."""
        return max((after - before for before, after in self.gaps), default=0.0)

    @property
    def by(self) -> str:
        """Who answered, as far as the headers name them."""
        return ", ".join(sorted(self.evidence.clues.parties))

    @property
    def _events(self) -> list[float]:
        """When reads came that held events."""
        return [step.at for step in self.steps if step.payloads]

    def figures(self) -> dict[str, Any]:
        """The numbers, by name; of seconds those that end so."""
        e = self.evidence
        return {
            "headers_seconds": _rounded(self.headers_at),
            "first_event_seconds": _rounded(self.first_event),
            "seconds": _rounded(self.seconds),
            "worst_gap_seconds": _rounded(self.worst_gap),
            "longest_silence_seconds": _rounded(self.longest_silence),
            "events": e.events,
            "reads": e.reads,
            "bytes": e.bytes,
            "events_per_read": round(e.events / e.reads, 2) if e.reads else 0.0,
            "bytes_per_read": round(e.bytes / e.reads, 1) if e.reads else 0.0,
            "comments": self.comments,
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def unanswered(title: str, recording: Recording, reason: str) -> Stream:
    """A request that got no stream: none of its times but that of the failure is known."""
    return Stream(title, recording, Evidence(clues=clues_from(recording.head.headers)), refused=reason)


def examined(capture: Capture, title: str = "attempt {}", *, headers_at: float = 0.0) -> tuple[Stream, ...]:
    """The attempts of a capture.

    Args:
        title: what to call each, by its number.
        headers_at: seconds from the first request to its headers, where that is known.
    """
    streams = []
    for number, recording in enumerate(capture.attempts, 1):
        sent = headers_at if number == 1 else 0.0
        streams.append(_Examiner(capture, recording, sent).stream(title.format(number)))
    return tuple(streams)


@dataclass
class _Examiner:
    """Looks at one attempt."""

    capture: Capture
    recording: Recording
    headers_at: float
    look: Look = field(init=False)

    def __post_init__(self) -> None:
        policy, recording = self.capture.policy, self.recording
        reads, skipped = from_a_boundary(recording.reads) if recording.lost_bytes else (recording.reads, 0)
        self.look = Look(policy.repair, policy.max_event_bytes, recording.lost_bytes + skipped)
        for read in reads:
            self.look.at(read.at, read.data)
        if recording.ending is not None and recording.ending.by != "guard":
            self.look.at(recording.ending.at, None)

    def stream(self, title: str) -> Stream:
        recording, path = self.recording, self.capture.asked.steps[-1]
        payloads = [payload for step in self.look.steps for payload in step.payloads]
        evidence = self._evidence(payloads)
        body = b"".join(read.data for read in recording.reads)
        return Stream(
            title=title,
            recording=recording,
            evidence=evidence,
            steps=tuple(self.look.steps),
            headers_at=self.headers_at,
            gaps=tuple(self._gaps()),
            comments=sum(line.startswith(b":") for line in body.splitlines()),
            finished=any(_finishes(payload.value) for payload in payloads),
            wants_finish=path == "completions",
            error=_named(payloads) if evidence.fault == "upstream_error" else "",
        )

    def _gaps(self) -> list[tuple[float, float]]:
        """Every wait for bytes; where bytes are lost, that before the first is not known."""
        start = -self.headers_at if not self.recording.lost_bytes else None
        times = [] if start is None else [start]
        times += [read.at for read in self.recording.reads]
        if (ending := self.recording.ending) is not None:
            times.append(ending.at)
        moved = [time + self.headers_at for time in times]
        return list(pairwise(moved))

    def _consumer_busy_seconds(self) -> float:
        """How long the program did something else than wait for bytes, at most."""
        moments: list[Read | Ending] = [*self.recording.reads]
        if self.recording.ending is not None:
            moments.append(self.recording.ending)
        return max([0.0, *(later.waiting_since - one.at for one, later in pairwise(moments))])

    def _evidence(self, payloads: Sequence[Payload]) -> Evidence:
        recording, reader, judgement = self.recording, self.look.reader, self.recording.judgement
        reads, ending = recording.reads, recording.ending
        with_events = [step.at for step in self.look.steps if step.payloads]
        end = ending.at if ending is not None else (reads[-1].at if reads else 0.0)
        decode_fault = reader.fault
        return Evidence(
            fault=None if judgement is None else judgement.fault,
            ending="open" if ending is None or ending.by == "guard" else "clean" if ending.by == "body" else ending.how,
            clues=clues_from(recording.head.headers),
            opening=opening_from(reader.head),
            bytes=sum(len(read.data) for read in reads) + recording.lost_bytes,
            events=reader.events,
            reads=len(reads) + recording.lost_reads,
            inside_event=reader.unfinished,
            unterminated="unterminated_event" in reader.repairs,
            done=reader.done,
            not_utf8=decode_fault is not None and isinstance(decode_fault.error, UnicodeDecodeError),
            complaint=_complaint(payloads) if judgement is not None and judgement.fault == "upstream_error" else None,
            seconds=self.headers_at + end,
            first_event_seconds=self.headers_at + (with_events[0] if with_events else end),
            worst_gap=max((b - a for a, b in pairwise(with_events)), default=0.0),
            silence=end - reads[-1].at if reads else self.headers_at + end,
            waited=end - with_events[-1] if with_events else self.headers_at + end,
            consumer_busy_seconds=self._consumer_busy_seconds(),
            read_timeout=self.capture.clocks.read,
        )


def _complaint(payloads: Sequence[Payload]) -> Complaint | None:
    """What the error object that ended an answer is about."""
    value = payloads[-1].value if payloads else None
    return complaint_from(value.get("error") or value) if isinstance(value, dict) else None


def _named(payloads: Sequence[Payload]) -> str:
    """What an API's error object calls itself."""
    value = payloads[-1].value if payloads else None
    error = value.get("error") if isinstance(value, dict) else None
    named = error if isinstance(error, dict) else value if isinstance(value, dict) else {}
    parts = [(name, named.get(name)) for name in ("type", "code")]
    return ", ".join(f"{name} {identifier(str(part)[:80])}" for name, part in parts if isinstance(part, str | int))


def _finishes(value: object) -> bool:
    """Whether a payload says that an answer is over."""
    if not isinstance(value, dict):
        return False
    choices = value.get("choices")
    chosen = choices if isinstance(choices, list) else []
    return value.get("type") in _TERMINAL or any(isinstance(c, dict) and c.get("finish_reason") for c in chosen)

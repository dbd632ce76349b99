"""What a recording shows about the path of a stream: its measurements, and the evidence for `findings`.

Recordings go in, of a live stream or from a capture file; values come out that the views draw, print and judge. They
hold no text of an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ...apis.registry import adapter_for
from ...capture.recording import Capture, Ending, Read, Recording
from ...capture.rerun import Step, StepReader, from_first_event
from ...diagnosis.evidence import Evidence, clues_from
from ...engine.attempt_log import AttemptTimes, evidence_from, type_and_code

_LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


@dataclass(frozen=True)
class Stream:
    """One answer, as far as it came. Unless noted, times are in seconds after its request was sent."""

    title: str
    recording: Recording
    evidence: Evidence
    steps: tuple[Step, ...] = ()
    """Its reads. Their own times count from the headers, as recorded; see `timed_steps`."""
    headers_at: float = 0.0
    """0 in a capture, which does not record when the request was sent."""
    gaps: tuple[tuple[float, float], ...] = ()
    """The times without a byte: from, to."""
    comments: int = 0
    """Comment lines, which servers send as keep-alives."""
    finished: bool = True
    """A `finish_reason`, or the last event of the API, came."""
    has_finish_reason: bool = False
    """The API is one whose choices end with a `finish_reason`."""
    error: str = ""
    """Type and code of the API's error object, if that ended the answer; never its message."""
    refused: str | None = None
    """Why there was no stream at all; None if there was one."""

    @property
    def answered(self) -> bool:
        """Whether a stream began."""
        return self.refused is None

    @property
    def whole(self) -> bool:
        """Whether the answer was complete."""
        verdict = self.recording.verdict
        return verdict is not None and verdict.fault is None

    @property
    def seconds(self) -> float:
        """When the stream ended, or reading it was stopped."""
        last = self.recording.ending or (self.steps[-1] if self.steps else None)
        return self.headers_at + (last.at if last else 0.0)

    @property
    def first_event(self) -> float | None:
        """When the first event came; None if none came."""
        times = self._event_times
        return self.headers_at + times[0] if times else None

    @property
    def worst_gap(self) -> float:
        """The longest wait between two events, in seconds."""
        return max((after - before for before, after in pairwise(self._event_times)), default=0.0)

    @property
    def longest_silence(self) -> float:
        """The longest time without a byte, in seconds, including that before the first byte."""
        return max((after - before for before, after in self.gaps), default=0.0)

    @property
    def parties(self) -> str:
        """Who answered, as far as the headers name them."""
        return ", ".join(sorted(self.evidence.clues.parties))

    def timed_steps(self) -> Iterator[tuple[float, Step]]:
        """Yield each read with its time."""
        return ((self.headers_at + step.at, step) for step in self.steps)

    def figures(self) -> dict[str, float | None]:
        """Return the measurements by name; those in seconds are named so."""
        evidence = self.evidence
        return {
            "headers_seconds": round(self.headers_at, 6),
            "first_event_seconds": None if self.first_event is None else round(self.first_event, 6),
            "seconds": round(self.seconds, 6),
            "worst_gap_seconds": round(self.worst_gap, 6),
            "longest_silence_seconds": round(self.longest_silence, 6),
            "events": evidence.events,
            "reads": evidence.reads,
            "bytes": evidence.bytes,
            "events_per_read": round(evidence.events / evidence.reads, 2) if evidence.reads else 0.0,
            "bytes_per_read": round(evidence.bytes / evidence.reads, 1) if evidence.reads else 0.0,
            "comments": self.comments,
        }

    @property
    def _event_times(self) -> list[float]:
        """The times of the reads that completed events, from the headers on."""
        return [step.at for step in self.steps if step.payloads]


def unanswered(title: str, recording: Recording, reason: str) -> Stream:
    """Return a request that got no stream. Of its times only that of the failure is known."""
    return Stream(title, recording, Evidence(clues=clues_from(recording.head.headers)), refused=reason)


def analyzed(capture: Capture, title: str = "attempt {}", *, headers_at: float = 0.0) -> tuple[Stream, ...]:
    """Return the attempts of a capture.

    Args:
        title: what to call each attempt; `{}` stands for its number.
        headers_at: seconds from the first request to its headers, if known.
    """
    return tuple(
        _analyzed_attempt(capture, recording, title.format(number), headers_at if number == 1 else 0.0)
        for number, recording in enumerate(capture.attempts, 1)
    )


def _analyzed_attempt(capture: Capture, recording: Recording, title: str, headers_at: float) -> Stream:
    policy = capture.policy
    reads, skipped = from_first_event(recording.reads) if recording.lost_bytes else (recording.reads, 0)
    reader = StepReader(policy.repair, policy.max_event_bytes, recording.lost_bytes + skipped)
    for read in reads:
        reader.feed(read.at, read.data)
    if recording.ending is not None and recording.ending.by != "guard":
        reader.finish(recording.ending.at)
    payloads = [payload for step in reader.steps for payload in step.payloads]
    evidence = _evidence(capture, recording, reader, headers_at)
    body = b"".join(read.data for read in recording.reads)
    return Stream(
        title=title,
        recording=recording,
        evidence=evidence,
        steps=tuple(reader.steps),
        headers_at=headers_at,
        gaps=tuple(_gaps(recording, headers_at)),
        comments=sum(line.startswith(b":") for line in body.splitlines()),
        finished=any(_is_last(payload.value) for payload in payloads),
        has_finish_reason=capture.request.steps[-1] == "completions",
        error=_error_name(_last_payload(reader.steps)) if evidence.fault == "upstream_error" else "",
    )


def _gaps(recording: Recording, headers_at: float) -> Iterator[tuple[float, float]]:
    """Yield every wait for bytes. If bytes were dropped, the wait before the first ones is not known."""
    times = [] if recording.lost_bytes else [0.0]
    times += [headers_at + read.at for read in recording.reads]
    if recording.ending is not None:
        times.append(headers_at + recording.ending.at)
    return pairwise(times)


def _consumer_busy_seconds(recording: Recording) -> float:
    """Return the longest time that the program spent on something other than waiting for bytes."""
    moments: list[Read | Ending] = [*recording.reads]
    if recording.ending is not None:
        moments.append(recording.ending)
    return max([0.0, *(after.waiting_since - before.at for before, after in pairwise(moments))])


def _evidence(capture: Capture, recording: Recording, step_reader: StepReader, headers_at: float) -> Evidence:
    """Return the evidence of one attempt.

    The times of a broken stream count from its headers, as the guard counts them, so that both name the same cause.
    Behind a proxy that buffers, the wait for the headers would look like the age of the connection.
    """
    reader, verdict, reads, ending = step_reader.reader, recording.verdict, recording.reads, recording.ending
    fault, last = None if verdict is None else verdict.fault, _last_payload(step_reader.steps)
    if fault is not None:
        headers_at = 0.0
    event_times = [step.at for step in step_reader.steps if step.payloads]
    end = ending.at if ending is not None else (reads[-1].at if reads else 0.0)
    times = AttemptTimes(
        seconds=headers_at + end,
        first_event_seconds=headers_at + (event_times[0] if event_times else end),
        worst_gap=max((after - before for before, after in pairwise(event_times)), default=0.0),
        silence=end - reads[-1].at if reads else headers_at + end,
        waited=end - event_times[-1] if event_times else headers_at + end,
        consumer_busy_seconds=_consumer_busy_seconds(recording),
    )
    evidence = evidence_from(
        reader,
        recording.head.headers,
        times,
        fault=fault,
        ending="open" if ending is None or ending.by == "guard" else "clean" if ending.by == "body" else ending.how,
        error=None if reader.fault is None else reader.fault.error,
        body=last if fault == "upstream_error" else None,
        reads=len(reads) + recording.lost_reads,
        read_timeout=capture.timeouts.read,
        marks=adapter_for(capture.request).end_marks,
    )
    return replace(evidence, bytes=sum(len(read.data) for read in reads) + recording.lost_bytes)


def _last_payload(steps: Sequence[Step]) -> Mapping[str, object]:
    """Return the last payload; empty if it is not a JSON object."""
    value = next((step.payloads[-1].value for step in reversed(steps) if step.payloads), None)
    return value if isinstance(value, dict) else {}


def _error_name(payload: Mapping[str, object]) -> str:
    """Return type and code of the API's error object, which the payload has or is."""
    error = payload.get("error")
    return type_and_code(error if isinstance(error, dict) else payload, 80)


def _is_last(value: object) -> bool:
    """Return whether a payload says that an answer is over."""
    if not isinstance(value, dict):
        return False
    choices = value.get("choices")
    listed = choices if isinstance(choices, list) else []
    return value.get("type") in _LAST_EVENTS or any(isinstance(c, dict) and c.get("finish_reason") for c in listed)

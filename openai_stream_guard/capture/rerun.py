"""Run a capture again: the same reads at the same times through the same code, and compare the verdicts.

An attempt is judged together with the attempts before it, as it was live: a replay is compared with what was
delivered. If the beginning is missing, of the attempt itself or of an earlier one, only the rest can be judged, from
its first complete event, and the result says so.

The law that its tests keep: what was recorded, when run again, is recorded as the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from ..apis.request import EndRule, StreamRequest
from ..config.policy import Policy
from ..decoding.payload import Payload
from ..decoding.reader import Reader, RepairMode
from ..engine.decisions import Reissue, StreamFault
from ..engine.host_memory import HostMemory
from ..engine.server_habits import Server
from ..engine.session import Session
from .recorder import Recorder
from .recording import Capture, Read, Recording, Verdict

Comparison: TypeAlias = Literal["same", "different", "unknown"]
_OFFSET = re.compile(r", at byte [0-9]+$")
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass(frozen=True)
class Step:
    """One read, and the payloads that it completed."""

    at: float
    """Seconds since the attempt was opened."""
    offset: int
    """Of its first byte in the body of the attempt."""
    size: int
    """In bytes."""
    payloads: tuple[Payload, ...] = ()
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rerun:
    """One attempt, run again."""

    recording: Recording
    """The attempt as it was recorded."""
    steps: tuple[Step, ...]
    """The reads. The last one has no bytes if the end of the body completed a payload."""
    verdict: Verdict | None
    """None if the reads are not enough for a verdict."""
    judged_from: int = 0
    """The offset from which the attempt was judged; 0 unless its beginning is lost."""
    isolated: bool = False
    """Judged without the earlier attempts, of which something is missing."""
    fault_offset: int | None = None
    """Offset of the event or line that cannot be decoded, if that is the fault."""

    @property
    def partial(self) -> bool:
        """Whether only a part of what happened could be judged."""
        return self.isolated or self.judged_from > 0

    @property
    def comparison(self) -> Comparison:
        """Whether the verdict is the recorded one. For a part of an attempt only fault and reason are compared."""
        recorded, verdict = self.recording.verdict, self.verdict
        if recorded is None:
            return "unknown"
        if not self.partial:
            return "same" if verdict == recorded else "different"
        if verdict is None or verdict.fault != recorded.fault:
            return "unknown"
        return "same" if _without_offset(verdict.reason) == _without_offset(recorded.reason) else "unknown"


def _without_offset(reason: str) -> str:
    """Return a reason without its offset, which is counted from where the judging began."""
    return _OFFSET.sub("", reason)


def rerun(
    capture: Capture,
    *,
    repair: Literal["safe", "off"] | None = None,
    end_rule: Literal["auto", "strict", "lenient"] | None = None,
) -> tuple[Rerun, ...]:
    """Run the attempts of a capture again.

    Args:
        repair: use this setting; None uses the recorded one.
        end_rule: the same.

    If another setting makes an attempt complete, or leaves it without a verdict at its last read, later attempts
    would not have been made, and are left out.
    """
    policy = capture.policy.replace(retry_budget=None, backoff_initial=0.0, repair=repair or capture.policy.repair)
    return tuple(_CaptureRun(capture, policy, end_rule).attempts())


class _CaptureRun:
    """Runs the attempts of one capture in order."""

    def __init__(self, capture: Capture, policy: Policy, end_rule: EndRule | None) -> None:
        body = {"messages": [], **capture.request.body}  # `continue` needs messages to append to
        self._request = replace(capture.request, body=body)
        self._capture = capture
        self._anchor: str | None = None
        """Of the next attempt."""
        self._policy = policy if policy.continuation is None else policy.replace(continuation=self._continued)
        self._end_rule = end_rule
        self._hosts = HostMemory()

    def _continued(self, body: Mapping[str, object], text: str) -> object:
        return body if self._anchor is None else (body, self._anchor)

    def attempts(self) -> Iterator[Rerun]:
        session: _RecordedSession | None = None
        recordings = self._capture.attempts
        for number, recording in enumerate(recordings):
            self._anchor = recordings[number + 1].anchor if number + 1 < len(recordings) else None
            rule = self._end_rule or recording.rule
            if rule == "learnt":
                self._hosts.habits.expect_finish(Server(self._request.host, self._request.path, self._request.model))
            opened = self._opened_at(recording)
            decision = None if session is None else session.session.decision
            if recording.lost_bytes:
                session = None
            elif number == 0:
                session = self._new_session(self._request, recording, rule)
            elif session is not None and isinstance(decision, Reissue) and decision.way == recording.way:
                _reopen(session, decision, recording, opened)
            else:
                session = None
            if session is None:
                result = replace(self._run_isolated(recording, rule), isolated=number > 0)
            else:
                result = _run(session, recording, recording.reads, opened)
            yield result
            if result.verdict is None or result.verdict.fault is None:
                return

    def _opened_at(self, recording: Recording) -> float:
        return round(self._capture.origin + recording.opened, 6)

    def _new_session(self, request: StreamRequest, recording: Recording, rule: EndRule) -> _RecordedSession:
        recorder = Recorder()
        session = Session(
            request,
            self._policy.replace(end_rule="auto" if rule == "learnt" else rule),
            self._hosts,
            now=self._opened_at(recording),
            timeouts=self._capture.timeouts,
            max_retries=len(self._capture.attempts) + 1,
            head=recording.head,
            observer=recorder,
        )
        return _RecordedSession(session, recorder)

    def _run_isolated(self, recording: Recording, rule: EndRule) -> Rerun:
        """Run what is left of an attempt as a stream of its own, because something before it is missing."""
        reads, skipped = from_first_event(recording.reads) if recording.lost_bytes else (recording.reads, 0)
        start = recording.lost_bytes + skipped
        request = self._request
        number = _first_sequence_number(reads, self._policy)
        if number is not None and (start or recording.way == "resume"):
            request = replace(request, starting_after=number - 1)
        session = self._new_session(request, recording, rule)
        return _run(session, recording, reads, self._opened_at(recording), start)


class _RecordedSession(NamedTuple):
    session: Session
    recorder: Recorder


def _reopen(recorded: _RecordedSession, decision: Reissue, recording: Recording, now: float) -> None:
    if decision.resume is not None:
        decision = replace(decision, resume=replace(decision.resume, poll=recording.polled))
    recorded.session.reopened(decision, recording.head, now)


def _run(
    recorded: _RecordedSession, recording: Recording, reads: Iterable[Read], opened: float, start: int = 0
) -> Rerun:
    """Feed the reads to a session, and to a reader of our own that shows what each read completes."""
    session, recorder = recorded
    before = len(recorder.capture.attempts)
    policy = recorder.capture.policy
    reader = StepReader(policy.repair, policy.max_event_bytes, start)
    ending = recording.ending
    for at, data, waiting_since in reads:
        if session.decision is not None:
            break
        session.consumer_resumed(opened + waiting_since)
        session.receive(data, opened + at)
        reader.feed(at, data)
    if session.decision is None and ending is not None and ending.by != "guard":
        session.consumer_resumed(opened + ending.waiting_since)
        now = opened + ending.at
        if ending.by == "body":
            session.end(now)
        else:
            session.fail(StreamFault(ending.fault or "disconnected", ending.reason, ending=ending.how), now)
        reader.finish(ending.at)
    ended = recorder.capture.attempts[before:]
    verdict = ended[0].verdict if ended else None
    return Rerun(recording, tuple(reader.steps), verdict, start, fault_offset=reader.fault_offset)


class StepReader:
    """Decodes the body of an attempt and notes what each read completes.

    Args:
        start: the offset of the first byte in the body of the attempt.
    """

    def __init__(self, mode: RepairMode, max_event_bytes: int, start: int = 0) -> None:
        self.steps: list[Step] = []
        self.reader = Reader(mode, max_event_bytes)
        self._start = start
        self._repairs: dict[str, int] = {}

    def feed(self, at: float, data: bytes) -> None:
        """Take the bytes of a read."""
        offset = self._start + self.reader.bytes_fed
        self.steps.append(Step(at, offset, len(data), tuple(self.reader.feed(data)), self._new_repairs()))

    def finish(self, at: float) -> None:
        """Take the end of the body."""
        offset, payloads = self._start + self.reader.bytes_fed, tuple(self.reader.finish())
        repairs = self._new_repairs()
        if payloads or repairs:
            self.steps.append(Step(at, offset, 0, payloads, repairs))

    @property
    def fault_offset(self) -> int | None:
        """Where the decoding stopped, if it did."""
        fault = self.reader.fault
        return None if fault is None else self._start + fault.offset

    def _new_repairs(self) -> tuple[str, ...]:
        """Return the repairs since the last call, each as often as it was made."""
        before, self._repairs = self._repairs, self.reader.repairs
        return tuple(name for name, count in self._repairs.items() for _ in range(count - before.get(name, 0)))


def from_first_event(reads: tuple[Read, ...]) -> tuple[tuple[Read, ...], int]:
    """Return the reads after the first blank line, and the number of bytes before them."""
    joined = b"".join(read.data for read in reads)
    found = _BLANK_LINE.search(joined)
    skipped = remaining = len(joined) if found is None else found.end()
    kept = []
    for read in reads:
        if remaining < len(read.data):
            kept.append(read._replace(data=read.data[remaining:]))
        remaining = max(0, remaining - len(read.data))
    return tuple(kept), skipped


def _first_sequence_number(reads: Iterable[Read], policy: Policy) -> int | None:
    """Return the `sequence_number` of the first event that has one."""
    reader = Reader(policy.repair, policy.max_event_bytes)
    for read in reads:
        for payload in reader.feed(read.data):
            value = payload.value
            if isinstance(value, dict) and type(number := value.get("sequence_number")) is int:
                return number
    return None

"""A capture run again: the same reads at the same times through the same session, and whether it judges the same.

An attempt is judged with all that went before it, as it was live: a replay is held against what was delivered. Where
the beginning is lost, be it the attempt's own or that of one before it, only what is left can be judged, from the first
event that is whole, and what is not known is said to be so.

The law its tests keep: what was recorded, run again, is recorded as the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ..apis.request import EndRule, StreamRequest
from ..config.policy import Policy
from ..decoding.payload import Payload
from ..decoding.reader import Reader, RepairMode
from ..engine.decisions import Reissue, StreamFault
from ..engine.host_memory import HostMemory
from .recorder import RecordedSession
from .recording import Capture, Judgement, Read, Recording

Answer: TypeAlias = Literal["same", "different", "unknown"]
_OFFSET = re.compile(r", at byte [0-9]+$")
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass(frozen=True)
class Step:
    """One read, and what it made whole."""

    at: float
    """Seconds since the attempt was opened."""
    offset: int
    """Of its first byte in the body of the attempt."""
    size: int
    payloads: tuple[Payload, ...] = ()
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rerun:
    """One attempt, run again."""

    recording: Recording
    """As it was recorded."""
    steps: tuple[Step, ...]
    """The reads, the last of them without bytes where the end of the body made something whole."""
    judgement: Judgement | None
    """None where there is no verdict: the reads are not enough for one."""
    judged_from: int = 0
    """The offset from which the attempt was judged; 0 unless its beginning is lost."""
    alone: bool = False
    """Judged without what went before it, of which something is missing."""
    fault_offset: int | None = None
    """Of the event or line that cannot be read, where that is the fault."""

    @property
    def partial(self) -> bool:
        """Whether less was judged than there was."""
        return self.alone or self.judged_from > 0

    @property
    def answer(self) -> Answer:
        """Whether the verdict is the recorded one. Of a part of an attempt only fault and reason are compared."""
        recorded, now = self.recording.judgement, self.judgement
        if recorded is None:
            return "unknown"
        if not self.partial:
            return "same" if now == recorded else "different"
        agrees = now is not None and (now.fault, _placeless(now)) == (recorded.fault, _placeless(recorded))
        return "same" if agrees else "unknown"


def _placeless(judgement: Judgement) -> str:
    """The reason without its offset, which is counted from where the judging began."""
    return _OFFSET.sub("", judgement.reason)


def rerun(
    capture: Capture,
    *,
    repair: Literal["safe", "off"] | None = None,
    end_rule: Literal["auto", "strict", "lenient"] | None = None,
) -> tuple[Rerun, ...]:
    """Run the attempts again, as they were or by another setting.

    Where by another setting an attempt comes out whole, or goes on behind its last read, those after it would not have
    been made so, and are left out.
    """
    policy = capture.policy.replace(retry_budget=None, backoff_initial=0.0, repair=repair or capture.policy.repair)
    stage = _Stage(capture, policy, end_rule)
    return tuple(stage.play())


class _Stage:
    """Plays the attempts of one capture, in order."""

    def __init__(self, capture: Capture, policy: Policy, end_rule: EndRule | None) -> None:
        body = {"messages": [], **capture.asked.body}  # so that a `continue` can be asked for
        self._asked = replace(capture.asked, body=body)
        self._capture = capture
        self._policy = policy
        self._end_rule = end_rule
        self._hosts = HostMemory()

    def play(self) -> Iterator[Rerun]:
        session: RecordedSession | None = None
        for number, recording in enumerate(self._capture.attempts):
            rule = self._end_rule or recording.rule
            if rule == "learnt":
                self._hosts.record_finish(self._asked.host, self._asked.path, self._asked.model)
            verdict = None if session is None else session.decision
            goes_on = isinstance(verdict, Reissue) and verdict.way == recording.way and not recording.lost_bytes
            if number and goes_on and session is not None and isinstance(verdict, Reissue):
                _reopen(session, verdict, recording, self._opened(recording))
                result = _run(session, recording, recording.reads, self._opened(recording))
            elif number == 0 and not recording.lost_bytes:
                session = self._session(self._asked, recording, rule)
                result = _run(session, recording, recording.reads, self._opened(recording))
            else:
                session = None
                result = replace(self._run_alone(recording, rule), alone=number > 0)
            yield result
            if result.judgement is None or result.judgement.fault is None:
                return

    def _opened(self, recording: Recording) -> float:
        return self._capture.origin + recording.opened

    def _session(self, asked: StreamRequest, recording: Recording, rule: EndRule) -> RecordedSession:
        return RecordedSession(
            asked,
            self._policy.replace(end_rule="auto" if rule == "learnt" else rule),
            self._hosts,
            now=self._opened(recording),
            clocks=self._capture.clocks,
            max_retries=len(self._capture.attempts) + 1,
            head=recording.head,
        )

    def _run_alone(self, recording: Recording, rule: EndRule) -> Rerun:
        """An attempt of which something before is missing: what is left of it, as a stream of its own."""
        reads, skipped = from_a_boundary(recording.reads) if recording.lost_bytes else (recording.reads, 0)
        start = recording.lost_bytes + skipped
        asked = self._asked
        if (number := _first_number(reads, self._policy)) is not None and (start or recording.way == "resume"):
            asked = replace(asked, starting_after=number - 1)
        return _run(self._session(asked, recording, rule), recording, reads, self._opened(recording), start)


def _reopen(session: RecordedSession, verdict: Reissue, recording: Recording, now: float) -> None:
    if verdict.resume is not None:
        verdict = replace(verdict, resume=replace(verdict.resume, poll=recording.polled))
    session.reopened(verdict, recording.head, now)


def _run(session: RecordedSession, recording: Recording, reads: Iterable[Read], opened: float, start: int = 0) -> Rerun:
    """Tell a session what was read, and watch with a reader of our own what each read makes whole."""
    before = len(session.capture.attempts)
    policy = session.capture.policy
    look = Look(policy.repair, policy.max_event_bytes, start)
    ending = recording.ending
    for at, data, waiting_since in reads:
        if session.decision is not None:
            break
        session.waiting_since = opened + waiting_since
        session.receive(data, opened + at)
        look.at(at, data)
    if session.decision is None and ending is not None and ending.by != "guard":
        session.waiting_since = opened + ending.waiting_since
        if ending.by == "body":
            session.end(opened + ending.at)
        else:
            session.fail(
                StreamFault(ending.fault or "disconnected", ending.reason, ending=ending.how), opened + ending.at
            )
        look.at(ending.at, None)
    ended = session.capture.attempts[before:]
    judgement = ended[0].judgement if ended else None
    return Rerun(recording, tuple(look.steps), judgement, start, fault_offset=look.fault_offset)


class Look:
    """What each read of an attempt amounts to.

    Args:
        start: the offset of its first byte in the body of the attempt.
    """

    def __init__(self, mode: RepairMode, max_event_bytes: int, start: int = 0) -> None:
        self.steps: list[Step] = []
        self.reader = Reader(mode, max_event_bytes)
        self._start = start
        self._repairs: dict[str, int] = {}

    def at(self, at: float, data: bytes | None) -> None:
        """Take the bytes of a read; None for the end of the body."""
        reader = self.reader
        offset, before = self._start + reader.bytes, self._repairs
        payloads = reader.finish() if data is None else reader.feed(data)
        self._repairs = reader.repairs
        repairs = [kind for kind, count in self._repairs.items() for _ in range(count - before.get(kind, 0))]
        if data is not None or payloads or repairs:
            self.steps.append(Step(at, offset, len(data or b""), tuple(payloads), tuple(repairs)))

    @property
    def fault_offset(self) -> int | None:
        """Where the reading stopped for a defect."""
        fault = self.reader.fault
        return None if fault is None else self._start + fault.offset


def from_a_boundary(reads: tuple[Read, ...]) -> tuple[tuple[Read, ...], int]:
    """The reads from behind the first blank line on, and how many bytes came before it."""
    joined = b"".join(read.data for read in reads)
    found = _BLANK_LINE.search(joined)
    skipped = left = len(joined) if found is None else found.end()
    kept = []
    for read in reads:
        if left < len(read.data):
            kept.append(Read(read.at, read.data[left:], read.waiting_since))
        left = max(0, left - len(read.data))
    return tuple(kept), skipped


def _first_number(reads: Iterable[Read], policy: Policy) -> int | None:
    """The number of the first event that has one."""
    reader = Reader(policy.repair, policy.max_event_bytes)
    for read in reads:
        for payload in reader.feed(read.data):
            value = payload.value
            if isinstance(value, dict) and type(number := value.get("sequence_number")) is int:
                return number
    return None

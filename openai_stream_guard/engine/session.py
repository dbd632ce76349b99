"""The state of one logical stream: what arrives goes in, what to do comes out.

    receive(bytes) · end() · fail() · refused()  →  payloads to deliver, and a decision: Reissue, Finish or Fail

It reads nothing, waits for nothing and knows no SDK: time and jitter are arguments.

Tests hold, for any cuts, faults and refusals: what was delivered is a prefix of one answer, nothing twice; a session
that finishes has delivered all of it; requests are at most `1 + max_retries`, polls aside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..apis.adapter import ApiAdapter, DataEvent, FaultEvent
from ..apis.registry import adapter_for
from ..apis.request import EndRule, Resume, StreamRequest
from ..apis.second_answer import Diverged
from ..apis.sequence import Gap
from ..apis.transcript import Transcript
from ..config.policy import Policy
from ..decoding.payload import Payload
from ..decoding.reader import Reader
from ..diagnosis.causes import advice
from ..diagnosis.evidence import ResponseHead
from ..notices import (
    Ended,
    FaultKind,
    FaultSeen,
    Notice,
    Outcome,
    Recovering,
    Refused,
    ServerNotice,
    StoppedBy,
    StreamReport,
)
from .attempt_log import AttemptLog
from .deadlines import Deadline, next_deadline
from .decisions import Decision, Fail, Finish, FirstFailure, Refusal, Reissue, StreamFault, Timeouts
from .delivery import Delivery, Oversized
from .faults import damage_from, failure_from, fault_from
from .host_memory import HostMemory
from .recovery import Recovery, deserves_retry
from .server_habits import HabitTracker

_GAP = StreamFault("gap", "events are missing, by their sequence_number")
_TOLERANCE = 0.005
"""Seconds that a read may be called off early."""
_DIVERGED = StreamFault("diverged", "the second answer is not the first one again")


class Session:
    """One logical stream, over as many attempts as it takes."""

    def __init__(
        self,
        request: StreamRequest,
        policy: Policy,
        hosts: HostMemory,
        *,
        now: float,
        max_retries: int,
        clocks: Timeouts = Timeouts(),  # noqa: B008 - frozen
        requests: int = 1,
        head: ResponseHead = ResponseHead(),  # noqa: B008 - frozen
        jitter: Callable[[], float] = lambda: 0.0,
        notify: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self.request = request
        self.decision: Decision | None = None
        """What to do now; None: go on reading."""
        self.outcome: Outcome = "open"
        self.waiting_since = 0.0
        """When the program asked for more after the last events. Its own time is not silence of the stream."""
        self._policy = policy
        self._hosts = hosts
        self._clocks = clocks
        self._notify = notify
        self._first: FirstFailure | None = None
        self._out: list[Payload] = []
        self._straight = policy.delivery == "live"
        """Whether every event is delivered as it comes: nothing is held back, and this is the first attempt."""
        self._delivery = Delivery(policy)
        self._log = AttemptLog(now, requests, head)
        lenient = request.host_in(policy.lenient_hosts)
        self._habits = HabitTracker(hosts.habits, request, is_lenient=lenient, tell=self._report_server)
        self._recovery = Recovery(
            policy, request, hosts, max_retries=max_retries, requests=requests, jitter=jitter, note=self._log.note
        )
        self._begin(None)

    def _begin(self, resume: Resume | None, broken: ApiAdapter | None = None) -> None:
        self.adapter: ApiAdapter = adapter_for(self.request, resume, broken, self._habits.known)
        self._reader = Reader(self._policy.repair, self._policy.max_event_bytes)
        self._rule = self._end_rule()
        self._items = 0
        self._answer_complete = False  # a mark stands by which nothing of the answer that was taken is missing
        self._brought_progress = False
        self._deadline: float | None = None
        self._limit = ""

    def receive(self, data: bytes, now: float) -> list[Payload]:
        """Take the bytes of one read; return what may be delivered."""
        self._log.reads += 1
        self._log.read_at = now
        payloads, over = self._reader.feed(data), self._reader.over
        if not payloads and not over:  # most reads of a few bytes
            if not self._items or self._answer_complete:  # then any byte is a sign of life
                self._deadline = None
            if now < self.deadline:
                return payloads
        self._out = []  # else it would hold what was handed over last, for as long as all goes the short way
        if payloads and self._straight:
            count = self.adapter.append_text_deltas(payloads, 0, self._delivery.transcript)
            self._items += count
            if count == len(payloads) and not over:  # nearly every read: by `_read` an event takes 3 µs more of its 80
                self._deadline = None
                self._brought_progress = True
                self._log.progress(count, now)
                return payloads
            self._out, payloads = payloads[:count], payloads[count:]
        if payloads or over:
            self._read(payloads, now)
        if not self._out and self.decision is None and now >= self.deadline:
            waited = now - max(self._log.progress_at, self.waiting_since)
            self._break(StreamFault("stalled", f"no event for {waited:.1f} s, though bytes arrive"), now)
        return self._out

    def end(self, now: float) -> list[Payload]:
        """Take a clean end of the body."""
        self._out = []
        self._read(self._reader.finish(), now)
        if self.decision is None:
            self._judge_end(now)
        return self._out

    def fail(self, fault: StreamFault, now: float) -> list[Payload]:
        """Take an error of the transport. A last event that lacks nothing but its blank line still counts."""
        self._out = []
        self._read(self._reader.finish(), now)
        if self.decision is None:
            self._break(fault, now)
        return self._out

    def consumer_resumed(self, now: float) -> None:
        """The program is done with the last events; what it took for them is not silence of the stream."""
        if self._brought_progress:  # a keep-alive that is handed on is no event, and does not start the wait anew
            self.waiting_since = now

    def asked_for_more(self, now: float) -> None:
        """Note that the program waits for bytes."""
        self._log.consumer_waits(now)

    def reopened(self, decision: Reissue, head: ResponseHead, now: float) -> None:
        """Begin a new attempt: a re-issue was answered."""
        self.decision = None
        self._straight = False
        rest = decision.resume if decision.resume is not None and not decision.resume.poll else None
        if rest is None:
            self._delivery.begin_again(self._recovery.continuation if decision.way == "continue" else None)
        self._log.open_attempt(decision.way, now, 1, head)
        self._begin(rest, None if rest is None else self.adapter)

    def refused(self, decision: Reissue, refusal: Refusal, now: float) -> list[Payload]:
        """Take a re-issue that got no stream; return what may be delivered. It has cost one retry."""
        self._out = []
        if decision.resume is not None and refusal.unfinished:
            self._recover(self._recovery.poll(decision.resume, now))
            return self._out
        self._log.refused(decision.way, refusal.status, refusal.request_id)
        request, number, refused_id = self.request, len(self._log.attempts), refusal.request_id
        self._notify(Refused(refusal.status, number, refused_id, request.host, request.model))
        if decision.resume is not None and refusal.no_longer_streamed and request.starting_after is None:
            self._recover(self._recovery.poll(replace(decision.resume, poll=True), now))
        elif refusal.retryable:
            self._recover(self._recovery.plan(self.adapter, self.transcript, now, refusal.retry_after))
        else:
            self._give_up("not_retryable")
        return self._out

    def abandon(self, now: float) -> None:
        """End a stream that the consumer has left. That is no fault, and nothing is sent again."""
        if self.outcome == "open":
            if self._log.reading:
                self._close_attempt(None, now)
            self._end("abandoned", None)

    def report(self) -> StreamReport:
        """Return what has happened so far."""
        return self._log.report(self.outcome, None if self._first is None else advice(self._first.evidence))

    @property
    def deadline(self) -> float:
        """When the stream counts as stalled, or a complete one as ended, on the clock of `now`."""
        if self.decision is not None:
            return math.inf  # a reader of raw bytes may go on reading
        if self._deadline is None:  # most reads of a few bytes do not move it
            log, since = self._log, self.waiting_since
            found = next_deadline(
                "complete" if self._answer_complete else "events" if self._items else "first_event",
                self._clocks,
                opened=log.progress_at,
                last_byte=max(log.read_at, since),
                last_event=max(log.progress_at, since),
                goes_on=self._habits.goes_on,
            )
            self._deadline, self._limit = min(found, Deadline(self._recovery.deadline, "max_elapsed"))
        return self._deadline

    @property
    def raw_tail(self) -> bytes:
        """The last bytes that were read, not redacted yet."""
        return self._reader.tail

    @property
    def transcript(self) -> Transcript:
        """What was delivered so far."""
        return self._delivery.transcript

    # What it means.
    def _read(self, payloads: list[Payload], now: float) -> None:
        """Take the payloads of one read, then judge whether they ended the attempt."""
        self._deadline = None
        over = self._reader.over
        done = payloads.pop() if over and self._reader.done and payloads else None
        before = self._items
        fault = self._take(payloads)
        self._count_progress(before, now)
        if fault is None and done is not None:
            fault = self._end_fault(now, done=True)
            if fault is None and self._complete(now):
                self._out.append(done)
        if fault is not None:
            self._break(fault, now)
        elif self.decision is None and over and (decode_fault := self._reader.fault) is not None:
            begun, complete = self._items > 0, self._answer_complete
            self._break(damage_from(decode_fault, self.adapter, begun=begun, complete=complete), now)

    def _count_progress(self, items_before: int, now: float) -> None:
        self._brought_progress = self._items > items_before
        if self._brought_progress:
            self._log.progress(len(self._out), now)
            if self._out or self._delivery.gaining:
                self._recovery.succeeded()
        else:
            self._log.delivered += len(self._out)

    def _take(self, payloads: Sequence[Payload]) -> StreamFault | None:
        """Take payloads up to one that ends the attempt; return its fault."""
        adapter, rest, start = self.adapter, list(payloads), 0
        while start < len(rest):
            end = adapter.append_text_deltas(rest, start, self.transcript) if self._straight else start
            self._items += end - start
            self._out += rest[start:end]
            try:
                due = adapter.in_sequence(rest[end]) if end < len(rest) else ()
            except Gap:
                if (held_back := self._accept_habit(done=False)) is None:
                    return _GAP
                rest, start = [*held_back, *(one for one in rest[end:] if one not in held_back)], 0
                continue
            for payload in due:
                if (fault := self._take_one(payload)) is not None:
                    return fault
            start = end + 1
        return None

    def _take_one(self, payload: Payload) -> StreamFault | None:
        """Take one payload; return its fault if it ends the attempt."""
        reading = self.adapter.read(payload)
        if isinstance(reading, FaultEvent):
            fault = fault_from(reading, begun=self._items > 0, complete=self._answer_complete)
            if fault is None:
                self._log.note("a JSON text that is no event of this API came after the answer")
            return fault
        if not isinstance(reading, DataEvent):
            self._log.note("a keep-alive came as an event")
            return None
        if reading.failure is not None and self._may_ask_again() and (fault := failure_from(payload, reading.failure)):
            return fault
        self._items += reading.is_progress
        try:
            self._out += self._delivery.accept(payload, reading, self.adapter)
        except Diverged:
            return _DIVERGED
        except Oversized as excess:
            return StreamFault("oversized", str(excess))
        self._answer_complete = self.adapter.answer_complete
        if self.adapter.went_on:
            self._habits.went_on()
        return None

    def _may_ask_again(self) -> bool:
        """Whether an answer that failed can be asked for anew, and still be handed on as it was if that fails."""
        first, request = self._first, self.request
        kept = request.background or request.stored_id is not None
        untouched = self._policy.delivery == "live" and not self.transcript.visible and not kept
        return untouched and bool(self._policy.recovery) and (first is None or first.fault.last_event is not None)

    def _accept_habit(self, *, done: bool) -> list[Payload] | None:
        """Return the payloads held back for an oddity that is a habit of the server; None where it is a fault."""
        delivered, repeated = self._log.delivered + len(self._out), self._delivery.caught_up
        oddity = self._habits.accepts(self.adapter.oddity(self._rule, done=done), delivered, repeated=repeated)
        return None if oddity is None else self.adapter.accept_oddity(oddity)

    def _end_fault(self, now: float, *, done: bool) -> StreamFault | None:
        """Return the fault of an end, by `[DONE]` or by the body's, at which the answer is not complete."""
        self._rule = self._end_rule()
        if self.adapter.missing:
            if (held_back := self._accept_habit(done=done)) is None:
                return _GAP
            before, given = self._items, len(self._out)
            fault = self._take(held_back)
            self._out, earlier = self._out[given:], self._out[:given]
            self._count_progress(before, now)
            self._out = earlier + self._out
            if fault is not None:
                return fault
        if self.adapter.is_complete(self._rule, done=done):
            if self.adapter.end_note is not None:
                self._log.note(self.adapter.end_note)
            return None
        if self._accept_habit(done=done) is not None:
            return None
        if done:
            return StreamFault("truncated", "[DONE] came before the answer was complete")
        if self._items and self.request.host_in(self._policy.lenient_hosts):
            self._log.note("the stream ended without any mark, as lenient_hosts allows")
            return None
        lacking = "its end mark" if self._items else "an event"
        return StreamFault("truncated", f"the body ends without {lacking}", ending="clean")

    def _judge_end(self, now: float) -> None:
        if self._reader.unfinished:
            error = self._reader.error
            fault: StreamFault | None = StreamFault("truncated", "the body ends inside an event", error, ending="clean")
        else:
            fault = self._end_fault(now, done=False)
        if fault is None:
            self._complete(now)
        else:
            self._break(fault, now)

    def _complete(self, now: float) -> bool:
        """Finish the stream, unless this answer ended before what was delivered. Return whether it is finished."""
        if not self._delivery.caught_up:
            self._break(_DIVERGED, now)
            return False
        held = self._delivery.release()
        self._out += held
        self._log.progress(len(held), now)
        self._log.mark_recovered(now)
        self._close_attempt(None, now)
        self._habits.completed(self.adapter)
        self.decision = Finish()
        self._end("recovered" if len(self._log.attempts) > 1 else "complete", None)
        return True

    def _break(self, fault: StreamFault, now: float) -> None:
        """End the attempt with a fault. Behind a complete answer it is noted, and the stream is finished.

        Not so an error of the API, which is its own word on the answer: that is raised, and nothing is asked again.
        """
        complete = self._answer_complete and self._delivery.caught_up
        limit = self._limit if now >= self.deadline - _TOLERANCE else "the request's read timeout"
        if complete and fault.kind != "upstream_error":
            if fault.kind == "stalled" and limit in ("linger_timeout", "idle_timeout"):
                self._report_server(f"the answer was complete and the server did not end its stream: {limit} did", True)
            else:
                self._log.note(f"{fault.kind} after the answer was complete")
            self._complete(now)
            return
        if fault.kind == "stalled":
            fault = replace(fault, reason=f"{fault.reason}; the limit is {limit}")
        waited = now - self._log.progress_at
        found = self._log.evidence(fault, self._reader, self._clocks, now, self.adapter.end_marks)
        request, evidence = self.request, self._hosts.record_fault(self.request.host, found)
        self._close_attempt(fault.kind, now)
        attempt = self._log.attempts[-1]
        if self._first is None:
            self._first = FirstFailure(fault, attempt, self.raw_tail, evidence)
        self._recovery.failed(now)
        number = len(self._log.attempts)
        self._notify(FaultSeen(fault.reason, number, attempt, request.host, request.model, advice(evidence)))
        if fault.kind == "diverged":
            self._hosts.record_divergence(request.host, request.model, now)
            self._give_up("diverged")
        elif complete or not deserves_retry(fault):
            self._give_up("not_retryable")
        elif fault.kind == "stalled" and not self._items and waited > self._recovery.deadline - now:
            self._give_up("time")  # it would queue anew, and not be answered in time
        else:
            self._recover(self._recovery.plan(self.adapter, self.transcript, now, None))

    def _recover(self, planned: Reissue | StoppedBy) -> None:
        if not isinstance(planned, Reissue):
            self._give_up(planned)
            return
        self.decision = planned
        if planned.resume is None or not planned.resume.poll:  # a poll costs nothing worth telling
            number = len(self._log.attempts) + 1
            self._notify(Recovering(planned.way, planned.delay, number, self.request.host, self.request.model))

    def _give_up(self, stopped_by: StoppedBy) -> None:
        assert self._first is not None
        self._first = replace(self._first, evidence=self._hosts.with_cuts(self.request.host, self._first.evidence))
        self._habits.failed()
        if (last_event := self._first.fault.last_event) is not None and not self.transcript.visible:
            self._out.append(last_event)
            self._log.delivered += 1
            self._log.note("the answer ended as failed, and asking again did not help")
            self.decision = Finish()
            self._end("complete", None)
            return
        self.decision = Fail(self._first, stopped_by)
        self._end("failed", stopped_by)

    def _close_attempt(self, fault: FaultKind | None, now: float) -> None:
        read, name = self._reader, self.adapter.response_id
        counts = {"events": read.events, "bytes": read.bytes}
        self._log.close_attempt(fault, now, **counts, repairs=read.repairs, response_id=name)

    def _end_rule(self) -> EndRule:
        return self.request.end_rule(self._policy.end_rule, learnt=self._habits.sends_finish(self.adapter))

    def _report_server(self, text: str, is_warning: bool) -> None:
        self._log.note(text)
        self._notify(ServerNotice(text, is_warning, self.request.host, self.request.model))

    def _end(self, outcome: Outcome, stopped_by: StoppedBy | None) -> None:
        self.outcome = outcome
        self._notify(Ended(self.report(), stopped_by, self.request.host, self.request.model))

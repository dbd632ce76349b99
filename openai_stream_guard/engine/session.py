"""The state of one logical stream: what arrives goes in, what to do comes out.

    receive(bytes) · end() · fail() · refused()  →  payloads to deliver, and a decision: Reissue, Finish or Fail

It reads nothing, waits for nothing and knows no SDK: time and jitter are arguments.

Tests hold, for any cuts, faults and refusals: what was delivered is a prefix of one answer, nothing twice; a session
that finishes has delivered all of it; requests are at most `1 + max_retries`, polls aside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..apis.adapter import ApiAdapter, DataEvent, FaultEvent
from ..apis.registry import adapter_for
from ..apis.request import Resume, StreamRequest
from ..apis.second_answer import Diverged, Unsafe
from ..apis.sequence import Gap
from ..apis.transcript import Transcript
from ..config.policy import Policy
from ..decoding.payload import Payload
from ..decoding.reader import Reader
from ..diagnosis.causes import advice
from ..diagnosis.evidence import ResponseHead
from ..notices import Ended, FaultKind, FaultSeen, Notice, Outcome, Recovering, Refused, StoppedBy, StreamReport
from .attempt_log import AttemptLog
from .decisions import Decision, Fail, Finish, FirstFailure, Refusal, Reissue, StreamFault, Timeouts
from .delivery import Delivery, Oversized
from .host_memory import HostMemory
from .recovery import Recovery, deserves_retry

AFTER_THE_FINISH = 5.0
"""Seconds to wait for what may follow the last finish_reason: usage, filter results, `[DONE]`."""

_GAP = StreamFault("gap", "events are missing, by their sequence_number")
_UNTOLD = StreamFault("gap", "a part of the text is missing, by what is said of it as a whole")
_SEALED = StreamFault("diverged", "the second answer has sealed content, which is good under its own id only")
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
        self._recovery = Recovery(
            policy, request, hosts, max_retries=max_retries, requests=requests, jitter=jitter, note=self._log.note
        )
        self._begin(None)

    def _begin(self, resume: Resume | None, broken: ApiAdapter | None = None) -> None:
        self.adapter: ApiAdapter = adapter_for(self.request, resume, broken)
        self._reader = Reader(self._policy.repair, self._policy.max_event_bytes)
        learnt = self._hosts.sends_finish(self.request.host, self.request.path, self.request.model)
        self._rule = self.request.end_rule(self._policy.end_rule, learnt=learnt)
        self._items = 0
        self._answer_complete = False  # by what was accepted, nothing of the answer can be missing
        self._deadline: float | None = None

    def receive(self, data: bytes, now: float) -> list[Payload]:
        """Take the bytes of one read; return what may be delivered."""
        self._log.reads += 1
        self._log.read_at = now
        payloads, over = self._reader.feed(data), self._reader.over
        if not payloads and not over and now < self.deadline:  # most reads of a few bytes
            return payloads
        self._out = []  # else it would hold what was handed over last, for as long as all goes the short way
        if payloads and self._straight:
            count = self.adapter.append_text_deltas(payloads, 0, self._delivery.transcript)
            self._items += count
            if count == len(payloads) and not over:  # nearly every read: by `_read` an event takes 3 µs more of its 80
                self._deadline = None
                self._log.progress(count, now)
                return payloads
            self._out, payloads = payloads[:count], payloads[count:]
        if payloads or over:
            self._read(payloads, now)
        if not self._out and self.decision is None and now >= self.deadline:
            silence = f"no event for {now - max(self._log.progress_at, self.waiting_since):.1f} s"
            late = now >= self._recovery.deadline
            reason = "nothing new within max_elapsed after a fault" if late else silence
            self._break(StreamFault("stalled", f"{reason}, though bytes arrive"), now)
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
        else:
            self._delivery.exact = True
        self._log.open_attempt(decision.way, now, 1, head)
        self._begin(rest, None if rest is None else self.adapter)

    def refused(self, decision: Reissue, refusal: Refusal, now: float) -> None:
        """Take a re-issue that got no stream. It has cost one retry."""
        if decision.resume is not None and refusal.unfinished:
            self._recover(self._recovery.poll(decision.resume, now))
            return
        self._log.refused(decision.way, refusal.status, refusal.request_id)
        request, number, refused_id = self.request, len(self._log.attempts), refusal.request_id
        self._notify(Refused(refusal.status, number, refused_id, request.host, request.model))
        if decision.resume is not None and refusal.no_longer_streamed and request.starting_after is None:
            self._recover(self._recovery.poll(replace(decision.resume, poll=True), now))
        elif refusal.retryable:
            self._recover(self._recovery.plan(self.adapter, self.transcript, now, refusal.retry_after))
        else:
            self._give_up("not_retryable")

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
        """When the stream counts as stalled, on the clock of `now`."""
        if self._deadline is None:  # only an event moves it, and most reads of a few bytes bring none
            clocks = self._clocks
            wait = AFTER_THE_FINISH if self._answer_complete else clocks.idle if self._items else clocks.first_event
            self._deadline = min(max(self._log.progress_at, self.waiting_since) + wait, self._recovery.deadline)
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
        if self._items > before or self._out:
            self._log.progress(len(self._out), now)
            if self._out or self._delivery.gaining:
                self._recovery.succeeded()
        if fault is not None:
            self._break(fault, now)
        elif self.adapter.stream_ended:
            self._complete(now)
        elif done is not None:
            self._judge_done(done, now)
        elif over and (decode_fault := self._reader.fault) is not None:
            reason = f"{decode_fault.reason}, at byte {decode_fault.offset}"
            self._break(StreamFault(decode_fault.kind, reason, decode_fault.error), now)

    def _take(self, payloads: list[Payload]) -> StreamFault | None:
        """Take payloads up to one that ends the attempt; return its fault."""
        adapter, start = self.adapter, 0
        while start < len(payloads) and not adapter.stream_ended:
            end = adapter.append_text_deltas(payloads, start, self.transcript) if self._straight else start
            self._items += end - start
            self._out += payloads[start:end]
            try:
                due = adapter.in_sequence(payloads[end]) if end < len(payloads) else ()
            except Gap:
                return _GAP
            for payload in due:
                if (fault := self._take_one(payload)) is not None:
                    return fault
            start = end + 1
        return None

    def _take_one(self, payload: Payload) -> StreamFault | None:
        """Take one payload; return its fault if it ends the attempt."""
        reading = self.adapter.read(payload)
        if isinstance(reading, FaultEvent):
            return StreamFault(reading.fault, reading.reason, body=reading.body)
        if not isinstance(reading, DataEvent):
            self._log.note("a keep-alive came as an event")
            return None
        self._items += 1
        try:
            self._out += self._delivery.accept(payload, reading, self.adapter)
        except Gap:
            return _UNTOLD
        except Unsafe:
            return _SEALED
        except Diverged:
            return _DIVERGED
        except Oversized as excess:
            return StreamFault("oversized", str(excess))
        self._answer_complete = self.adapter.answer_complete
        return None

    def _judge_done(self, done: Payload, now: float) -> None:
        if self.adapter.missing:
            self._break(_GAP, now)
        elif not self.adapter.is_complete(self._rule, done=True):
            self._break(StreamFault("truncated", "[DONE] came before the answer was complete"), now)
        elif self._complete(now):
            self._out.append(done)

    def _judge_end(self, now: float) -> None:
        if self._reader.unfinished:
            error = self._reader.error
            self._break(StreamFault("truncated", "the body ends inside an event", error, ending="clean"), now)
        elif self.adapter.missing:
            self._break(_GAP, now)
        elif self.adapter.is_complete(self._rule, done=False):
            self._complete(now)
        elif not self._items:
            self._break(StreamFault("truncated", "the body ends without an event", ending="clean"), now)
        elif self.request.host_in(self._policy.lenient_hosts):
            self._log.note("the stream ended without any mark, as lenient_hosts allows")
            self._complete(now)
        else:
            self._break(StreamFault("truncated", "the body ends without its end mark", ending="clean"), now)

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
        self.decision = Finish()
        self._end("recovered" if len(self._log.attempts) > 1 else "complete", None)
        return True

    def _break(self, fault: StreamFault, now: float) -> None:
        """End the attempt with a fault. After a complete answer the fault is noted, and the stream is finished."""
        if self._answer_complete and self._delivery.caught_up:
            self._log.note(f"{fault.kind} after the answer was complete")
            self._complete(now)
            return
        found = self._log.evidence(fault, self._reader, self._clocks, now)
        request, evidence = self.request, self._hosts.record_fault(self.request.host, found)
        self._close_attempt(fault.kind, now)
        attempt = self._log.attempts[-1]
        if self._first is None:
            self._first = FirstFailure(fault, attempt, self.raw_tail, evidence)
        self._recovery.failed(now)
        number = len(self._log.attempts)
        self._notify(FaultSeen(fault.reason, number, attempt, request.host, request.model, advice(evidence)))
        if fault is _SEALED:
            self._give_up("unsafe")
        elif fault.kind == "diverged":
            self._hosts.record_divergence(request.host, request.model, now)
            self._give_up("diverged")
        elif fault is _UNTOLD and (request.background or request.stored_id is not None):
            self._give_up("diverged")  # the rest of it was read, and says that it is not the rest of this
        elif not deserves_retry(fault):
            self._give_up("not_retryable")
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
        self.decision = Fail(self._first, stopped_by)
        self._end("failed", stopped_by)

    def _close_attempt(self, fault: FaultKind | None, now: float) -> None:
        read, request, name = self._reader, self.request, self.adapter.response_id
        if self.adapter.has_finished:
            self._hosts.record_finish(request.host, request.path, request.model)
        counts = {"events": read.events, "bytes": read.bytes}
        self._log.close_attempt(fault, now, **counts, repairs=read.repairs, response_id=name)

    def _end(self, outcome: Outcome, stopped_by: StoppedBy | None) -> None:
        self.outcome = outcome
        self._notify(Ended(self.report(), stopped_by, self.request.host, self.request.model))

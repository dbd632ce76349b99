"""The state of one logical stream: what arrives goes in, what to do comes out.

    receive(bytes) · end() · fail() · refused()  →  payloads to deliver, and a decision: Reissue, Wait, Finish or Fail

It does no I/O. Tests hold: what was delivered is a prefix of one answer; what has finished was delivered whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace

from ..apis.adapter import ApiAdapter
from ..apis.registry import adapter_for
from ..apis.request import Resume, StreamRequest
from ..apis.transcript import Transcript
from ..config.policy import Policy
from ..decoding.payload import Payload
from ..diagnosis.causes import advice
from ..diagnosis.evidence import ResponseHead
from ..notices import Notice, Outcome, StoppedBy, StreamReport
from .attempt import DIVERGED, AttemptReader, stop_reason
from .attempt_log import AttemptLog
from .deadlines import next_deadline
from .decisions import Decision, Fail, Finish, FirstFailure, Refusal, Reissue, StreamFault, Timeouts, Wait
from .delivery import Delivery
from .host_memory import HostMemory
from .observer import SessionObserver
from .recovery import Recovery
from .server_habits import HabitTracker

NOT_KEPT = "the API keeps no background responses of this model, so that the guard asks for none"
_TOLERANCE = 0.005  # seconds that a read may be called off early


class Session:
    """One logical stream, over as many attempts as it takes."""

    __slots__ = (
        "_any_byte_counts", "_attempt", "_brought_progress", "_deadline", "_delivery", "_first", "_habits", "_hosts",
        "_keeping_is_open", "_limit", "_log", "_notify", "_observer", "_policy", "_recovery", "_repeated", "_timeouts",
        "decision", "note", "outcome", "request", "waiting_since",
    )  # fmt: skip

    def __init__(
        self,
        request: StreamRequest,
        policy: Policy,
        hosts: HostMemory,
        *,
        now: float,
        max_retries: int,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        requests: int = 1,
        head: ResponseHead = ResponseHead(),  # noqa: B008 - frozen
        jitter: Callable[[], float] = lambda: 0.0,
        notify: Callable[[Notice], None] = lambda notice: None,
        stream_id: str = "",
        requested_at: float | None = None,
        observer: SessionObserver | None = None,
        credentials: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        now = now if observer is None else round(now, 6)
        self.request = request
        self.decision: Decision | None = None
        """What to do now; None: go on reading."""
        self.outcome: Outcome = "open"
        self.waiting_since = 0.0
        """When the program asked for more after the last events. Its own time is not silence of the stream."""
        self._policy = policy
        self._hosts = hosts
        self._timeouts = timeouts
        self._notify = notify
        self._first: FirstFailure | None = None
        self._delivery = Delivery(policy)
        names = {"host": request.host, "model": request.model, "stream_id": stream_id}
        self._log = AttemptLog(now, requests, head, **names, requested_at=requested_at, credentials=credentials)
        self.note = self._log.note  # something unusual, for the report
        lenient = request.host_in(policy.lenient_hosts)
        self._habits = HabitTracker(hosts.habits, request, is_lenient=lenient, tell=self._report_server)
        self._recovery = Recovery(
            policy, request, hosts, max_retries=max_retries, jitter=jitter, note=self.note, idle=timeouts.idle
        )
        self._keeping_is_open = request.background_added  # until the first event says whether the API keeps the answer
        self._observer = observer
        self._begin(None, is_straight=policy.delivery == "live")
        if observer is not None:
            observer.stream_opened(stream_id, request, policy, timeouts, now)
            observer.attempt_opened(head, now)

    def _begin(self, resume: Resume | None, broken: ApiAdapter | None = None, *, is_straight: bool = False) -> None:
        self._attempt = AttemptReader(
            adapter_for(self.request, resume, broken, self._habits.known),
            self.request,
            self._policy,
            self._delivery,
            self._habits,
            self._log,
            only_failed=self._first is None or self._first.fault.last_event is not None,
            is_straight=is_straight,
        )
        self._brought_progress, self._limit, self._repeated = False, "", 0
        self._deadline: float | None = None
        self._any_byte_counts = True

    def receive(self, data: bytes, now: float) -> list[Payload]:
        """Take the bytes of one read; return what may be delivered."""
        if self._observer is not None:
            now = round(now, 6)
            self._observer.bytes_received(data, now, self.waiting_since)
        log, attempt, reader = self._log, self._attempt, self._attempt.reader
        log.reads += 1
        log.read_at = now
        payloads, over = reader.feed(data), reader.over
        if not payloads and not over:  # most reads of a few bytes
            if self._any_byte_counts:
                self._deadline = None
            if now < (self._deadline or self.deadline):
                return payloads
        attempt.out = []  # else it would hold what was delivered last, for as long as all goes the short way
        if payloads and attempt.is_straight:
            count = attempt.adapter.append_text_deltas(payloads, 0, self._delivery.transcript)
            attempt.items += count
            if count == len(payloads) and not over:  # nearly every read: by `_read` an event takes 3 µs more of its 80
                self._deadline, self._brought_progress = None, True
                self._log.progress(count, now)
                return payloads
            attempt.out, payloads = payloads[:count], payloads[count:]
        if payloads or over:
            self._read(payloads, now)
        if not attempt.out and self.decision is None and now >= self.deadline:
            waited = now - max(self._log.progress_at, self.waiting_since)
            self._break(StreamFault("stalled", f"no event for {waited:.1f} s, though bytes arrive"), now)
        return attempt.out

    def end(self, now: float) -> list[Payload]:
        """Take a clean end of the body."""
        attempt, now = self._finish_reading(None, now)
        if self.decision is None:
            before, attempt.out, taken = attempt.items, [], attempt.out
            fault = attempt.end_of_body()
            self._count_progress(before, now)
            attempt.out = taken + attempt.out
            self._complete(now) if fault is None else self._break(fault, now)
        return attempt.out

    def fail(self, fault: StreamFault, now: float) -> list[Payload]:
        """Take an error of the transport. A last event that lacks nothing but its blank line still counts."""
        attempt, now = self._finish_reading(fault, now)
        if self.decision is None:
            self._break(fault, now)
        return attempt.out

    def _finish_reading(self, fault: StreamFault | None, now: float) -> tuple[AttemptReader, float]:
        if self._observer is not None:
            now = round(now, 6)
            self._observer.body_ended(fault, now, self.waiting_since)
        self._attempt.out = []
        self._read(self._attempt.reader.finish(), now)
        return self._attempt, now

    def consumer_resumed(self, now: float) -> None:
        """The program is done with the last events; what it took for them is not silence of the stream."""
        self._recovery.consumer_resumed(now)
        if self._brought_progress:  # a keep-alive that is handed on is no event, and does not start the wait anew
            self.waiting_since, self._deadline = now if self._observer is None else round(now, 6), None

    def asked_for_more(self, now: float) -> None:
        """Note that the program waits for bytes."""
        self._log.consumer_waits(now)

    def proceed(self, now: float) -> list[Payload]:
        """Decide whether the request may be sent now, after a delay or a wait; return what may be delivered if not."""
        self._attempt.out = []
        self._log.wait_ended(now)
        answer = self._recovery.proceed(now)
        self._decide(answer) if isinstance(answer, Reissue) else self._recover(answer, now)
        return self._attempt.out

    def reopened(self, decision: Reissue, head: ResponseHead, now: float) -> None:
        """Begin a new attempt: a re-issue was answered."""
        now = now if self._observer is None else round(now, 6)
        self.decision = None
        self._recovery.answered(decision, now)
        rest = decision.resume if decision.resume is not None and not decision.resume.poll else None
        continuation = self._recovery.continuation if decision.way == "continue" else None
        if rest is None:
            self._delivery.begin_again(continuation)
        else:
            self._delivery.is_rest = True
        self._log.open_attempt(decision.way, now, 1, head)
        self._begin(rest, None if rest is None else self.adapter)
        if self._observer is not None:
            anchor = None if continuation is None else continuation.anchor
            self._observer.attempt_opened(head, now, polled=decision.is_poll, anchor=anchor)

    def refused(self, decision: Reissue, refusal: Refusal, now: float) -> list[Payload]:
        """Take a re-issue that got no stream; return what may be delivered."""
        self._attempt.out = []
        if decision.resume is not None and refusal.unfinished:
            self._recover(self._recovery.poll(decision.resume, now), now)
            return self._attempt.out
        self._log.refused(decision.way, refusal)
        self._notify(self._log.refusal_seen())
        if decision.resume is not None and refusal.no_longer_streamed and self.request.starting_after is None:
            self._recover(self._recovery.poll(replace(decision.resume, poll=True), now), now)
        elif refusal.retryable:
            self._recover(self._recovery.refused(refusal, now), now)
        else:
            self._recover(self._recovery.refused_for_good(refusal, self.adapter, self.transcript, now), now)
        return self._attempt.out

    def abandon(self, now: float) -> None:
        """End a stream that the consumer has left. That is no fault, and nothing is sent again."""
        if self.outcome == "open":
            if self._log.reading:
                self._close_attempt(None, None, now)
            self._end("abandoned", None)

    @property
    def response_to_cancel(self) -> str | None:
        """The id of a response that the API makes for nobody any more, as the guard asked for it in the background."""
        ended = self.outcome in ("abandoned", "failed") and not self._attempt.answer_complete
        kept = self.request.background_added and self.adapter.is_stored
        return self.adapter.response_id if ended and kept else None

    def report(self) -> StreamReport:
        """Return what has happened so far."""
        return self._log.report(self.outcome, None if self._first is None else advice(self._first.evidence))

    @property
    def deadline(self) -> float:
        """When the stream is stalled, or over because its answer is complete, on the clock of `now`."""
        if self._deadline is None:  # most reads of a few bytes do not move it
            phase, goes_on = self._attempt.phase, self._habits.goes_on
            self._any_byte_counts = phase != "events"  # as a sign of life
            found = next_deadline(phase, self._timeouts, self._log, self.waiting_since, goes_on=goes_on)
            self._deadline, self._limit = min(found, (self._recovery.deadline, "max_elapsed"))
        return self._deadline

    @property
    def adapter(self) -> ApiAdapter:
        """What reads the open attempt, or has read the last."""
        return self._attempt.adapter

    @property
    def first_failure(self) -> FirstFailure | None:
        """The first fault and where it struck; None while there was none."""
        return self._first

    @property
    def raw_tail(self) -> bytes:
        """The last bytes that were read, not redacted yet."""
        return self._attempt.reader.tail

    @property
    def transcript(self) -> Transcript:
        """What was delivered so far."""
        return self._delivery.transcript

    def _read(self, payloads: list[Payload], now: float) -> None:
        """Take the payloads of one read, then judge whether they ended the attempt."""
        self._deadline = None
        attempt = self._attempt
        reader, before = attempt.reader, attempt.items - len(attempt.out)
        done = payloads.pop() if reader.over and reader.done and payloads else None
        fault = attempt.take(payloads)
        if self._keeping_is_open and attempt.items:
            self._keeping_is_open, request = False, self.request
            if not self.adapter.is_stored:
                self.report_not_kept(is_news=self._hosts.record_keeps_nothing(request.host, request.model))
        if fault is None and done is not None:
            fault = attempt.end(done=True)
        elif fault is None:
            fault = attempt.damage
        self._count_progress(before, now)
        if fault is not None:
            self._break(fault, now)
        elif done is not None:
            self._complete(now)
        if done is not None and isinstance(self.decision, Finish):
            attempt.out.append(done)

    def _count_progress(self, items_before: int, now: float) -> None:
        out = self._attempt.out
        self._brought_progress = self._attempt.items > items_before
        if not self._brought_progress:  # keep-alives that are handed on
            self._log.delivered += len(out)
            return
        since = self._log.progress_at if items_before else now
        self._log.progress(len(out), now)
        self._recovery.received(now)
        if out or self._delivery.gaining:
            self._recovery.succeeded()
        else:
            before, self._repeated = self._repeated, self._delivery.repeated
            self._recovery.repeated(now - since if self._repeated > before else None)

    def _complete(self, now: float) -> None:
        """Finish the stream, unless this answer ended before what was delivered."""
        if not self._delivery.caught_up:
            self._break(DIVERGED, now)
            return
        self._attempt.out += (held := self._delivery.release())
        self._log.progress(len(held), now)
        self._log.mark_recovered(now)
        self._attempt.answer_complete = True  # also where no mark said so before the end
        self._close_attempt(None, "the answer is whole", now)
        self._habits.completed(self.adapter)
        self._decide(Finish())
        self._end("recovered" if len(self._log.attempts) > 1 else "complete", None)

    def _break(self, fault: StreamFault, now: float) -> None:
        """End the attempt with a fault. Behind a complete answer it is only noted, unless it is the API's own word."""
        complete = self._attempt.answer_complete and self._delivery.caught_up
        limit = self._limit if now >= self.deadline - _TOLERANCE else "the request's read timeout"
        if complete and fault.kind != "upstream_error":
            if fault.kind == "stalled" and limit in ("linger_timeout", "idle_timeout"):
                self._report_server(f"the answer was complete and the server did not end its stream: {limit} did", True)
            else:
                self.note(f"{fault.kind} after the answer was complete")
            self._complete(now)
            return
        if fault.kind == "stalled":
            late = "nothing new within max_elapsed after a fault" if limit == "max_elapsed" else ""
            fault = replace(fault, reason=late or f"{fault.reason}; the limit is {limit}")
        found = self._log.evidence(fault, self._attempt.reader, self._timeouts, now, self.adapter.end_marks)
        request, evidence = self.request, self._hosts.record_fault(self.request.host, found)
        self._close_attempt(fault, fault.reason, now)
        attempt = self._log.attempts[-1]
        if self._first is None:
            self._first = FirstFailure(fault, attempt, self.raw_tail, evidence)
        self._recovery.failed(now)
        self._notify(self._log.fault_seen(fault, advice(evidence)))
        is_stored = self.adapter.is_stored
        stopped_by = stop_reason(fault, complete=complete, is_stored=is_stored)
        if fault.kind == stopped_by == "diverged" and not is_stored and attempt.way != "continue":
            # else it is no other generation, or one that was not asked to repeat the first
            self._hosts.record_divergence(request.host, request.model, request.deterministic, now)
        queues_anew = fault.kind == "stalled" and not (self._attempt.items or is_stored)
        if queues_anew and attempt.seconds > self._recovery.deadline - now:
            stopped_by = stopped_by or "time"  # it would not be answered in time
        if stopped_by is not None:
            self._give_up(stopped_by)
        else:
            self._recover(self._recovery.plan(self.adapter, self.transcript, now), now)

    def _recover(self, answer: Reissue | Wait | StoppedBy, now: float) -> None:
        if isinstance(answer, str):
            self._give_up(answer)
            return
        self._decide(answer)
        if isinstance(answer, Wait):
            if self._log.wait_began(answer.reason, now):
                self._notify(self._log.waiting(answer))
        elif not answer.is_poll:  # a poll costs nothing worth reporting
            self._notify(self._log.recovering(answer))

    def _give_up(self, stopped_by: StoppedBy) -> None:
        assert self._first is not None
        self._first = replace(self._first, evidence=self._hosts.with_cuts(self.request.host, self._first.evidence))
        self._habits.failed()
        if (last_event := self._first.fault.last_event) is not None and not self.transcript.visible:
            self._attempt.out.append(last_event)
            self._log.delivered += 1
            self.note("the answer ended as failed, and asking again did not help")
            self._decide(Finish())
            self._end("complete", None)
        else:
            self._decide(Fail(self._first, stopped_by))
            self._end("failed", stopped_by)

    def _close_attempt(self, fault: StreamFault | None, reason: str | None, now: float) -> None:
        read, name = self._attempt.reader, self.adapter.response_id
        kind, counts = None if fault is None else fault.kind, {"events": read.events, "bytes": read.bytes_fed}
        self._log.close_attempt(kind, now, **counts, repairs=read.repairs, response_id=name, usage=self._attempt.usage)
        if self._observer is not None:
            self._observer.attempt_closed(self._log.attempts[-1], self._attempt.rule, reason, read.repairs)

    def _decide(self, decision: Decision) -> None:
        self.decision = decision
        self._deadline = math.inf  # a reader of raw bytes may go on reading

    def report_not_kept(self, *, is_news: bool) -> None:
        """Report that the response is not kept, though the guard asked for it in the background."""
        self._report_server(NOT_KEPT, is_warning=True) if is_news else self.note(NOT_KEPT)

    def _report_server(self, text: str, is_warning: bool) -> None:
        self.note(text)
        self._notify(self._log.server_notice(text, is_warning))

    def _end(self, outcome: Outcome, stopped_by: StoppedBy | None) -> None:
        self.outcome = outcome
        if self._keeping_is_open:
            self.note("the id of its background response is not known, so that it cannot be cancelled")
        self._recovery.ended(complete=outcome in ("complete", "recovered"))
        self._notify(self._log.ended(self.report(), stopped_by))
        if self._observer is not None:
            self._observer.stream_ended()

"""One attempt at a stream: its bytes become payloads that may be delivered, up to its end or to a fault.

It knows what has come, and judges whether that is a complete answer; what follows from a fault is the session's. See
`apis.completion` for why a complete answer does not end the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..apis.adapter import ApiAdapter, DataEvent, FaultEvent
from ..apis.completion import HOLES, UNTOLD_TEXT, Oddity
from ..apis.request import EndRule, StreamRequest
from ..apis.second_answer import Diverged, Unsafe
from ..apis.sequence import Gap
from ..apis.usage import usage_in
from ..config.policy import Policy
from ..decoding.payload import Payload
from ..decoding.reader import Reader
from ..diagnosis.evidence import clues_from
from ..notices import StoppedBy
from .attempt_log import AttemptLog
from .deadlines import Phase
from .decisions import StreamFault
from .delivery import Delivery, Oversized
from .faults import damage_from, failure_from, fault_from
from .recovery import deserves_retry
from .server_habits import HabitTracker

_GAP = StreamFault("gap", "events are missing, by their sequence_number")
UNTOLD = StreamFault("gap", "a part of the text is missing, by what is said of it as a whole")
SEALED = StreamFault("diverged", "the second answer has sealed content, which is good under its own id only")
DIVERGED = StreamFault("diverged", "the second answer does not fit what was delivered")


def stop_reason(fault: StreamFault, *, complete: bool, is_stored: bool) -> StoppedBy | None:
    """Return why nothing is sent again after a fault; None where it may help.

    Args:
        complete: whether the answer was complete before it.
        is_stored: whether the answer is a stored response, which cannot be generated anew.
    """
    if fault is SEALED:
        return "unsafe"
    if fault.kind == "diverged" or (fault is UNTOLD and is_stored):  # a stored one was read: this is not its rest
        return "diverged"
    return "not_retryable" if complete or not deserves_retry(fault) else None


class AttemptReader:
    """Reads one attempt.

    Args:
        log: of the whole stream: it has counted the events that were delivered before this attempt's `out`.
        only_failed: whether all attempts before it ended as failed by the API's own word, if there were any.
        is_straight: whether every event is delivered as it comes: nothing is held, and no attempt went before.
    """

    __slots__ = (
        "_delivery", "_habits", "_is_subscription", "_log", "_only_failed", "_policy", "_request", "_usage", "adapter",
        "answer_complete", "is_straight", "items", "out", "reader", "rule",
    )  # fmt: skip

    def __init__(
        self,
        adapter: ApiAdapter,
        request: StreamRequest,
        policy: Policy,
        delivery: Delivery,
        habits: HabitTracker,
        log: AttemptLog,
        *,
        only_failed: bool,
        is_straight: bool,
    ) -> None:
        self.adapter = adapter
        self.reader = Reader(policy.repair, policy.max_event_bytes)
        self.is_straight = is_straight
        self.out: list[Payload] = []
        """What may be delivered of the read that is being taken."""
        self.items = 0
        """Events that came, keep-alives aside."""
        self.answer_complete = False
        """Whether a mark stands by which nothing of the answer is missing, and all before it was taken."""
        self._usage: Mapping[str, object] | None = None
        self._request = request
        self._policy = policy
        self._delivery = delivery
        self._habits = habits
        self._log = log
        self._only_failed = only_failed
        # An API that marks no end may stream more than an answer.
        self._is_subscription = adapter.end_marks == "unknown"
        delivery.transcript.accepts_holes |= habits.leaves_out_text
        self.rule = self._end_rule()
        """What the end was judged by; before that, what it would be judged by."""

    @property
    def usage(self) -> Mapping[str, object] | None:
        """The tokens that a complete answer took, where the API told them: before its end it tells them so far."""
        return self._usage if self.answer_complete else None

    @property
    def phase(self) -> Phase:
        """What the stream is waited for."""
        if self._is_subscription:
            return "subscription"
        return "complete" if self.answer_complete else "events" if self.items else "first_event"

    def take(self, payloads: Sequence[Payload]) -> StreamFault | None:
        """Take payloads up to one that ends the attempt; return its fault."""
        adapter, rest, start = self.adapter, list(payloads), 0
        while start < len(rest):
            end = adapter.append_text_deltas(rest, start, self._delivery.transcript) if self.is_straight else start
            self.items += end - start
            self.out += rest[start:end]
            try:
                due = adapter.in_sequence(rest[end]) if end < len(rest) else ()
            except Gap:
                if (held_back := self._accept_habit(done=False)) is None:
                    return _GAP
                rest, start = [*held_back, *(payload for payload in rest[end:] if payload not in held_back)], 0
                continue
            for payload in due:
                if (fault := self._take_one(payload)) is not None:
                    return fault
            start = end + 1
        return None

    def _take_one(self, payload: Payload) -> StreamFault | None:
        """Take one payload; return its fault if it ends the attempt."""
        adapter = self.adapter
        reading = adapter.read(payload)
        self._usage = usage_in(payload.value) or self._usage
        if isinstance(reading, FaultEvent):
            fault = fault_from(reading, begun=self.items > 0, complete=self.answer_complete)
            if fault is None:
                self._log.note("a JSON text that is no event of this API came after the answer")
            return fault
        if not isinstance(reading, DataEvent):
            self._log.note("a keep-alive came as an event")
            return None
        if reading.failure is not None and self._may_ask_again() and (fault := failure_from(payload, reading.failure)):
            return fault
        self.items += reading.is_progress
        try:
            self.out += self._delivery.accept(payload, reading, adapter)
        except Gap:
            return UNTOLD
        except Unsafe:
            return SEALED
        except Diverged:
            return DIVERGED
        except Oversized as excess:
            return StreamFault("oversized", str(excess))
        self.answer_complete = adapter.answer_complete
        if adapter.went_on:
            self._habits.went_on()
        return None

    @property
    def damage(self) -> StreamFault | None:
        """Why nothing more of the body can be read, if that is so."""
        if self.reader.fault is None:
            return None
        return damage_from(self.reader.fault, self.adapter, begun=self.items > 0, complete=self.answer_complete)

    def _may_ask_again(self) -> bool:
        """Whether an answer that failed can be asked for anew, and still be delivered as it was if that fails."""
        policy = self._policy
        untouched = policy.delivery == "live" and not self._delivery.transcript.visible and not self.adapter.is_stored
        return untouched and bool(policy.recovery) and self._only_failed

    def end_of_body(self) -> StreamFault | None:
        """Return the fault of a clean end of the body; None where the answer is complete."""
        if not self.items and self.reader.bytes_fed and clues_from(self._log.head.headers).media != "events":
            reason = "the body has no event, and its content-type names something else"
            return StreamFault("not_a_stream", reason, self.reader.error)
        if self.reader.unfinished or (self.reader.event_begun and not self.answer_complete):
            return StreamFault("truncated", "the body ends inside an event", self.reader.error, ending="clean")
        return self.end(done=False)

    def end(self, *, done: bool) -> StreamFault | None:
        """Return the fault of an end by `[DONE]`, or by the body's; None where the answer is complete."""
        self.rule = self._end_rule()
        if self.adapter.missing:
            if (held_back := self._accept_habit(done=done)) is None:
                return _GAP
            if (fault := self.take(held_back)) is not None:
                return fault
        if self.adapter.is_complete(self.rule, done=done):
            if self.adapter.end_note is not None:
                self._log.note(self.adapter.end_note)
            if self._delivery.transcript.hole_came_again:
                self._habits.came_again(Oddity(UNTOLD_TEXT))
            return None
        if self._accept_habit(done=done) is not None:
            return None
        if done:
            return StreamFault("truncated", "[DONE] came before the answer was complete")
        if self.items and self._request.host_in(self._policy.lenient_hosts):
            self._log.note("the stream ended without any mark, as lenient_hosts allows")
            return None
        lacking = "its end mark" if self.items else "an event"
        return StreamFault("truncated", f"the body ends without {lacking}", ending="clean")

    def _accept_habit(self, *, done: bool) -> list[Payload] | None:
        """Return the payloads held back for an oddity that is a habit of the server; None where it is a fault."""
        delivered, repeated = self._log.delivered + len(self.out), self._delivery.caught_up
        oddity = self._habits.accepts(self.adapter.oddity(self.rule, done=done), delivered, repeated=repeated)
        if oddity is None:
            return None
        self._delivery.transcript.accepts_holes |= oddity.habit == HOLES  # what is missing stands in the whole texts
        return self.adapter.accept_oddity(oddity)

    def _end_rule(self) -> EndRule:
        return self._request.end_rule(self._policy.end_rule, learnt=self._habits.sends_finish(self.adapter))

"""The law: a session does what a simple model of it says, whatever happens to it, in whatever order.

The model knows the answer as a list of events and how many of them have arrived; it knows nothing of bytes, channels
or ways. It says what has been delivered, how many requests were made, and when the session may finish or give up.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openai_stream_guard.config.policy import Policy
from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.decisions import Fail, Finish, Refusal, Reissue, StreamFault, Timeouts, Wait
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.server_habits import Server
from openai_stream_guard.engine.session import Session
from tests.proof.recorded import HOST, STREAMS, Stream
from tests.support.responses import nameless
from tests.vectors import in_pieces

RESET = StreamFault("disconnected", "reset")
TIMEOUTS = Timeouts(first_event=20.0, idle=10.0, linger=5.0)
RETRIES = 3


class SessionMachine(RuleBasedStateMachine):
    """A server that says the same answer each time, a network that cuts and refuses, and a clock."""

    @initialize(
        stream=st.sampled_from([stream for stream in STREAMS if not stream.background]),
        delivery=st.sampled_from(["live", "atomic"]),
        learnt=st.booleans(),
    )
    def begin(self, stream: Stream, delivery: Any, learnt: bool) -> None:
        """A request is answered."""
        policy = Policy(retry_budget=None, backoff_initial=0.5, delivery=delivery, max_elapsed=60.0)
        hosts = HostMemory()
        if learnt:
            hosts.habits.expect_finish(Server(HOST, stream.path, "m"))
        self.stream, self.atomic = stream, delivery == "atomic"
        self.now = self.progress_at = 0.0
        self.serial = self.requests = 1
        self.refusals = 0
        self.bytes = self.arrived = 0  # of this attempt; and how many events that makes
        self.given = 0  # events that the consumer must have
        self.between, self.left = True, False
        self.items: list[Any] = []
        self.session = Session(stream.asked, policy, hosts, now=0.0, max_retries=RETRIES, timeouts=TIMEOUTS)

    @property
    def reading(self) -> bool:
        """The session wants bytes."""
        return hasattr(self, "session") and self.session.decision is None and not self.left

    @property
    def frames(self) -> tuple[bytes, ...]:
        """What this attempt sends."""
        return self.stream.answered(self.serial)

    def take(self, payloads: Any) -> None:
        """The consumer gets what is delivered."""
        self.items += [payload.value for payload in payloads if not payload.is_done]

    def fed(self, data: bytes) -> None:
        """The model's account of some bytes: which events are whole now."""
        self.bytes += len(data)
        ends = list(accumulate(map(len, self.frames)))
        arrived = bisect_right(ends, self.bytes)
        if arrived > self.arrived:
            self.progress_at = self.now
        self.arrived = arrived
        self.between = self.bytes in (0, *ends)
        if not self.atomic:
            self.given = max(self.given, arrived)

    @precondition(lambda self: self.reading and self.arrived < len(self.frames))
    @rule(
        events=st.integers(1, 9),
        inside=st.floats(0, 0.99),
        pause=st.floats(0, 3),
        split=st.integers(1, 400),
        busy=st.just(0.0) | st.floats(0, 30),
    )
    def bytes_arrive(self, events: int, inside: float, pause: float, split: int, busy: float) -> None:
        """Some whole events, and the beginning of one more, in reads of any size; the program takes its time."""
        self.now += pause
        until = min(self.arrived + events, len(self.frames))
        following = self.frames[until] if until < len(self.frames) else b""
        end = len(b"".join(self.frames[:until])) + int(len(following) * inside)
        for data in in_pieces(b"".join(self.frames)[self.bytes : end], split):
            if self.session.decision is None:
                self.fed(data)
                payloads = self.session.receive(data, self.now)
                self.take(payloads)
                if payloads and self.session.decision is None:
                    self.now += busy
                    self.progress_at = self.now
                    self.session.consumer_resumed(self.now)

    @precondition(lambda self: self.reading and self.between)
    @rule(pause=st.floats(0, 25))
    def a_keep_alive_arrives(self, pause: float) -> None:
        """A comment: no event, so that the clock goes on, and may run out."""
        self.now += pause
        self.take(self.session.receive(b": keep-alive\n\n", self.now))

    @precondition(lambda self: self.reading)
    @rule(clean=st.booleans())
    def the_body_ends(self, clean: bool) -> None:
        """In good order, or by a reset."""
        self.take(self.session.end(self.now) if clean else self.session.fail(RESET, self.now))
        assert self.session.decision is not None, "an end is always judged"

    @precondition(lambda self: hasattr(self, "session") and isinstance(self.session.decision, Reissue))
    @rule()
    def it_is_asked_again(self) -> None:
        """After the delay that was asked for, the server answers from the beginning, under new ids."""
        decision = self.sent()
        assert decision.way == ("restart" if not self.visible else "replay")
        self.session.reopened(decision, ResponseHead(200), self.now)
        self.serial += 1
        self.requests += 1
        self.bytes = self.arrived = 0
        self.between = True
        self.progress_at = self.now

    @precondition(lambda self: hasattr(self, "session") and isinstance(self.session.decision, Reissue))
    @rule(retryable=st.booleans(), wait=st.none() | st.floats(0, 200))
    def it_is_refused(self, retryable: bool, wait: float | None) -> None:
        """The server does not want to be asked: that costs time, and no retry."""
        decision = self.sent()
        self.refusals += 1
        self.session.refused(decision, Refusal(retryable, status=503, retry_after=wait), self.now)
        assert isinstance(self.session.decision, Fail) or retryable

    @precondition(lambda self: hasattr(self, "session") and isinstance(self.session.decision, Wait))
    @rule()
    def it_waits(self) -> None:
        """As long as it was told."""
        decision = self.session.decision
        assert isinstance(decision, Wait)
        assert 0 < decision.seconds <= decision.limit
        self.now += decision.seconds
        self.session.proceed(self.now)

    def sent(self) -> Reissue:
        """The request that is due, sent."""
        decision = self.session.decision
        assert isinstance(decision, Reissue)
        self.now += decision.delay
        self.session.proceed(self.now)
        decision = self.session.decision
        assert isinstance(decision, Reissue)
        return decision

    @precondition(lambda self: self.reading)
    @rule()
    def the_consumer_leaves(self) -> None:
        """The stream is closed: nothing is asked again."""
        self.session.abandon(self.now)
        assert self.session.outcome == "abandoned"
        self.left = True

    @precondition(lambda self: hasattr(self, "session") and self.over)
    @rule()
    def nothing_changes_any_more(self) -> None:
        """Leaving a stream that is over means nothing."""
        before = self.session.report()
        self.session.abandon(self.now)
        assert self.session.report() == before

    @property
    def over(self) -> bool:
        """It has ended, or nobody reads it."""
        return self.left or isinstance(self.session.decision, Finish | Fail)

    @property
    def visible(self) -> bool:
        """Whether the consumer has seen anything that would have to be taken back."""
        if self.stream.api == "responses":
            return any(
                item["type"].endswith(".delta")
                or (item["type"] == "response.output_item.added" and item["item"]["type"] != "message")
                for item in self.items
            )
        return any(
            choice.get("finish_reason")
            or choice.get("text")
            or any(part for name, part in (choice.get("delta") or {}).items() if name != "role")
            for item in self.items
            for choice in item["choices"]
        )

    @invariant()
    def what_was_delivered_is_the_beginning_of_one_answer(self) -> None:
        """Once, in order, as far as it has arrived, and no further behind than it has to be."""
        if not hasattr(self, "session"):
            return
        whole = self.stream.items
        assert nameless(self.items) == nameless(whole[: len(self.items)])
        if self.atomic:
            assert self.items == [] or self.session.outcome in ("complete", "recovered")
        else:
            assert len(self.items) <= min(self.given + 1, len(whole))
            assert len(self.items) >= min(self.given, len(whole)) or self.session.decision is not None

    @invariant()
    def ids_are_those_of_one_answer(self) -> None:
        """The first chunk's id stands for all."""
        if hasattr(self, "session") and self.stream.api != "responses":
            assert len({item["id"] for item in self.items}) <= 1

    @invariant()
    def requests_are_counted(self) -> None:
        """Never more than were allowed, and a session that gives up says why."""
        if not hasattr(self, "session"):
            return
        assert self.requests <= 1 + RETRIES
        report = self.session.report()
        answered = [attempt for attempt in report.attempts if not attempt.refused]
        assert sum(attempt.requests for attempt in answered) <= 1 + RETRIES
        match self.session.decision:
            case Fail(_, stopped_by):
                assert stopped_by in ("retries", "time", "unsafe", "not_retryable")
                assert (stopped_by == "retries") <= (self.requests == 1 + RETRIES)
                assert stopped_by != "not_retryable" or self.refusals
            case Finish():
                last = _last_needed(self.stream)
                assert len(self.items) > last
                assert (report.outcome == "complete") == (self.requests + self.refusals == 1)

    @invariant()
    def a_silent_stream_has_a_deadline(self) -> None:
        """While it is read: the first event's or the idle time after the last progress; sooner only near the end."""
        if self.reading:
            deadline = self.progress_at + (TIMEOUTS.idle if self.arrived else TIMEOUTS.first_event)
            near = self.requests + self.refusals > 1 or self.arrived > _last_needed(self.stream)
            assert self.session.deadline <= deadline if near else self.session.deadline == deadline


def _last_needed(stream: Stream) -> int:
    """The place of the item without which the answer is not whole."""
    if stream.api == "responses":
        return len(stream.items) - 1
    return max(place for place, item in enumerate(stream.items) if any(one["finish_reason"] for one in item["choices"]))


TestSession = SessionMachine.TestCase
TestSession.__doc__ = "Every series of reads, cuts, refusals, waits and closes agrees with the model."
TestSession.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)

"""The law: re-issues that lead to nothing are never more than a host's ten tokens and those of the started streams."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from openai_stream_guard.engine.host_queue import CAPACITY, Hold, Ticket
from openai_stream_guard.engine.retry_budget import (
    DOUBT_SECONDS,
    HEADERS_SECONDS,
    QUIET_SECONDS,
    RetryBudget,
)
from tests.support.budgets import PATIENCE, asks, borrow, drained, new_ticket


def sent(budget: RetryBudget, count: int, now: float = 0.0) -> list[Ticket]:
    """So many re-issues, answered some time ago but without an event yet."""
    tickets = [new_ticket() for _ in range(count)]
    for ticket in tickets:
        assert asks(budget, ticket, now) is None
        budget.answered(ticket, now - HEADERS_SECONDS)
    return tickets


def waiting(budget: RetryBudget, count: int, now: float = 0.0) -> list[Ticket]:
    """So many that wait for a token."""
    tickets = [new_ticket() for _ in range(count)]
    for ticket in tickets:
        hold = asks(budget, ticket, now)
        assert isinstance(hold, Hold)
        assert hold.reason == "budget"
    return tickets


def test_a_host_starts_with_ten_tokens() -> None:
    """A host that nothing was ever sent to may be asked ten times more than it was."""
    assert [borrow(RetryBudget(), "a") for _ in range(2)] == [True, True]
    budget = RetryBudget()
    assert [borrow(budget, "a") for _ in range(11)] == [True] * 10 + [False]


def test_ten_streams_at_a_tenth_pay_for_one_re_issue() -> None:
    """Tenths add up to one, though as floats they do not."""
    budget = drained("a")
    for _ in range(10):
        assert not borrow(budget, "a")
        budget.stream_started("a", 0.1)
    assert borrow(budget, "a")
    assert not borrow(budget, "a")


def test_tokens_of_quiet_times_are_not_saved_up() -> None:
    """A quiet day does not pay for a storm: what is over the brim is lost."""
    budget = RetryBudget()
    for _ in range(1000):
        budget.stream_started("a", 5.0)
    assert sum(borrow(budget, "a") for _ in range(100)) == CAPACITY


def test_hosts_do_not_share() -> None:
    """One host's outage leaves the others' budgets whole."""
    assert borrow(drained("a"), "b")


def test_number_of_hosts_is_bounded() -> None:
    """The least recently used host is forgotten, and starts anew if it comes back; one in use is not."""
    budget = drained("old", "used")
    for number in range(1023):
        budget.stream_started(f"host-{number}", 0.1)
        budget.stream_started("used", 0.0)
    assert not borrow(budget, "used")
    assert borrow(budget, "old")


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3))))
def test_tokens_that_never_come_back_are_paid_for(steps: list[tuple[bool, float]]) -> None:
    """At any time: re-issues ≤ 10 + what the started streams have added."""
    budget, paid, taken = RetryBudget(), CAPACITY, 0
    for borrows, ratio in steps:
        if borrows:
            taken += borrow(budget, "a")
        else:
            budget.stream_started("a", ratio)
            paid += ratio
        assert taken <= paid + 1e-6


def test_threads_take_no_token_twice() -> None:
    """However many threads ask at once, ten tokens pay for ten re-issues."""
    budget, start, won = RetryBudget(), threading.Barrier(8), []

    def take() -> None:
        start.wait()
        won.extend(borrow(budget, "a") for _ in range(50))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == CAPACITY


def test_a_first_event_lets_others_go_in_order() -> None:
    """Two for the one that was lent, to those that have waited longest; they are woken."""
    budget = RetryBudget()
    first, woken = sent(budget, 10), []
    queue = waiting(budget, 5)
    for number, ticket in enumerate(queue):
        ticket.on_call(lambda number=number: woken.append(number))  # type: ignore[misc] # mypy infers no type of it
    budget.first_event(first[0], 0.0)
    assert woken == [0, 1]
    assert [asks(budget, ticket) is None for ticket in queue] == [True, True, False, False, False]
    budget.first_event(first[0], 0.0)
    assert len(woken) == 2, "once for each attempt"
    budget.stream_started("a", 1.0)
    assert woken == [0, 1, 2]


def test_an_attempt_that_breaks_gives_back_what_it_brought() -> None:
    """And while re-issues break nobody waits long, nor does a mere first event lend anything."""
    budget = RetryBudget()
    first = sent(budget, 10)
    (waits,) = waiting(budget, 1)
    assert asks(budget, waits, 1.0) == Hold(PATIENCE - 1, PATIENCE - 1, "budget")
    budget.broke(first[0], 2.0)
    assert waits.called, "it has less time than it was told"
    assert asks(budget, waits, 2.0) == Hold(DOUBT_SECONDS, DOUBT_SECONDS, "budget")
    budget.first_event(first[1], 0.0)
    assert isinstance(asks(budget, waits, 3.0), Hold)
    assert asks(budget, new_ticket(now=6.5), 6.5) == Hold(DOUBT_SECONDS, DOUBT_SECONDS, "budget")
    assert asks(budget, waits, 2.0 + DOUBT_SECONDS) == "budget"


def test_what_came_back_for_an_attempt_is_taken_back_where_it_breaks() -> None:
    """Both tokens: else streams that break after a first event would be sent again without end."""
    budget = RetryBudget()
    (first, *_) = sent(budget, 10)
    budget.first_event(first, 0.0)
    budget.broke(first, 1.0)
    assert not borrow(budget, "a")


def test_an_attempt_that_leads_on_ends_the_doubt() -> None:
    """Its own tokens come back, and those of the next first event."""
    budget = RetryBudget()
    first = sent(budget, 10)
    budget.broke(first[0], 1.0)
    queue = waiting(budget, 4, 1.0)
    budget.advanced(first[1])
    budget.first_event(first[2], 0.0)
    assert [asks(budget, ticket, 1.0) for ticket in queue[:3]] == [None] * 3
    for ticket in queue[:3]:
        budget.answered(ticket, 1.0)
        budget.first_event(ticket, 1.0)
    assert asks(budget, queue[3], 1.0) is None, "the fourth waited for an answer to the others"


def test_a_stream_that_came_out_whole_is_worth_a_try() -> None:
    """A lone cut after an outage is asked for again at once, however few streams have started since."""
    budget = RetryBudget()
    for ticket in sent(budget, 10):
        budget.broke(ticket, 1.0)
    lost = new_ticket(now=2.0)
    assert isinstance(asks(budget, lost, 2.0), Hold)
    assert asks(budget, lost, 10.0) == "budget"
    budget.completed("a", None)
    assert asks(budget, new_ticket(now=40.0), 40.0) is None


def test_a_lone_cut_after_a_quiet_time_is_worth_a_try() -> None:
    """Though nothing came out whole since the outage: one try in that time, and none where the budget never grows."""
    budget = RetryBudget()
    for ticket in sent(budget, 10):
        budget.broke(ticket, 1.0)
    for now in (2.0, 2.0 + QUIET_SECONDS - 0.1):
        lost = new_ticket(now=now)
        assert isinstance(asks(budget, lost, now), Hold)
        budget.leave(lost)
    assert asks(budget, new_ticket(lends=False), now + QUIET_SECONDS) == "budget"
    now += 2 * QUIET_SECONDS
    assert asks(budget, new_ticket(now=now), now) is None
    assert isinstance(asks(budget, new_ticket(now=now), now), Hold)


def test_who_leaves_takes_nothing_along() -> None:
    """A place in the queue, a token that was granted, and one that nothing has come of."""
    budget = RetryBudget()
    first = sent(budget, 10)
    one, two, three = waiting(budget, 3)
    budget.leave(one)
    budget.leave(first[0])
    assert two.granted
    budget.leave(two)
    assert asks(budget, three) is None


def test_a_resume_needs_no_token() -> None:
    """It costs no generation."""
    assert asks(drained("a"), new_ticket(needs_token=False)) is None


def test_without_waiting_it_is_yes_or_no() -> None:
    """`outage_timeout=0`, and a budget of 0."""
    budget = drained("a")
    assert asks(budget, new_ticket(), patience=0.0) == "budget"
    assert asks(budget, new_ticket(lends=False)) == "budget"


class Storm(RuleBasedStateMachine):
    """A host that breaks every attempt, and streams that start, break, wait and leave in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.budget, self.now, self.asked_at = RetryBudget(), 0.0, 0.0
        self.paid, self.wasted, self.open_at_first = CAPACITY, 0, 0
        self.waits: list[Ticket] = []
        self.sent: list[Ticket] = []

    @rule(ratio=st.floats(0, 1))
    def a_stream_starts(self, ratio: float) -> None:
        self.budget.stream_started("a", ratio)
        self.paid += ratio

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_stream_breaks(self) -> None:
        self.waits.append(new_ticket(now=self.now))
        self.ask(self.waits[-1])

    def ask(self, ticket: Ticket) -> None:
        if self.now - self.asked_at >= QUIET_SECONDS:
            self.paid += 1
        self.asked_at = self.now
        told = asks(self.budget, ticket, self.now)
        if told is None:
            self.waits.remove(ticket)
            self.sent.append(ticket)
            self.budget.answered(ticket, self.now)
        elif isinstance(told, str):
            self.waits.remove(ticket)

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def one_asks_again(self, data: st.DataObject) -> None:
        self.ask(data.draw(st.sampled_from(self.waits)))

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def one_leaves(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.waits))
        self.waits.remove(ticket)
        self.budget.leave(ticket)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def a_re_issue_breaks(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.sent))
        self.sent.remove(ticket)
        self.budget.broke(ticket, self.now)
        self.wasted += 1

    @invariant()
    def waste_is_paid_for(self) -> None:
        """No event came, so that nothing was lent anew."""
        assert self.wasted + len(self.sent) <= self.paid + 1e-6

    @invariant()
    def no_token_lies_idle_while_somebody_waits(self) -> None:
        """Unless as many are unanswered as a host gets at first."""
        state = self.budget._hosts.get("a")
        if state is not None and state.waiting and len(state.unanswered) < state.window:
            assert state.tokens < 1


TestStorm = Storm.TestCase
TestStorm.__doc__ = "Where nothing comes of any re-issue, there are no more of them than tokens."

"""The law: a host that refuses is probed by one stream for all that wait, and nothing holds them up for long."""

from __future__ import annotations

import pytest

from openai_stream_guard.engine.host_queue import CAPACITY, FIRST_WINDOW, Hold, Ticket
from openai_stream_guard.engine.retry_budget import DOUBT_SECONDS, HEADERS_SECONDS, STUCK_SECONDS, RetryBudget
from tests.support.budgets import PATIENCE, asks, drained, new_ticket


def test_a_host_that_refuses_is_probed_by_one_for_all() -> None:
    """The first probes, with growing pauses; the others wait for it, and none of them is charged."""
    budget = RetryBudget()
    tickets = [new_ticket() for _ in range(8)]
    told = [asks(budget, ticket) for ticket in tickets]
    assert told[:FIRST_WINDOW] == [None] * FIRST_WINDOW
    assert all(isinstance(hold, Hold) and hold.reason == "host" for hold in told[FIRST_WINDOW:])
    for ticket in tickets[:FIRST_WINDOW]:
        budget.refused(ticket, 0.1, lambda refusals: 2.0**refusals)
    holds = {place: asks(budget, ticket, 0.2) for place, ticket in enumerate(tickets)}
    assert all(isinstance(hold, Hold) for hold in holds.values())
    (prober,) = (tickets[place] for place, hold in holds.items() if isinstance(hold, Hold) and hold.probes)
    assert asks(budget, prober, 1.2) is None
    others = [ticket for ticket in tickets if ticket is not prober]
    assert all(isinstance(asks(budget, ticket, 1.3), Hold) for ticket in others)
    budget.refused(prober, 1.4, lambda refusals: 2.0**refusals)
    assert asks(budget, prober, 1.4) == Hold(2.0, PATIENCE - 1.4, "host", probes=True)
    budget.leave(prober)
    (heir,) = (ticket for ticket in others if ticket.called)
    hold = asks(budget, heir, 2.0)
    assert isinstance(hold, Hold)
    assert (round(hold.seconds, 6), hold.probes) == (1.4, True)
    assert asks(budget, heir, 3.4) is None
    budget.answered(heir, 3.5)
    others.remove(heir)
    assert all(isinstance(asks(budget, ticket, 3.5), Hold) for ticket in others), "headers are no answer yet"
    assert [asks(budget, ticket, 3.5 + HEADERS_SECONDS) for ticket in others].count(None) == FIRST_WINDOW
    assert budget._hosts["a"].tokens == CAPACITY - 1 - FIRST_WINDOW, "refusals were not charged"


def test_a_host_that_comes_back_gives_those_who_waited_time_for_a_token() -> None:
    """From then on: who waited for the host until now has not waited for a token yet."""
    budget = RetryBudget()
    (probes,) = [new_ticket()]
    assert asks(budget, probes) is None
    budget.refused(probes, 0.0, lambda refusals: 20.0)
    others = [new_ticket() for _ in range(30)]
    for ticket in others:
        asks(budget, ticket)
    assert asks(budget, probes, 20.0) is None
    budget.answered(probes, 20.0)
    budget.first_event(probes, 20.0)
    hold = asks(budget, others[-1], 29.0)
    assert isinstance(hold, Hold)
    assert hold.limit == PATIENCE - 9.0


def test_a_time_that_the_host_named_is_waited_for() -> None:
    """Longer than `outage_timeout`, which bounds waits of our own; those are not begun where they end too late."""
    budget = RetryBudget()
    (probes,) = [new_ticket()]
    assert asks(budget, probes) is None
    budget.refused(probes, 1.0, lambda refusals: 100.0, promised=True)
    assert asks(budget, probes, 1.0) == Hold(100.0, 100.0, "host", probes=True)
    waits = new_ticket()
    assert asks(budget, waits, 1.0) == Hold(100.0 + STUCK_SECONDS, 100.0 + STUCK_SECONDS, "host")
    assert asks(budget, probes, 101.0) is None
    assert asks(budget, waits, 101.0) == Hold(STUCK_SECONDS, STUCK_SECONDS, "host"), "for what comes of the probe"
    budget.refused(probes, 102.0, lambda refusals: 4.0)
    assert [asks(budget, ticket, 102.0) for ticket in (probes, waits)] == ["host", "host"]


def test_a_probe_whose_answer_is_lost_is_not_repeated_at_once() -> None:
    """The next one probes after the pause, as after a refusal."""
    budget = RetryBudget()
    first, second = new_ticket(), new_ticket()
    assert asks(budget, first) is None
    budget.refused(first, 0.0, lambda refusals: 1.0)
    assert isinstance(asks(budget, second), Hold)
    assert asks(budget, first, 1.0) is None
    budget.refused(first, 1.5, lambda refusals: 3.0, spent=True)
    assert asks(budget, second, 1.6) == Hold(pytest.approx(2.9), PATIENCE - 1.6, "host", probes=True)


def test_a_host_that_may_have_received_what_it_refuses_is_probed_and_the_tokens_are_spent() -> None:
    """One that goes down or comes up accepts a request and closes it: no more are spent on that than the first few."""
    budget = RetryBudget()
    tickets = [new_ticket() for _ in range(FIRST_WINDOW + 2)]
    assert [asks(budget, ticket) for ticket in tickets[:FIRST_WINDOW]] == [None] * FIRST_WINDOW
    for ticket in tickets[:FIRST_WINDOW]:
        budget.refused(ticket, 1.0, lambda refusals: 2.0, spent=True)
    assert asks(budget, tickets[-2], 1.0) == Hold(2.0, PATIENCE - 1.0, "host", probes=True)
    assert asks(budget, tickets[-1], 3.0) == Hold(PATIENCE - 3.0, PATIENCE - 3.0, "host")
    assert asks(budget, tickets[-2], 3.0) is None
    assert budget._hosts["a"].tokens == CAPACITY - FIRST_WINDOW - 1
    budget.answered(tickets[-2], 4.0)
    budget.first_event(tickets[-2], 4.0)
    assert asks(budget, tickets[-1], 4.0) is None


def refusing(budget: RetryBudget, waits: int) -> list[Ticket]:
    """So many streams that wait for a host without tokens, which may have received the one that it refused."""
    budget.completed("a", None)
    sent_once, *tickets = (new_ticket() for _ in range(waits + 1))
    assert asks(budget, sent_once) is None
    assert all(isinstance(asks(budget, ticket), Hold) for ticket in tickets)
    budget.refused(sent_once, 0.0, lambda refusals: 1.0, spent=True)
    return tickets


def test_a_host_that_may_generate_for_each_probe_gets_no_more_of_those_than_streams_wait() -> None:
    """They are sent without a token; what they borrow is paid back by streams that start, or ends with the outage."""
    budget = drained("a")
    first, second, third, fourth = refusing(budget, 4)
    for now, probes in enumerate((first, second), 1):
        assert asks(budget, probes, now) is None
        budget.refused(probes, now, lambda refusals: 1.0, spent=True)
    assert asks(budget, third, 3.0) == Hold(PATIENCE - 3.0, PATIENCE - 3.0, "host"), "two are lent already"
    budget.stream_started("a", 1.0)
    assert third.called
    assert asks(budget, third, 4.0) is None
    budget.answered(third, 5.0)
    assert isinstance(asks(budget, fourth, 5.0), Hold)
    budget.first_event(third, 0.0)
    assert asks(budget, fourth, 5.0) is None


def test_without_lending_no_probe_goes_beyond_the_tokens() -> None:
    """`retry_budget=0` never sends more than ten again, whatever the host does with them."""
    budget = drained("a")
    refusing(budget, 1)
    assert asks(budget, new_ticket(lends=False), 2.0) == "budget"


def test_an_answer_without_an_event_lets_nobody_wait_longer() -> None:
    """A host that sends headers and nothing more is not back: who waits for it waits as long as before."""
    budget = drained("a")
    first, second, waits = refusing(budget, 3)
    budget.stream_started("a", 1.0)
    assert asks(budget, first, 10.0) is None
    budget.answered(first, 11.0)
    budget.refused(first, 12.0, lambda refusals: 1.0, spent=True)
    assert asks(budget, second, 13.0) is None
    assert asks(budget, waits, 14.0) == Hold(STUCK_SECONDS - 1.0, PATIENCE - 14.0, "host")
    budget.answered(second, 15.0)
    budget.first_event(second, 15.0)
    budget.leave(waits)
    assert asks(budget, waits, 15.0) is None
    budget.refused(waits, 16.0, lambda refusals: 1.0)
    assert asks(budget, waits, 16.0) == Hold(1.0, PATIENCE - 1.0, "host", probes=True), "it was back for a moment"


def test_a_probe_that_gets_no_answer_holds_nobody_up_for_long() -> None:
    """A host that restarts may accept it and never answer; the next one that waits probes as well."""
    budget = RetryBudget()
    hung, second, third = (new_ticket() for _ in range(3))
    assert asks(budget, hung) is None
    budget.refused(hung, 0.0, lambda refusals: 1.0)
    assert asks(budget, hung, 1.0) is None
    assert asks(budget, second, 2.0) == Hold(STUCK_SECONDS - 1.0, PATIENCE - 2.0, "host")
    assert asks(budget, third, 1.0 + STUCK_SECONDS) == Hold(PATIENCE - 1.0 - STUCK_SECONDS, 25.0, "host")
    assert asks(budget, second, 1.0 + STUCK_SECONDS) is None
    budget.answered(second, 6.0)
    budget.first_event(second, 6.0)
    assert asks(budget, third, 6.0) is None


def test_re_issues_that_get_no_answer_hold_nobody_up_for_long() -> None:
    """Though the host has refused nothing: those of the first window may be on their way to one that is gone."""
    budget = RetryBudget()
    hung, late = [new_ticket() for _ in range(FIRST_WINDOW)], [new_ticket() for _ in range(FIRST_WINDOW)]
    assert [asks(budget, ticket) for ticket in hung] == [None] * FIRST_WINDOW
    assert asks(budget, late[0]) == Hold(STUCK_SECONDS, PATIENCE, "host")
    assert [asks(budget, ticket, STUCK_SECONDS) for ticket in late] == [None] * FIRST_WINDOW


def test_the_token_of_a_re_issue_that_is_stuck_is_lent_to_others() -> None:
    """Else those that a dead server never answers would starve the rest. It is not given twice, and taken back."""
    budget = RetryBudget()
    hung = [new_ticket() for _ in range(int(CAPACITY))]
    for round_, ticket in enumerate(hung):
        assert asks(budget, ticket, round_ * STUCK_SECONDS) is None
    now = CAPACITY * STUCK_SECONDS
    assert asks(budget, hung[0], now) is None
    assert budget._hosts["a"].tokens == CAPACITY
    for ticket in hung[1:3]:
        budget.answered(ticket, now)
    budget.first_event(hung[1], now)
    budget.refused(hung[2], now, None, spent=True)
    budget.leave(hung[3])
    late = [new_ticket(now=now) for _ in range(40)]
    assert sum(asks(budget, ticket, now) is None for ticket in late[:1]) == 1
    assert budget._hosts["a"].tokens == CAPACITY - 2, "one was taken back, one lent"


def test_headers_hold_others_up_for_a_moment() -> None:
    """A gateway may send them, and find then that the server behind it is gone; a slow answer holds nobody up."""
    budget = RetryBudget()
    early = [new_ticket() for _ in range(FIRST_WINDOW)]
    assert [asks(budget, ticket) for ticket in early] == [None] * FIRST_WINDOW
    waits = new_ticket()
    assert asks(budget, waits) == Hold(STUCK_SECONDS, PATIENCE, "host")
    for ticket in early:
        budget.answered(ticket, 0.5)
    assert waits.called, "it was told to wait longer"
    assert asks(budget, waits, 0.5) == Hold(HEADERS_SECONDS, PATIENCE - 0.5, "host")
    assert asks(budget, waits, 0.5 + HEADERS_SECONDS) is None


def test_who_has_waited_for_a_host_does_not_pay_for_doubts_of_before() -> None:
    """The time in which nobody waits for long begins anew when the host is back."""
    budget = drained("a")
    budget.completed("a", None)
    first, second = new_ticket(), new_ticket()
    assert asks(budget, first) is None
    budget.answered(first, 0.0)
    budget.broke(first, 0.0)
    probes = new_ticket()
    budget.completed("a", None)
    assert asks(budget, probes) is None
    budget.refused(probes, 1.0, lambda refusals: 9.0)
    assert isinstance(asks(budget, second, 1.0), Hold)
    assert asks(budget, probes, 10.0) is None
    budget.answered(probes, 11.0 - HEADERS_SECONDS)
    assert asks(budget, second, 11.0) == Hold(DOUBT_SECONDS, DOUBT_SECONDS, "budget")

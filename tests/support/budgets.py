"""Re-issues of imaginary streams, for tests of the retry budget."""

from __future__ import annotations

from openai_stream_guard.engine.host_queue import Hold, Ticket
from openai_stream_guard.engine.retry_budget import RetryBudget

PATIENCE = 30.0


def new_ticket(host: str = "a", *, lends: bool = True, needs_token: bool = True, now: float = 0.0) -> Ticket:
    """A stream that has just broken."""
    ticket = Ticket(host, needs_token=needs_token, lends=lends)
    ticket.since = now
    return ticket


def asks(budget: RetryBudget, ticket: Ticket, now: float = 0.0, patience: float = PATIENCE) -> Hold | str | None:
    """What it is told."""
    return budget.request(ticket, now, outage_timeout=patience)


def borrow(budget: RetryBudget, host: str, now: float = 0.0) -> bool:
    """Whether a token can be had without waiting; it does not come back."""
    ticket = new_ticket(host, lends=False)
    if asks(budget, ticket, now, patience=0.0) is not None:
        return False
    budget.answered(ticket, now)
    budget.first_event(ticket, now)
    return True


def drained(*hosts: str) -> RetryBudget:
    """A budget without tokens for these."""
    budget = RetryBudget()
    for host in hosts:
        while borrow(budget, host):
            pass
    return budget

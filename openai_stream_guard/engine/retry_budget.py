"""Which streams of a host may be sent again, and when: a budget that lends tokens, and a queue for it.

When a host breaks many streams at once, each of them wants to be sent again. Whether that heals or doubles an outage
shows only in what comes of it, so tokens are lent. A re-issue borrows one. At the first event of its response more come
back than were lent, so that a host that is well again gets ever more of them; where the attempt breaks too they are
taken back. A stream that finds no token waits for one, in order. While re-issues break, nobody waits for long.

A host that refuses re-issues has generated nothing for them: tokens come back, and one stream probes for all that wait.

Times are arguments. Wakes streams of other threads and event loops by what their tickets were told, see `Ticket`.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..notices import WaitReason

CAPACITY = 10.0
"""Tokens of a host that nothing has happened to."""
RETURNED = 2.0
"""Tokens that come back for one that was lent, once its attempt is answered."""
DOUBT_SECONDS = 5.0
"""How long a stream waits for a token while re-issues break: more would fill thread pools before the same error."""
FIRST_WINDOW = 3
"""Re-issues that wait for an answer at the same time, at first: a host that refuses is asked no oftener than that."""
WINDOW_GROWTH = 2
"""How many more may, for each that is answered while others wait."""
MAX_PROBE_DELAY = 4.0
"""Longest time in seconds between two probes, whatever the backoff: one request for all who wait is cheap."""
_MAX_HOSTS = 1024


class Ticket:
    """What one stream may have sent, and its place in the queue of its host.

    Args:
        needs_token: False for a re-issue that generates nothing, and where no budget is set.
        lends: False for tokens that never come back, and that no stream waits for.
    """

    __slots__ = ("_wake", "called", "credited", "granted", "host", "lends", "loan", "needs_token", "since")

    def __init__(self, host: str, *, needs_token: bool, lends: bool) -> None:
        self.host = host
        self.needs_token = needs_token
        self.lends = lends
        self.since = 0.0
        """When the fault came for which it waits."""
        self.granted = False
        """It may be sent, or has been, and no answer has come."""
        self.loan = False
        """A token was borrowed for the attempt that is open."""
        self.credited = False
        """Tokens came back for it."""
        self.called = False
        self._wake: Callable[[], None] | None = None

    def call(self) -> None:
        """Wake the stream, or let its next wait end at once."""
        self.called = True
        if self._wake is not None:
            self._wake()

    def on_call(self, wake: Callable[[], None] | None) -> None:
        """Set what wakes the stream, from any thread. Called at once where the ticket was called meanwhile."""
        self._wake = wake
        if wake is not None and self.called:
            wake()


class Hold(NamedTuple):
    """A ticket that may not be sent yet."""

    seconds: float
    """Ask again then, unless the ticket is called before."""
    limit: float
    """The longest that it waits in all, in seconds from now."""
    reason: WaitReason
    probes: bool = False
    """It is the next to probe a host that refuses."""


@dataclass
class _Host:
    """What is known of one host."""

    tokens: float = CAPACITY
    doubtful_since: float | None = None
    """When a re-issue broke, if none has led on since. No token comes back for a mere first event then."""
    waiting: OrderedDict[Ticket, float] = field(default_factory=OrderedDict)
    """Tickets that need a token, in order, and when they joined."""
    free: OrderedDict[Ticket, float] = field(default_factory=OrderedDict)
    """The same for tickets that need none."""
    refusing: bool = False
    probes: int = 0
    """Probes in a row that were refused."""
    probe_at: float = 0.0
    promised_at: float = -math.inf
    """The same where the host itself named the time, which is waited for however long it is."""
    prober: Ticket | None = None
    """Whose probe is under way."""
    next_prober: Ticket | None = None
    """Who knows that it is the next to probe."""
    back_at: float = -math.inf
    """When the host answered a probe."""
    window: int = FIRST_WINDOW
    """Re-issues that may wait for an answer at the same time."""
    unanswered: set[Ticket] = field(default_factory=set)

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self.free or self.unanswered)

    def first(self) -> Ticket | None:
        """Return the ticket that has waited longest."""
        heads = [next(iter(queue.items())) for queue in (self.waiting, self.free) if queue]
        return min(heads, key=lambda head: head[1])[0] if heads else None

    def next_to_send(self) -> Ticket | None:
        """Return the next ticket that may be sent to a host that does not refuse."""
        if len(self.unanswered) >= self.window:
            return None
        if self.free:
            return next(iter(self.free))
        return next(iter(self.waiting)) if self.waiting and self.tokens >= 1 else None


class RetryBudget:
    """The budgets and the queues of all hosts. Safe to share between threads and event loops.

    The law: where every stream breaks, re-issues that led to nothing are at most the tokens that started streams
    have added, `CAPACITY`, and one for each stream that was open when it began.
    """

    def __init__(self) -> None:
        # Reentrant, since the garbage collector may close a stream, which then leaves the queue, inside any method.
        self._lock = threading.RLock()
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def stream_started(self, host: str, ratio: float) -> None:
        """Add `ratio` tokens for a stream that starts."""
        with self._lock:
            state = self._host(host)
            if state.tokens < CAPACITY:
                # Rounded, since ten times 0.1 added up as floats falls short of the one token that it has to buy.
                state.tokens = round(min(state.tokens + ratio, CAPACITY), 9)
            self._advance(state)

    def request(self, ticket: Ticket, now: float, *, outage_timeout: float) -> Hold | WaitReason | None:
        """Ask to send a request again.

        Args:
            outage_timeout: seconds that the stream waits for the host since its fault, and for a token since then or
                since the host came back.

        Returns:
            None: it may be sent now. A `Hold`: not yet. What is missing: it has waited for that too long.
        """
        with self._lock:
            state = self._host(ticket.host)
            if not ticket.granted:
                if outage_timeout == 0 or not (ticket.lends or state.refusing):
                    return self._take_without_waiting(state, ticket)
                self._queue(state, ticket).setdefault(ticket, now)
                if state.refusing and state.prober is None and now >= state.probe_at and ticket is state.first():
                    state.prober = ticket
                    self._grant(state, ticket)  # without a token too: else nobody would find out that the host is back
                self._advance(state)
            if ticket.granted:
                ticket.called = False
                return None
            hold = self._hold(state, ticket, now, outage_timeout)
            if hold.seconds <= 0:
                self._remove(state, ticket)
                self._advance(state)
                return hold.reason
            ticket.called = False
            return hold

    def answered(self, ticket: Ticket, now: float) -> None:
        """A re-issue got a stream."""
        with self._lock:
            state = self._host(ticket.host)
            state.unanswered.discard(ticket)
            ticket.granted = False
            if state.refusing:
                self._reopen(state, now)
            else:
                state.window += WINDOW_GROWTH
            self._advance(state)

    def first_event(self, ticket: Ticket) -> None:
        """The first event of a re-issue came, in which nothing need be new."""
        with self._lock:
            state = self._host(ticket.host)
            state.probes = 0
            if state.doubtful_since is None:
                self._credit(state, ticket)
            self._advance(state)

    def led_on(self, ticket: Ticket) -> None:
        """A re-issue brought something new."""
        with self._lock:
            state = self._host(ticket.host)
            state.doubtful_since = None
            self._credit(state, ticket)
            self._advance(state)

    def completed(self, host: str, ticket: Ticket | None) -> None:
        """A stream came out whole, so that the host is worth a try; with a re-issue, so that it heals streams again."""
        with self._lock:
            state = self._host(host)
            state.tokens = max(state.tokens, 1.0)
            if ticket is not None:
                state.doubtful_since = None
                self._credit(state, ticket)
                ticket.loan = ticket.credited = False
            self._advance(state)

    def broke(self, ticket: Ticket, now: float, delay: Callable[[int], float] | None = None) -> None:
        """The attempt that a re-issue opened broke: the tokens that came back for it are taken back.

        Args:
            delay: for a re-issue that got no response, though it may have been received: as of `refused`.
        """
        with self._lock:
            state = self._host(ticket.host)
            state.unanswered.discard(ticket)
            if state.prober is ticket:
                state.prober = None
                if delay is not None:
                    self._schedule_probe(state, now, delay)
            if ticket.loan and ticket.lends:
                if ticket.credited:
                    state.tokens = max(0.0, min(state.tokens, CAPACITY) - RETURNED)
                if state.doubtful_since is None:
                    state.doubtful_since = now
                    for other in list(state.waiting):  # each has less time now
                        other.call()
            ticket.loan = ticket.credited = ticket.granted = False
            self._advance(state)

    def refused(
        self, ticket: Ticket, now: float, delay: Callable[[int], float] | None, *, promised: bool = False
    ) -> None:
        """A re-issue was refused: nothing was generated, so its token comes back.

        Args:
            delay: returns the seconds until the next probe, by the number of probes that were refused; None where the
                refusal is about this stream only.
            promised: the host named that time, by `Retry-After`.
        """
        with self._lock:
            state = self._host(ticket.host)
            was_prober = state.prober is ticket
            self._give_back(state, ticket)
            if delay is not None and (was_prober or not state.refusing):
                state.refusing = True
                state.tokens = min(state.tokens, CAPACITY)
                self._schedule_probe(state, now, delay)
                if promised:
                    state.promised_at = state.probe_at
                queue = self._queue(state, ticket)
                queue[ticket] = now if not was_prober else -math.inf
                queue.move_to_end(ticket, last=not was_prober)  # who probes goes on with it
            elif was_prober:  # the host speaks again, though not with this stream
                self._reopen(state, now)
            self._advance(state)

    def leave(self, ticket: Ticket) -> None:
        """The stream wants nothing more: it failed, was closed or was collected."""
        with self._lock:
            state = self._host(ticket.host)
            self._remove(state, ticket)
            if not (ticket.lends or ticket.granted):
                ticket.loan = False  # it is spent
            self._give_back(state, ticket)
            self._advance(state)

    # Called with the lock held.

    def _host(self, name: str) -> _Host:
        state = self._hosts.get(name)
        if state is None:
            state = self._hosts[name] = _Host()
            if len(self._hosts) > _MAX_HOSTS:
                idle = next((host for host, other in self._hosts.items() if other.is_idle and host != name), None)
                if idle is not None:
                    del self._hosts[idle]
        self._hosts.move_to_end(name)
        return state

    def _queue(self, state: _Host, ticket: Ticket) -> OrderedDict[Ticket, float]:
        return state.waiting if ticket.needs_token else state.free

    def _take_without_waiting(self, state: _Host, ticket: Ticket) -> WaitReason | None:
        self._remove(state, ticket)
        if ticket.needs_token and state.tokens < 1:
            return "budget"
        self._borrow(state, ticket)
        ticket.granted = True
        return None

    def _borrow(self, state: _Host, ticket: Ticket) -> None:
        if ticket.needs_token:
            state.tokens = round(state.tokens - 1, 9)
            ticket.loan = True
            ticket.credited = False
        state.unanswered.add(ticket)

    def _grant(self, state: _Host, ticket: Ticket) -> None:
        self._remove(state, ticket)
        self._borrow(state, ticket)
        ticket.granted = True
        ticket.call()

    def _remove(self, state: _Host, ticket: Ticket) -> None:
        self._queue(state, ticket).pop(ticket, None)
        if state.next_prober is ticket:
            state.next_prober = None

    def _credit(self, state: _Host, ticket: Ticket) -> None:
        if ticket.loan and ticket.lends and not ticket.credited:
            ticket.credited = True
            state.tokens += RETURNED

    def _give_back(self, state: _Host, ticket: Ticket) -> None:
        """Undo a loan of which nothing came."""
        state.unanswered.discard(ticket)
        if state.prober is ticket:
            state.prober = None
        if ticket.loan and not ticket.credited:
            state.tokens += 1
        ticket.loan = ticket.credited = ticket.granted = False

    def _schedule_probe(self, state: _Host, now: float, delay: Callable[[int], float]) -> None:
        state.probe_at = now + delay(state.probes)
        state.probes += 1
        state.next_prober = None

    def _reopen(self, state: _Host, now: float) -> None:
        state.refusing = False
        state.prober = state.next_prober = None
        state.back_at = now
        state.window = FIRST_WINDOW
        for ticket in list(state.waiting):
            if not ticket.lends:  # these wait for the host, and never for a token
                ticket.call()

    def _advance(self, state: _Host) -> None:
        """Grant what may be granted, in order, and wake whoever has to know that it is the next to probe."""
        if state.refusing:
            first = state.first()
            if first is not None and state.prober is None and first is not state.next_prober:
                state.next_prober = first
                first.call()
            return
        while (ticket := state.next_to_send()) is not None:
            self._grant(state, ticket)
        if not state.waiting:
            state.tokens = min(state.tokens, CAPACITY)  # more than that is for those who wait
            if not state.free:
                state.window = FIRST_WINDOW

    def _hold(self, state: _Host, ticket: Ticket, now: float, outage_timeout: float) -> Hold:
        joined = self._queue(state, ticket).get(ticket, now)
        deadline = max(ticket.since, state.back_at) + outage_timeout
        if state.refusing:
            probes = ticket is state.next_prober
            until = state.probe_at if probes and state.prober is None else deadline
            deadline = max(deadline, state.promised_at)
            if until > deadline:  # a probe that would come too late is not waited for
                until = now
            return Hold(until - now, deadline - now, "host", probes)
        if ticket.needs_token and state.tokens < 1:
            if state.doubtful_since is not None:
                deadline = min(deadline, max(joined, state.doubtful_since) + DOUBT_SECONDS)
            return Hold(deadline - now, deadline - now, "budget")
        return Hold(deadline - now, deadline - now, "host")

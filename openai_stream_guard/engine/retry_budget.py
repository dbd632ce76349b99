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

from ..notices import WaitReason
from .host_queue import CAPACITY, FIRST_WINDOW, Hold, HostQueue, Ticket

RETURNED = 2.0
"""Tokens that come back for one that was lent, once its attempt is answered."""
DOUBT_SECONDS = 5.0
"""How long a stream waits for a token while re-issues break: more would fill thread pools before the same error."""
QUIET_SECONDS = 20.0
"""How long nobody has to ask until a host is worth one try again, whatever it did before."""
WINDOW_GROWTH = 2
"""How many more may, for each that is answered while others wait."""
MAX_PROBE_DELAY = 4.0
"""Longest time in seconds between two probes, whatever the backoff: one request for all who wait is cheap."""
STUCK_SECONDS = MAX_PROBE_DELAY
"""How long a re-issue that gets no answer holds up others: a host that restarts may never answer it."""
HEADERS_SECONDS = 1.0
"""The same once it got headers and no event: a gateway sends them before it finds that the server behind it is gone."""
_MAX_HOSTS = 1024


class RetryBudget:
    """The budgets and the queues of all hosts. Safe to share between threads and event loops.

    The law: where every stream breaks, re-issues that led to nothing are at most the tokens that started streams
    have added, `CAPACITY`, one for each stream that was open when it began, and one after each quiet time.
    """

    def __init__(self) -> None:
        # Reentrant, since the garbage collector may close a stream, which then leaves the queue, inside any method.
        self._lock = threading.RLock()
        self._hosts: OrderedDict[str, HostQueue] = OrderedDict()

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
            for unanswered in [other for other, until in state.unanswered.items() if until <= now]:
                self._hold_up_no_longer(state, unanswered, now)
            if ticket.lends and now - state.asked_at >= QUIET_SECONDS:
                state.tokens = max(state.tokens, 1.0)
            state.asked_at = now
            self._advance(state)
            if not ticket.granted:
                if outage_timeout == 0 or not (ticket.lends or (state.refusing and state.tokens >= 1)):
                    return self._take_without_waiting(state, ticket)
                self._queue(state, ticket).setdefault(ticket, now)
                if state.refusing and now >= state.probe_at and ticket is state.first_to_probe():
                    state.prober = ticket
                    self._grant(state, ticket)
                self._advance(state)
            if ticket.granted:
                ticket.called = False
                state.unanswered[ticket] = now + STUCK_SECONDS
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
            ticket.granted = False
            state.unanswered[ticket] = now + HEADERS_SECONDS
            for queue in (state.waiting, state.free):
                for first in list(queue)[:1]:  # it was told to wait longer
                    first.call()

    def first_event(self, ticket: Ticket, now: float) -> None:
        """The first event of a re-issue came, in which nothing need be new."""
        with self._lock:
            state = self._host(ticket.host)
            if ticket in state.unanswered:
                self._hold_up_no_longer(state, ticket, now)
            state.probes = 0
            state.surely_back_at = state.back_at
            if state.doubtful_since is None:
                self._credit(state, ticket)
            self._advance(state)

    def advanced(self, ticket: Ticket) -> None:
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
                ticket.loan = False
            self._advance(state)

    def broke(self, ticket: Ticket, now: float) -> None:
        """The attempt that a re-issue opened broke after its first event: tokens that came back are taken back."""
        with self._lock:
            state = self._host(ticket.host)
            state.unanswered.pop(ticket, None)
            if ticket.loan and ticket.lends:
                if ticket.returned:
                    state.tokens = max(0.0, min(state.tokens, CAPACITY) - ticket.returned)
                if state.doubtful_since is None:
                    state.doubtful_since = now
                    for other in list(state.waiting):  # each has less time now
                        other.call()
            ticket.loan = False
            self._advance(state)

    def refused(
        self,
        ticket: Ticket,
        now: float,
        delay: Callable[[int], float] | None,
        *,
        promised: bool = False,
        spent: bool = False,
    ) -> None:
        """A re-issue was refused, or got no event: its token comes back, unless an answer may have been generated.

        Args:
            delay: returns the seconds until the next probe, by the number of probes that were refused; None where the
                refusal is about this stream only.
            promised: the host named that time, by `Retry-After`.
            spent: the host may have received it.
        """
        with self._lock:
            state = self._host(ticket.host)
            was_prober = state.prober is ticket
            if spent and ticket.loan:
                ticket.loan = False
                state.tokens -= ticket.returned
            self._give_back(state, ticket)
            if delay is not None and (was_prober or not state.refusing):
                state.refusing = True
                state.back_at = state.surely_back_at
                state.tokens = min(state.tokens, CAPACITY)
                self._schedule_probe(state, now, delay)
                if promised:
                    state.promised_at = state.probe_at
                if not spent:  # else it has a pause of its own, and the next in order probes
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

    def _host(self, name: str) -> HostQueue:
        state = self._hosts.get(name)
        if state is None:
            state = self._hosts[name] = HostQueue()
            if len(self._hosts) > _MAX_HOSTS:
                idle = next((host for host, other in self._hosts.items() if other.is_idle and host != name), None)
                if idle is not None:
                    del self._hosts[idle]
        self._hosts.move_to_end(name)
        return state

    def _queue(self, state: HostQueue, ticket: Ticket) -> OrderedDict[Ticket, float]:
        return state.waiting if ticket.needs_token else state.free

    def _take_without_waiting(self, state: HostQueue, ticket: Ticket) -> WaitReason | None:
        self._remove(state, ticket)
        if ticket.needs_token and state.tokens < 1:
            return "budget"
        self._borrow(state, ticket)
        ticket.granted = True
        return None

    def _borrow(self, state: HostQueue, ticket: Ticket) -> None:
        if ticket.needs_token:
            state.tokens = round(state.tokens - 1, 9)
            ticket.loan = True
            ticket.returned = 0.0
        state.unanswered[ticket] = math.inf

    def _grant(self, state: HostQueue, ticket: Ticket) -> None:
        self._remove(state, ticket)
        self._borrow(state, ticket)
        ticket.granted = True
        ticket.call()

    def _remove(self, state: HostQueue, ticket: Ticket) -> None:
        self._queue(state, ticket).pop(ticket, None)
        if state.next_prober is ticket:
            state.next_prober = None

    def _credit(self, state: HostQueue, ticket: Ticket) -> None:
        state.tokens = max(state.tokens, 0.0)  # what probes have borrowed beyond that ends with the outage
        self._return(state, ticket, RETURNED)

    def _return(self, state: HostQueue, ticket: Ticket, tokens: float) -> None:
        if ticket.loan and ticket.lends:
            state.tokens += tokens - ticket.returned
            ticket.returned = tokens

    def _hold_up_no_longer(self, state: HostQueue, ticket: Ticket, now: float) -> None:
        """Let others go on after a re-issue that was answered, or is stuck: its token is of more use to them then."""
        del state.unanswered[ticket]
        if ticket.granted:
            self._return(state, ticket, 1.0)
            if state.prober is ticket:
                state.prober = None
        elif state.refusing:
            self._reopen(state, now)
        else:
            state.window += WINDOW_GROWTH

    def _give_back(self, state: HostQueue, ticket: Ticket) -> None:
        """Undo a loan of which nothing came."""
        state.unanswered.pop(ticket, None)
        if state.prober is ticket:
            state.prober = None
        if ticket.loan:
            state.tokens += max(0.0, 1 - ticket.returned)
        ticket.loan = ticket.granted = False

    def _schedule_probe(self, state: HostQueue, now: float, delay: Callable[[int], float]) -> None:
        state.probe_at = now + delay(state.probes)
        state.probes += 1
        state.next_prober = None

    def _reopen(self, state: HostQueue, now: float) -> None:
        state.refusing = False
        state.prober = state.next_prober = None
        state.back_at = now
        state.window = FIRST_WINDOW
        for ticket in list(state.waiting):
            if not ticket.lends:  # these wait for the host, and never for a token
                ticket.call()

    def _advance(self, state: HostQueue) -> None:
        """Grant what may be granted, in order, and wake whoever has to know that it is the next to probe."""
        if state.refusing:
            before, state.next_prober = state.next_prober, state.first_to_probe()
            if state.next_prober is not None and state.next_prober is not before:
                state.next_prober.call()
            return
        while (ticket := state.next_to_send()) is not None:
            self._grant(state, ticket)
        if not state.waiting:
            state.tokens = min(state.tokens, CAPACITY)  # more than that is for those who wait
            if not state.free:
                state.window = FIRST_WINDOW

    def _hold(self, state: HostQueue, ticket: Ticket, now: float, outage_timeout: float) -> Hold:
        joined = self._queue(state, ticket).get(ticket, now)
        unstuck_at = min(state.unanswered.values(), default=math.inf)
        deadline = max(ticket.since, state.back_at) + outage_timeout
        if state.refusing:
            probes = ticket is state.next_prober
            deadline = max(deadline, state.promised_at + (0.0 if probes else STUCK_SECONDS))
            until = state.probe_at if probes else min(deadline, unstuck_at)
            if until > deadline:  # a probe that would come too late is not waited for
                until = now
            return Hold(until - now, deadline - now, "host", probes)
        if ticket.needs_token and state.tokens < 1:
            if state.doubtful_since is not None:
                deadline = min(deadline, max(joined, state.doubtful_since, state.back_at) + DOUBT_SECONDS)
            return Hold(deadline - now, deadline - now, "budget")
        return Hold(min(deadline, unstuck_at) - now, deadline - now, "host")

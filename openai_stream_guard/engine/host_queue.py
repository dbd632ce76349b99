"""What waits to be sent to one host again, and what is known of that host."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from ..notices import WaitReason
from ..records import Record

CAPACITY = 10.0
"""Tokens of a host that nothing has happened to."""
FIRST_WINDOW = 3
"""Re-issues that wait for an answer at the same time, at first: a host that refuses is asked no oftener than that."""


class Ticket:
    """What one stream may have sent, and its place in the queue of its host.

    Args:
        needs_token: False for a re-issue that generates nothing, and where no budget is set.
        lends: False for tokens that never come back, and that no stream waits for.
    """

    __slots__ = ("_wake", "called", "granted", "host", "lends", "loan", "needs_token", "returned", "since")

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
        self.returned = 0.0
        """Tokens that came back for it."""
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


class Hold(Record):
    """A ticket that may not be sent yet."""

    seconds: float
    """Ask again then, unless the ticket is called before."""
    limit: float
    """The longest that it waits in all, in seconds from now."""
    reason: WaitReason
    probes: bool = False
    """It is the next to probe a host that refuses."""


class HostQueue:
    """What is known of one host."""

    def __init__(self) -> None:
        self.tokens: float = CAPACITY
        self.doubtful_since: float | None = None
        """When a re-issue broke, if none has led on since. No token comes back for a mere first event then."""
        self.waiting: OrderedDict[Ticket, float] = OrderedDict()
        """Tickets that need a token, in order, and when they joined."""
        self.free: OrderedDict[Ticket, float] = OrderedDict()
        """The same for tickets that need none."""
        self.refusing = False
        self.probes = 0
        """Probes in a row that were refused."""
        self.probe_at = 0.0
        self.promised_at = -math.inf
        """The same where the host itself named the time, which is waited for however long it is."""
        self.prober: Ticket | None = None
        """Whose probe is under way."""
        self.next_prober: Ticket | None = None
        """Who knows that it is the next to probe."""
        self.back_at = -math.inf
        """When the host had answered a probe."""
        self.surely_back_at = -math.inf
        """The same of a probe whose answer had an event; until then the host may go on refusing."""
        self.asked_at = -math.inf
        """When a stream last asked to be sent again."""
        self.window = FIRST_WINDOW
        """Re-issues that may wait for an answer at the same time."""
        self.unanswered: dict[Ticket, float] = {}
        """Re-issues that wait for an answer, and when they hold up others no longer; infinite until they are sent."""

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self.free or self.unanswered)

    def first_to_probe(self) -> Ticket | None:
        """Return the ticket that has waited longest; None while another probes, or none may be sent.

        It is sent without a token too, else nobody would find out that the host is back; but a host that may generate
        an answer for each probe gets no more of those than streams wait for it.
        """
        heads = [next(iter(queue.items())) for queue in (self.waiting, self.free) if queue]
        if self.prober is not None or not heads:
            return None
        first = min(heads, key=lambda head: head[1])[0]
        return first if not first.needs_token or self.tokens > -len(self.waiting) else None

    def next_to_send(self) -> Ticket | None:
        """Return the next ticket that may be sent to a host that does not refuse."""
        if len(self.unanswered) >= self.window:
            return None
        if self.free:
            return next(iter(self.free))
        return next(iter(self.waiting)) if self.waiting and self.tokens >= 1 else None

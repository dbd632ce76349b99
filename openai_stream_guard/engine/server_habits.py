"""What is learnt about how a server ends its answers, and when it is unlearnt.

One answer proves nothing about a server. Three things are remembered, each with a way to be shown wrong:

- It ends every answer with a `finish_reason`: learnt from five answers in a row, apart for answers with a tool call and
  without. Then `[DONE]` alone is no end. Unlearnt by an answer without one, and by a miss that no second answer could
  disprove.
- It goes on after its end marks: its complete streams are not ended for silence, but by `idle_timeout` alone.
- A habit: where a second answer repeats every word delivered and then shows the same oddity at the same place, that is
  how this server speaks, and no loss. The first time costs a second request, and is a WARNING.

All of it is bounded, shared between threads, and forgotten with the rest of `HostMemory`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from ..apis.adapter import ApiAdapter
from ..apis.completion import HOLES, NO_FINISH, UNTOLD_TEXT, Oddity
from ..apis.request import StreamRequest

PROOF = 5
"""Answers in a row that all ended with a finish_reason, before one is expected of the next."""
_MAX_SERVERS = 1024


class Server(NamedTuple):
    """Whom something is learnt about."""

    host: str
    path: str
    model: str | None


class _Known:
    def __init__(self) -> None:
        self.goes_on = False
        self.habits: frozenset[str] = frozenset()
        self.finishes = (0, 0)
        """How many answers in a row ended with a finish_reason: without a tool call, and with one."""


class ServerHabits:
    """The memory of all servers. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, _Known] = OrderedDict()

    def goes_on(self, host: str) -> bool:
        """Return whether this host was seen to go on after an end mark."""
        return self._look_up(host).goes_on

    def record_going_on(self, host: str) -> bool:
        """Remember that this host went on after an end mark; return whether that is new."""
        with self._lock:
            known = self._entry(host)
            is_new, known.goes_on = not known.goes_on, True
            return is_new

    def habits(self, server: Server) -> frozenset[str]:
        """Return what this server is known to do, see `apis.completion.Oddity`."""
        return self._look_up(server).habits

    def record_habit(self, server: Server, habit: str) -> None:
        """Remember a habit."""
        with self._lock:
            known = self._entry(server)
            known.habits |= {habit}

    def sends_finish(self, server: Server, *, with_call: bool) -> bool:
        """Return whether this server is known to end such answers with a `finish_reason`."""
        known = self._look_up(server)
        return known.finishes[with_call] >= PROOF and NO_FINISH not in known.habits

    def expect_finish(self, server: Server) -> None:
        """Expect a `finish_reason` of every answer, as if that had been learnt."""
        with self._lock:
            self._entry(server).finishes = (PROOF, PROOF)

    def record_end(self, server: Server, *, with_call: bool, finished: bool) -> bool:
        """Remember whether an answer ended with a `finish_reason`; return whether that changes what is expected."""
        before = self.sends_finish(server, with_call=with_call)
        with self._lock:
            known = self._entry(server)
            counts = list(known.finishes)
            counts[with_call] = min(counts[with_call] + 1, PROOF) if finished else 0
            known.finishes = (counts[0], counts[1])
        return self.sends_finish(server, with_call=with_call) != before

    def _look_up(self, key: Hashable) -> _Known:
        return self._known.get(key) or _Known()

    def _entry(self, key: Hashable) -> _Known:
        known = self._known.setdefault(key, _Known())
        self._known.move_to_end(key)
        if len(self._known) > _MAX_SERVERS:
            self._known.popitem(last=False)
        return known


class HabitTracker:
    """Learns from one stream, and says what is known of its server.

    Args:
        is_lenient: the program said that this host may do all of it (`lenient_hosts`).
        tell: given a text for the report, and whether it is a WARNING.
    """

    __slots__ = ("_accepted", "_is_lenient", "_memory", "_missed", "_seen", "_server", "_tell")

    def __init__(
        self, memory: ServerHabits, request: StreamRequest, *, is_lenient: bool, tell: Callable[[str, bool], None]
    ) -> None:
        self._memory = memory
        self._server = Server(request.host, request.path, request.model)
        self._is_lenient = is_lenient
        self._tell = tell
        self._seen: tuple[Oddity, int] | None = None
        """The oddity of the last attempt, and how many events had been delivered then."""
        self._accepted: Oddity | None = None
        self._missed: bool | None = None
        """A finish_reason was missed in an answer with a tool call, or without one."""

    @property
    def known(self) -> frozenset[str]:
        """What the server is known to do."""
        return self._memory.habits(self._server)

    @property
    def goes_on(self) -> bool:
        """Whether the host is known to go on after its end marks."""
        return self._memory.goes_on(self._server.host)

    def sends_finish(self, adapter: ApiAdapter) -> bool:
        """Return whether such an answer is expected to end with a `finish_reason`."""
        return self._memory.sends_finish(self._server, with_call=adapter.tool_call_open)

    def accepts(self, oddity: Oddity | None, delivered: int, *, repeated: bool) -> Oddity | None:
        """Return the oddity that keeps an answer from being complete if it is a habit; else remember it for the next.

        Args:
            delivered: how many events the program has been given.
            repeated: whether this attempt has repeated all of them.
        """
        if oddity is None:
            return None
        if self._is_lenient:
            self._tell(f"{oddity.habit}, as lenient_hosts allows", False)
            return oddity
        if oddity.habit == NO_FINISH:
            self._missed = oddity.number == 1
        if repeated and self._seen == (oddity, delivered):
            self._accepted = oddity
            return oddity
        self._seen = (oddity, delivered)
        return None

    def came_again(self, oddity: Oddity) -> None:
        """Take for a habit what a second answer has shown at the same place."""
        self._accepted = oddity

    @property
    def leaves_out_text(self) -> bool:
        """Whether the server is known to leave out parts of texts, or the program said that it may."""
        return self._is_lenient or not self.known.isdisjoint((HOLES, UNTOLD_TEXT))

    def went_on(self) -> None:
        """Learn that the answer went on after a mark."""
        if self._memory.record_going_on(self._server.host):
            self._tell("learnt: this host goes on after its end marks, so only idle_timeout ends its streams", False)

    def completed(self, adapter: ApiAdapter) -> None:
        """Learn from an answer that is complete."""
        if self._accepted is not None:
            habit = self._accepted.habit
            self._memory.record_habit(self._server, habit)
            self._tell(f"{habit}, in a second answer too: a habit, which lenient_hosts accepts at once", True)
        if adapter.finishes is not None:
            self._record_end(with_call=adapter.tool_call_open, finished=adapter.finishes)

    def failed(self) -> None:
        """Learn from a stream that failed: what no second answer could disprove is not expected again."""
        if self._missed is not None:
            self._record_end(with_call=self._missed, finished=False)

    def _record_end(self, *, with_call: bool, finished: bool) -> None:
        if self._memory.record_end(self._server, with_call=with_call, finished=finished):
            kind = "answers with a tool call" if with_call else "answers"
            verb = "learnt: it ends" if finished else "unlearnt: it does not end"
            self._tell(f"{verb} all its {kind} with a finish_reason", False)

"""What this process has learnt about the servers it talks to.

Only positive evidence is kept: a model did not repeat itself, connections were cut. How a server ends its answers is in
`server_habits`. All of it is bounded, shared between threads, and forgotten by a forked child.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from typing import ClassVar, TypeVar
from weakref import WeakSet

from ..diagnosis.evidence import Cut, Evidence
from .retry_budget import RetryBudget
from .server_habits import ServerHabits

_MAX_KEYS = 1024
"""How many servers are remembered; the one least recently recorded is forgotten first."""
_MAX_CUTS = 8
"""How many moments at which connections were cut are remembered of one host."""
_DIVERGENCES = 2
DIVERGENCE_SECONDS = 600.0
"""How long no replay is tried for a model that did not repeat itself."""

_Value = TypeVar("_Value")


class HostMemory:
    """What is known about servers, by host, path and model. Safe to share between threads."""

    _all: ClassVar[WeakSet[HostMemory]] = WeakSet()

    def __init__(self) -> None:
        self.forget()
        HostMemory._all.add(self)

    def forget(self) -> None:
        """Start anew, as in a new process."""
        # Reentrant, since the garbage collector may close a stream, which is recorded, while the lock is held.
        self._lock = threading.RLock()
        self._diverging: OrderedDict[Hashable, tuple[float, ...]] = OrderedDict()
        self._cuts: OrderedDict[Hashable, tuple[Cut, ...]] = OrderedDict()
        self._keep_nothing: OrderedDict[Hashable, bool] = OrderedDict()
        self.budget = RetryBudget()
        self.habits = ServerHabits()

    def record_divergence(self, host: str, model: str | None, deterministic: bool, now: float) -> None:
        """Remember that this model gave another answer to the same request."""
        key = (host, model, deterministic)
        self._record(self._diverging, key, (*self._diverging.get(key, ()), now)[-_DIVERGENCES:])

    def diverged_recently(self, host: str, model: str | None, deterministic: bool, now: float) -> bool:
        """Return whether this model diverged twice within the last `DIVERGENCE_SECONDS`.

        Once says little: of one prompt, at one moment. What it does at temperature 0 is another matter than what it
        does at others.
        """
        times = self._diverging.get((host, model, deterministic), ())
        return len(times) == _DIVERGENCES and now - times[0] < DIVERGENCE_SECONDS

    def record_fault(self, host: str, evidence: Evidence) -> Evidence:
        """Remember when a connection was cut, and return the evidence `with_cuts`.

        Cuts after equal times, at different moments, point to a timeout. Those at one moment point to a restart.
        """
        if evidence.fault in ("disconnected", "truncated"):
            earlier, cut = self._cuts.get(host, ()), Cut(evidence.seconds, evidence.silence, evidence.at)
            if earlier and earlier[-1].includes(cut.at, cut.seconds):
                cut = replace(cut, at=earlier[-1].at, together=earlier[-1].together + 1)
                earlier = earlier[:-1]
            self._record(self._cuts, host, (*earlier, cut)[-_MAX_CUTS:])
        return self.with_cuts(host, evidence)

    def with_cuts(self, host: str, evidence: Evidence) -> Evidence:
        """Return the evidence with the latest cuts by this host."""
        return replace(evidence, cuts=self._cuts.get(host, ()))

    def record_keeps_nothing(self, host: str, model: str | None, account: int | None = None) -> bool:
        """Remember that responses of this model are not kept in the background; return whether that is news.

        Args:
            account: for whom; None for everybody.
        """
        is_news = (host, model, account) not in self._keep_nothing
        self._record(self._keep_nothing, (host, model, account), True)
        return is_news

    def keeps_nothing(self, host: str, model: str | None, account: int) -> bool:
        """Return whether responses of this model are not kept in the background for this account."""
        return not {(host, model, None), (host, model, account)}.isdisjoint(self._keep_nothing)

    def _record(self, memory: OrderedDict[Hashable, _Value], key: Hashable, value: _Value) -> None:
        with self._lock:
            memory[key] = value
            memory.move_to_end(key)
            if len(memory) > _MAX_KEYS:
                memory.popitem(last=False)


def _forget_all() -> None:
    for memory in HostMemory._all:
        memory.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)

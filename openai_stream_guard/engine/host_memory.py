"""What this process has learnt about the servers it talks to, and the budget of re-issues that each of them gets.

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
from .server_habits import ServerHabits

_MAX_KEYS = 1024
"""How many servers are remembered; the one least recently recorded is forgotten first."""
_MAX_CUTS = 8
"""How many moments at which connections were cut are remembered of one host."""
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
        self._lock = threading.Lock()
        self._diverging: OrderedDict[Hashable, float] = OrderedDict()
        self._cuts: OrderedDict[Hashable, tuple[Cut, ...]] = OrderedDict()
        self.budget = Budget()
        self.habits = ServerHabits()

    def record_divergence(self, host: str, model: str | None, now: float) -> None:
        """Remember that this model gave another answer to the same request."""
        self._record(self._diverging, (host, model), now)

    def diverged_recently(self, host: str, model: str | None, now: float) -> bool:
        """Return whether this model diverged within the last `DIVERGENCE_SECONDS`."""
        diverged_at = self._diverging.get((host, model))
        return diverged_at is not None and now - diverged_at < DIVERGENCE_SECONDS

    def record_fault(self, host: str, evidence: Evidence) -> Evidence:
        """Remember when a connection was cut, and return the evidence `with_cuts`.

        Cuts after equal times, at different moments, point to a timeout. Those at one moment point to a restart.
        """
        if evidence.fault in ("disconnected", "truncated"):
            earlier, cut = self._cuts.get(host, ()), Cut(evidence.seconds, evidence.silence, evidence.at)
            if earlier and earlier[-1].includes(cut.at, cut.seconds):
                cut = cut._replace(at=earlier[-1].at, together=earlier[-1].together + 1)
                earlier = earlier[:-1]
            self._record(self._cuts, host, (*earlier, cut)[-_MAX_CUTS:])
        return self.with_cuts(host, evidence)

    def with_cuts(self, host: str, evidence: Evidence) -> Evidence:
        """Return the evidence with the latest cuts by this host."""
        return replace(evidence, cuts=self._cuts.get(host, ()))

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


CAPACITY = 10.0


_MAX_HOSTS = 1024


class Budget:
    """
    A bucket of `CAPACITY` tokens for each host, full at first.

    Safe to share between threads. A host is forgotten, and starts with a full bucket again, once `_MAX_HOSTS` others
    have been used since.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: OrderedDict[str, float] = OrderedDict()

    def deposit(self, host: str, ratio: float) -> None:
        """Add `ratio` tokens for a stream that starts."""
        with self._lock:
            self._put(host, self._tokens.get(host, CAPACITY) + ratio)

    def withdraw(self, host: str) -> bool:
        """Take one token, for a re-issue; False, and nothing taken, where less than one is left."""
        with self._lock:
            held = self._tokens.get(host, CAPACITY)
            if held < 1:
                return False
            self._put(host, held - 1)
            return True

    def _put(self, host: str, tokens: float) -> None:
        # Rounded, since ten times 0.1 added up as floats falls short of the one token that it has to buy.
        self._tokens[host] = round(min(tokens, CAPACITY), 9)
        self._tokens.move_to_end(host)
        if len(self._tokens) > _MAX_HOSTS:
            self._tokens.popitem(last=False)

"""What this process has learnt about the servers it talks to.

Only positive evidence is kept: that a server has sent a finish_reason, that a model did not repeat itself, when
connections were cut. All of it is bounded, shared by threads, and forgotten by a forked child.

How many re-issues a host may be asked for, so that an outage is not answered with twice the traffic.

Knows hosts as names and nothing of faults or time: tokens come from streams that start, not from a clock.
The law: a host never gets more re-issues than its bucket held plus what the started streams have added.
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

_MAX = 1024
_CUTS = 8
"""How many cuts are remembered of one host."""
DIVERGENCE_SECONDS = 600.0
"""How long no replay is tried for a model that did not repeat itself."""


_Kept = TypeVar("_Kept")


class HostMemory:
    """A memory of servers, by (host, path, model)."""

    _all: ClassVar[WeakSet[HostMemory]] = WeakSet()

    def __init__(self) -> None:
        self.forget()
        HostMemory._all.add(self)

    def forget(self) -> None:
        """Know nothing."""
        self._lock = threading.Lock()
        self._finishing: OrderedDict[Hashable, float] = OrderedDict()
        self._diverging: OrderedDict[Hashable, float] = OrderedDict()
        self._cuts: OrderedDict[Hashable, tuple[Cut, ...]] = OrderedDict()
        self.budget = Budget()

    def saw_finish(self, host: str, path: str, model: str | None) -> None:
        """This server ends answers with a finish_reason."""
        self._note(self._finishing, (host, path, model), 0.0)

    def finishes(self, host: str, path: str, model: str | None) -> bool:
        """Whether it has been seen to."""
        return (host, path, model) in self._finishing

    def saw_divergence(self, host: str, model: str | None, now: float) -> None:
        """This model gave another answer to the same question."""
        self._note(self._diverging, (host, model), now)

    def diverges(self, host: str, model: str | None, now: float) -> bool:
        """Whether it did so within the last `DIVERGENCE_SECONDS`."""
        seen = self._diverging.get((host, model))
        return seen is not None and now - seen < DIVERGENCE_SECONDS

    def saw_fault(self, host: str, evidence: Evidence) -> Evidence:
        """Remember when a connection was cut: equal times tell a timeout from an accident. Returns it `compared`."""
        if evidence.fault in ("disconnected", "truncated"):
            cut = Cut(evidence.seconds, evidence.silence)
            self._note(self._cuts, host, (*self._cuts.get(host, ()), cut)[-_CUTS:])
        return self.compared(host, evidence)

    def compared(self, host: str, evidence: Evidence) -> Evidence:
        """The evidence, with the latest cuts by this host."""
        return replace(evidence, cuts=self._cuts.get(host, ()))

    def _note(self, memory: OrderedDict[Hashable, _Kept], key: Hashable, value: _Kept) -> None:
        with self._lock:
            memory[key] = value
            memory.move_to_end(key)
            if len(memory) > _MAX:
                memory.popitem(last=False)


def _forget_all() -> None:
    for hosts in HostMemory._all:
        hosts.forget()


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
        """Add `ratio` tokens, for a stream that starts."""
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

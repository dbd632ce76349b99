"""What this process has learnt about the servers it talks to.

Only positive evidence is kept: a server has sent a `finish_reason`, a model did not repeat itself, connections were
cut. All of it is bounded, shared between threads, and forgotten by a forked child.
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

_MAX_KEYS = 1024
"""How many servers are remembered; the one least recently recorded is forgotten first."""
_MAX_CUTS = 8
"""How many cuts are remembered of one host."""
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
        self._finishing: OrderedDict[Hashable, float] = OrderedDict()
        self._diverging: OrderedDict[Hashable, float] = OrderedDict()
        self._cuts: OrderedDict[Hashable, tuple[Cut, ...]] = OrderedDict()
        self.budget = RetryBudget()

    def record_finish(self, host: str, path: str, model: str | None) -> None:
        """Remember that this server ended an answer with a `finish_reason`."""
        self._record(self._finishing, (host, path, model), 0.0)

    def sends_finish(self, host: str, path: str, model: str | None) -> bool:
        """Return whether this server has ended an answer with a `finish_reason`."""
        return (host, path, model) in self._finishing

    def record_divergence(self, host: str, model: str | None, now: float) -> None:
        """Remember that this model gave another answer to the same request."""
        self._record(self._diverging, (host, model), now)

    def diverged_recently(self, host: str, model: str | None, now: float) -> bool:
        """Return whether this model diverged within the last `DIVERGENCE_SECONDS`."""
        diverged_at = self._diverging.get((host, model))
        return diverged_at is not None and now - diverged_at < DIVERGENCE_SECONDS

    def record_fault(self, host: str, evidence: Evidence) -> Evidence:
        """Remember when a connection was cut, and return the evidence `with_cuts`.

        Cuts at equal times point to a timeout, and not to an accident.
        """
        if evidence.fault in ("disconnected", "truncated"):
            cut = Cut(evidence.seconds, evidence.silence)
            self._record(self._cuts, host, (*self._cuts.get(host, ()), cut)[-_MAX_CUTS:])
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

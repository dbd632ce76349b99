"""What this process has learnt about the servers it talks to.

Only positive evidence is kept: that a server has sent a finish_reason, that a model did not repeat itself. All of it
is bounded, shared by threads, and forgotten by a forked child.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import ClassVar
from weakref import WeakSet

from .budget import Budget

_MOST = 1024
DIVERGENCE_SECONDS = 600.0
"""How long no replay is tried for a model that did not repeat itself."""


class Hosts:
    """A memory of servers, by (host, path, model)."""

    _all: ClassVar[WeakSet[Hosts]] = WeakSet()

    def __init__(self) -> None:
        self.forget()
        Hosts._all.add(self)

    def forget(self) -> None:
        """Know nothing."""
        self._lock = threading.Lock()
        self._finishing: OrderedDict[Hashable, float] = OrderedDict()
        self._diverging: OrderedDict[Hashable, float] = OrderedDict()
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

    def _note(self, memory: OrderedDict[Hashable, float], key: Hashable, value: float) -> None:
        with self._lock:
            memory[key] = value
            memory.move_to_end(key)
            if len(memory) > _MOST:
                memory.popitem(last=False)


def _forget_all() -> None:
    for hosts in Hosts._all:
        hosts.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)

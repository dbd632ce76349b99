"""Which response suffers which faults: the queue of those that were planned, and those that stand beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec

from ...config.fields import suggestion
from . import kinds
from .kinds import KINDS, Injection

P = ParamSpec("P")


class _Planning(Generic[P]):
    """A method that makes a fault and plans it: `faults.cut(…)` is `faults.add(cut(…))`."""

    def __init__(self, make: Callable[P, Injection]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __get__(self, faults: Faults | None, owner: type[Faults]) -> Callable[P, Injection]:
        if faults is None:
            return self._make

        def plan(*args: P.args, **kwargs: P.kwargs) -> Injection:
            return faults.add(self._make(*args, **kwargs))

        return plan


@dataclass(slots=True)
class _Planned:
    injection: Injection
    times: int | None
    passed: int = 0

    @property
    def standing(self) -> bool:
        """Whether it is due beside the others, and not after them."""
        return self.injection.times is None or self.injection.every > 1

    def due(self) -> bool:
        """Whether one more response is one that it strikes."""
        self.passed += 1
        return self.passed % self.injection.every == 0


class Faults:
    """The faults planned for the responses to come.

    They strike in the order in which they were planned, each `times` responses. One with `times=None` or `every=n`
    stands beside that queue and strikes whatever it is due for, together with what the queue has for the same
    response. Only streams are struck, and only responses that the server itself has not refused. Safe to use from
    many threads.
    """

    cut = _Planning(kinds.cut)
    disconnect = _Planning(kinds.disconnect)
    stall = _Planning(kinds.stall)
    garble = _Planning(kinds.garble)
    split = _Planning(kinds.split)
    glue = _Planning(kinds.glue)
    refuse = _Planning(kinds.refuse)
    error = _Planning(kinds.error)
    html = _Planning(kinds.html)
    gap = _Planning(kinds.gap)
    duplicate = _Planning(kinds.duplicate)
    slow = _Planning(kinds.slow)

    def __init__(self) -> None:
        self.planned = 0
        """How many faults were planned so far."""
        self._queue: list[_Planned] = []
        self._standing: list[_Planned] = []
        self._lock = threading.Lock()

    def add(self, injection: Injection) -> Injection:
        """Plan a fault, such as `slow(seconds=2) & cut(after_events=3)`, for the responses to come; return it."""
        if not isinstance(injection, Injection):
            raise ValueError(f"{injection!r} is no fault; make one with {', '.join(KINDS)}")
        planned = _Planned(injection, injection.times)
        with self._lock:
            self.planned += 1
            (self._standing if planned.standing else self._queue).append(planned)
        return injection

    def clear(self) -> None:
        """Forget what is still planned."""
        with self._lock:
            self._queue, self._standing = [], []

    @property
    def pending(self) -> tuple[Injection, ...]:
        """What was planned and has found no response yet; standing ones that found one are none of them."""
        with self._lock:
            left = [one.injection for one in self._queue]
            return (*left, *(one.injection for one in self._standing if one.passed < one.injection.every))

    def refusal(self) -> Injection | None:
        """The refusal for a request that is about to be sent, if that is what comes next."""
        with self._lock:
            for planned in self._standing:
                if planned.injection.refusal is not None and planned.due():
                    return self._taken(planned, self._standing)
            if self._queue and self._queue[0].injection.refusal is not None:
                return self._taken(self._queue[0], self._queue)
        return None

    def strikes(self) -> list[Injection]:
        """The faults for a response that has arrived."""
        with self._lock:
            due = [one for one in self._standing if one.injection.refusal is None and one.due()]
            struck = [self._taken(one, self._standing) for one in due]
            if self._queue and self._queue[0].injection.refusal is None:
                struck.append(self._taken(self._queue[0], self._queue))
        return struck

    def _taken(self, planned: _Planned, of: list[_Planned]) -> Injection:
        if planned.times is not None:
            planned.times -= 1
            if planned.times == 0:
                of.remove(planned)
        return planned.injection

    def __getattr__(self, name: str) -> Callable[..., Injection]:
        raise AttributeError(f"there is no fault {name!r}{suggestion(name, KINDS)}")

    def __repr__(self) -> str:
        return f"<faults pending: {', '.join(map(str, self.pending)) or 'none'}>"

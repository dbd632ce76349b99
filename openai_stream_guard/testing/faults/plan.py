"""Which response gets which of the planned faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from ...config.fields import suggestion
from . import injections
from .injections import INJECTIONS, Injection

P = ParamSpec("P")


class _PlanMethod(Generic[P]):
    """A method that creates a fault and plans it: `faults.cut(…)` is `faults.add(cut(…))`."""

    def __init__(self, create: Callable[P, Injection]) -> None:
        self._create = create
        self.__doc__ = create.__doc__

    def __get__(self, faults: Faults | None, owner: type[Faults]) -> Callable[P, Injection]:
        if faults is None:
            return self._create

        def plan(*args: P.args, **kwargs: P.kwargs) -> Injection:
            return faults.add(self._create(*args, **kwargs))

        return plan


@dataclass(slots=True)
class _Planned:
    """A fault, for how many more responses it is planned (None: all), and how many responses have come since."""

    injection: Injection
    remaining: int | None
    responses: int = 0

    @property
    def standing(self) -> bool:
        """Whether it takes effect beside the queue, and not in its turn."""
        return self.injection.times is None or self.injection.every > 1

    @property
    def unused(self) -> bool:
        """Whether it has not taken effect on any response yet."""
        return self.responses < self.injection.every

    def is_due(self) -> bool:
        """Count one more response; return whether the fault is for this one."""
        self.responses += 1
        return self.responses % self.injection.every == 0


class Faults:
    """
    The faults planned for the responses to come.

    They take effect in the order in which they were planned, each on `times` responses. One with `times=None` or
    `every=n` stands beside that queue: it takes effect on every response that it is due for, together with the next
    fault of the queue. Only streams are affected, and only responses that the server itself has not refused. Safe to
    use from many threads.
    """

    cut = _PlanMethod(injections.cut)
    disconnect = _PlanMethod(injections.disconnect)
    stall = _PlanMethod(injections.stall)
    garble = _PlanMethod(injections.garble)
    split = _PlanMethod(injections.split)
    glue = _PlanMethod(injections.glue)
    refuse = _PlanMethod(injections.refuse)
    error = _PlanMethod(injections.error)
    html = _PlanMethod(injections.html)
    gap = _PlanMethod(injections.gap)
    duplicate = _PlanMethod(injections.duplicate)
    slow = _PlanMethod(injections.slow)

    def __init__(self) -> None:
        self.planned = 0
        """How many faults were planned so far."""
        self._queue: list[_Planned] = []
        self._standing: list[_Planned] = []
        self._lock = threading.Lock()

    def add(self, injection: Injection) -> Injection:
        """Plan a fault, such as `slow(seconds=2) & cut(after_events=3)`, and return it. Raises `ValueError`."""
        if not isinstance(injection, Injection):
            raise ValueError(f"{injection!r} is not a fault; make one with {', '.join(INJECTIONS)}")
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
        """The faults still in the queue, and the standing ones that no response has met yet."""
        with self._lock:
            return tuple(one.injection for one in (*self._queue, *(one for one in self._standing if one.unused)))

    @property
    def unused(self) -> tuple[Injection, ...]:
        """The planned faults that no response, or no request that they refuse, has met yet."""
        with self._lock:
            queued = (one for one in self._queue if one.remaining == one.injection.times)
            return tuple(one.injection for one in (*queued, *(one for one in self._standing if one.unused)))

    def for_request(self) -> Injection | None:
        """Take the refusal for a request that is about to be sent, if a refusal is next."""
        with self._lock:
            return next(map(self._used, self._due(refusals=True)), None)

    def for_response(self) -> list[Injection]:
        """Take the faults for a response that has arrived."""
        with self._lock:
            return list(map(self._used, self._due(refusals=False)))

    def _due(self, *, refusals: bool) -> Iterator[_Planned]:
        for planned in (*self._standing, *self._queue[:1]):
            is_refusal = isinstance(planned.injection, injections.refuse)
            if is_refusal is refusals and (not planned.standing or planned.is_due()):
                yield planned

    def _used(self, planned: _Planned) -> Injection:
        if planned.remaining is not None:
            planned.remaining -= 1
            if planned.remaining == 0:
                (self._standing if planned.standing else self._queue).remove(planned)
        return planned.injection

    if not TYPE_CHECKING:  # a type checker shall report a misspelt fault

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"there is no fault {name!r}{suggestion(name, INJECTIONS)}")

    def __repr__(self) -> str:
        return f"<faults pending: {', '.join(map(str, self.pending)) or 'none'}>"

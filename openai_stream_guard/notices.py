"""What the guard tells about itself: frozen records for hooks, logs, errors and reports.

Nothing here decides or acts. No record carries answer text, headers or keys, so that every one of them may be
logged, exported or kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn, TypeAlias

FaultKind: TypeAlias = Literal[
    "disconnected",
    "truncated",
    "malformed",
    "stalled",
    "upstream_error",
    "gap",
    "not_a_stream",
    "oversized",
    "diverged",
]
"""What went wrong with one attempt."""

RecoveryMethod: TypeAlias = Literal["resume", "restart", "continue", "replay"]
"""How a broken stream is taken up again."""

StoppedBy: TypeAlias = Literal["retries", "time", "budget", "policy", "unsafe", "diverged", "not_retryable"]
"""Why recovery ended without a whole answer."""

Outcome: TypeAlias = Literal["open", "complete", "recovered", "failed", "abandoned"]
"""How a stream ended; `open` while it has not."""


@dataclass(frozen=True)
class Attempt:
    """One HTTP response of a logical stream, or one refused re-issue."""

    fault: FaultKind | None
    """What ended it; None where it came out whole or was left by the program, and for a refused re-issue."""
    way: RecoveryMethod | None
    """The way of recovery that opened it; None for the first attempt."""
    requests: int
    """HTTP requests it took, the SDK's own retries before the headers included."""
    events: int
    """Payloads read from it."""
    bytes: int
    """Bytes of body read from it, after content decoding."""
    seconds: float
    """From its first read to its end."""
    request_id: str | None
    """The `x-request-id` header."""
    response_id: str | None
    """The `id` of the answer, as this attempt named it."""
    status: int | None
    """The HTTP status; None where a re-issue got no response at all."""
    refused: bool = False
    """A re-issue that got no stream: an HTTP error, or no response at all."""

    def __str__(self) -> str:
        if self.refused:
            return "refused without a response" if self.status is None else f"refused with status {self.status}"
        end = "no fault in" if self.fault is None else f"{self.fault} after"
        return f"{end} {counted(self.events, 'event')} and {counted(self.bytes, 'byte')}"


def attempt_lines(attempts: Sequence[Attempt]) -> list[str]:
    """Return one line for each attempt: its number, its way and how it ended."""
    return [
        f"attempt {number}{'' if attempt.way is None else f' ({attempt.way})'}: {attempt}"
        for number, attempt in enumerate(attempts, 1)
    ]


def counted(count: int, noun: str) -> str:
    """Return `1 event`, `2,000 events`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class _ImmutableList(tuple[RecoveryMethod, ...]):
    """A tuple that equals a list of the same items, since `report.recoveries == ["replay"]` is documented."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return tuple.__eq__(self, tuple(other) if isinstance(other, list) else other)

    def __ne__(self, other: object) -> bool:  # since tuple's own does not ask `__eq__`
        return not self == other

    __hash__ = tuple.__hash__


class _ImmutableDict(dict[str, int]):
    """A dict that refuses every change: `MappingProxyType` can neither be pickled, deep-copied nor written as JSON."""

    __slots__ = ()

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("a report cannot be changed")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[_ImmutableDict], tuple[dict[str, int]]]:
        return _ImmutableDict, (dict(self),)


@dataclass(frozen=True, repr=False)
class StreamReport:
    """All that happened to one logical stream, see `openai_stream_guard.report`."""

    outcome: Outcome
    attempts: tuple[Attempt, ...] = ()
    recoveries: Sequence[RecoveryMethod] = ()
    """The ways that led on, in order. Immutable, and equal to a list of the same items."""
    repairs: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Kind of repair → how often. Immutable, and equal to a dict of the same items."""
    notes: tuple[str, ...] = ()
    """What was odd but no fault."""
    events: int = 0
    """Events handed to the SDK."""
    bytes: int = 0
    """Bytes of body read in all attempts."""
    first_event_seconds: float | None = None
    """From the first read to the first event that was handed over."""
    worst_gap_seconds: float = 0.0
    """The longest wait between two events."""
    recovery_seconds: float = 0.0
    """From a fault to the next newly delivered event, for all faults that were recovered from."""
    hint: str | None = None
    """Likely cause of the first fault, and its remedy; None where there was no fault."""
    items: str | None = None
    """How the items were built: `plans`, or `SDK: ` and why; None before the first one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "recoveries", _ImmutableList(self.recoveries))
        object.__setattr__(self, "repairs", _ImmutableDict(self.repairs))

    def __repr__(self) -> str:
        attempts = ", ".join(map(str, self.attempts)) or "no attempt has ended"
        led = "by" if self.outcome == "recovered" else "after"
        by = f" {led} {', '.join(self.recoveries)}" if self.recoveries else ""
        return f"<StreamReport {self.outcome}{by}: {attempts}; {counted(self.events, 'event')} delivered>"


@dataclass(frozen=True)
class FaultSeen:
    """An attempt broke."""

    reason: str
    number: int
    """Of the attempt, from 1."""
    attempt: Attempt
    host: str
    model: str | None
    hint: str = ""
    """Likely cause, and remedy."""


@dataclass(frozen=True)
class Recovering:
    """A request is about to be sent again. It may be billed again."""

    way: RecoveryMethod
    delay: float
    """Seconds waited before it."""
    number: int
    """Of the attempt it opens, from 2."""
    host: str
    model: str | None


@dataclass(frozen=True)
class Refused:
    """A re-issue got no stream."""

    status: int | None
    number: int
    request_id: str | None
    host: str
    model: str | None


@dataclass(frozen=True)
class Ended:
    """The stream is over."""

    report: StreamReport
    stopped_by: StoppedBy | None
    """Why recovery went no further; None unless the stream failed."""
    host: str
    model: str | None


Notice: TypeAlias = FaultSeen | Recovering | Refused | Ended

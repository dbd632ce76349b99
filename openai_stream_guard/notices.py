"""The records that hooks, logs, errors and reports are made of. All are frozen.

No record holds answer text, headers or keys, so that each of them may be logged, exported or stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, NoReturn, TypeAlias

from .records import Record

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
"""How a broken stream is recovered."""

StoppedBy: TypeAlias = Literal["retries", "time", "budget", "policy", "unsafe", "diverged", "not_retryable"]
"""Why recovery stopped without a complete answer."""

WaitReason: TypeAlias = Literal["host", "budget"]
"""What a stream waits for: that its host accepts requests again, or a token of the retry budget."""

Outcome: TypeAlias = Literal["open", "complete", "recovered", "failed", "abandoned"]
"""How a stream ended; `open` while it has not."""


class Attempt(Record):
    """One HTTP response of a logical stream, or one refused re-issue."""

    fault: FaultKind | None
    """What ended it; None where it was complete or the program left it, and for a refused re-issue."""
    way: RecoveryMethod | None
    """The recovery method that opened it; None for the first attempt."""
    requests: int
    """HTTP requests that it took, including the SDK's own retries before the headers."""
    events: int
    """Events read from it."""
    bytes: int
    """Bytes read from its body, after content decoding."""
    seconds: float
    """From the first read to the end."""
    request_id: str | None
    """The `x-request-id` header."""
    response_id: str | None
    """The `id` of the answer in this attempt."""
    status: int | None
    """The HTTP status; None for a re-issue that got no response."""
    refused: bool = False
    """Whether it is a re-issue that got no stream: an HTTP error, or no response."""
    error: str | None = None
    """The class of the exception with which a re-issue got no response, such as `ConnectError`."""
    error_message: str | None = None
    """What that exception says, on one line and without secrets."""
    usage: Mapping[str, object] | None = field(default=None, hash=False)
    """The tokens it took, as the API told them with the whole answer. None where it did not: never 0, nor guessed."""

    def __post_init__(self) -> None:
        if self.usage is not None:
            object.__setattr__(self, "usage", _immutable(self.usage))

    def __str__(self) -> str:
        if self.refused:
            if self.status is not None:
                return f"refused with status {self.status}"
            return f"refused without a response ({self.exception})" if self.error else "refused without a response"
        ending = "no fault in" if self.fault is None else f"{self.fault} after"
        return f"{ending} {counted(self.events, 'event')} and {counted(self.bytes, 'byte')}"

    @property
    def exception(self) -> str | None:
        """Class and words of the exception with which a re-issue got no response."""
        return f"{self.error}: {self.error_message}" if self.error and self.error_message else self.error


def attempt_lines(attempts: Sequence[Attempt]) -> list[str]:
    """Return one line for each attempt: its number, its recovery method and how it ended."""
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


class _ImmutableDict(dict[str, Any]):
    """A dict that cannot be changed. (`MappingProxyType` can neither be pickled, deep-copied nor written as JSON.)"""

    __slots__ = ()

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("a report cannot be changed")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[_ImmutableDict], tuple[dict[str, Any]]]:
        return _ImmutableDict, (dict(self),)


def _immutable(mapping: Mapping[str, object]) -> _ImmutableDict:
    return _ImmutableDict(
        {name: _immutable(part) if isinstance(part, Mapping) else part for name, part in mapping.items()}
    )


class StreamReport(Record):
    """What happened to one logical stream; see `openai_stream_guard.report`."""

    outcome: Outcome
    attempts: tuple[Attempt, ...] = ()
    recoveries: Sequence[RecoveryMethod] = ()
    """The methods that recovered the stream, in order. Immutable, and equal to a list of the same items."""
    repairs: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How often each kind of repair was made. Immutable, and equal to a dict of the same items."""
    notes: tuple[str, ...] = ()
    """What was unusual but not a fault."""
    events: int = 0
    """Events delivered to the SDK."""
    bytes: int = 0
    """Bytes read in all attempts."""
    first_event_seconds: float | None = None
    """From the first read to the first delivered event."""
    first_chunk_seconds: float | None = None
    """From the request to the first delivered event, with the SDK's retries before it."""
    chunk_seconds: float | None = None
    """Mean time from one delivered event to the next; None for fewer than two."""
    worst_gap_seconds: float = 0.0
    """The longest wait between two events."""
    waited_seconds: float = 0.0
    """What it waited, besides backoffs, for its host to accept requests again or for a token of the retry budget."""
    recovery_seconds: float = 0.0
    """From a fault to the next newly delivered event, summed over all faults that were recovered from."""
    hint: str | None = None
    """Likely cause of the first fault and its remedy; None without a fault."""
    items: str | None = None
    """How the items were built: `plans`, or `SDK: ` and why; None before the first one."""
    stream_id: str = ""
    """The same on every record, notice, span event and error of the stream."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "recoveries", _ImmutableList(self.recoveries))
        object.__setattr__(self, "repairs", _ImmutableDict(self.repairs))

    def __repr__(self) -> str:
        attempts = ", ".join(map(str, self.attempts)) or "no attempt has ended"
        preposition = "by" if self.outcome == "recovered" else "after"
        methods = f" {preposition} {', '.join(self.recoveries)}" if self.recoveries else ""
        return f"<StreamReport {self.outcome}{methods}: {attempts}; {counted(self.events, 'event')} delivered>"


class FaultSeen(Record):
    """An attempt ended with a fault."""

    reason: str
    number: int
    """Number of the attempt, from 1."""
    attempt: Attempt
    host: str
    model: str | None
    hint: str = ""
    """Likely cause and remedy."""
    stream_id: str = ""


class Recovering(Record):
    """A request is about to be sent again. The provider may bill it again."""

    way: RecoveryMethod
    delay: float
    """Seconds that are waited before it is sent."""
    number: int
    """Number of the attempt that it opens, from 2."""
    host: str
    model: str | None
    stream_id: str = ""


class Refused(Record):
    """A re-issue got no stream."""

    status: int | None
    number: int
    request_id: str | None
    host: str
    model: str | None
    error: str | None = None
    """The class of the exception, where there was no response."""
    stream_id: str = ""
    error_message: str | None = None
    """What that exception says, on one line and without secrets."""


class Waiting(Record):
    """A broken stream waits before its request is sent again."""

    reason: WaitReason
    seconds: float
    """Longest time that it waits."""
    number: int
    """Number of the attempt that it waits to open."""
    host: str
    model: str | None
    stream_id: str = ""


class ServerNotice(Record):
    """Something about the server: it was learnt or unlearnt, or it ended its answer in an unusual way."""

    text: str
    is_warning: bool
    """Whether a setting should be changed, or the server looked at."""
    host: str
    model: str | None
    stream_id: str = ""


class Ended(Record):
    """The stream has ended."""

    report: StreamReport
    stopped_by: StoppedBy | None
    """Why recovery stopped; None unless the stream failed."""
    host: str
    model: str | None
    stream_id: str = ""


class CancelSent(Record):
    """The API was asked to cancel a response that nobody reads any more, and that the guard had made in the background.

    It comes after `Ended`, and not from the thread that read the stream.
    """

    response_id: str
    status: int | None
    """Of the answer if the API refused, as it does for a response that is complete."""
    error: str | None
    """The class of the exception if it did not answer; with neither it has cancelled the response."""
    host: str
    model: str | None
    stream_id: str = ""

    @property
    def outcome(self) -> str:
        """What became of the response, for messages."""
        if self.error is None:
            return "its background response was cancelled"
        why = self.error if self.status is None else f"status {self.status}"
        return f"its background response could not be cancelled ({why})"


Notice: TypeAlias = FaultSeen | Recovering | Refused | Waiting | ServerNotice | Ended | CancelSent

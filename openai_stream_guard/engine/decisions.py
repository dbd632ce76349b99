"""What the session is told of an attempt's end, and what it answers: plain frozen values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..apis.request import Resume
from ..diagnosis.evidence import Ending, Evidence
from ..notices import Attempt, FaultKind, RecoveryMethod, StoppedBy


@dataclass(frozen=True)
class StreamFault:
    """What ends an attempt."""

    kind: FaultKind
    reason: str
    """In words, without any of the answer's."""
    error: Exception | None = None
    """The transport's or the parser's own exception."""
    body: object = None
    """The API's error object."""
    ending: Ending = "open"
    """How the body ended on the wire, if it did."""


@dataclass(frozen=True)
class FirstFailure:
    """A trouble and where it struck: what an error is made of."""

    fault: StreamFault
    attempt: Attempt
    raw_tail: bytes
    """The last bytes that were read, not masked yet."""
    evidence: Evidence
    """What its cause can be told from."""


@dataclass(frozen=True)
class Reissue:
    """Send the request again, after `delay` seconds."""

    delay: float
    way: RecoveryMethod
    retry: int
    """Number of the re-issue, from 1, as in the SDK's `x-stainless-retry-count`."""
    resume: Resume | None = None
    """For `resume`: what to ask for."""
    body: Mapping[str, object] | None = None
    """For `continue`: the JSON to send instead."""
    within: float = math.inf
    """Seconds after the delay within which the answer has to begin."""


@dataclass(frozen=True)
class Finish:
    """The answer is whole."""


@dataclass(frozen=True)
class Fail:
    """The first failure stands."""

    first_failure: FirstFailure
    stopped_by: StoppedBy


@dataclass(frozen=True)
class Refusal:
    """The answer to a re-issue that brought no stream."""

    retryable: bool
    no_longer_streamed: bool = False
    """The answer exists, but only as a whole."""
    unfinished: bool = False
    """The answer that was polled for is still being made."""
    status: int | None = None
    """None where there was no HTTP response."""
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds the server asks for."""


Decision: TypeAlias = Reissue | Finish | Fail


@dataclass(frozen=True)
class Timeouts:
    """Seconds without an event after which a stream counts as stalled; infinite for never."""

    first_event: float = math.inf
    idle: float = math.inf
    read: float = math.inf
    """The request's own read timeout: seconds without a byte."""

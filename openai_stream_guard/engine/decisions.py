"""The values that session and transport exchange: what ended an attempt, and what to do about it.

They are tuples, as are the other values that no user sees: a frozen dataclass is compiled at each start of a program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from ..apis.error_shapes import ReportedError
from ..apis.request import Resume
from ..decoding.payload import Payload
from ..diagnosis.evidence import Ending, Evidence
from ..notices import Attempt, FaultKind, RecoveryMethod, StoppedBy, WaitReason
from ..records import Record
from .host_queue import Ticket
from .retry_rules import ErrorVerdict, judge_error


class StreamFault(Record):
    """What ended an attempt before its answer was complete."""

    kind: FaultKind
    reason: str
    """For messages; holds no text of the answer."""
    error: Exception | None = None
    """The exception of the transport or of the decoding, if there was one."""
    body: object = None
    """The API's error object, if it sent one; or the page that stands in place of a stream."""
    reported: ReportedError | None = None
    """All that the API said about the error, if it sent one."""
    ending: Ending = "open"
    """How the body ended on the wire."""
    last_event: Payload | None = None
    """The event by which the answer ended as failed. It is delivered where nothing is left to try, as the SDK does."""

    @property
    def verdict(self) -> ErrorVerdict:
        """Whether the API's error may pass, and what it is about."""
        if self.reported is None:
            return judge_error(self.body)
        return judge_error(self.reported.payload, self.reported.http_status)


class FirstFailure(Record):
    """The first fault of a stream and what is known about it: the contents of the error that is raised."""

    fault: StreamFault
    attempt: Attempt
    raw_tail: bytes
    """The last bytes that were read; secrets are not redacted yet."""
    evidence: Evidence
    """What the likely cause is found from."""


class Reissue(Record):
    """Decision: send the request again after `delay` seconds."""

    delay: float
    way: RecoveryMethod
    retry: int
    """Number of the re-issue, from 1, for the header `x-stainless-retry-count`."""
    resume: Resume | None = None
    """For `resume`: which response to read, and from where."""
    body: Mapping[str, object] | None = None
    """For `continue`: the JSON to send in place of the request's."""
    within: float = math.inf
    """Seconds after the delay within which the response has to begin."""

    @property
    def is_poll(self) -> bool:
        """Whether it asks for a stored response as a whole, which generates nothing."""
        return self.resume is not None and self.resume.poll


class Wait(Record):
    """Decision: wait until the ticket is called, or so many seconds."""

    seconds: float
    ticket: Ticket
    reason: WaitReason
    limit: float
    """The longest that it may wait in all, in seconds from now, over several decisions of this kind."""
    probes: bool = False
    """Only time has to pass, since this stream is the next to probe the host; it depends on no other stream."""


class Finish(Record):
    """Decision: the answer is complete, end the stream."""


class Fail(Record):
    """Decision: raise the first failure."""

    first_failure: FirstFailure
    stopped_by: StoppedBy


class Refusal(Record):
    """A re-issue that got no stream: an HTTP error, or no response at all."""

    retryable: bool
    no_longer_streamed: bool = False
    """The stored response can no longer be streamed, only retrieved."""
    unfinished: bool = False
    """The stored response that was polled is not finished yet."""
    status: int | None = None
    """None without an HTTP response."""
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds that the server asks to wait."""
    error: str | None = None
    """The class of the exception, without an HTTP response."""
    error_message: str | None = None
    """What that exception says, on one line and without secrets."""
    lost: bool = False
    """The request was sent and its response lost, or it timed out."""

    @property
    def scope(self) -> Literal["host", "stream", "generation"]:
        """What the refusal is about.

        `host`: the server accepts no requests, so others need not try. `generation`: neither, and it may have generated
        an answer before the connection failed. `stream`: only this request, as by a rate limit.
        """
        if self.lost or self.status in (408, 504):
            return "generation"
        return "host" if self.status is None or self.status >= 500 else "stream"


Decision: TypeAlias = Reissue | Wait | Finish | Fail


class Timeouts(NamedTuple):
    """Seconds after which a stream is stalled; infinite means never."""

    first_event: float = math.inf
    """Until the first event, whatever comes."""
    idle: float = math.inf
    """Without an event, after the first one."""
    first_byte: float = math.inf
    """Without a byte, before the first event."""
    linger: float = math.inf
    """Without a byte, once the answer is complete. Infinite: a complete stream is never ended for silence."""
    read: float = math.inf
    """The read timeout of the request: seconds without a byte."""

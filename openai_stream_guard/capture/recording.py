"""What is recorded of a stream: for each attempt its reads with their times, how it ended, and the guard's verdict.

These are plain values. This module decides what they hold. Of a request, only what its answer is judged by; of a
response, the headers on an allow-list; of a body, every byte, because the bytes are what a reader wants to examine.
A recording therefore holds answer text. Only what looks like a key is overwritten, with as many asterisks, so that
every offset stays correct. A key that is split over several events is not recognised.

The limits for one stream: `MAX_ATTEMPTS` attempts, and of each attempt the last `MAX_BYTES` bytes and `MAX_READS`
reads. Older reads are dropped and counted: a fault is at the end of an attempt, so the beginning is dropped first.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from ..apis.request import EndRule, StreamRequest
from ..config.policy import Policy
from ..diagnosis.evidence import Ending as BodyEnding
from ..diagnosis.evidence import ResponseHead
from ..engine.decisions import Timeouts
from ..notices import FaultKind, RecoveryMethod
from ..redaction import blanked, redact

MAX_BYTES = 256 << 10
MAX_READS = 16_384
MAX_ATTEMPTS = 8
"""Later attempts of a stream are not recorded: they would show nothing new."""

# fmt: off
HEADERS = frozenset({
    "content-type", "content-encoding", "content-length", "transfer-encoding", "cache-control", "connection",
    "keep-alive", "date", "age", "retry-after", "retry-after-ms", "server", "via", "x-powered-by", "x-served-by",
    "x-cache", "cf-ray", "cf-cache-status", "x-amz-cf-id", "x-amz-cf-pop", "x-amzn-requestid", "x-amzn-trace-id",
    "x-azure-ref", "apim-request-id", "x-accel-buffering", "x-request-id", "x-envoy-upstream-service-time",
    "openai-processing-ms", "openai-version", "x-litellm-version", "proxy-status", "x-varnish", "x-kong-proxy-latency",
})
# fmt: on
"""The response headers that are kept: who answered and how, never cookies, accounts or limits."""
_MAX_HEADER = 200
"""Characters kept of a header's value."""
_PLAIN_FIELDS = ("model", "n", "stream", "store", "background", "logprobs")
"""Fields of the request's JSON that are kept if their value is a string, a number or a boolean."""
_STATE_FIELDS = ("previous_response_id", "conversation")
"""Fields of which only the presence is kept."""
_ORIGIN = re.compile(r"^[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)


class Read(NamedTuple):
    """The bytes of one read of the transport, after content decoding."""

    at: float
    """Seconds since the attempt was opened."""
    data: bytes
    waiting_since: float = 0.0
    """When the program had finished with the previous events, on the same clock; 0 if that is not recorded."""


@dataclass(frozen=True)
class Ending:
    """When and why the reading of an attempt ended."""

    at: float
    by: Literal["body", "transport", "guard"]
    """`body`: the body ended normally. `transport`: an error ended it. `guard`: the guard stopped after a read."""
    fault: FaultKind | None = None
    """The fault that the transport's error was classified as."""
    reason: str = ""
    error: str | None = None
    """The qualified class name of the transport's error."""
    how: BodyEnding = "open"
    """How the body ended on the wire, as far as the transport's error shows."""
    waiting_since: float = 0.0
    """As in `Read`."""


@dataclass(frozen=True)
class Verdict:
    """The guard's result for one attempt."""

    fault: FaultKind | None
    """None if the answer was complete."""
    reason: str
    events: int
    bytes: int
    repairs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """One recorded attempt."""

    opened: float
    """Seconds since the first attempt was opened."""
    way: RecoveryMethod | None
    """The recovery method that opened the attempt; None for the first one."""
    rule: EndRule
    """The end rule that applied: the policy's, made specific by what was known about the host."""
    head: ResponseHead = ResponseHead()  # noqa: RUF009 - frozen
    """The response, with the headers named in `HEADERS` only, and keys redacted."""
    polled: bool = False
    """The answer was fetched as a whole by polling, not streamed."""
    anchor: str | None = None
    """What the answer has to begin with, as a verified continuation of what was delivered; keys overwritten."""
    lost_reads: int = 0
    lost_bytes: int = 0
    """How much came before the first read that is kept. A read larger than `MAX_BYTES` keeps only its end."""
    reads: tuple[Read, ...] = ()
    ending: Ending | None = None
    """None if the recording itself is cut off."""
    verdict: Verdict | None = None
    """None if the program stopped reading before there was one."""


@dataclass(frozen=True)
class Capture:
    """One logical stream: its attempts in order, and everything that their verdicts depend on."""

    request: StreamRequest
    policy: Policy
    timeouts: Timeouts
    origin: float = 0.0
    """The clock's reading when the first attempt was opened. A rerun starts there, so that rounding is the same."""
    attempts: tuple[Recording, ...] = ()
    whole: bool = True
    """False if the file that this was read from is cut off."""
    written: str = ""
    """When the file was written: ISO 8601, in UTC."""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Package name → version."""

    @property
    def makers(self) -> str:
        """The packages that wrote the file, with their versions, in words."""
        return ", ".join(f"{name} {version}" for name, version in sorted(self.made_by.items())) or "an unknown release"


class ReadBuffer:
    """The last reads of one attempt, within `MAX_BYTES` and `MAX_READS`.

    Args:
        credentials: what the request was authenticated with; it is overwritten in what is kept.
    """

    def __init__(self, credentials: Collection[str] = ()) -> None:
        self._credentials = credentials
        self.lost_reads = 0
        self.lost_bytes = 0
        self._reads: deque[Read] = deque()
        self._size = 0

    def add(self, data: bytes, at: float, waiting_since: float = 0.0) -> None:
        """Append a read, and drop the oldest ones until the rest fits."""
        excess = len(data) - MAX_BYTES
        if excess > 0:
            self.lost_bytes += excess
            data = data[excess:]
        self._reads.append(Read(at, data, waiting_since))
        self._size += len(data)
        while self._size > MAX_BYTES or len(self._reads) > MAX_READS:
            dropped = len(self._reads.popleft().data)
            self._size -= dropped
            self.lost_bytes += dropped
            self.lost_reads += 1

    @property
    def reads(self) -> tuple[Read, ...]:
        """The reads that are kept, with keys overwritten, even those that are split over two reads."""
        joined = blanked(b"".join(read.data for read in self._reads), self._credentials)
        start, kept = 0, []
        for read in self._reads:
            end = start + len(read.data)
            kept.append(read._replace(data=joined[start:end]))
            start = end
        return tuple(kept)


def kept_text(text: str, credentials: Collection[str] = ()) -> str:
    """Return a part of an answer as the reads have it: keys overwritten."""
    return blanked(text.encode(), credentials).decode()


def kept_headers(headers: Mapping[str, str], credentials: Collection[str] = ()) -> dict[str, str]:
    """Return the headers that a recording may hold: lower-case names, short values, keys redacted."""
    allowed = ((name.lower(), value) for name, value in headers.items() if name.lower() in HEADERS)
    return {name: redact(value, credentials)[:_MAX_HEADER] for name, value in allowed}


def kept_head(head: ResponseHead, credentials: Collection[str] = ()) -> ResponseHead:
    """Return the head of a response with the headers that a recording may hold."""
    return replace(head, headers=kept_headers(head.headers, credentials))


def kept_request(request: StreamRequest, credentials: Collection[str] = ()) -> StreamRequest:
    """Return a request without its texts and keys. It selects the same adapter and the same recovery methods."""
    body = request.body
    kept = {name: body[name] for name in _PLAIN_FIELDS if isinstance(body.get(name), str | int | bool)}
    if request.choices != 1:
        kept["n"] = request.choices
    kept |= {name: "*" for name in _STATE_FIELDS if body.get(name)}
    if isinstance(tools := body.get("tools"), list):
        types = {str(tool.get("type")) for tool in tools if isinstance(tool, dict)}
        kept["tools"] = [{"type": name} for name in sorted(types)]
    if isinstance(response_format := body.get("response_format"), dict):
        kept["response_format"] = {"type": str(response_format.get("type"))}
    path = redact(_ORIGIN.sub("", request.path).partition("?")[0], credentials)
    return replace(request, path=path, body=kept)


def kept_policy(policy: Policy, request: StreamRequest) -> Policy:
    """Return a policy with only the fields that verdicts depend on; the others have their defaults.

    (`end_rule` is not kept: each recording has its own `rule`.)
    """
    return Policy(
        recovery=policy.recovery,
        continuation=None if policy.continuation is None else stand_in_continuation,
        delivery=policy.delivery,
        max_held_bytes=policy.max_held_bytes,
        max_event_bytes=policy.max_event_bytes,
        max_elapsed=policy.max_elapsed,
        repair=policy.repair,
        lenient_hosts=(request.host,) if request.host_in(policy.lenient_hosts) else (),
    )


def stand_in_continuation(body: object, text: str) -> dict[str, object]:
    """Replaces the program's `continuation`. How the answer to a `continue` is judged depends on its anchor alone."""
    return {}

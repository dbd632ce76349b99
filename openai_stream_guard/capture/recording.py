"""What a stream was on the wire, as values: each attempt's reads with their times, how it ended, and its verdict.

Decides what is kept and how much of it. Of a request only what its answer is judged by, of a response the headers of
an allow-list, of a body every byte, since the bytes are what is to be looked at: a recording holds answer text. Only
what looks like a key is blanked, by as many asterisks, so that every offset stays; one that comes in pieces, in
several events, is not seen.
The bounds, for one stream: `MAX_ATTEMPTS` attempts, of each the last `MAX_BYTES` and `MAX_READS`. What an attempt
had before that is lost, and the recording says how much: a fault is at the end, so that the beginning goes first.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from ..apis.request import EndRule, StreamRequest
from ..config.policy import Policy
from ..diagnosis.evidence import Ending as How
from ..diagnosis.evidence import ResponseHead
from ..engine.decisions import Timeouts
from ..notices import FaultKind, RecoveryMethod
from ..redaction import blanked, redact

MAX_BYTES = 256 << 10
MAX_READS = 16_384
MAX_ATTEMPTS = 8
"""A stream that broke so often has told its story; attempts after it are not recorded."""

# fmt: off
HEADERS = frozenset({
    "content-type", "content-encoding", "content-length", "transfer-encoding", "cache-control", "connection",
    "keep-alive", "date", "age", "retry-after", "retry-after-ms", "server", "via", "x-powered-by", "x-served-by",
    "x-cache", "cf-ray", "cf-cache-status", "x-amz-cf-id", "x-amz-cf-pop", "x-amzn-requestid", "x-amzn-trace-id",
    "x-azure-ref", "apim-request-id", "x-accel-buffering", "x-request-id", "x-envoy-upstream-service-time",
    "openai-processing-ms", "openai-version", "x-litellm-version", "proxy-status", "x-varnish", "x-kong-proxy-latency",
})
# fmt: on
"""What is kept of a response's headers: who answered and how, never cookies, accounts or limits."""
_MAX_HEADER = 200
_PLAIN = ("model", "n", "stream", "store", "background", "logprobs")
"""What is kept of a request's JSON where it is a plain value."""
_STATE = ("previous_response_id", "conversation")
_ORIGIN = re.compile(r"^[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)


class Read(NamedTuple):
    """The bytes of one read, after content decoding."""

    at: float
    """Seconds since the attempt was opened."""
    data: bytes
    waiting_since: float = 0.0
    """When the program was done with the events before it, in the same seconds; 0 where that is not told."""


@dataclass(frozen=True)
class Ending:
    """Where the reading of an attempt ended, and who ended it."""

    at: float
    by: Literal["body", "transport", "guard"]
    """`body`: it ended in good order. `guard`: the last read decided, whatever would have followed."""
    fault: FaultKind | None = None
    """What an error of the transport meant."""
    reason: str = ""
    error: str | None = None
    """The class of the transport's error, with its module."""
    how: How = "open"
    """What an error of the transport says about the end of the body."""
    waiting_since: float = 0.0
    """As of a read."""


@dataclass(frozen=True)
class Judgement:
    """What the guard made of an attempt."""

    fault: FaultKind | None
    """None where the answer was whole."""
    reason: str
    events: int
    bytes: int
    repairs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """One attempt."""

    opened: float
    """Seconds since the first attempt was opened."""
    way: RecoveryMethod | None
    """The way of recovery that opened it; None for the first attempt."""
    rule: EndRule
    """What counted as its end: the policy's rule, and what was known of the host."""
    head: ResponseHead = ResponseHead()  # noqa: RUF009 - frozen
    """Of its headers those of `HEADERS`, with what looks like a key masked."""
    polled: bool = False
    """Made of a finished answer that was asked for as a whole, and not of a stream."""
    lost_reads: int = 0
    lost_bytes: int = 0
    """What came before the first read that is kept; of a read larger than `MAX_BYTES`, what came before its end."""
    reads: tuple[Read, ...] = ()
    ending: Ending | None = None
    """None where the recording itself breaks off."""
    judgement: Judgement | None = None


@dataclass(frozen=True)
class Capture:
    """One logical stream: the attempts that were read, in order, and all that their verdicts depend on."""

    asked: StreamRequest
    policy: Policy
    clocks: Timeouts
    origin: float = 0.0
    """What the clock said when the first attempt was opened: with it the same sums give the same times to the bit."""
    attempts: tuple[Recording, ...] = ()
    whole: bool = True
    """False for what was read from a file that breaks off."""
    written: str = ""
    """When, in UTC."""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Package → version."""


class Tape:
    """The last reads of one attempt, whole ones as long as they fit. `known` are the credentials of its request."""

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = known
        self.lost_reads = 0
        self.lost_bytes = 0
        self._reads: deque[Read] = deque()
        self._size = 0

    def add(self, data: bytes, at: float, waiting_since: float = 0.0) -> None:
        """Keep a read, and as many of those before it as there is room for."""
        excess = len(data) - MAX_BYTES
        if excess > 0:
            self.lost_bytes += excess
            data = data[excess:]
        self._reads.append(Read(at, data, waiting_since))
        self._size += len(data)
        while self._size > MAX_BYTES or len(self._reads) > MAX_READS:
            lost = len(self._reads.popleft().data)
            self._size -= lost
            self.lost_bytes += lost
            self.lost_reads += 1

    @property
    def reads(self) -> tuple[Read, ...]:
        """What is kept, with what looks like a key blanked, also where two reads share it."""
        joined = b"".join(read.data for read in self._reads)
        seen, start, kept = blanked(joined, self._known), 0, []
        for read in self._reads:
            end = start + len(read.data)
            kept.append(Read(read.at, seen[start:end], read.waiting_since))
            start = end
        return tuple(kept)


def kept_headers(headers: Mapping[str, str], known: Collection[str] = ()) -> dict[str, str]:
    """The headers that a recording may hold: lower-case names, short values, no keys."""
    allowed = ((name.lower(), value) for name, value in headers.items() if name.lower() in HEADERS)
    return {name: redact(value, known)[:_MAX_HEADER] for name, value in allowed}


def kept_head(head: ResponseHead, known: Collection[str] = ()) -> ResponseHead:
    """A head with the headers that a recording may hold."""
    return replace(head, headers=kept_headers(head.headers, known))


def kept_request(asked: StreamRequest) -> StreamRequest:
    """A request without its texts: what remains is judged, and asked for again, in the same way."""
    body = asked.body
    kept = {name: body[name] for name in _PLAIN if isinstance(body.get(name), str | int | bool)}
    if asked.choices != 1:
        kept["n"] = asked.choices
    kept |= {name: "*" for name in _STATE if body.get(name)}
    if isinstance(tools := body.get("tools"), list):
        kinds = {str(tool.get("type")) for tool in tools if isinstance(tool, dict)}
        kept["tools"] = [{"type": kind} for kind in sorted(kinds)]
    if isinstance(shape := body.get("response_format"), dict):
        kept["response_format"] = {"type": str(shape.get("type"))}
    return replace(asked, path=_ORIGIN.sub("", asked.path).partition("?")[0], body=kept)


def kept_policy(policy: Policy, asked: StreamRequest) -> Policy:
    """What of a policy bears on verdicts; the rest is at its default. (An attempt's `rule` stands for `end_rule`.)"""
    return Policy(
        recovery=policy.recovery,
        continuation=None if policy.continuation is None else went_on,
        delivery=policy.delivery,
        max_held_bytes=policy.max_held_bytes,
        max_event_bytes=policy.max_event_bytes,
        max_elapsed=policy.max_elapsed,
        repair=policy.repair,
        lenient_hosts=(asked.host,) if asked.host_in(policy.lenient_hosts) else (),
    )


def went_on(body: object, text: str) -> dict[str, object]:
    """Stands for whatever wrote the request of a `continue`: what was asked does not bear on the answer's verdict."""
    return {}

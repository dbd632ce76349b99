"""What is known of one attempt, as a plain value that a cause can be told from.

This module decides what of a response's headers and of an API's error object is looked at, and reduces both to words
of its own: no value of a header and no word of an answer or a message goes further. Whoever reads a stream can make
an `Evidence`, of a whole one too; `hints` says what it means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from ..notices import FaultKind

Ending: TypeAlias = Literal[
    "open",  # it had not ended: what had come was enough to judge
    "clean",  # in good order
    "unterminated",  # the connection closed before the chunked body's last chunk
    "short",  # the connection closed before `content-length` bytes
    "reset",
    "timeout",  # no byte within the read timeout
    "proxy",  # the client's own proxy failed
    "tls",
    "protocol",  # what came is no HTTP
    "decoding",  # the content encoding is damaged
]
"""How the body of an attempt ended, on the wire."""

Media: TypeAlias = Literal["events", "html", "json", "other"]
Opening: TypeAlias = Literal["html", "json", "compressed", "other"]
Party: TypeAlias = Literal[
    "apache", "aws", "caddy", "cloudflare", "cloudfront", "envoy", "google", "gunicorn", "kong", "litellm",
    "llama.cpp", "nginx", "squid", "uvicorn", "varnish",
]  # fmt: skip
"""A product that a response's headers name."""
Complaint: TypeAlias = Literal["context", "memory", "quota", "rate", "overloaded"]
"""What an API's error object is about, as far as that can be told."""

Headers: TypeAlias = Mapping[str, str]

_NAMING = ("server", "via", "x-cache", "x-served-by", "x-powered-by")
_NAMES: dict[str, Party] = {
    "apache": "apache",
    "awselb": "aws",
    "caddy": "caddy",
    "cloudflare": "cloudflare",
    "cloudfront": "cloudfront",
    "envoy": "envoy",
    "google": "google",
    "gunicorn": "gunicorn",
    "kong": "kong",
    "llama.cpp": "llama.cpp",
    "nginx": "nginx",
    "openresty": "nginx",
    "squid": "squid",
    "uvicorn": "uvicorn",
    "varnish": "varnish",
}
_MARKS: dict[str, Party] = {
    "cf-ray": "cloudflare",
    "x-amz-cf-id": "cloudfront",
    "x-amzn-trace-id": "aws",
    "x-cloud-trace-context": "google",
    "x-envoy-": "envoy",
    "x-kong-": "kong",
    "x-litellm-": "litellm",
    "x-varnish": "varnish",
}
_COMPLAINTS: dict[Complaint, tuple[str, ...]] = {
    "memory": ("out of memory", "outofmemory", "failed to allocate"),
    "context": ("context_length", "context length", "context size", "context_size", "context window", "kv cache"),
    "quota": ("insufficient_quota",),
    "rate": ("rate_limit", "rate limit", "too many requests"),
    "overloaded": ("overloaded", "unavailable_error", "service unavailable"),
}
_ENCODINGS = ("gzip", "br", "zstd", "deflate")
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")


@dataclass(frozen=True)
class ResponseHead:
    """A response without its body, as far as anything here asks for it."""

    status: int | None = None
    request_id: str | None = None
    """From `x-request-id`, fit to be told."""
    headers: Headers = field(default_factory=dict)
    http_version: str = ""


class Clues(NamedTuple):
    """What the headers of a response say about it and about its way."""

    media: Media = "events"
    """By `content-type`; `events` where there is none."""
    encoding: str | None = None
    """The content encoding: `gzip`, `br`, `zstd` or `deflate`."""
    parties: frozenset[Party] = frozenset()
    accel: bool = False
    """`x-accel-buffering` came through, which nginx would have kept."""


def clues_from(headers: Headers) -> Clues:
    """Read a response's headers, whatever the case of their names."""
    seen = {name.lower(): value.lower() for name, value in headers.items()}
    named = " ".join(seen.get(name, "") for name in _NAMING)
    parties = {party for word, party in _NAMES.items() if word in named}
    parties |= {party for mark, party in _MARKS.items() if any(name.startswith(mark) for name in seen)}
    kind, encoding = seen.get("content-type", "event-stream"), seen.get("content-encoding", "")
    media: Media = "other"
    if "event-stream" in kind:
        media = "events"
    elif "html" in kind:
        media = "html"
    elif "json" in kind:
        media = "json"
    return Clues(
        media=media,
        encoding=next((name for name in _ENCODINGS if name in encoding), None),
        parties=frozenset(parties),
        accel="x-accel-buffering" in seen,
    )


def opening_from(first: bytes) -> Opening:
    """What a body is, by its first bytes; four are enough."""
    if first.startswith(_COMPRESSED):
        return "compressed"
    match first.lstrip()[:1]:
        case b"<":
            return "html"
        case b"{" | b"[":
            return "json"
    return "other"


def complaint_from(body: object) -> Complaint | None:
    """What an error object is about, by its code, type and message."""
    said = body
    if isinstance(body, Mapping):
        said = " ".join(str(body.get(name)) for name in ("code", "type", "message"))
    words = str(said).lower()
    return next((about for about, marks in _COMPLAINTS.items() if any(mark in words for mark in marks)), None)


class Cut(NamedTuple):
    """When a connection was cut."""

    seconds: float
    """After the body was first read."""
    silence: float
    """After the last byte."""


COLLECTING = 0.5
"""Seconds without an event from which on many at once were collected: a fast model says tens of tokens in that time."""


def alike(one: float, other: float) -> bool:
    """Whether two times, in seconds, may come from one and the same timeout."""
    return abs(one - other) <= max(0.25, 0.02 * max(one, other))


@dataclass(frozen=True)
class Evidence:
    """One attempt, seen from where it ended. All times are in seconds."""

    fault: FaultKind | None = None
    """None for an attempt that came out whole."""
    ending: Ending = "open"
    clues: Clues = Clues()  # noqa: RUF009 - immutable
    opening: Opening = "other"

    bytes: int = 0
    events: int = 0
    reads: int = 0
    """Reads of the transport that brought bytes."""
    inside_event: bool = False
    """The body ended inside an event."""
    unterminated: bool = False
    """The last event was whole, but the body ended before its blank line."""
    done: bool = False
    """`[DONE]` came."""
    not_utf8: bool = False
    """What is damaged is a character, not JSON."""
    complaint: Complaint | None = None

    seconds: float = 0.0
    """From the first read to the end."""
    first_event_seconds: float = 0.0
    """From the first read to the first event that was handed over; 0 where there was none."""
    worst_gap: float = 0.0
    """The longest wait between two events."""
    silence: float = 0.0
    """From the last byte to the end."""
    waited: float = 0.0
    """From the last event to the end."""
    consumer_busy_seconds: float = 0.0
    """The longest time that the program took between two reads; 0 where that cannot be told, as over HTTP/2."""
    read_timeout: float = math.inf
    """The request's own."""
    cuts: tuple[Cut, ...] = ()
    """The latest cuts by this host, this one included."""

    @property
    def bursts(self) -> bool:
        """Many events came in few reads after a wait that the program did not cause: something collected them."""
        waited = max(self.first_event_seconds, self.worst_gap)
        return self.collected and waited >= COLLECTING and self.consumer_busy_seconds < waited / 2

    @property
    def collected(self) -> bool:
        """Many events came in few reads."""
        return self.events >= 10 and self.events >= 5 * self.reads

    @property
    def same_silence(self) -> bool:
        """Several attempts were cut after the same silence."""
        return self.silence >= 0.5 and sum(alike(self.silence, cut.silence) for cut in self.cuts) > 1

    @property
    def same_length(self) -> bool:
        """Several attempts were cut at the same age."""
        return self.seconds >= 1.0 and sum(alike(self.seconds, cut.seconds) for cut in self.cuts) > 1

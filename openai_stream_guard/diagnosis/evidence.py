"""What is known about one attempt, as a plain value from which `causes` finds the likely cause.

Headers and error objects are reduced to words of this package here: no header value and no word of an answer or a
message goes further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Literal, TypeAlias

from ..notices import FaultKind
from ..records import Record

Ending: TypeAlias = Literal[
    "open",  # it had not ended: what had come was enough to decide
    "clean",  # in good order
    "unterminated",  # the connection closed before the chunked body's last chunk
    "short",  # the connection closed before `content-length` bytes
    "reset",
    "timeout",  # no byte within the read timeout
    "proxy",  # the client's own proxy failed
    "tls",
    "protocol",  # what came is not valid HTTP
    "decoding",  # the content encoding is damaged
]
"""How the body of an attempt ended on the wire."""

Media: TypeAlias = Literal["events", "html", "json", "other"]
Opening: TypeAlias = Literal["html", "json", "compressed", "other"]
Party: TypeAlias = Literal[
    "apache", "aws", "caddy", "cloudflare", "cloudfront", "envoy", "google", "gunicorn", "kong", "litellm",
    "lighttpd", "llama.cpp", "nginx", "portkey", "squid", "uvicorn", "varnish",
]  # fmt: skip
"""A product that a response's headers name."""
Complaint: TypeAlias = Literal["context", "memory", "quota", "rate", "overloaded"]
"""What an API's error is about, where its words say so. `engine.retry_rules` has the words."""
Marks: TypeAlias = Literal["finish_reason", "terminal_event", "unknown"]
"""How an API marks the end of an answer: by a `finish_reason` and `[DONE]`, by an event of its own, or in a way that is
not known."""

Headers: TypeAlias = Mapping[str, str]

_NAMING_HEADERS = ("server", "via", "x-cache", "x-served-by", "x-powered-by")
_NAMES_IN_HEADERS: dict[str, Party] = {
    "apache": "apache",
    "awselb": "aws",
    "caddy": "caddy",
    "cloudflare": "cloudflare",
    "cloudfront": "cloudfront",
    "envoy": "envoy",
    "google": "google",
    "gunicorn": "gunicorn",
    "kong": "kong",
    "lighttpd": "lighttpd",
    "llama.cpp": "llama.cpp",
    "nginx": "nginx",
    "openresty": "nginx",
    "squid": "squid",
    "uvicorn": "uvicorn",
    "varnish": "varnish",
}
_HEADER_PREFIXES: dict[str, Party] = {
    "cf-ray": "cloudflare",
    "x-amz-cf-id": "cloudfront",
    "x-amzn-trace-id": "aws",
    "x-cloud-trace-context": "google",
    "x-envoy-": "envoy",
    "x-kong-": "kong",
    "x-litellm-": "litellm",
    "x-portkey-": "portkey",
    "x-varnish": "varnish",
}
_ENCODINGS = ("gzip", "br", "zstd", "deflate")
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")


class ResponseHead(Record):
    """What is kept of a response besides its body."""

    status: int | None = None
    request_id: str | None = None
    """From `x-request-id`, with secrets redacted."""
    headers: Headers = field(default_factory=dict)
    http_version: str = ""


class Clues(Record):
    """What the headers of a response say about it, and about what it passed through."""

    media: Media = "events"
    """From `content-type`; `events` where there is none."""
    encoding: str | None = None
    """The content encoding: `gzip`, `br`, `zstd` or `deflate`."""
    parties: frozenset[Party] = frozenset()
    accel: bool = False
    """`x-accel-buffering` arrived, which nginx would have removed."""


def clues_from(headers: Headers) -> Clues:
    """Return what a response's headers say. The case of their names does not matter."""
    seen = {name.lower(): value.lower() for name, value in headers.items()}
    named = " ".join(seen.get(name, "") for name in _NAMING_HEADERS)
    parties = {party for word, party in _NAMES_IN_HEADERS.items() if word in named}
    parties |= {party for mark, party in _HEADER_PREFIXES.items() if any(name.startswith(mark) for name in seen)}
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
    """Return what a body is, from its first bytes. Four are enough."""
    if first.startswith(_COMPRESSED):
        return "compressed"
    match first.lstrip()[:1]:
        case b"<":
            return "html"
        case b"{" | b"[":
            return "json"
    return "other"


SAME_MOMENT = 1.0
"""Seconds after a cut within which another stream that was open then was cut together with it."""


class Cut(Record):
    """A connection that was cut, and how many were cut together with it."""

    seconds: float
    """From the first read of the body to the cut."""
    silence: float
    """From the last byte to the cut."""
    at: float = 0.0
    """When it was cut, or the first of those that were cut together with it, on the session's clock."""
    together: int = 1
    """How many connections to this host were cut at that moment, this one included."""

    def includes(self, at: float, seconds: float) -> bool:
        """Return whether a stream that was cut at that time, that many seconds after it began, was cut together."""
        return 0 <= at - self.at <= min(SAME_MOMENT, seconds)


COLLECTING = 0.5
"""Seconds. Where many events come at once after a wait this long, something collected them: in less, a fast model can
produce tens of tokens by itself."""


def alike(first: float, second: float) -> bool:
    """Return whether two times, in seconds, may come from the same timeout."""
    return abs(first - second) <= max(0.25, 0.02 * max(first, second))


class Evidence(Record):
    """One attempt, seen from its end. All times are in seconds."""

    fault: FaultKind | None = None
    """None for an attempt that arrived whole."""
    ending: Ending = "open"
    clues: Clues = Clues()
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
    """A character is damaged, not the JSON."""
    complaint: Complaint | None = None
    marks: Marks = "finish_reason"

    seconds: float = 0.0
    """From the first read to the end."""
    first_event_seconds: float = 0.0
    """From the first read to the first event; 0 where there was none."""
    worst_gap: float = 0.0
    """The longest wait between two events."""
    silence: float = 0.0
    """From the last byte to the end."""
    waited: float = 0.0
    """From the last event to the end."""
    consumer_busy_seconds: float = 0.0
    """The longest time that the program took between two reads; 0 where that is not known, as over HTTP/2."""
    read_timeout: float = math.inf
    """That of the request."""
    at: float = 0.0
    """When the attempt ended, on the session's clock."""
    cuts: tuple[Cut, ...] = ()
    """The latest cuts by this host, this one included; of those at the same moment one."""

    @property
    def bursts(self) -> bool:
        """Whether something collected events: many came in few reads, after a wait that the program did not cause."""
        waited = max(self.first_event_seconds, self.worst_gap)
        return self.collected and waited >= COLLECTING and self.consumer_busy_seconds < waited / 2

    @property
    def collected(self) -> bool:
        """Whether many events came in few reads."""
        return self.events >= 10 and self.events >= 5 * self.reads

    @property
    def envoy_idle_timeout(self) -> float:
        """The idle timeout of Envoy, which closes the connection one second after it gave up on a stream."""
        return max(0.0, self.silence - 1.0)

    @property
    def cut_together(self) -> int:
        """How many connections to this host were cut at the moment at which this one was."""
        return max([1, *(cut.together for cut in self.cuts if self._at_my_moment(cut))])

    @property
    def same_silence(self) -> bool:
        """Whether attempts were cut after the same silence at another moment too."""
        return self.silence >= 0.5 and any(alike(self.silence, cut.silence) for cut in self._other_cuts())

    @property
    def same_length(self) -> bool:
        """Whether attempts were cut at the same age at another moment too."""
        return self.seconds >= 1.0 and any(alike(self.seconds, cut.seconds) for cut in self._other_cuts())

    def _other_cuts(self) -> list[Cut]:
        return [cut for cut in self.cuts if not self._at_my_moment(cut)]

    def _at_my_moment(self, cut: Cut) -> bool:
        return cut.includes(self.at, self.seconds)

"""Causes of waiting: something holds events back, or nothing comes."""

from __future__ import annotations

from ..notices import FaultKind
from .cause import Cause, always, names
from .evidence import Evidence

_WHOLE_OR_STALLED: tuple[FaultKind | None, ...] = (None, "stalled")


def _timed_out(e: Evidence) -> bool:
    """Return whether not one byte came within the request's own read timeout."""
    return e.ending == "timeout" and e.silence >= 0.9 * e.read_timeout


WAITING: tuple[Cause, ...] = (
    # Something collects the events, which a stream that arrived whole can show too.
    Cause(
        "buffered_not_by_nginx", _WHOLE_OR_STALLED, lambda e: e.bursts and e.clues.accel,
        "Events come in bursts, so something collects them, though not nginx, which would have kept the "
        "`x-accel-buffering` header",
        "look for another proxy, cache or virus scanner that buffers (Apache `flushpackets=on`), or the server itself",
    ),
    Cause(
        "buffered_nginx", _WHOLE_OR_STALLED, lambda e: e.bursts and names(e, "nginx"),
        "Events come in bursts, likely because nginx buffers them",
        "set `proxy_buffering off; proxy_http_version 1.1;`, or let the server send `x-accel-buffering: no`",
    ),
    Cause(
        "buffered_lighttpd", _WHOLE_OR_STALLED, lambda e: e.bursts and names(e, "lighttpd"),
        "Events come in bursts, likely because lighttpd collects them",
        "set `server.stream-response-body = 1`",
    ),
    Cause(
        "buffered_compressed", _WHOLE_OR_STALLED, lambda e: e.bursts and e.clues.encoding is not None,
        "Events come in bursts and compressed, likely because the compression collects them",
        "switch it off for text/event-stream (nginx `gzip off`), or send `accept-encoding: identity`",
    ),
    Cause(
        "buffered", _WHOLE_OR_STALLED, lambda e: e.bursts,
        "Events come in bursts, likely because a proxy buffers them",
        "switch its buffering off (nginx `proxy_buffering off`, Apache `flushpackets=on`)",
    ),
    Cause(
        "compressed", (None,), lambda e: e.clues.encoding is not None,
        "The stream is compressed, which makes some proxies and servers hold events back",
        "switch compression off for text/event-stream, or send `accept-encoding: identity`",
    ),
    # Nothing comes.
    Cause(
        "keepalives_only", ("stalled",), lambda e: e.silence < e.waited / 2,
        "For {e.waited:.0f} s bytes came but no event, likely because a server hangs behind its keep-alives, or the "
        "model thinks that long",
        "check the server's load; if it is the model, raise `idle_timeout`",
    ),
    Cause(
        "client_timeout", ("stalled",), _timed_out,
        "Not one byte came within this request's own read timeout of {e.read_timeout:.1f} s",
        "raise `timeout=` of the client or the request (`httpx.Timeout(60, read=600)`), or let the server send "
        "keep-alive comments",
    ),
    Cause(
        "stalled_at_once_nginx", ("stalled",), lambda e: e.bytes == 0 and names(e, "nginx"),
        "The headers came and then nothing, likely because nginx holds events back, or the model is still loading or "
        "reads a long prompt",
        "set `proxy_buffering off; proxy_http_version 1.1;`; if the server only needs that long, raise "
        "`first_event_timeout`",
    ),
    Cause(
        "stalled_at_once", ("stalled",), lambda e: e.events == 0,
        "The headers came and then nothing, likely because the model is still loading or reads a long prompt, or a "
        "proxy buffers",
        "check the server; if it only needs that long, raise `first_event_timeout`",
    ),
    Cause(
        "stalled", ("stalled",), always,
        "The connection was open but nothing came, likely because the server hangs or the network dropped it silently",
        "check the server; if the model only thinks that long, raise `idle_timeout`",
    ),
)  # fmt: skip

"""Causes of an answer that ended too early, by when and how it did."""

from __future__ import annotations

from ..notices import FaultKind
from .cause import Row, always, names
from .evidence import Ending, Evidence

LONG_SILENCE = 15.0
"""Seconds without a byte from which on a cut is more likely an idle timeout than an accident."""
SLOW_READER = 15.0
"""Seconds without a read from which on a server or proxy may have given up on the reader."""

LINGERING = 1.5
"""Seconds without a byte that say nothing behind Envoy, which keeps a connection open for one more second after it has
given up on a stream (`delayed_close_timeout`), whatever the reason."""

_CUT: tuple[FaultKind, ...] = ("disconnected", "truncated")
_BY_OTHERS: tuple[Ending, ...] = ("clean", "unterminated", "short", "reset")


def _idle(e: Evidence) -> bool:
    """Cut after a silence that looks like a timeout."""
    lingers = names(e, "envoy") and e.silence < LINGERING
    return e.ending in _BY_OTHERS and (e.silence >= LONG_SILENCE or (e.same_silence and not lingers))


def _idle_of(e: Evidence, seconds: float) -> bool:
    return _idle(e) and abs(e.silence - seconds) <= max(1.0, 0.02 * seconds)


def _old(e: Evidence) -> bool:
    """Cut at an age, while bytes were flowing."""
    return e.ending in _BY_OTHERS and e.silence < e.seconds / 2


def _old_of(e: Evidence, seconds: float) -> bool:
    return _old(e) and abs(e.seconds - seconds) <= 1.0


CUTS: tuple[Row, ...] = (
    # Cut after a silence.
    Row(
        "read_slowly", _CUT, lambda e: e.consumer_busy_seconds >= SLOW_READER,
        "The program itself did not read for {e.consumer_busy_seconds:.0f} s, "
        "and servers and proxies give up on such a client",
        "take the items off the stream at once, and do the slow work elsewhere",
    ),
    Row(
        "idle_cut_cloudflare", _CUT, lambda e: names(e, "cloudflare") and 95.0 <= e.silence <= 125.0 and _idle(e),
        "The stream was cut after {e.silence:.0f} s without a byte, likely by Cloudflare, which waits 100 to 120 s",
        "let the server send a comment (`: keep-alive`) at least every 30 s",
    ),
    Row(
        "idle_cut_nginx", _CUT, lambda e: names(e, "nginx") and _idle(e),
        "The stream was cut after {e.silence:.0f} s without a byte, likely by nginx, which waits 60 s unless told",
        "raise `proxy_read_timeout`, or let the server send keep-alive comments",
    ),
    Row(
        "idle_cut_envoy", _CUT, lambda e: names(e, "envoy") and _idle(e),
        "The stream was cut after {e.silence:.0f} s without a byte, likely by Envoy",
        "raise `stream_idle_timeout` (5 minutes unless set) or the route's `idle_timeout`, or let the server send "
        "keep-alive comments",
    ),
    Row(
        "idle_cut_apache", _CUT, lambda e: names(e, "apache") and _idle(e),
        "The stream was cut after {e.silence:.0f} s without a byte, likely by Apache",
        "raise `ProxyTimeout`, or let the server send keep-alive comments",
    ),
    Row(
        "idle_cut_60", _CUT, lambda e: _idle_of(e, 60.0),
        "The stream was cut after 60 s without a byte, the idle timeout that AWS Application Load Balancers, nginx "
        "and Apache have unless told",
        "raise `idle_timeout.timeout_seconds` of the load balancer, nginx `proxy_read_timeout` or Apache "
        "`ProxyTimeout`, or let the server send keep-alive comments",
    ),
    Row(
        "idle_cut_240", _CUT, lambda e: _idle_of(e, 230.0) or _idle_of(e, 240.0),
        "The stream was cut after {e.silence:.0f} s without a byte, about what Azure's load balancers wait (4 minutes)",
        "raise their idle timeout, or let the server send keep-alive comments",
    ),
    Row(
        "idle_cut_300", _CUT, lambda e: _idle_of(e, 300.0),
        "The stream was cut after 300 s without a byte, the `stream_idle_timeout` that Envoy and the gateways built on "
        "it have unless told",
        "raise it, or let the server send keep-alive comments",
    ),
    Row(
        "idle_cut_350", _CUT, lambda e: _idle_of(e, 350.0),
        "The stream was cut after 350 s without a byte, as AWS Network Load Balancers and NAT gateways do",
        "let the server send keep-alive comments, or switch TCP keep-alive on below 350 s; a TCP listener's "
        "`tcp.idle_timeout.seconds` can be raised",
    ),
    Row(
        "idle_cut", _CUT, _idle,
        "The stream was cut after {e.silence:.1f} s without a byte, likely by an idle timeout on the way",
        "let the server send keep-alive comments, or raise that timeout (nginx `proxy_read_timeout`, HAProxy `timeout "
        "server`, Envoy `stream_idle_timeout`, Apache `ProxyTimeout`, the load balancer's idle timeout)",
    ),
    # Cut at an age.
    Row(
        "old_cut_envoy", _CUT,
        lambda e: names(e, "envoy") and (_old_of(e, 15.0) or _old_of(e, 16.0) or (_old(e) and e.same_length)),
        "The stream was cut {e.seconds:.0f} s after it began, while bytes were flowing, likely by Envoy's route "
        "timeout, which is 15 s unless set",
        "set the route's `timeout: 0s`, and an `idle_timeout` in its place",
    ),
    Row(
        "old_cut_30", _CUT, lambda e: _old_of(e, 30.0),
        "The stream was cut about 30 s after it began, while bytes were flowing, as gunicorn does with a sync worker "
        "and Google Cloud's load balancers with a response unless told",
        "raise gunicorn's `--timeout` or use an async worker class, or raise the backend service's `timeoutSec`",
    ),
    Row(
        "old_cut", _CUT, lambda e: _old(e) and e.same_length,
        "Streams of this host were cut {e.seconds:.0f} s after they began, several times, likely by a limit on the "
        "whole response",
        "look for a request or worker timeout of that length (Envoy route `timeout`, gunicorn `--timeout`, a gateway's "
        "or platform's maximum duration)",
    ),
    # Ended in good order, too early.
    Row(
        "empty_stream", ("truncated",), lambda e: e.bytes == 0,
        "The stream is empty, as when a server refuses the request without saying so (llama-cpp-python does where the "
        "prompt is longer than `n_ctx`)",
        "look into the server's log, and at the length of the prompt",
    ),
    Row(
        "done_too_early", ("truncated",), lambda e: e.done,
        "`[DONE]` came before the answer was complete, likely put there by a gateway whose own upstream broke off",
        "look into the gateway's log, or ask the server without it; if this server never sends a finish_reason, set "
        '`end_rule="lenient"`',
    ),
    Row(
        "clean_end_nginx", ("truncated",), lambda e: names(e, "nginx"),
        "The body ended in good order but too early, likely since nginx hides that its upstream died",
        "set `proxy_http_version 1.1; proxy_buffering off;`, and look into nginx's error log",
    ),
    Row(
        "cut_inside_event", ("truncated",), lambda e: e.inside_event,
        "The body ended in good order but inside an event, likely since a proxy hides that its upstream died",
        "look at the server for a crash, and at proxies that speak HTTP/1.0 to it (nginx `proxy_http_version 1.1`)",
    ),
    Row(
        "truncated", ("truncated",), always,
        "The body ended in good order but without its end mark, likely since the server stopped early or a proxy hides "
        "that its upstream died",
        "look into their logs; if this server never sends a finish_reason nor [DONE], name it in `lenient_hosts`",
    ),
    # The connection broke.
    Row(
        "client_proxy", ("disconnected",), lambda e: e.ending == "proxy",
        "The proxy that this client is told to use failed",
        "look at HTTPS_PROXY, ALL_PROXY and NO_PROXY, or at the proxy given to the client",
    ),
    Row(
        "tls", ("disconnected",), lambda e: e.ending == "tls",
        "The encrypted connection broke, likely by a middlebox that inspects TLS, or a peer that just went away",
        "ask from outside that network, or have the host excepted from inspection",
    ),
    Row(
        "bad_framing", ("disconnected",), lambda e: e.ending == "protocol",
        "What came is no valid HTTP, likely by a proxy or server that writes its own chunks",
        "ask the server without the proxies and compare",
    ),
    Row(
        "short_body", ("disconnected",), lambda e: e.ending == "short",
        "Fewer bytes came than `content-length` promised, likely by a proxy or cache that buffered part of a stream",
        "switch buffering and caching off for text/event-stream",
    ),
    Row(
        "reset", ("disconnected",), lambda e: e.ending == "reset",
        "The connection was reset or lost, likely by a server that was killed, or a firewall, NAT or VPN on the way",
        "look for a restart or an out-of-memory kill of the server at that time, then at the network",
    ),
    Row(
        "unterminated", ("disconnected",), lambda e: e.ending == "unterminated",
        "The connection was closed in the middle of the answer, likely by a server or proxy that crashed, was "
        "restarted or ran into a timeout",
        "look into their logs for that time",
    ),
    Row(
        "disconnected", ("disconnected",), always,
        "The connection broke in the middle of the answer",
        "look for a proxy with a short timeout, or a server that was restarted",
    ),
)  # fmt: skip

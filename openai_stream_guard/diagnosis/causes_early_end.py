"""Causes of an answer that ended too early, told by when and how it ended."""

from __future__ import annotations

from ..notices import FaultKind
from .cause import Cause, always, names
from .evidence import Ending, Evidence

LONG_SILENCE = 15.0
"""Seconds without a byte after which a cut is more likely an idle timeout than an accident."""
SLOW_READER = 15.0
"""Seconds without a read after which a server or proxy may have given up on the client."""

ENVOY_CLOSE_DELAY = 1.5
"""Seconds. Envoy keeps a connection open for one more second after it gave up on a stream (`delayed_close_timeout`),
whatever the reason: behind it a silence shorter than this is no sign of a timeout."""

TOGETHER = 3
"""How many streams of a host break in the same second before that is more likely one event than several."""

_CUT_SHORT: tuple[FaultKind, ...] = ("disconnected", "truncated")
_NOT_BY_US: tuple[Ending, ...] = ("clean", "unterminated", "short", "reset")


def _cut_when_idle(e: Evidence) -> bool:
    """Return whether it was cut after a silence that looks like an idle timeout."""
    close_delay = names(e, "envoy") and e.silence < ENVOY_CLOSE_DELAY
    return e.ending in _NOT_BY_US and (e.silence >= LONG_SILENCE or (e.same_silence and not close_delay))


def _cut_after_idle(e: Evidence, seconds: float) -> bool:
    return _cut_when_idle(e) and abs(e.silence - seconds) <= max(1.0, 0.02 * seconds)


def _cut_while_flowing(e: Evidence) -> bool:
    """Return whether it was cut while bytes were flowing, so that its age may be the reason."""
    return e.ending in _NOT_BY_US and e.silence < e.seconds / 2


def _cut_at_age(e: Evidence, seconds: float) -> bool:
    return _cut_while_flowing(e) and abs(e.seconds - seconds) <= 1.0


EARLY_END: tuple[Cause, ...] = (
    # Cut after a silence.
    Cause(
        "read_slowly", _CUT_SHORT, lambda e: e.consumer_busy_seconds >= SLOW_READER,
        "The program itself did not read for {e.consumer_busy_seconds:.0f} s, and servers and proxies give up on such "
        "a client",
        "take the items from the stream at once, and do the slow work elsewhere",
    ),
    Cause(
        "idle_cut_cloudflare", _CUT_SHORT,
        lambda e: names(e, "cloudflare") and 95.0 <= e.silence <= 125.0 and _cut_when_idle(e),
        "The stream was cut after {e.silence:.0f} s without a byte, likely by Cloudflare, which waits 100 to 120 s",
        "let the server send a comment (`: keep-alive`) at least every 30 s",
    ),
    Cause(
        "idle_cut_nginx", _CUT_SHORT, lambda e: names(e, "nginx") and _cut_when_idle(e),
        "The stream was cut after {e.silence:.0f} s without a byte, likely by nginx, which waits 60 s by default",
        "raise `proxy_read_timeout`, or let the server send keep-alive comments",
    ),
    Cause(
        "idle_cut_envoy", _CUT_SHORT, lambda e: names(e, "envoy") and _cut_when_idle(e),
        "The stream was cut after {e.silence:.0f} s without a byte, likely by Envoy, which closes a connection 1 s "
        "after its idle timeout, here about {e.envoy_idle_timeout:.0f} s",
        "raise `stream_idle_timeout` (5 minutes unless set) or the route's `idle_timeout`, or let the server send "
        "keep-alive comments",
    ),
    Cause(
        "idle_cut_apache", _CUT_SHORT, lambda e: names(e, "apache") and _cut_when_idle(e),
        "The stream was cut after {e.silence:.0f} s without a byte, likely by Apache",
        "raise `ProxyTimeout`, or let the server send keep-alive comments",
    ),
    Cause(
        "idle_cut_60", _CUT_SHORT, lambda e: _cut_after_idle(e, 60.0),
        "The stream was cut after 60 s without a byte, the default idle timeout of AWS Application Load Balancers, "
        "nginx and Apache",
        "raise `idle_timeout.timeout_seconds` of the load balancer, nginx `proxy_read_timeout` or Apache "
        "`ProxyTimeout`, or let the server send keep-alive comments",
    ),
    Cause(
        "idle_cut_240", _CUT_SHORT, lambda e: _cut_after_idle(e, 230.0) or _cut_after_idle(e, 240.0),
        "The stream was cut after {e.silence:.0f} s without a byte, about what Azure's load balancers wait (4 minutes)",
        "raise their idle timeout, or let the server send keep-alive comments",
    ),
    Cause(
        "idle_cut_300", _CUT_SHORT, lambda e: _cut_after_idle(e, 300.0),
        "The stream was cut after 300 s without a byte, the default `stream_idle_timeout` of Envoy and the gateways "
        "built on it",
        "raise it, or let the server send keep-alive comments",
    ),
    Cause(
        "idle_cut_350", _CUT_SHORT, lambda e: _cut_after_idle(e, 350.0),
        "The stream was cut after 350 s without a byte, as AWS Network Load Balancers and NAT gateways do",
        "let the server send keep-alive comments, or switch TCP keep-alive on below 350 s; a TCP listener's "
        "`tcp.idle_timeout.seconds` can be raised",
    ),
    Cause(
        "idle_cut", _CUT_SHORT, _cut_when_idle,
        "The stream was cut after {e.silence:.1f} s without a byte, likely by an idle timeout of something in between",
        "let the server send keep-alive comments, or raise that timeout (nginx `proxy_read_timeout`, HAProxy `timeout "
        "server`, Envoy `stream_idle_timeout`, Apache `ProxyTimeout`, the load balancer's idle timeout)",
    ),
    # Cut together with others.
    Cause(
        "cut_together", _CUT_SHORT, lambda e: e.ending in _NOT_BY_US and e.cut_together >= TOGETHER,
        "At the same moment {e.cut_together} streams of this host broke, so something between was likely restarted",
        "check for a restart or a deployment of the server, a gateway or a proxy at that time, and let it finish the "
        "streams that are open before it stops",
    ),
    # Cut at a certain age.
    Cause(
        "old_cut_envoy", _CUT_SHORT,
        lambda e: names(e, "envoy")
        and (_cut_at_age(e, 15.0) or _cut_at_age(e, 16.0) or (_cut_while_flowing(e) and e.same_length)),
        "The stream was cut {e.seconds:.0f} s after it began, while bytes were flowing, likely by Envoy's route "
        "timeout, which is 15 s unless set",
        "set the route's `timeout: 0s`, and an `idle_timeout` in its place",
    ),
    Cause(
        "old_cut_30", _CUT_SHORT, lambda e: _cut_at_age(e, 30.0),
        "The stream was cut about 30 s after it began, while bytes were flowing, as gunicorn does with a sync worker "
        "and Google Cloud's load balancers with a response by default",
        "raise gunicorn's `--timeout` or use an async worker class, or raise the backend service's `timeoutSec`",
    ),
    Cause(
        "old_cut", _CUT_SHORT, lambda e: _cut_while_flowing(e) and e.same_length,
        "Streams of this host were cut {e.seconds:.0f} s after they began, several times, likely by a limit on the "
        "whole response",
        "look for a request or worker timeout of that length (Envoy route `timeout`, gunicorn `--timeout`, a "
        "gateway's or platform's maximum duration)",
    ),
    # Ended in good order, but too early.
    Cause(
        "json_cut_short", ("truncated",), lambda e: not e.events and (e.clues.media == "json" or e.opening == "json"),
        "The answer is one JSON document that ends too early, likely because the server or a gateway before it "
        "ignores `stream`",
        "check `base_url` and the gateway's streaming setting, or ask this server without `stream=True`",
    ),
    Cause(
        "empty_stream_nginx", ("truncated", "disconnected"), lambda e: e.bytes == 0 and names(e, "nginx"),
        "Not one byte came through nginx, which holds the first ones back while it buffers and loses them when its "
        "upstream dies",
        "set `proxy_buffering off; proxy_http_version 1.1;`, and check nginx's error log",
    ),
    Cause(
        "empty_stream", ("truncated",), lambda e: e.bytes == 0,
        "The stream is empty, as when a server refuses the request without saying so (llama-cpp-python does where the "
        "prompt is longer than `n_ctx`)",
        "check the server's log, and the length of the prompt",
    ),
    Cause(
        "done_before_last_event", ("truncated",), lambda e: e.done and e.marks == "terminal_event",
        "`[DONE]` came before the event that ends the answer, likely added by a gateway whose own upstream broke off",
        "check the gateway's log, or ask the server without it; if this server never sends such an event, set "
        '`end_rule="lenient"`',
    ),
    Cause(
        "done_too_early", ("truncated",), lambda e: e.done,
        "`[DONE]` came before the answer was complete, likely added by a gateway whose own upstream broke off",
        "check the gateway's log, or ask the server without it; if this server never sends a finish_reason, set "
        '`end_rule="lenient"`',
    ),
    Cause(
        "clean_end_nginx", ("truncated",), lambda e: names(e, "nginx"),
        "The body ended in good order but too early, likely because nginx hides that its upstream died",
        "set `proxy_http_version 1.1; proxy_buffering off;`, and check nginx's error log",
    ),
    Cause(
        "clean_end_lighttpd", ("truncated",), lambda e: names(e, "lighttpd"),
        "The body ended in good order but too early, likely because lighttpd hides that its upstream died",
        "set `server.stream-response-body = 1`, and check lighttpd's error log",
    ),
    Cause(
        "clean_end_portkey", ("truncated",), lambda e: names(e, "portkey"),
        "The body ended in good order but too early, likely because Portkey's gateway hides that the provider behind "
        "it broke off",
        "check Portkey's log for that request, or ask the provider without it and compare",
    ),
    Cause(
        "cut_inside_event", ("truncated",), lambda e: e.inside_event,
        "The body ended in good order but inside an event, likely because a proxy hides that its upstream died",
        "check the server for a crash, and for proxies that speak HTTP/1.0 to it (nginx `proxy_http_version 1.1`)",
    ),
    Cause(
        "no_terminal_event", ("truncated",), lambda e: e.marks == "terminal_event",
        "The body ended in good order but without the event that ends the answer, likely because the server stopped "
        "early or a proxy hides that its upstream died",
        "check their logs; if this server never sends such an event, name it in `lenient_hosts`",
    ),
    Cause(
        "ended_early", ("truncated",), lambda e: e.marks == "unknown",
        "The body ended in good order but too early, likely because the server stopped or a proxy hides that its "
        "upstream died",
        "check their logs around that time",
    ),
    Cause(
        "truncated", ("truncated",), always,
        "The body ended in good order but without its end mark, likely because the server stopped early or a proxy "
        "hides that its upstream died",
        "check their logs; if this server never sends a finish_reason nor [DONE], name it in `lenient_hosts`",
    ),
    # The connection broke.
    Cause(
        "client_proxy", ("disconnected",), lambda e: e.ending == "proxy",
        "The proxy that this client is configured to use failed",
        "check HTTPS_PROXY, ALL_PROXY and NO_PROXY, or the proxy given to the client",
    ),
    Cause(
        "tls", ("disconnected",), lambda e: e.ending == "tls",
        "The encrypted connection broke, likely by a middlebox that inspects TLS, or by a peer that went away",
        "ask from outside that network, or have the host excepted from inspection",
    ),
    Cause(
        "bad_framing", ("disconnected",), lambda e: e.ending == "protocol",
        "What came is not valid HTTP, likely from a proxy or server that writes its own chunks",
        "ask the server without the proxies and compare",
    ),
    Cause(
        "short_body", ("disconnected",), lambda e: e.ending == "short",
        "Fewer bytes came than `content-length` promised, likely by a proxy or cache that buffered part of a stream",
        "switch buffering and caching off for text/event-stream",
    ),
    Cause(
        "reset", ("disconnected",), lambda e: e.ending == "reset",
        "The connection was reset or lost, likely by a server that was killed, or a firewall, NAT or VPN on the way",
        "check for a restart or an out-of-memory kill of the server at that time, then the network",
    ),
    Cause(
        "unterminated", ("disconnected",), lambda e: e.ending == "unterminated",
        "The connection was closed in the middle of the answer, likely by a server or proxy that crashed, was "
        "restarted or ran into a timeout",
        "check their logs around that time",
    ),
    Cause(
        "disconnected", ("disconnected",), always,
        "The connection broke in the middle of the answer",
        "look for a proxy with a short timeout, or a server that was restarted",
    ),
)  # fmt: skip

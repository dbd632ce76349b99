"""What to write into the configuration of a proxy: for each product, a line for each thing that it can do to a stream.

Directives and defaults are those of the products' own documentation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal, TypeAlias

from ...diagnosis.evidence import Party

Product: TypeAlias = Literal["nginx", "Apache", "HAProxy", "Envoy", "Cloudflare", "AWS", "Caddy"]
Topic: TypeAlias = Literal["buffering", "compression", "idle", "age", "hidden_end", "framing"]
"""What a proxy does: it buffers, compresses, times out on silence, limits the age of a stream, hides that its upstream
broke, or does not say where a body ends."""

LINES: Final[Mapping[Topic, Mapping[Product, str]]] = {
    "buffering": {
        "nginx": "proxy_buffering off; proxy_http_version 1.1; gzip off;",
        "Apache": "ProxyPass /v1 http://SERVER/v1 flushpackets=on",
        "HAProxy": "option http-no-delay, and no `compression` of text/event-stream",
        "Envoy": "no filter that needs the whole body (ext_proc `response_body_mode: BUFFERED`), no compressor",
        "Cloudflare": "response buffering off (Enterprise), and `cache-control: no-transform` from the server",
        "AWS": "API Gateway `responseTransferMode: STREAM`, Lambda `InvokeMode: RESPONSE_STREAM`",
        "Caddy": "reverse_proxy SERVER { flush_interval -1 }, and no `encode` on this route",
    },
    "compression": {
        "nginx": "gzip off;",
        "Apache": "SetEnvIf Request_URI ^/v1/ no-gzip no-brotli",
        "HAProxy": "no `compression type` that covers text/event-stream",
        "Envoy": "a compressor whose `content_type` does not list text/event-stream",
        "Cloudflare": "let the server send `cache-control: no-transform`",
        "AWS": "CloudFront `Compress: false` for this path",
        "Caddy": "no `encode` on this route: its default covers text/*",
    },
    "idle": {
        "nginx": "proxy_read_timeout 600s;",
        "Apache": "ProxyTimeout 600",
        "HAProxy": "timeout server 600s",
        "Envoy": "the route's `idle_timeout: 600s`, which overrides `stream_idle_timeout`",
        "Cloudflare": "no setting but for Enterprise: keep-alive comments at least every 30 s",
        "AWS": "load balancer `idle_timeout.timeout_seconds=600`, CloudFront `OriginReadTimeout`",
        "Caddy": "reverse_proxy SERVER { transport http { read_timeout 10m } }, if one is set",
    },
    "age": {
        "Envoy": "the route's `timeout: 0s`, and an `idle_timeout` instead",
        "Cloudflare": "check the limits of a Worker on this route",
        "AWS": "API Gateway `timeoutInMillis` and `responseTransferMode: STREAM`, Lambda `Timeout`",
        "Caddy": "no `timeouts { write … }` of `servers`: it covers the whole response",
    },
    "hidden_end": {
        "nginx": "proxy_http_version 1.1; proxy_buffering off; and look at its error log",
        "Apache": "no `force-proxy-request-1.0` on this route; and look at its error log",
        "HAProxy": "look at its log: the termination state of this request says who closed first",
        "Envoy": "look at its access log: `%RESPONSE_FLAGS%` of this request says who closed first",
        "Cloudflare": "look at the log of the server behind it",
        "AWS": "look at the access log: `target_status_code` and `elb_status_code` of this request",
        "Caddy": "look at its log for an error of reverse_proxy",
    },
    "framing": {
        "nginx": "proxy_http_version 1.1; chunked_transfer_encoding on;",
        "Apache": "no `force-response-1.0` and no `downgrade-1.0` for this client",
    },
}

_PRODUCTS: Final[Mapping[Party, Product]] = {
    "apache": "Apache",
    "aws": "AWS",
    "caddy": "Caddy",
    "cloudflare": "Cloudflare",
    "cloudfront": "AWS",
    "envoy": "Envoy",
    "nginx": "nginx",
}


def lines_for(
    topic: Topic | None, parties: Collection[Party], *, excluded: Product | None = None
) -> dict[Product, str]:
    """Return the lines about a topic, by product: of the products that the headers name, or of all if they name none.

    Args:
        excluded: a product that is known not to be the cause.
    """
    if topic is None:
        return {}
    named = {_PRODUCTS[party] for party in parties if party in _PRODUCTS} - {excluded}
    lines = {product: line for product, line in LINES[topic].items() if product != excluded}
    return {product: line for product, line in lines.items() if product in named} if named else lines

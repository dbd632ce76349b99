"""The requests that were sent, without credentials, and what became of each, for tests to look at."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from ..notices import RecoveryMethod
    from ..transport.http import HttpRequest
    from .faults.transforms import TransformChain

HEADERS: Final = frozenset(
    {
        "accept",
        "content-type",
        "idempotency-key",
        "openai-beta",
        "x-stainless-async",
        "x-stainless-raw-response",
        "x-stainless-retry-count",
    }
)
"""The request headers that are kept; the others may hold credentials."""

QUERY: Final = frozenset({"api-version", "beta", "include", "starting_after", "stream"})
"""The query parameters whose values are kept."""

REDACTED: Final = "[redacted]"

_SECRET: Final = re.compile(r"(?i)authorization|api[-_]?key|secret|password|token$|cookie")
"""The names of secrets anywhere in a body, such as the credentials for a tool's server."""


@dataclass
class SentRequest:
    """A request for a stream, or one that was sent again for it, without credentials."""

    method: str
    url: str
    """Without user and password; values of query parameters other than those of `QUERY` are redacted."""
    headers: Mapping[str, str]
    """By lower-case name; only those of `HEADERS`."""
    body: Any
    """The JSON that was sent, with everything that is named or looks like a key redacted; None if it was not JSON."""
    way: RecoveryMethod | None
    """The recovery method for which the guard sent it; None for first requests and for the SDK's own retries."""
    attempt: int
    """From 1; counts the SDK's own retries and the guard's."""
    mode: Literal["on", "off", "observe"]
    """Whether the guard was on when it was sent, off, or only observed."""
    status: int | None = None
    """The HTTP status; None if there is no response, or none yet."""
    faults: tuple[str, ...] = ()
    """The faults that were injected into its response."""
    chain: TransformChain | None = field(default=None, repr=False, compare=False)
    """These faults at work on the body."""

    @property
    def struck(self) -> bool:
        """Whether all these faults have taken effect: a stream may be over before a cut is reached."""
        return bool(self.faults) and (
            self.chain is None or all(transform.struck for transform in self.chain.transforms)
        )


def sent_request(
    request: HttpRequest, way: RecoveryMethod | None, mode: Literal["on", "off", "observe"] = "on"
) -> SentRequest:
    """Return the record of a request of httpx or httpx2."""
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() in HEADERS}
    retries = headers.get("x-stainless-retry-count", "0")
    return SentRequest(
        method=request.method,
        url=_url(str(request.url)),
        headers=headers,
        body=_body(request),
        way=way,
        attempt=1 + (int(retries) if retries.isdecimal() else 0),
        mode=mode,
    )


def _url(url: str) -> str:
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = [(name, value if name in QUERY else REDACTED) for name, value in pairs]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(query, safe="[]"), ""))


def _body(request: HttpRequest) -> Any:
    try:
        return _redacted(json.loads(request.content))
    except (ValueError, RuntimeError):  # a form, or a body that is not in memory
        return None


def _redacted(value: Any, name: str = "") -> Any:
    """Return a JSON value, which has this name in its object, without secrets."""
    from ..redaction import redact

    match value:
        case dict():
            # Headers for a tool's server may have any name.
            return {key: _redacted(one, "secret" if name == "headers" else key) for key, one in value.items()}
        case list():
            return [_redacted(one, name) for one in value]
        case str() if _SECRET.search(name):
            return REDACTED
        case str():
            return redact(value.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
        case _:
            return value

"""What was sent, as tests may look at it: requests without credentials, and what became of each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from ..notices import RecoveryMethod
    from .faults.transforms import Chain

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
"""What is kept of a request's headers; the others may hold credentials."""

QUERY: Final = frozenset({"api-version", "beta", "include", "starting_after", "stream"})
"""What is kept of a request's query."""

REDACTED: Final = "[redacted]"

_SECRET: Final = re.compile(r"(?i)authorization|api[-_]?key|secret|password|token$|cookie")
"""The names of what is secret wherever it stands in a body, such as the credentials of a tool's server."""


@dataclass
class SentRequest:
    """A request for a stream, or one that was sent again for it, without credentials."""

    method: str
    url: str
    """Values of unknown parameters are redacted, and user and password left out."""
    headers: Mapping[str, str]
    """Lower-case names; only those of `HEADERS`."""
    body: Any
    """The JSON that was sent, without what is named or looks like a key; None where it was none."""
    way: RecoveryMethod | None
    """The way of recovery for which the guard sent it; None for the first, and for the SDK's own retries."""
    attempt: int
    """From 1; counted by the SDK's retries and the guard's."""
    mode: Literal["on", "off", "observe"]
    """Whether the guard was on when it was sent."""
    status: int | None = None
    """None while there is no answer, or where there was none."""
    faults: tuple[str, ...] = ()
    """The faults that its response was to suffer."""
    chain: Chain | None = field(default=None, repr=False, compare=False)
    """These faults at work."""

    @property
    def struck(self) -> bool:
        """Whether all these faults have shown themselves: a stream may be over before a cut is reached."""
        return bool(self.faults) and (self.chain is None or all(stage.struck for stage in self.chain.stages))


def sent_request(request: Any, way: RecoveryMethod | None, mode: Literal["on", "off", "observe"] = "on") -> SentRequest:
    """What may be known about a request of httpx or httpx2."""
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
    said = parse_qsl(parts.query, keep_blank_values=True)
    query = [(name, value if name in QUERY else REDACTED) for name, value in said]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(query, safe="[]"), ""))


def _body(request: Any) -> Any:
    try:
        return _redacted(json.loads(request.content))
    except (ValueError, RuntimeError):  # a form, or a body that is streamed
        return None


def _redacted(value: Any, name: str = "") -> Any:
    """A JSON value, and under which name it stands."""
    from ..redaction import redact

    match value:
        case dict():
            # What a tool's server is to be sent as headers may be called anything.
            return {key: _redacted(one, "secret" if name == "headers" else key) for key, one in value.items()}
        case list():
            return [_redacted(one, name) for one in value]
        case str() if _SECRET.search(name):
            return REDACTED
        case str():
            return redact(value.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
        case _:
            return value

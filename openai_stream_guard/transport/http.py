"""What the HTTP libraries under the SDK do: what their errors mean, and how long their sockets wait.

openai 1 and 2 speak httpx, 3 speaks httpx2, either may be given the other's client, and aiohttp may carry both. None is
imported here: what is not loaded cannot have raised.
"""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Collection
from typing import Any

from ..diagnosis.evidence import Ending, ResponseHead
from ..engine.decisions import StreamFault
from ..redaction import credentials, identifier

_LIBRARIES = ("httpx", "httpx2")
_CARRIERS = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "h11", "h2", "anyio", "aiohttp", "ssl"})
_QUOTE = re.compile("['\"]")


def fault_from(error: Exception) -> StreamFault | None:
    """What an exception from reading a body means for the stream; None for one that is no news of the network."""
    if isinstance(error, TimeoutError) or _is_one_of(error, "TimeoutException"):
        return StreamFault(
            "stalled", f"nothing came within the read timeout ({_words(error)})", error, ending="timeout"
        )
    if _is_one_of(error, "DecodingError"):
        return StreamFault("malformed", f"the content encoding is damaged ({_words(error)})", error, ending="decoding")
    if (
        _is_one_of(error, "RequestError")
        or isinstance(error, OSError)
        or (_carrier(error) in _CARRIERS and not isinstance(error, RuntimeError))
    ):
        return StreamFault("disconnected", f"the connection broke ({_words(error)})", error, ending=_ending(error))
    return None


def _ending(error: Exception) -> Ending:
    """How a connection broke. h11 and aiohttp only say it in words."""
    said = str(error)
    if _is_one_of(error, "ProxyError"):
        return "proxy"
    if "incomplete chunked read" in said or "TransferEncodingError" in said or "Server disconnected" in said:
        return "unterminated"
    if ("expected" in said and "received" in said) or "ContentLengthError" in said:
        return "short"
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__ or error.__context__, ssl.SSLError):
        return "tls"
    if _is_one_of(error, "ProtocolError") and "Reset" not in said and "Terminated" not in said:
        return "protocol"
    return "reset"


def is_read_of_closed(error: Exception) -> bool:
    """Whether a program reads a stream that was closed before."""
    return _is_one_of(error, "StreamClosed")


def _words(error: Exception) -> str:
    """What an exception calls itself, and its own words, which programs look for.

    Not what it quotes: h11 and aiohttp quote the bytes that they cannot read, and those are answer text.
    """
    said = _unquoted(str(error))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _unquoted(words: str) -> str:
    said, *quoted = _QUOTE.split(words, maxsplit=1)
    return said.removesuffix("b").rstrip(" (=:,<") if quoted else said


def forget_quotes(error: BaseException | None) -> None:
    """Take what a transport's exception quotes out of it, and out of those behind it: tracebacks print them all."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if _carrier(error) in _CARRIERS:
            error.args = tuple(_unquoted(said) if isinstance(said, str) else said for said in error.args)
            if isinstance(message := getattr(error, "message", None), str):  # which aiohttp's print
                error.message = _unquoted(message)  # type: ignore[attr-defined] # it has one
        error = error.__cause__ or error.__context__


def _carrier(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def credentials_from(request: Any) -> frozenset[str]:
    """What an HTTP request authenticates itself with."""
    return credentials((*request.headers.items(), *request.url.params.items()))


def response_head(response: Any, known: Collection[str]) -> ResponseHead:
    """A response's status line and headers; `known` are the credentials of its request, which no id may repeat."""
    request_id = identifier(response.headers.get("x-request-id"), known)
    return ResponseHead(response.status_code, request_id, response.headers, response.http_version)


def _is_one_of(error: Exception, name: str) -> bool:
    for library in _LIBRARIES:
        kind = getattr(sys.modules.get(library), name, None)
        if kind is not None and isinstance(error, kind):
            return True
    return False


def library_from(message: Any) -> Any:
    """The module, httpx or httpx2, whose request or response this is; None for one of neither."""
    roots = (kind.__module__.partition(".")[0] for kind in type(message).__mro__)
    return next((sys.modules[root] for root in roots if root in _LIBRARIES), None)


def read_timeout_error(response: Any) -> Exception:
    """What the library that made a response raises where its socket stays silent."""
    library = library_from(response)
    if library is None:
        return TimeoutError()
    timeout: Exception = library.ReadTimeout("", request=response.request)
    return timeout

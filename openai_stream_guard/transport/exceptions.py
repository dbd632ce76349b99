"""What the exceptions of the HTTP libraries mean for a stream."""

from __future__ import annotations

import re
import ssl
import sys

from ..diagnosis.evidence import Ending
from ..engine.decisions import StreamFault
from .http import LIBRARIES

_TRANSPORTS = frozenset({*LIBRARIES, "httpcore", "httpcore2", "h11", "h2", "anyio", "aiohttp", "ssl"})
"""The packages whose exceptions are about the connection."""
_QUOTE = re.compile("['\"]")


def fault_from(error: Exception) -> StreamFault | None:
    """Return the fault that an exception from reading a body stands for; None where it is not about the connection."""
    if isinstance(error, TimeoutError) or _is_a(error, "TimeoutException"):
        reason = f"nothing came within the read timeout ({_description(error)})"
        return StreamFault("stalled", reason, error, ending="timeout")
    if _is_a(error, "DecodingError"):
        reason = f"the content encoding is damaged ({_description(error)})"
        return StreamFault("malformed", reason, error, ending="decoding")
    if (
        _is_a(error, "RequestError")
        or isinstance(error, OSError)
        or (_package(error) in _TRANSPORTS and not isinstance(error, RuntimeError))
    ):
        reason = f"the connection broke ({_description(error)})"
        return StreamFault("disconnected", reason, error, ending=_ending(error))
    return None


def is_read_of_closed(error: Exception) -> bool:
    """Whether the exception says that a stream was read after it had been closed."""
    return _is_a(error, "StreamClosed")


def _ending(error: Exception) -> Ending:
    """How the connection broke. h11 and aiohttp have no classes for it, only messages."""
    message = str(error)
    if _is_a(error, "ProxyError"):
        return "proxy"
    if "incomplete chunked read" in message or "TransferEncodingError" in message or "Server disconnected" in message:
        return "unterminated"
    if ("expected" in message and "received" in message) or "ContentLengthError" in message:
        return "short"
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__ or error.__context__, ssl.SSLError):
        return "tls"
    if _is_a(error, "ProtocolError") and "Reset" not in message and "Terminated" not in message:
        return "protocol"
    return "reset"


def _description(error: Exception) -> str:
    """The class of an exception and its message, which programs search for.

    Without what the message quotes: h11 and aiohttp quote the bytes that they cannot parse, and those are answer text.
    """
    message = _without_quotes(str(error))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _without_quotes(message: str) -> str:
    before, *quoted = _QUOTE.split(message, maxsplit=1)
    return before.removesuffix("b").rstrip(" (=:,<") if quoted else before


def forget_quotes(error: BaseException | None) -> None:
    """Remove what the transport's exceptions quote of the body, for the whole chain: a traceback prints all of it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if _package(error) in _TRANSPORTS:
            error.args = tuple(_without_quotes(part) if isinstance(part, str) else part for part in error.args)
            if isinstance(message := getattr(error, "message", None), str):  # which aiohttp's print
                error.message = _without_quotes(message)  # type: ignore[attr-defined] # it has one
        error = error.__cause__ or error.__context__


def _package(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _is_a(error: BaseException, name: str) -> bool:
    """Whether an exception is of the class that httpx and httpx2 call so."""
    for library in LIBRARIES:
        kind = getattr(sys.modules.get(library), name, None)
        if kind is not None and isinstance(error, kind):
            return True
    return False

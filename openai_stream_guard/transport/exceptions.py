"""What an exception means for a stream: a fault of the connection, or something that is the program's own.

The program's own are exceptions that it raises while the guard waits for the network: a signal handler, a timeout of
gevent, an error of a custom transport that is not about a connection. They are raised as they are, and never retried.
An exception of httpx, httpx2, httpcore or aiohttp is the network's, whoever raises it and however early: mocks and
custom transports do so as well.
"""

from __future__ import annotations

import errno
import re
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from itertools import pairwise
from types import CodeType, FrameType

from ..diagnosis.evidence import Ending
from ..engine.decisions import StreamFault
from .http import LIBRARIES

_TRANSPORTS = frozenset({*LIBRARIES, "httpcore", "httpcore2", "h11", "h2", "anyio", "aiohttp", "ssl"})
"""The packages whose exceptions are about the connection."""
_CONNECTION_ERRORS = (ConnectionError, TimeoutError, ssl.SSLError, socket.gaierror, socket.herror)
_CONNECTION_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETRESET",
        "ENETUNREACH", "ENOTCONN", "EPIPE", "ESHUTDOWN", "ETIMEDOUT",
    )
    if hasattr(errno, name)
)  # fmt: skip
_GEVENT_SWITCH = r"gevent.*greenlet_primitives"
"""Where gevent throws an exception into a greenlet that waits."""
_GEVENT_SOCKET_TIMEOUTS = ("timed out", "The read operation timed out", "The write operation timed out")
_QUOTE = "['\"]"


def fault_from(error: Exception) -> StreamFault | None:
    """Return the fault that an exception of the transport stands for; None where it is not about the connection."""
    if _is_thrown_by_program(_root(error)):
        return None
    if isinstance(error, TimeoutError) or _is_a(error, "TimeoutException"):
        reason = f"nothing came within the read timeout ({_description(error)})"
        return StreamFault("stalled", reason, error, ending="timeout")
    if _is_a(error, "DecodingError"):
        reason = f"the content encoding is damaged ({_description(error)})"
        return StreamFault("malformed", reason, error, ending="decoding")
    if _is_connection_error(error):
        reason = f"the connection broke ({_description(error)})"
        return StreamFault("disconnected", reason, error, ending=_ending(error))
    return None


def _is_connection_error(error: Exception) -> bool:
    if isinstance(error, OSError) and _package(error) not in _TRANSPORTS:
        return isinstance(error, _CONNECTION_ERRORS) or error.errno in _CONNECTION_ERRNOS
    return _is_a(error, "RequestError") or (_package(error) in _TRANSPORTS and not isinstance(error, RuntimeError))


def add_context(error: BaseException, context: BaseException) -> None:
    """Say that an exception was raised while another was being dealt with."""
    root = _root(error)
    if root.__context__ is None:  # else it is what the program was handling before
        root.__context__ = context


def _root(error: BaseException) -> BaseException:
    """Return the exception that others were raised for."""
    active = set(_active_frames())
    seen = {id(error)}
    while True:
        before = error.__cause__
        if before is None and (context := error.__context__) is not None:
            # Not what the program was handling already when it asked for the next event.
            traceback = context.__traceback__
            before = None if traceback is None or traceback.tb_frame in active else context
        if before is None or id(before) in seen:
            return error
        seen.add(id(before))
        error = before


def _active_frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_thrown_by_program(error: BaseException) -> bool:
    """Whether the program threw it into the code that waits for the network."""
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    if not frames:
        return False
    if re.search(_GEVENT_SWITCH, frames[-1].f_code.co_filename):
        is_timeout = isinstance(error, TimeoutError) and str(error) in _GEVENT_SOCKET_TIMEOUTS
        return not (is_timeout or _is_closed_elsewhere(error))
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    return any(
        frame.f_code in handlers or _is_called_with(frame, interrupted) for interrupted, frame in pairwise(frames)
    )


def _is_closed_elsewhere(error: BaseException) -> bool:
    """Whether gevent says that another greenlet has closed the socket."""
    return isinstance(error, OSError) and error.errno == errno.EBADF


def _code_of(handler: object) -> CodeType | None:
    """Return the code of the function that handles a signal, if it is one of Python."""
    if not callable(handler):
        return None
    handler = getattr(handler, "func", handler)  # of a partial
    function = getattr(handler, "__func__", handler) if hasattr(handler, "__code__") else type(handler).__call__
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _is_called_with(frame: FrameType, interrupted: FrameType) -> bool:
    """Whether a function was called with the frame that it interrupted, as Python calls the handlers of signals."""
    for value in frame.f_locals.values():
        if value is interrupted or (isinstance(value, tuple) and any(part is interrupted for part in value)):
            return True
    return False


def is_lost_response(error: BaseException) -> bool:
    """Whether a request had been sent when the exception came, so that the server may have answered it."""
    return any(_is_a(error, name) for name in ("ReadError", "RemoteProtocolError", "ReadTimeout", "WriteTimeout"))


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
    message = message_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def message_of(error: Exception) -> str:
    """Return the message of a transport's exception without what it quotes of the body."""
    return _without_quotes(str(error))


def _without_quotes(message: str) -> str:
    before, *quoted = re.split(_QUOTE, message, maxsplit=1)
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

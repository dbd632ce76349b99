"""The law: an exception of the transport is a fault of the connection, and what a program throws is its own."""

from __future__ import annotations

import errno
import importlib
import signal
import socket
import ssl
from collections.abc import Callable
from types import ModuleType
from typing import Any

import anyio
import pytest

from openai_stream_guard.transport.exceptions import add_context, fault_from
from tests.support.ported import HTTP
from tests.support.streams import VERSION

httpcore: ModuleType = importlib.import_module("httpcore2" if VERSION >= (3, 0) else "httpcore")


def chained(error: Exception, cause: BaseException) -> Exception:
    """An exception that a library has raised from another."""
    error.__cause__ = cause
    return error


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


NETWORK: dict[str, tuple[Callable[[], Exception], str]] = {
    "a broken body": (lambda: HTTP.RemoteProtocolError("peer closed"), "disconnected"),
    "a reset": (lambda: HTTP.ReadError("reset"), "disconnected"),
    "a reset, with its causes": (
        lambda: chained(
            HTTP.ReadError("reset"), chained(httpcore.ReadError("reset"), ConnectionResetError(104, "reset"))
        ),
        "disconnected",
    ),
    "an error of the library for a reason of its own": (
        lambda: chained(HTTP.ReadError("x"), full_disk()),
        "disconnected",
    ),
    "a refused proxy": (lambda: HTTP.ProxyError("407"), "disconnected"),
    "an exception of httpcore": (lambda: httpcore.ReadError("x"), "disconnected"),
    "an end of anyio": (anyio.EndOfStream, "disconnected"),
    "a broken pipe": (lambda: BrokenPipeError(errno.EPIPE, "x"), "disconnected"),
    "an unreachable host": (lambda: OSError(errno.EHOSTUNREACH, "x"), "disconnected"),
    "an unknown host": (lambda: socket.gaierror(-2, "x"), "disconnected"),
    "TLS": (lambda: ssl.SSLError(1, "bad record mac"), "disconnected"),
    "a read timeout": (lambda: HTTP.ReadTimeout("x"), "stalled"),
    "a timeout of a mock": (lambda: TimeoutError("x"), "stalled"),
    "a socket's timeout": (lambda: chained(HTTP.ReadTimeout("x"), TimeoutError("timed out")), "stalled"),
    "a damaged encoding": (lambda: HTTP.DecodingError("x"), "malformed"),
}
OWN: dict[str, Callable[[], Exception]] = {
    "a full disk": full_disk,
    "a missing file": lambda: FileNotFoundError(errno.ENOENT, "x"),
    "too many files": lambda: OSError(errno.EMFILE, "x"),
    "an error without a number": lambda: OSError("x"),
    "a mistake": lambda: ValueError("x"),
    "a stream that was read already": lambda: HTTP.StreamConsumed(),
    "a stream that was closed": lambda: HTTP.StreamClosed(),
}


@pytest.mark.parametrize("name", NETWORK)
def test_the_networks(name: str) -> None:
    """Raised by whomever: a mock raises them from a frame of its own."""
    make, kind = NETWORK[name]
    try:
        raise make()
    except Exception as error:
        fault = fault_from(error)
    assert fault is not None
    assert fault.kind == kind


@pytest.mark.parametrize("name", OWN)
def test_the_programs(name: str) -> None:
    """What is not about a connection is not the connection's."""
    assert fault_from(OWN[name]()) is None


def test_aiohttps_exceptions_are_the_networks() -> None:
    """They come through the SDK's transport on aiohttp, some bare."""
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    fault = fault_from(aiohttp.ClientPayloadError("Response payload is not completed"))
    assert fault is not None
    assert fault.kind == "disconnected"


class Handler:
    """Something that handles a signal by raising."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def method(self, number: int, frame: Any) -> None:
        raise self.error

    def __call__(self, *arguments: Any) -> None:
        self._raise()

    def _raise(self) -> None:
        raise self.error


def forgetful(error: Exception) -> Callable[..., None]:
    """A handler that keeps nothing of its arguments."""

    def handler(number: int, frame: Any) -> None:
        del frame
        raise error

    return handler


HANDLERS: dict[str, Callable[[Exception], Any]] = {
    "a method": lambda error: Handler(error).method,
    "an object": Handler,
    "a function that forgets its frame": forgetful,
}


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("error", [TimeoutError("late"), ConnectionResetError(104, "mine")])
def test_a_signal_handlers_exception_is_the_programs(handler: str, wrapped: bool, error: Exception) -> None:
    """Whatever its class, and whatever the HTTP library has made of it."""
    make = HANDLERS[handler]
    error = type(error)(*error.args)
    before = signal.signal(signal.SIGUSR1, make(error))
    try:
        with pytest.raises(type(error)) as raised:
            signal.raise_signal(signal.SIGUSR1)
        assert fault_from(chained(HTTP.ReadTimeout("late"), raised.value) if wrapped else raised.value) is None
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
def test_what_the_program_was_handling_before_is_no_cause() -> None:
    """A stream that is read in an `except` clause has the program's earlier exception as context."""

    def handler(number: int, frame: Any) -> None:
        raise TimeoutError("earlier")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        try:
            signal.raise_signal(signal.SIGUSR1)
        except TimeoutError:
            with pytest.raises(HTTP.ReadError) as raised:
                raise HTTP.ReadError("now")  # noqa: B904 - its context is what is tested
            fault = fault_from(raised.value)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert type(raised.value.__context__) is TimeoutError
    assert fault is not None
    assert fault.kind == "disconnected"


def test_a_context_is_added_at_the_root() -> None:
    """Behind what was raised for it."""
    error, context = chained(ValueError("outer"), KeyError("root")), OSError("first")
    add_context(error, context)
    assert error.__cause__.__context__ is context

"""What the HTTP libraries under the SDK do: what their errors mean, and how long their sockets wait.

openai 1 and 2 speak httpx, 3 speaks httpx2, either may be given the other's client, and aiohttp may carry both. None is
imported here: what is not loaded cannot have raised.
"""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from .verdicts import Clocks, Trouble

clock = time.monotonic
LEAST_DEFAULT_IDLE = 300.0
"""Seconds. Healthy models think for minutes, and the SDK's own default read timeout is 600 s."""
_CARRIERS = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "h11", "h2", "anyio", "aiohttp", "ssl"})
_QUOTE = re.compile("['\"]")


def trouble_of(error: Exception) -> Trouble | None:
    """What an exception from reading a body means for the stream; None for one that is no news of the network."""
    carrier = type(error).__module__.partition(".")[0]
    if isinstance(error, TimeoutError) or _is_one_of(error, "TimeoutException"):
        return Trouble("stalled", f"nothing came within the read timeout ({_words(error)})", error)
    if _is_one_of(error, "DecodingError"):
        return Trouble("malformed", f"the content encoding is damaged ({_words(error)})", error)
    if _is_one_of(error, "RequestError") or isinstance(error, OSError):
        return Trouble("disconnected", f"the connection broke ({_words(error)})", error)
    if carrier in _CARRIERS and not isinstance(error, RuntimeError):
        return Trouble("disconnected", f"the connection broke ({_words(error)})", error)
    return None


def _words(error: Exception) -> str:
    """What an exception calls itself, and its own words, which programs look for.

    Not what it quotes: h11 and aiohttp quote the bytes that they cannot read, and those are answer text.
    """
    said, *quoted = _QUOTE.split(str(error), maxsplit=1)
    if quoted:
        said = said.removesuffix("b").rstrip(" (=:,<")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _is_one_of(error: Exception, name: str) -> bool:
    for library in ("httpx", "httpx2"):
        kind = getattr(sys.modules.get(library), name, None)
        if kind is not None and isinstance(error, kind):
            return True
    return False


def clocks_for(response: Any, first_event: float | None, idle: float | None) -> Clocks:
    """The clocks a stream runs by: those of its policy, or derived from the request's read timeout."""
    timeouts = response.request.extensions.get("timeout") or {}
    read = timeouts.get("read")
    if idle is None:
        idle = math.inf if read is None else max(float(read), LEAST_DEFAULT_IDLE)
    return Clocks(first_event=idle if first_event is None else first_event, idle=idle)


class Patience:
    """Makes the socket of a response wait no longer than a deadline that may change between two reads.

    A request's read timeout is fixed when its body is first read, starts anew with every byte, and so can neither
    tell a keep-alive from an event nor get shorter once an answer has finished. HTTP/1.1 only: in HTTP/2 the
    connection is shared. Elsewhere the deadline is looked at when bytes arrive.
    """

    def __init__(self, response: Any, deadline: Callable[[], float]) -> None:
        stream = response.extensions.get("network_stream")
        self.active = hasattr(stream, "read") and response.http_version in ("HTTP/1.1", "HTTP/1.0")
        if not self.active:
            return
        wait = type(stream).read  # of the class: whatever stands on the instance is another response's patience

        def read(max_bytes: int, timeout: float | None = None) -> Any:
            if not response.is_closed:  # else the connection already serves somebody else
                left = max(deadline() - clock(), 0.001)
                if timeout is None or left < timeout:
                    timeout = None if left == math.inf else left
            return wait(stream, max_bytes, timeout=timeout)

        stream.read = self._read = read
        self._stream = stream

    def end(self) -> None:
        """Leave the socket as it was."""
        if self.active and self._stream.__dict__.get("read") is self._read:
            del self._stream.read
        self.active = False

"""One accepted connection: reads its requests and performs what is to be performed, on a raw socket.

Decides how steps become bytes on the wire. It does not know which performance a request gets; that is the
server's. Every wait ends at once when the client goes away or when the server shuts the socket down.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import math
import selectors
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from .scripted_response import Close, End, Raw, Repeat, Reset, ScriptedResponse, Send, Step, Wait


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it was read: the header names in lower case, the body as bytes."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    chunks: bool = True
    """Whether whoever asked knows chunks, which HTTP/1.0 does not; nginx speaks it to its upstreams unless told."""


class Gone(Exception):
    """The connection is over: the performance said so, the client has gone, or the server is closing."""


class Connection:
    """A socket on which requests are read and performances are given, one after the other."""

    def __init__(self, peer: socket.socket) -> None:
        self._socket = peer
        self._reader: BinaryIO = peer.makefile("rb")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each step is a packet of its own

    def shut_down(self) -> None:
        """End every wait and write from another thread; the connection's own thread then closes it."""
        with contextlib.suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; a second time does nothing."""
        self._reader.close()
        self._socket.close()

    def read_request(self) -> Incoming:
        """The next request. Raises `Gone` when the client sends no more."""
        line = self._reader.readline(65_537)
        match line.decode("latin-1").split():
            case [method, path, version]:
                headers = {name.lower(): value for name, value in http.client.parse_headers(self._reader).items()}
                return Incoming(method, path, headers, self._read_body(headers), version != "HTTP/1.0")
        raise Gone

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        """The request's body, by its length or in chunks. Raises `Gone` where the client broke it off."""
        if "chunked" not in headers.get("transfer-encoding", ""):
            return self._reader.read(int(headers.get("content-length", "0")))
        parts = []
        try:
            while size := int(self._reader.readline(), 16):
                parts.append(self._reader.read(size))
                self._reader.readline()
        except ValueError:
            raise Gone from None
        self._reader.readline()  # the line that ends the last chunk; nobody sends trailers
        return b"".join(parts)

    def perform(
        self, performance: ScriptedResponse, headers: Iterable[tuple[str, str]], *, chunks: bool = True
    ) -> None:
        """Give the performance. Raises `Gone` when the connection can serve no further request."""
        framing = "close" if performance.framing == "chunked" and not chunks else performance.framing
        reason = http.client.responses.get(performance.status, "Unknown")
        lines = [f"HTTP/1.1 {performance.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in (*performance.headers, *headers)]
        match framing:
            case "chunked":
                lines.append("transfer-encoding: chunked")
            case "length":
                lines.append(f"content-length: {performance.promised_length()}")
            case "close":
                lines.append("connection: close")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        ended = self._steps(performance.steps, chunked=framing == "chunked")
        if not ended or framing == "close":
            raise Gone

    def _steps(self, steps: Iterable[Step], *, chunked: bool) -> bool:
        """Take the steps; True when the last one ended the body, so that the connection may be used again."""
        for step in steps:
            match step:
                case Send(data, promised) if chunked and data:  # an empty chunk would be the last one
                    ending = b"\r\n" if promised is None else b""
                    self._socket.sendall(b"%x\r\n%b%b" % (promised or len(data), data, ending))
                case Send(data) | Raw(data):
                    self._socket.sendall(data)
                case Wait(seconds):
                    self._wait(seconds)
                case Repeat(inner, times):
                    turns = itertools.count() if math.isinf(times) else range(int(times))
                    for _ in turns:
                        self._steps(inner, chunked=chunked)
                case End():
                    if chunked:
                        self._socket.sendall(b"0\r\n\r\n")
                    return True
                case Close():
                    raise Gone
                case Reset():
                    # With a linger time of zero every kernel closes by RST, though POSIX does not ask for it.
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    raise Gone
        return False

    def _wait(self, seconds: float) -> None:
        """Wait, but no longer than the client stays. Raises `Gone` when it does not."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            # Readable means closed, by the client or by `shut_down`: a client sends nothing while it reads.
            if selector.select(None if math.isinf(seconds) else seconds):
                raise Gone

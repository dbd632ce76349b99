"""One accepted connection: reads requests from a raw socket and sends scripted responses.

Decides how the steps of a response become bytes on the wire; `routing` decides which response a request gets. Every
wait ends at once when the client disconnects or the server shuts the socket down.
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
class ReceivedRequest:
    """A request as it was read: header names in lower case, the body as bytes."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    accepts_chunks: bool = True
    """Whether the client understands chunks. HTTP/1.0 does not, and nginx uses it for upstreams by default."""


class ConnectionEnded(Exception):
    """The connection ends: the response says so, the client has disconnected, or the server is closing."""


class Connection:
    """A socket on which requests are read and answered, one after the other."""

    def __init__(self, peer: socket.socket) -> None:
        self._socket = peer
        self._reader: BinaryIO = peer.makefile("rb")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each step is a packet of its own

    def shut_down(self) -> None:
        """End every wait and write, from another thread; the connection's own thread then closes the socket."""
        with contextlib.suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket. A second call does nothing."""
        self._reader.close()
        self._socket.close()

    def read_request(self) -> ReceivedRequest:
        """Return the next request. Raises `ConnectionEnded` when the client sends no more."""
        line = self._reader.readline(65_537)
        match line.decode("latin-1").split():
            case [method, path, version]:
                headers = {name.lower(): value for name, value in http.client.parse_headers(self._reader).items()}
                return ReceivedRequest(method, path, headers, self._read_body(headers), version != "HTTP/1.0")
        raise ConnectionEnded

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        """Return the body, by its length or in chunks. Raises `ConnectionEnded` if the client stops in the middle."""
        if "chunked" not in headers.get("transfer-encoding", ""):
            return self._reader.read(int(headers.get("content-length", "0")))
        parts = []
        try:
            while size := int(self._reader.readline(), 16):
                parts.append(self._reader.read(size))
                self._reader.readline()
        except ValueError:
            raise ConnectionEnded from None
        self._reader.readline()  # the line that ends the last chunk; no client sends trailers
        return b"".join(parts)

    def send_response(
        self, response: ScriptedResponse, headers: Iterable[tuple[str, str]], *, accepts_chunks: bool = True
    ) -> None:
        """Send the response, with more headers. Raises `ConnectionEnded` if no request can follow on the connection."""
        framing = "close" if response.framing == "chunked" and not accepts_chunks else response.framing
        reason = http.client.responses.get(response.status, "Unknown")
        lines = [f"HTTP/1.1 {response.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in (*response.headers, *headers)]
        match framing:
            case "chunked":
                lines.append("transfer-encoding: chunked")
            case "length":
                lines.append(f"content-length: {response.promised_length()}")
            case "close":
                lines.append("connection: close")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        ended = self._take(response.steps, chunked=framing == "chunked")
        if not ended or framing == "close":
            raise ConnectionEnded

    def _take(self, steps: Iterable[Step], *, chunked: bool) -> bool:
        """Take the steps; return whether the body was ended, so that the connection can be used again."""
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
                        self._take(inner, chunked=chunked)
                case End():
                    if chunked:
                        self._socket.sendall(b"0\r\n\r\n")
                    return True
                case Close():
                    raise ConnectionEnded
                case Reset():
                    # With a linger time of zero every kernel closes by RST, although POSIX does not require it.
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    raise ConnectionEnded
        return False

    def _wait(self, seconds: float) -> None:
        """Wait, but only while the client stays connected. Raises `ConnectionEnded` when it disconnects."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            # Readable means closed, by the client or by `shut_down`: a client that reads sends nothing.
            if selector.select(None if math.isinf(seconds) else seconds):
                raise ConnectionEnded

"""The loopback server on HTTP/2: the same script and faults, a stream each, over h2, which the SDK's client needs too.

Cleartext with prior knowledge: no certificates. Only imported where h2 is installed.
"""

from __future__ import annotations

import itertools
import math
import socket
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.connection import Connection, ConnectionEnded, ReceivedRequest
from openai_stream_guard.testing.server.scripted_response import (
    Close,
    End,
    Repeat,
    Reset,
    ScriptedResponse,
    Send,
    Step,
    Wait,
)


class Http2Connection(Connection):
    """A connection with many streams: each response runs in a thread of its own while requests are read."""

    def __init__(self, peer: socket.socket) -> None:
        super().__init__(peer)
        self._state = H2Connection(H2Configuration(client_side=False))
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._asking: dict[int, Any] = {}
        self._bodies: dict[int, bytearray] = {}
        self._asked: deque[tuple[int, ReceivedRequest]] = deque()
        self._streams: set[int] = set()
        self._now = 0
        with self._lock:
            self._state.initiate_connection()
            self._flush()

    def close(self) -> None:
        """End every response, then the socket."""
        self._over.set()
        super().close()

    def read_request(self) -> ReceivedRequest:
        """The next request whose body has arrived. Raises `Gone` when the client sends no more."""
        while not self._asked:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionEnded
            with self._lock:
                for event in self._state.receive_data(data):
                    self._note(event)
                self._flush()
        self._now, received = self._asked.popleft()
        return received

    def _note(self, event: Any) -> None:
        match event:
            case RequestReceived(stream_id=int(number), headers=headers):
                self._asking[number] = {name.decode(): value.decode() for name, value in headers}
                self._bodies[number] = bytearray()
            case DataReceived(stream_id=int(number), data=bytes(data)):
                self._bodies[number] += data
                self._state.acknowledge_received_data(event.flow_controlled_length, number)
            case StreamEnded(stream_id=int(number)):
                headers = self._asking.pop(number)
                method, path = headers.pop(":method"), headers.pop(":path")
                self._asked.append((number, ReceivedRequest(method, path, headers, bytes(self._bodies.pop(number)))))
                self._streams.add(number)
            case StreamReset(stream_id=int(number)):
                self._streams.discard(number)

    def send_response(
        self, scripted: ScriptedResponse, headers: Iterable[tuple[str, str]], *, accepts_chunks: bool = True
    ) -> None:
        """Begin the response, and come back for the next request."""
        threading.Thread(target=self._play, args=(self._now, scripted, [*headers]), daemon=True).start()

    def _play(self, number: int, scripted: ScriptedResponse, headers: list[tuple[str, str]]) -> None:
        try:
            with self._lock:
                said = [(":status", str(scripted.status)), *scripted.headers, *headers]
                self._state.send_headers(number, said)
                self._flush()
            self._steps_of(number, scripted.steps)
        except (ConnectionEnded, OSError, ProtocolError):
            self.shut_down()  # the client has gone, or the script says so

    def _steps_of(self, number: int, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case Wait(seconds):
                    if self._over.wait(None if math.isinf(seconds) else seconds):
                        raise ConnectionEnded
                case Repeat(inner, times):
                    for _ in itertools.count() if math.isinf(times) else range(int(times)):
                        self._steps_of(number, inner)
                case Close():
                    raise ConnectionEnded
                case Send() | End() | Reset():
                    self._write(number, step)
                case _:
                    raise AssertionError(f"{step} means nothing in HTTP/2")

    def _write(self, number: int, step: Send | End | Reset) -> None:
        """A part of the body, its end, or the reset of this one stream. Frames and windows are large enough here."""
        with self._lock:
            if isinstance(step, Send):
                self._state.send_data(number, step.data)
            elif isinstance(step, End):
                self._state.end_stream(number)
            else:
                self._state.reset_stream(number, ErrorCodes.INTERNAL_ERROR)
            self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._state.data_to_send())


class Http2Server(Server):
    """A `Server` whose connections speak HTTP/2."""

    _connection = Http2Connection

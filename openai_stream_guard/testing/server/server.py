"""A loopback server that speaks the streaming endpoints of OpenAI's API, and breaks its streams on demand.

Decides when connections are accepted and ended. Which request gets what is `script`'s, how bytes reach the
wire `connection`'s, what an answer says `answers`', what a fault does `catalogue`'s. Standard library only.

The law: leaving the server ends every thread and socket it opened, however it was stalled.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
import weakref
from types import TracebackType
from typing import Final

from .answers.answer import ServerBehaviour
from .connection import Connection, Gone
from .routing import Part, Request, Script
from .wire_faults import Fault

GRACE: Final = 2.0  # seconds that closing waits for the connections' threads


class Server:
    """
    A server on 127.0.0.1, open inside its `with` block.

    Healthy requests get a take of `answer` (see `ANSWERS`). With `fault` (a name of `FAULTS`, or a `Fault`)
    the first `times` requests, or with `times=None` all of them, get the answer so damaged, struck at frame
    number `after` (default: the first that shows the reader anything). `sampled` makes every answer say
    something else, `regroup` cuts the same text into other deltas each time. `port=0` takes a free port.

    A response asked for with `background: true` is kept until the next `reset`; streaming it again is a request
    like any other, with a part of the script. `habits` says what the server does its own way; set it any time.

    `connections` counts what was accepted since the last `reset`. Raises `ValueError` for an unknown answer
    or fault, and on entering `OSError` for a port in use.
    """

    _connection: type[Connection] = Connection  # what speaks HTTP

    def __init__(
        self,
        *,
        answer: str = "text",
        fault: str | Fault | None = None,
        after: int | None = None,
        times: int | None = 1,
        sampled: bool = False,
        regroup: bool = False,
        habits: ServerBehaviour | None = None,
        port: int = 0,
    ) -> None:
        self.connections = 0
        self._port = port
        self._script = Script(sampled=sampled, regroup=regroup, habits=habits or ServerBehaviour())
        self._script.play(answer, fault, after, times)
        self._open: set[Connection] = set()
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()  # those that still run
        self._failures: list[Exception] = []
        self._closing = False

    def __enter__(self) -> Server:
        self._listener = _listen(self._port)
        self._port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"accept :{self._port}", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with contextlib.suppress(OSError):  # a blocked accept() ends portably in no other way
            socket.create_connection(("127.0.0.1", self._port), timeout=GRACE).close()
        self._acceptor.join(GRACE)
        self._listener.close()
        self.disconnect()
        deadline = time.monotonic() + GRACE
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._failures and error is None:
            raise RuntimeError("the server could not perform a request") from self._failures[0]

    @property
    def base_url(self) -> str:
        """What an `OpenAI` client takes as its `base_url`."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def habits(self) -> ServerBehaviour:
        """What the server does its own way."""
        return self._script.habits

    @habits.setter
    def habits(self, habits: ServerBehaviour) -> None:
        self._script.habits = habits

    @property
    def requests(self) -> list[Request]:
        """What was asked since the last `reset`, in the order in which it arrived."""
        return self._script.requests

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def reset(
        self,
        *,
        answer: str = "text",
        fault: str | Fault | None = None,
        after: int | None = None,
        times: int | None = 1,
    ) -> None:
        """Begin anew: forget what was asked and counted, and set what comes next, as `Server` does."""
        self._script.play(answer, fault, after, times)
        self.connections = 0

    def script(self, *parts: Part, after: int | None = None) -> None:
        """
        Say what each of the next requests gets, the first part for the first; the rest is healthy.

        A part is None (healthy), a fault or its name, a `ScriptedResponse`, or a function that is given the
        `Request` and returns one. `after` is the number of the frame at which the faults strike.
        """
        self._script.play_parts(parts, after)

    def disconnect(self) -> None:
        """Hang up on every client, whatever it is waiting for; new connections are served."""
        for connection in list(self._open):
            connection.shut_down()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                time.sleep(0.01)  # out of file descriptors: some may come back
                continue
            if self._closing:
                peer.close()
                return
            self.connections += 1
            connection = self._connection(peer)
            self._open.add(connection)
            arguments = (connection, self.connections)
            thread = threading.Thread(target=self._serve, args=arguments, daemon=True)
            self._threads.add(thread)
            thread.start()

    def _serve(self, connection: Connection, number: int) -> None:
        try:
            while True:
                incoming = connection.read_request()
                request, performance = self._script.perform(incoming, number)
                connection.perform(performance, [("x-request-id", request.request_id)], chunks=incoming.chunks)
        except (Gone, OSError):
            pass  # the connection is over; a client that expects more sees it on its own side
        except Exception as error:
            self._failures.append(error)
        finally:
            connection.close()
            self._open.discard(connection)


def _listen(port: int) -> socket.socket:
    """A socket that listens on the loopback interface. Raises `OSError` with a sentence for a port in use."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere it would let two servers share a port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        sentence = f"port {port} of 127.0.0.1 is already in use: give another, or 0 for a free one"
        raise OSError(errno.EADDRINUSE, sentence) from None
    listener.listen(4096)
    return listener

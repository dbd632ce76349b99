"""A loopback server with the streaming endpoints of OpenAI's API, which breaks its streams on demand.

Decides when connections are accepted and ended. `routing` chooses the response for a request, `connection` writes it,
`answers` has what is said, `wire_faults` what can go wrong. Needs the standard library only.

Invariant: leaving the `with` block ends every thread and socket that the server opened, even if they are stalled.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
import warnings
import weakref
from types import TracebackType
from typing import Final

from .answers.answer import ServerBehaviour
from .connection import Connection, ConnectionEnded
from .routing import Part, Request, Router
from .wire_faults import Fault

GRACE: Final = 2.0  # seconds that closing waits for the threads of connections


class Server:
    """
    A server on 127.0.0.1, open inside its `with` block.

    Requests get the answer named `answer` (see `ANSWERS`). With `fault`, a name of `FAULTS` or a `Fault`, the first
    `times` requests, or with `times=None` all of them, get it broken at frame number `after`, by default the first
    frame that shows the reader anything. `sampled` gives every answer other words, `regroup` divides the same text into
    other deltas each time. `port=0` takes a free port.

    A response requested with `background: true` is stored until the next `reset`; streaming it again is a request like
    any other, with a part of the script, and cancelling it is not. `behaviour` says in what the server differs from
    others; set it at any time.

    `connections` counts the connections accepted since the last `reset`. Raises `ValueError` for an unknown answer or
    fault and, on entering, `OSError` for a port in use.
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
        behaviour: ServerBehaviour | None = None,
        port: int = 0,
        habits: ServerBehaviour | None = None,
    ) -> None:
        if habits is not None:
            _warn_of_habits()
            behaviour = habits
        self.connections = 0
        self._port = port
        self._router = Router(sampled=sampled, regroup=regroup, behaviour=behaviour or ServerBehaviour())
        self._router.reset(answer, fault, after, times)
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
            raise RuntimeError("the server could not respond to a request") from self._failures[0]

    @property
    def base_url(self) -> str:
        """The `base_url` for an `OpenAI` client."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def behaviour(self) -> ServerBehaviour:
        """In what the server differs from others of the same protocol."""
        return self._router.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: ServerBehaviour) -> None:
        self._router.behaviour = behaviour

    @property
    def habits(self) -> ServerBehaviour:
        """The old name of `behaviour`, deprecated."""
        _warn_of_habits()
        return self.behaviour

    @habits.setter
    def habits(self, habits: ServerBehaviour) -> None:
        _warn_of_habits()
        self.behaviour = habits

    @property
    def requests(self) -> list[Request]:
        """The requests since the last `reset`, in the order in which they arrived."""
        return self._router.requests

    @property
    def cancelled(self) -> list[str]:
        """The ids of the background responses that clients have asked to cancel, in order, as often as they did."""
        return self._router.cancelled

    @property
    def open_connections(self) -> int:
        """The number of connections that are open now."""
        return len(self._open)

    def reset(
        self,
        *,
        answer: str = "text",
        fault: str | Fault | None = None,
        after: int | None = None,
        times: int | None = 1,
    ) -> None:
        """Start again: forget requests and counts, and set what the next requests get, as `Server` does."""
        self._router.reset(answer, fault, after, times)
        self.connections = 0

    def script(self, *parts: Part, after: int | None = None) -> None:
        """
        Set what each of the next requests gets, the first part for the first; requests after these are healthy.

        A part is None (healthy), the name of an answer, a fault or its name, a `ScriptedResponse`, or a function that
        is given the `Request` and returns a `ScriptedResponse`. `after` is the number of the frame at which the faults
        take effect. Raises `ValueError` for an unknown name.

            server.script("one_call", "text")       # a tool call, then the answer
        """
        self._router.script(parts, after)

    def disconnect(self) -> None:
        """Disconnect every client, whatever it is waiting for; new connections are accepted."""
        for connection in list(self._open):
            connection.shut_down()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                time.sleep(0.01)  # out of file descriptors: some may be released
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
                received = connection.read_request()
                request, response = self._router.respond(received, number)
                headers = [("x-request-id", request.request_id)]
                connection.send_response(response, headers, accepts_chunks=received.accepts_chunks)
        except (ConnectionEnded, OSError):
            pass  # a client that expects more sees the end on its own side
        except Exception as error:
            self._failures.append(error)
        finally:
            connection.close()
            self._open.discard(connection)


def _warn_of_habits() -> None:
    words = "`habits` of a Server is now called `behaviour`; the old name will be removed in the next release"
    warnings.warn(words, DeprecationWarning, stacklevel=3)


def _listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback interface. Raises `OSError` that explains a port in use."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere it lets two servers share a port
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

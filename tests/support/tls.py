"""The loopback server over TLS: the same script and faults, none of which says goodbye by a `close_notify`.

Only imported where trustme is installed, which makes the certificate.
"""

from __future__ import annotations

import socket
import ssl
from functools import cache

import trustme

from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.connection import Connection


@cache
def context() -> ssl.SSLContext:
    """A server's, with a certificate that nobody has signed for."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(made)
    return made


class TlsConnection(Connection):
    """A connection that shakes hands in its own thread, when it is first read."""

    def __init__(self, peer: socket.socket) -> None:
        super().__init__(context().wrap_socket(peer, server_side=True, do_handshake_on_connect=False))


class TlsServer(Server):
    """A `Server` whose connections are `TlsConnection`s."""

    _connection = TlsConnection

    @property
    def base_url(self) -> str:
        """The same address, by https."""
        return super().base_url.replace("http:", "https:", 1)

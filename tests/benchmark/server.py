"""A loopback server of the benchmark, in a process of its own, so that its time is not the client's.

    python -m tests.benchmark.server

Prints its port. The path says what is streamed: `/SHAPE/BYTES/EVENTS/…`, so many bytes a chunk, 0 for an event.
"""

from __future__ import annotations

import socketserver
from http.server import BaseHTTPRequestHandler

from tests.benchmark.bodies import reads


class Handler(BaseHTTPRequestHandler):
    """One connection, which is kept for further requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Stream what the path says."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        _, shape, size, events, *_ = self.path.split("/")
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chunks = reads(shape.replace("-", " "), int(size) or None, int(events))
        self.wfile.write(b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n")

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


class Server(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()

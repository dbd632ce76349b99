"""A response that was asked for as a whole, in the shape of one that streams.

What can no longer be streamed is read here as the events that would have streamed it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from .polled_response import events_of


class Unfinished(Exception):
    """The response is still being made."""


class PolledResponse:
    """Stands for an HTTP response where the exchange reads one."""

    status_code = 200
    http_version = "none"
    is_closed = False

    def __init__(self, response: Mapping[str, Any]) -> None:
        self.headers: dict[str, str] = {}
        self.extensions: dict[str, Any] = {}
        self._events = events_of(response)

    def iter_bytes(self) -> Iterator[bytes]:
        """The events, one for each read."""
        for event in self._events:
            yield b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode())

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """The events, one for each read."""
        for part in self.iter_bytes():
            yield part

    def close(self) -> None:
        """There is nothing to close."""

    async def aclose(self) -> None:
        """There is nothing to close."""


def finished_response(response: Any) -> PolledResponse:
    """A polled response as a stream.

    Raises:
        Unfinished: if it is not at its end.
    """
    if not isinstance(response, Mapping) or response.get("status") in ("queued", "in_progress", None):
        raise Unfinished
    return PolledResponse(response)

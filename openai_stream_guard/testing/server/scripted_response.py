"""One response of the server, byte by byte, as data.

A `ScriptedResponse` is a status, headers, the framing of the body and a list of steps, which `connection` carries out.
Tests may write one by hand and have the server send it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from .answers.answer import Answer

EVENT_STREAM: Final = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
JSON_BODY: Final = (("content-type", "application/json"),)
SOUND_BODY: Final = (("content-type", "audio/mpeg"),)


@dataclass(frozen=True, slots=True)
class Send:
    """
    Write a part of the body, in one write; with chunked framing it is one HTTP chunk.

    With `promised` the header of the chunk announces so many bytes, more than the data: the chunk stays unfinished.
    """

    data: bytes
    promised: int | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """Write bytes to the connection as they are, not framed as a chunk."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds, by default until the client disconnects or the server is closed."""

    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Repeat:
    """Repeat the steps, by default until the client disconnects or the server is closed."""

    steps: tuple[Step, ...]
    times: float = math.inf


@dataclass(frozen=True, slots=True)
class End:
    """End the body as its framing requires: by the 0-chunk, by its length, or by closing."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection (FIN), whether or not the body has ended."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection (RST)."""


Step: TypeAlias = Send | Raw | Wait | Repeat | End | Close | Reset


@dataclass(frozen=True, slots=True)
class ScriptedResponse:
    """
    One response of the server.

    `framing` says how the body is delimited: in chunks, by a `content-length`, or by the end of the connection, which
    also replaces chunks for a request of HTTP/1.0. `length` is the content-length to announce; None announces as many
    bytes as the steps send. Without `End`, `Close` or `Reset` the connection is closed after the last step.
    """

    steps: tuple[Step, ...]
    status: int = 200
    headers: tuple[tuple[str, str], ...] = EVENT_STREAM
    framing: Literal["chunked", "length", "close"] = "chunked"
    length: int | None = None

    def promised_length(self) -> int:
        """Return the value of the content-length header."""
        if self.length is not None:
            return self.length
        return sum(len(step.data) for step in self.steps if isinstance(step, Send))


def streaming(parts: Iterable[bytes]) -> ScriptedResponse:
    """Return a healthy stream of these parts, a chunk each."""
    return ScriptedResponse((*map(Send, parts), End()))


def healthy(answer: Answer) -> ScriptedResponse:
    """Return the answer as a healthy server streams it, an event in each chunk."""
    return streaming(answer.encode())


def replying(body: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> ScriptedResponse:
    """Return a response that is not a stream: a body with its length, which is sound if given as bytes, else JSON."""
    if isinstance(body, bytes):
        return ScriptedResponse((Send(body), End()), status, (*SOUND_BODY, *headers), "length")
    data = json.dumps(body, ensure_ascii=False).encode()
    return ScriptedResponse((Send(data), End()), status, (*JSON_BODY, *headers), "length")

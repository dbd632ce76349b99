"""What a server does with one response, byte by byte, as data.

A `ScriptedResponse` is a status, headers, the framing of the body and a list of steps. It decides nothing about
sockets: `connection` carries it out. Anyone may write one by hand and have the server perform it.
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
    """Write a part of the body: one HTTP chunk where the framing is chunked, and always one write.

    With `promised` that chunk is to have so many bytes, more than the data: it is left unfinished.
    """

    data: bytes
    promised: int | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """Write bytes to the connection as they are, without the framing of a chunk."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds, by default until the client goes away or the server is closed."""

    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Repeat:
    """Perform the steps again and again, by default until the client goes away or the server is closed."""

    steps: tuple[Step, ...]
    times: float = math.inf


@dataclass(frozen=True, slots=True)
class End:
    """End the body as HTTP wants it: by the 0-chunk, by its length, or by closing."""


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
    One response.

    `framing` says how the body is delimited: in chunks, by a `content-length`, or by the end of the connection, which
    also ends what was to come in chunks where the request is one of HTTP/1.0. `length` is the content-length promised;
    None promises as many bytes as the steps send. Without `End`, `Close` or `Reset` it is closed after the last step.
    """

    steps: tuple[Step, ...]
    status: int = 200
    headers: tuple[tuple[str, str], ...] = EVENT_STREAM
    framing: Literal["chunked", "length", "close"] = "chunked"
    length: int | None = None

    def promised_length(self) -> int:
        """The value of the content-length header."""
        if self.length is not None:
            return self.length
        return sum(len(step.data) for step in self.steps if isinstance(step, Send))


def streaming(parts: Iterable[bytes]) -> ScriptedResponse:
    """A healthy stream of these parts, a chunk each."""
    return ScriptedResponse((*map(Send, parts), End()))


def healthy(answer: Answer) -> ScriptedResponse:
    """The answer as a healthy server streams it, an event a chunk."""
    return streaming(answer.encode())


def replying(body: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> ScriptedResponse:
    """A response that is no stream: a body with its length, JSON or, where it is bytes, sound."""
    if isinstance(body, bytes):
        return ScriptedResponse((Send(body), End()), status, (*SOUND_BODY, *headers), "length")
    data = json.dumps(body, ensure_ascii=False).encode()
    return ScriptedResponse((Send(data), End()), status, (*JSON_BODY, *headers), "length")

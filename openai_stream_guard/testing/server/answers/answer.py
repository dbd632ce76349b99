"""What a healthy server says: recorded answers, as the server-sent events of one HTTP response.

Decides what an answer is (`Answer`) and how one request's copy differs from the next (`AnswerVariant`: fresh ids, and
with `sampled` fresh words). It knows nothing of sockets, faults or the SDK.

The law: every take of an answer says the same, under ids of its own; two sampled takes never say the same.

What servers of the same protocol do differently, and a test may choose.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Json: TypeAlias = dict[str, Any]

TEXT = "Zürich’s blue trams 🚋 climb past cafés, 東京 postcards and “data: [DONE]” graffiti."
MODEL = "gpt-5.2"

# As many as follow each other before an opening comes back; then the number behind it differs.
_OPENINGS = ("Perhaps", "Well", "Once", "Today", "Every", "Look", "Under", "Nobody", "Soon", "Four")


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event before it is put on the wire."""

    data: str
    event: str | None = None

    def encode(self) -> bytes:
        """The event as a healthy server writes it, its blank line included."""
        name = f"event: {self.event}\n" if self.event else ""
        return f"{name}data: {self.data}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """
    One take of an answer.

    `frames` are the events of the stream, `visible` says how many of them come before the first that shows
    the reader anything, and `plain` is the body of the same answer asked for with `stream: false`: JSON, or
    bytes where the answer is sound.
    """

    frames: tuple[Frame, ...]
    visible: int
    plain: Any

    def encode(self) -> list[bytes]:
        """The frames as a healthy server writes them."""
        return [frame.encode() for frame in self.frames]


@dataclass(slots=True)
class AnswerVariant:
    """
    What differs from one request's answer to the next.

    `serial` counts the requests of a server. `sampled` says whether the words differ too, as those of a model
    with a temperature do; `regroup` whether the text is cut into deltas elsewhere each time, as servers that
    batch tokens do. `background` marks a response made in the background. A chat answer goes on behind `prefix`,
    as `prefill` says, and ends after `limit` tokens.
    """

    serial: int
    model: str = MODEL
    sampled: bool = False
    regroup: bool = False
    background: bool = False
    prefix: str = ""
    prefill: Prefill = "continued"
    limit: int | None = None
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.serial)

    def id(self, prefix: str) -> str:
        """A new id, such as `chatcmpl-5Vd0…`."""
        return prefix + "".join(self._random.choices(string.ascii_letters + string.digits, k=24))

    def say(self, recorded: str) -> str:
        """The recorded text, or what a sampling model says instead: other words from the first one on."""
        if not self.sampled:
            return recorded
        words = recorded.split(" ")
        self._random.shuffle(words)
        return f"{_OPENINGS[self.serial % len(_OPENINGS)]} {self.serial}: {' '.join(words)}"

    def split(self, text: str) -> list[str]:
        """The text as deltas: a word each, or, where the server regroups, three to six characters each."""
        if not self.regroup:
            return re.findall(r"\s*\S+|\s+$", text)
        size = 3 + self.serial % 4
        return [text[start : start + size] for start in range(0, len(text), size)]


def compact(payload: object) -> str:
    """JSON as OpenAI writes it: no spaces, no escapes but the needed ones."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def first_visible(shows: Sequence[bool]) -> int:
    """How many frames come before the first that shows something; all of them where none does."""
    return shows.index(True) if True in shows else len(shows)


Prefill: TypeAlias = Literal["continued", "stripped", "echoed", "refused"]


@dataclass(frozen=True, slots=True)
class ServerBehaviour:
    """
    What a server does its own way.

    `prefill` says what becomes of a request whose last message is the beginning of the assistant's answer: it
    is `continued`, continued with its leading white space `stripped`, `echoed` before it is continued, or
    `refused` with status 400.

    A response made in the background is `in_progress` for the first `pending_polls` times that it is
    retrieved. With `streamable` off it can no longer be streamed: status 400.
    """

    prefill: Prefill = "continued"
    pending_polls: int = 0
    streamable: bool = True

"""What an answer is, and how the answer to one request differs from the answer to the next.

An `Answer` is what a healthy server sends for one request; an `AnswerVariant` makes it differ from others: fresh ids,
and other words if the server samples. `ServerBehaviour` says where servers of the same protocol differ.

Invariant: all variants of an answer have the same text, under ids of their own; no two sampled variants have it.
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
Prefill: TypeAlias = Literal["continued", "stripped", "echoed", "refused"]
Anchored: TypeAlias = Literal["compliant", "forgetful", "restarting", "chatty", "fenced", "refusing"]

TEXT = "Zürich’s blue trams 🚋 climb past cafés, 東京 postcards and “data: [DONE]” graffiti."
MODEL = "gpt-5.2"

# The first words of sampled answers. They repeat after so many requests; the number that follows never does.
_OPENINGS = ("Perhaps", "Well", "Once", "Today", "Every", "Look", "Under", "Nobody", "Soon", "Four")


@dataclass(frozen=True, slots=True)
class ServerBehaviour:
    """
    In what servers of the same protocol differ.

    `prefill` says how the server treats a request whose last message is the beginning of the assistant's answer: the
    answer is `continued`, continued without leading white space (`stripped`), or `echoed` before it is continued; or
    the request is `refused` with status 400.

    `anchored` says what a chat model makes of a last message by the user that ends with the last words of the message
    before it, the assistant's, which is the beginning of the answer: it repeats those words and goes on (`compliant`),
    goes on without them (`forgetful`), answers from the start (`restarting`), introduces its repetition (`chatty`) or
    puts it into a code fence (`fenced`), or refuses (`refusing`).

    A response created in the background is `in_progress` for the first `pending_polls` times that it is retrieved.
    Unless `streamable`, it can no longer be streamed: status 400.
    """

    prefill: Prefill = "continued"
    anchored: Anchored = "compliant"
    pending_polls: int = 0
    streamable: bool = True


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event before it is encoded."""

    data: str
    event: str | None = None

    def encode(self) -> bytes:
        """Return the event as a healthy server writes it, including the blank line."""
        name = f"event: {self.event}\n" if self.event else ""
        return f"{name}data: {self.data}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """
    The answer to one request.

    `frames` are the events of the stream, and `visible` is the number of events before the first one that shows the
    reader anything. `plain` is the body of the same answer without streaming: JSON, or bytes if the answer is sound.
    """

    frames: tuple[Frame, ...]
    visible: int
    plain: Any

    def encode(self) -> list[bytes]:
        """Return the frames as a healthy server writes them."""
        return [frame.encode() for frame in self.frames]


@dataclass(slots=True)
class AnswerVariant:
    """
    How the answer to one request differs from others.

    `serial` counts the requests of a server. With `sampled` the words differ too, as those of a model with a
    temperature do; with `regroup` the text is divided into deltas differently each time, as by servers that batch
    tokens. `background` marks a response that is created in the background. A chat answer continues `prefix`, as
    `prefill` says, behind an `opening` where it has one, and ends after `limit` tokens.
    """

    serial: int
    model: str = MODEL
    sampled: bool = False
    regroup: bool = False
    background: bool = False
    prefix: str = ""
    prefill: Prefill = "continued"
    opening: str = ""
    limit: int | None = None
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.serial)

    def id(self, prefix: str) -> str:
        """Return a new id, such as `chatcmpl-5Vd0…`."""
        return prefix + "".join(self._random.choices(string.ascii_letters + string.digits, k=24))

    def say(self, recorded: str) -> str:
        """Return the recorded text, or what a sampling model says instead: other words, from the first one on."""
        if not self.sampled:
            return recorded
        words = recorded.split(" ")
        self._random.shuffle(words)
        return f"{_OPENINGS[self.serial % len(_OPENINGS)]} {self.serial}: {' '.join(words)}"

    def split(self, text: str) -> list[str]:
        """Divide the text into deltas: a word each, or, with `regroup`, three to six characters each."""
        if not self.regroup:
            return re.findall(r"\s*\S+|\s+$", text)
        size = 3 + self.serial % 4
        return [text[start : start + size] for start in range(0, len(text), size)]


def compact(payload: object) -> str:
    """Return JSON as OpenAI writes it: without spaces, and with only the necessary escapes."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def first_visible(shows: Sequence[bool]) -> int:
    """Return the number of frames before the first that shows the reader something; all if none does."""
    return shows.index(True) if True in shows else len(shows)

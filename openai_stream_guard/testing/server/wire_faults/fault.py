"""What a fault is: a named way of playing an answer badly, with what a guarded stream promises under it.

Here too are the few moves that most faults are made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..answers import Api
from ..answers.answer import Answer, Frame
from ..scripted_response import Performance, Send, Step
from .promises import Promise, Raises

Play: TypeAlias = Callable[[Answer, int], Performance]

# The opening quote of a JSON string in which a delta says something, with the first character of it.
_SAYING = re.compile(r'"(?:content|reasoning_content|refusal|arguments|text|delta)":"[^"\\]')


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One named way in which a server, a proxy or the network treats a stream.

    `does` is one sentence. `promise` is what the guarded stream promises when the fault strikes once, in live
    delivery, before visible text or where the answer can be replayed. `verdict` is the `fault` of the error
    raised where it strikes every time; None for what never ends in an error. `retryable` says whether the
    guard asks again. `placed` tells whether it strikes at a frame of choice. `answer` is the answer that it
    needs, `api` the one API that it belongs to, None for any.
    """

    name: str
    does: str
    promise: Promise
    play: Play
    verdict: str | None = None
    retryable: bool = True
    placed: bool = True
    answer: str | None = None
    api: Api | None = None

    def perform(self, answer: Answer, after: int | None = None) -> Performance:
        """The answer, damaged at frame `after`: by default the first that shows the reader anything."""
        last = len(answer.frames) - 1
        return self.play(answer, min(answer.visible if after is None else after, last))

    def promised(self, *, every_time: bool, max_retries: int) -> Promise:
        """The promise where the fault strikes once, or every time."""
        if self.verdict is None or not every_time:
            return self.promise
        return Raises(self.verdict, requests=1 + max_retries if self.retryable else 1)


def fault(promise: Promise, **fields: Any) -> Callable[[Play], Fault]:
    """Make a fault of a function: its name, and its docstring as the sentence that says what it does."""

    def named(play: Play) -> Fault:
        return Fault(play.__name__, str(play.__doc__), promise, play, **fields)

    return named


def up_to(answer: Answer, at: int, *then: Step) -> Performance:
    """Healthy frames before number `at`, then these steps."""
    return Performance((*map(Send, answer.encode()[:at]), *then))


def inserting(answer: Answer, at: int, foreign: bytes) -> list[bytes]:
    """The frames, with foreign bytes before number `at`."""
    parts = answer.encode()
    return [*parts[:at], foreign, *parts[at:]]


def replacing(answer: Answer, at: int, part: bytes) -> list[bytes]:
    """The frames, with other bytes for number `at`."""
    parts = answer.encode()
    return [*parts[:at], part, *parts[at + 1 :]]


def halves(frame: Frame) -> tuple[str, str]:
    """The frame's data, cut inside the string in which it says something; else in the middle."""
    said = _SAYING.search(frame.data)
    cut = said.end() if said else len(frame.data) // 2
    return frame.data[:cut], frame.data[cut:]

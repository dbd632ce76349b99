"""What a fault is: a named way of playing an answer badly, with what a guarded stream promises under it.

Here too are the few moves that most faults are made of.

What a guarded stream promises under a fault, as values, and whether an outcome keeps it.

It knows outcomes and nothing of how they came about: no server, no SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..answers import Api
from ..answers.answer import Answer, Frame
from ..scripted_response import ScriptedResponse, Send, Step

Play: TypeAlias = Callable[[Answer, int], ScriptedResponse]

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

    def perform(self, answer: Answer, after: int | None = None) -> ScriptedResponse:
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


def up_to(answer: Answer, at: int, *then: Step) -> ScriptedResponse:
    """Healthy frames before number `at`, then these steps."""
    return ScriptedResponse((*map(Send, answer.encode()[:at]), *then))


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What a consumer got out of one stream.

    `items` are the items as plain values, with the ids that differ from answer to answer taken out; `text` is
    all they say. `error` is the exception that ended the stream, `drop_in` whether it is an instance of the
    class that the unguarded SDK raises there (True where that raises none), and `warnings` counts the guard's
    log records at WARNING and above. A stream on which somebody had to hang up, because nothing more came, is
    a `hang`.
    """

    items: tuple[object, ...]
    text: str
    requests: int
    error: Exception | None = None
    drop_in: bool = True
    warnings: int = 0
    hang: bool = False


@dataclass(frozen=True, slots=True)
class Equal:
    """Odd but healthy: exactly the items of the healthy stream, in one request, and not a word of warning."""

    def __str__(self) -> str:
        return "equal"

    def kept(self, outcome: Outcome, reference: Outcome) -> bool:
        """Whether the outcome is as promised, given the unguarded outcome of the unbroken answer."""
        return Whole(requests=1).kept(outcome, reference) and outcome.warnings == 0


@dataclass(frozen=True, slots=True)
class Whole:
    """Broken, but it comes out as the healthy stream does, in at most so many requests."""

    requests: int

    def __str__(self) -> str:
        return "whole in 1" if self.requests == 1 else f"whole in <= {self.requests}"

    def kept(self, outcome: Outcome, reference: Outcome) -> bool:
        """Whether the outcome is as promised, given the unguarded outcome of the unbroken answer."""
        if outcome.error is not None or outcome.hang:
            return False
        return outcome.items == reference.items and outcome.requests <= self.requests


@dataclass(frozen=True, slots=True)
class Raises:
    """The typed error with this `fault`, after so many requests, with only a true prefix delivered."""

    fault: str
    requests: int

    def __str__(self) -> str:
        return self.fault

    def kept(self, outcome: Outcome, reference: Outcome) -> bool:
        """Whether the outcome is as promised, given the unguarded outcome of the unbroken answer."""
        if getattr(outcome.error, "fault", None) != self.fault or not outcome.drop_in or outcome.hang:
            return False
        delivered = len(outcome.items)
        return outcome.items == reference.items[:delivered] and outcome.requests == self.requests


Promise: TypeAlias = Equal | Whole | Raises

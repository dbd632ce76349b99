"""What a fault of the server is, what a guarded stream promises under it, and whether an outcome keeps the promise.

A fault turns a healthy `Answer` into a `ScriptedResponse`. The functions at the end build what most faults consist of;
`injected` applies a fault of the client side (`testing.faults`) to the bytes of the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...faults import Injection
from ...faults.transforms import BodyPart, ConnectionLost, Pause, TransformChain
from ..answers import Api
from ..answers.answer import Answer, Frame
from ..scripted_response import Close, End, ScriptedResponse, Send, Step, Wait, streaming

Build: TypeAlias = Callable[[Answer, int], ScriptedResponse]
"""Builds the response from the healthy answer and the number of the frame at which the fault takes effect."""

# The opening quote of a JSON string with text in a delta, and the first character of the text.
_TEXT = re.compile(r'"(?:content|reasoning_content|refusal|arguments|text|delta)":"[^"\\]')


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What a consumer received from one stream.

    `items` are the items as plain values, without the ids that differ from answer to answer; `text` is their text.
    `error` is the exception that ended the stream, and `drop_in` whether it is an instance of the class that the
    unguarded SDK raises there (True if that raises none). `warnings` counts the guard's log records at WARNING and
    above. `hang` marks a stream that the consumer had to close because nothing more came.
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
    """Unusual but healthy: exactly the items of the healthy stream, in one request, and no warning."""

    def __str__(self) -> str:
        return "equal"

    def kept(self, outcome: Outcome, reference: Outcome) -> bool:
        """Whether the outcome keeps the promise, given the unguarded outcome of the healthy answer."""
        return Whole(requests=1).kept(outcome, reference) and outcome.warnings == 0


@dataclass(frozen=True, slots=True)
class Whole:
    """Broken, but the consumer gets the items of the healthy stream, in at most so many requests."""

    requests: int

    def __str__(self) -> str:
        return "whole in 1" if self.requests == 1 else f"whole in <= {self.requests}"

    def kept(self, outcome: Outcome, reference: Outcome) -> bool:
        """Whether the outcome keeps the promise, given the unguarded outcome of the healthy answer."""
        if outcome.error is not None or outcome.hang:
            return False
        return outcome.items == reference.items and outcome.requests <= self.requests


@dataclass(frozen=True, slots=True)
class Raises:
    """The typed error with this `fault`, after so many requests; what was delivered is the beginning of the answer."""

    fault: str
    requests: int

    def __str__(self) -> str:
        return self.fault

    def kept(self, outcome: Outcome, reference: Outcome) -> bool:
        """Whether the outcome keeps the promise, given the unguarded outcome of the healthy answer."""
        if getattr(outcome.error, "fault", None) != self.fault or not outcome.drop_in or outcome.hang:
            return False
        delivered = len(outcome.items)
        return outcome.items == reference.items[:delivered] and outcome.requests == self.requests


Promise: TypeAlias = Equal | Whole | Raises


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One named way in which a server, a proxy or the network breaks a stream.

    `does` describes it in one sentence. `promise` is what the guarded stream promises if the fault occurs once, in live
    delivery, before visible text or where the answer can be replayed. `verdict` is the `fault` of the error that is
    raised if it occurs every time; None if it never ends in an error. `retryable` says whether the guard sends the
    request again. `placed` says whether the frame at which it takes effect can be chosen. `answer` is the name of the
    answer that it needs, `api` the only API that it applies to; None for any.
    """

    name: str
    does: str
    promise: Promise
    build: Build
    verdict: str | None = None
    retryable: bool = True
    placed: bool = True
    answer: str | None = None
    api: Api | None = None

    def apply(self, answer: Answer, after: int | None = None) -> ScriptedResponse:
        """Return the answer, broken at frame `after`: by default the first that shows the reader anything."""
        last = len(answer.frames) - 1
        return self.build(answer, min(answer.visible if after is None else after, last))

    def promised(self, *, every_time: bool, max_retries: int) -> Promise:
        """Return the promise for a fault that occurs once, or every time."""
        if self.verdict is None or not every_time:
            return self.promise
        return Raises(self.verdict, requests=1 + max_retries if self.retryable else 1)


def defining(promise: Promise, **fields: Any) -> Callable[..., Fault]:
    """Return a function that defines faults with this promise and these fields: name, what it does, `Build`."""

    def define(name: str, does: str, build: Build, **more: Any) -> Fault:
        return Fault(name, does, promise, build, **{**fields, **more})

    return define


def injected(create: Callable[[int], Injection]) -> Build:
    """Build what is left of the healthy stream by the fault that `create` returns for the number of a frame."""

    def build(answer: Answer, at: int) -> ScriptedResponse:
        chain = TransformChain(create(at).new_transforms())
        return ScriptedResponse(tuple(map(_step, chain.whole(answer.encode()))))

    return build


def _step(part: BodyPart) -> Step:
    match part:
        case bytes():
            return Send(part)
        case Pause(seconds):
            return Wait(seconds)
        case ConnectionLost():
            return Close()
        case _:
            return End()


def changing(change: Callable[[list[bytes]], Iterable[bytes]]) -> Build:
    """Build a complete stream of the parts that `change` makes of the healthy frames."""
    return lambda answer, at: streaming(change(answer.encode()))


def inserting(foreign: bytes) -> Build:
    """Build a complete stream with foreign bytes before a frame."""

    def build(answer: Answer, at: int) -> ScriptedResponse:
        parts = answer.encode()
        return streaming([*parts[:at], foreign, *parts[at:]])

    return build


def replacing(replace: Callable[[Frame], bytes]) -> Build:
    """Build a complete stream with other bytes in place of a frame."""

    def build(answer: Answer, at: int) -> ScriptedResponse:
        parts = answer.encode()
        return streaming([*parts[:at], replace(answer.frames[at]), *parts[at + 1 :]])

    return build


def without_done(answer: Answer) -> list[bytes]:
    """Return the healthy frames without `[DONE]`."""
    return [frame.encode() for frame in answer.frames if frame.data != "[DONE]"]


def up_to(answer: Answer, at: int, *then: Step) -> ScriptedResponse:
    """Return the healthy frames before number `at`, then these steps."""
    return ScriptedResponse((*map(Send, answer.encode()[:at]), *then))


def ending(*then: Step) -> Build:
    """Build the healthy frames before a frame, then these steps."""
    return lambda answer, at: up_to(answer, at, *then)


def halves(frame: Frame) -> tuple[str, str]:
    """Divide the data of a frame inside the JSON string that holds its text; in the middle if there is none."""
    text = _TEXT.search(frame.data)
    cut = text.end() if text else len(frame.data) // 2
    return frame.data[:cut], frame.data[cut:]

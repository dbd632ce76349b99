"""The faults there are, as values: what each is called, what it may be told, and the words that refuse the rest.

All take `times`, for how many responses, re-issues included (default 1; None: for all), and `every`: only every n-th
response. Those that strike at a point take `after_events` or `after_bytes`, how much gets through before, and
`on="tool_call"`, which counts from the first event that brings part of a tool call. Every one raises `ValueError` for
a value that is not allowed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from . import transforms as stages
from .points import LANDMARKS, Landmark, Point
from .transforms import Broken, Over, Pause, Stage

RESPONSES_PER_FAULT: Final = 1
PAGE: Final = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>\n"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response in the server's place."""

    status: int
    retry_after: float | None


@dataclass(frozen=True)
class Injection:
    """One fault, or several joined by `&`, which strike the same response in that order."""

    name: str
    stages: tuple[Callable[[], Stage], ...] = field(default=(), repr=False, compare=False)
    """Make what acts on one body."""
    refusal: Refusal | None = None
    content_type: str | None = None
    """What the response says that it is instead."""
    times: int | None = RESPONSES_PER_FAULT
    every: int = 1

    def __and__(self, other: Injection) -> Injection:
        """Both faults on one response."""
        if not isinstance(other, Injection):
            return NotImplemented
        if self.refusal is not None or other.refusal is not None:
            raise ValueError("refuse() leaves no body for another fault to strike; plan it by itself")
        if (self.times, self.every) != (other.times, other.every):
            raise ValueError(f"{self} & {other} strike one response: give both the same times and every")
        name = f"{self.name} & {other.name}"
        content_type = self.content_type or other.content_type
        return replace(self, name=name, stages=self.stages + other.stages, content_type=content_type)

    def __str__(self) -> str:
        return self.name


def cut(
    *,
    after_events: int | None = None,
    after_bytes: int | None = None,
    on: Landmark | None = None,
    times: int | None = RESPONSES_PER_FAULT,
    every: int = 1,
) -> Injection:
    """The body ends early, in good order, as where a proxy's upstream has died."""
    point = _point("cut", after_events, after_bytes, on)
    return _make("cut", lambda: stages.Ending(point, Over()), point, times, every)


def disconnect(
    *,
    after_events: int | None = None,
    after_bytes: int | None = None,
    on: Landmark | None = None,
    times: int | None = RESPONSES_PER_FAULT,
    every: int = 1,
) -> Injection:
    """The connection breaks: `RemoteProtocolError` of the HTTP library in use, `ReadError` by aiohttp."""
    point = _point("disconnect", after_events, after_bytes, on)
    return _make("disconnect", lambda: stages.Ending(point, Broken()), point, times, every)


def stall(
    *,
    after_events: int | None = None,
    after_bytes: int | None = None,
    on: Landmark | None = None,
    times: int | None = RESPONSES_PER_FAULT,
    every: int = 1,
) -> Injection:
    """Nothing comes any more, until a clock ends it: the guard's, or the request's read timeout."""
    point = _point("stall", after_events, after_bytes, on)
    return _make("stall", lambda: stages.Ending(point, Pause(math.inf)), point, times, every)


def error(
    *,
    type: str = "server_error",
    message: str = "The server had an error while processing your request.",
    code: str | None = None,
    after_events: int | None = None,
    on: Landmark | None = None,
    times: int | None = RESPONSES_PER_FAULT,
    every: int = 1,
) -> Injection:
    """The API says inside the stream that it failed, and ends it. With `type="invalid_request_error"`, for good."""
    point = _point("error", after_events, None, on)
    body = json.dumps({"error": {"message": message, "type": type, "param": None, "code": code}})
    words = f"data: {body}\n\n".encode()
    return _make("error", lambda: stages.Ending(point, Over(), words), point, times, every, type=type)


def html(*, times: int | None = RESPONSES_PER_FAULT, every: int = 1) -> Injection:
    """A proxy's page instead of the stream, with status 200."""
    made = _make("html", lambda: stages.Replaced(PAGE), None, times, every)
    return replace(made, content_type="text/html")


def gap(
    *,
    after_events: int | None = None,
    on: Landmark | None = None,
    times: int | None = RESPONSES_PER_FAULT,
    every: int = 1,
) -> Injection:
    """The event behind the point is missing. Where events have no numbers, as in chat, nobody can notice."""
    point = _point("gap", after_events, None, on)
    return _make("gap", lambda: stages.Altered(point, stages.dropped), point, times, every)


def duplicate(
    *,
    after_events: int | None = None,
    on: Landmark | None = None,
    times: int | None = RESPONSES_PER_FAULT,
    every: int = 1,
) -> Injection:
    """The event behind the point comes twice. Where events have no numbers, as in chat, nobody can notice."""
    point = _point("duplicate", after_events, None, on)
    return _make("duplicate", lambda: stages.Altered(point, stages.doubled), point, times, every)


def garble(
    *,
    seed: int = 0,
    after_events: int | None = None,
    on: Landmark | None = None,
    times: int | None = RESPONSES_PER_FAULT,
    every: int = 1,
) -> Injection:
    """One byte in the payload of the event behind the point is wrong; which one, `seed` decides."""
    point = _point("garble", after_events, None, on)
    _check_whole("garble", "seed", seed, -math.inf)
    return _make("garble", lambda: stages.Altered(point, stages.garbler(seed)), point, times, every, seed=seed)


def glue(
    *,
    after_events: int | None = None,
    on: Landmark | None = None,
    times: int | None = RESPONSES_PER_FAULT,
    every: int = 1,
) -> Injection:
    """From the point on, events have lost the blank lines between them. Repairable."""
    point = _point("glue", after_events, None, on)
    return _make("glue", lambda: stages.Altered(point, stages.glued, every_event=True), point, times, every)


def split(*, size: int = 1, times: int | None = RESPONSES_PER_FAULT, every: int = 1) -> Injection:
    """Every read brings at most `size` bytes. Healthy, and more than some readers can take."""
    _check_whole("split", "size", size, 1)
    return _make("split", lambda: stages.Split(size), None, times, every, size=size)


def slow(*, seconds: float = 1.0, times: int | None = RESPONSES_PER_FAULT, every: int = 1) -> Injection:
    """Every read has to be waited for so many seconds. Healthy, unless a clock says that it is too slow."""
    _check_seconds("slow", "seconds", seconds)
    return _make("slow", lambda: stages.Slow(seconds), None, times, every, seconds=seconds)


def refuse(
    *,
    status: int = 503,
    retry_after: float | None = None,
    times: int | None = RESPONSES_PER_FAULT,
    every: int = 1,
) -> Injection:
    """The request is answered with this status and, if given, a `Retry-After`; it never reaches the server."""
    if type(status) is not int or not 400 <= status <= 599:
        raise ValueError(f"refuse() was given status={status!r}; allowed is an HTTP status from 400 to 599")
    if retry_after is not None:
        _check_seconds("refuse", "retry_after", retry_after)
    made = _make("refuse", None, None, times, every, status=status, retry_after=retry_after)
    return replace(made, refusal=Refusal(status, retry_after))


def _make(
    name: str,
    stage: Callable[[], Stage] | None,
    point: Point | None,
    times: int | None,
    every: int,
    **said: object,
) -> Injection:
    """The fault, under a name that says all that it was told."""
    if times is not None:
        _check_whole(name, "times", times, 1)
    _check_whole(name, "every", every, 1)
    told = dict(said)
    if point is not None:
        told |= {"after_events": point.events} if point.bytes is None else {"after_bytes": point.bytes}
        told |= {"on": point.on}
    words = ", ".join(f"{key}={value!r}" for key, value in told.items() if value is not None)
    return Injection(f"{name}({words})", () if stage is None else (stage,), times=times, every=every)


def _point(name: str, events: int | None, bytes: int | None, on: Landmark | None) -> Point:
    if events is not None and bytes is not None:
        raise ValueError(f"{name}() takes after_events or after_bytes, not both")
    if events is not None:
        _check_whole(name, "after_events", events, 0)
    if bytes is not None:
        _check_whole(name, "after_bytes", bytes, 0)
    if on is not None and on not in LANDMARKS:
        raise ValueError(f"{name}() was given on={on!r}; allowed is {', '.join(map(repr, LANDMARKS))}")
    return Point(events or 0, bytes, on)


def _check_whole(name: str, argument: str, value: object, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        allowed = "whole numbers" if least == -math.inf else f"whole numbers from {least}"
        raise ValueError(f"{name}() was given {argument}={value!r}; allowed are {allowed}")


def _check_seconds(name: str, argument: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name}() was given {argument}={value!r}; allowed are finite seconds, 0 or more")


Name = Literal[
    "cut",
    "disconnect",
    "stall",
    "garble",
    "split",
    "glue",
    "refuse",
    "error",
    "html",
    "gap",
    "duplicate",
    "slow",
]
KINDS: Final[dict[Name, Callable[..., Injection]]] = {
    "cut": cut,
    "disconnect": disconnect,
    "stall": stall,
    "garble": garble,
    "split": split,
    "glue": glue,
    "refuse": refuse,
    "error": error,
    "html": html,
    "gap": gap,
    "duplicate": duplicate,
    "slow": slow,
}
"""Every fault by its name."""

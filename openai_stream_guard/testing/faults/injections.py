"""The faults that can be injected into a response. Each is defined here, once.

A fault is a class: its name is the name that users write, its fields are the arguments that it takes, and `_CHECKS`
says which values these may have. `INJECTIONS` is the registry; `Faults` has a method of the same name for each. The
classes have lower-case names because they are used like functions: `faults.add(cut(after_events=3))`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from . import transforms
from .points import LANDMARKS, Landmark, Point
from .transforms import AlterEvents, BodyEnd, ConnectionLost, EndBody, Pause, Transform

PAGE: Final = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>\n"


@dataclass(frozen=True, kw_only=True)
class Injection:
    """One fault, or several joined by `&`. Creating one raises `ValueError` for an argument that is not allowed."""

    times: int | None = field(default=1, repr=False)
    """For how many responses, re-issues included; None for all."""
    every: int = field(default=1, repr=False)
    """Only for every n-th response."""

    def __post_init__(self) -> None:
        for argument in fields(self):
            value = getattr(self, argument.name)
            must_be, allows = _CHECKS.get(argument.name, ("", lambda _: True))
            if not (value is None and argument.default is None) and not allows(value):
                name = type(self).__name__
                raise ValueError(f"{name}() was given {argument.name}={value!r}; it must be {must_be}")

    @property
    def name(self) -> str:
        """The same as `str()` of the fault."""
        return str(self)

    def new_transforms(self) -> list[Transform]:
        """New transforms for the body of one response, in order."""
        return []

    def __and__(self, other: Injection) -> Injection:
        """Both faults on one response, this one first."""
        if not isinstance(other, Injection):
            return NotImplemented
        if isinstance(self, refuse) or isinstance(other, refuse):
            raise ValueError("refuse() leaves no body for another fault to change; plan it by itself")
        if (self.times, self.every) != (other.times, other.every):
            raise ValueError(f"{self} & {other} change one response: give both the same times and every")
        return _Joined(first=self, second=other, times=self.times, every=self.every)

    def __str__(self) -> str:
        """The call that creates it, with the arguments that decide what happens where."""
        shown = {argument.name: getattr(self, argument.name) for argument in fields(self) if argument.repr}
        if shown.get("after_bytes") is not None:
            del shown["after_events"]
        words = ", ".join(f"{name}={value!r}" for name, value in shown.items() if value is not None)
        return f"{type(self).__name__}({words})"


@dataclass(frozen=True, kw_only=True)
class _Joined(Injection):
    first: Injection
    second: Injection

    def new_transforms(self) -> list[Transform]:
        return self.first.new_transforms() + self.second.new_transforms()

    def __str__(self) -> str:
        return f"{self.first} & {self.second}"


@dataclass(frozen=True, kw_only=True)
class _AfterEvents(Injection):
    """A fault at a point in the body: after so many events, counted from its start or from a tool call."""

    after_events: int = 0
    on: Landmark | None = None

    @property
    def point(self) -> Point:
        """Where the fault takes effect."""
        return Point(self.after_events, None, self.on)


@dataclass(frozen=True, kw_only=True)
class _AfterBytes(_AfterEvents):
    """The same, where the point may be given in bytes instead."""

    after_bytes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.after_events and self.after_bytes is not None:
            raise ValueError(f"{type(self).__name__}() takes after_events or after_bytes, not both")

    @property
    def point(self) -> Point:
        """Where the fault takes effect."""
        return Point(self.after_events, self.after_bytes, self.on)


@dataclass(frozen=True, kw_only=True)
class cut(_AfterBytes):
    """The body ends early and in good order, as when the upstream of a proxy has died."""

    def new_transforms(self) -> list[Transform]:
        return [EndBody(self.point, BodyEnd())]


@dataclass(frozen=True, kw_only=True)
class disconnect(_AfterBytes):
    """The connection breaks: `RemoteProtocolError` of the HTTP library in use, `ReadError` with aiohttp."""

    def new_transforms(self) -> list[Transform]:
        return [EndBody(self.point, ConnectionLost())]


@dataclass(frozen=True, kw_only=True)
class stall(_AfterBytes):
    """Nothing more comes until a timeout ends it: one of the guard's, or the read timeout of the request."""

    def new_transforms(self) -> list[Transform]:
        return [EndBody(self.point, Pause(math.inf))]


@dataclass(frozen=True, kw_only=True)
class garble(_AfterEvents):
    """One byte in the payload of the event after the point is wrong; `seed` decides which one."""

    seed: int = 0

    def new_transforms(self) -> list[Transform]:
        return [AlterEvents(self.point, transforms.garbler(self.seed))]


@dataclass(frozen=True, kw_only=True)
class split(Injection):
    """Every read brings at most `size` bytes. Healthy, and more than some readers can handle."""

    size: int = 1

    def new_transforms(self) -> list[Transform]:
        return [transforms.SplitReads(self.size)]


@dataclass(frozen=True, kw_only=True)
class glue(_AfterEvents):
    """After the point, events have lost the blank lines between them. Repairable."""

    def new_transforms(self) -> list[Transform]:
        return [AlterEvents(self.point, transforms.without_blank_line, every_event=True)]


@dataclass(frozen=True, kw_only=True)
class refuse(Injection):
    """The request is answered with this status and, if given, a `Retry-After` in seconds; no server sees it."""

    status: int = 503
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class error(_AfterEvents):
    """The API reports an error inside the stream and ends it. No retry helps for `type="invalid_request_error"`."""

    type: str = "server_error"
    message: str = field(default="The server had an error while processing your request.", repr=False)
    code: str | None = field(default=None, repr=False)

    def new_transforms(self) -> list[Transform]:
        body = {"error": {"message": self.message, "type": self.type, "param": None, "code": self.code}}
        return [EndBody(self.point, BodyEnd(), last=f"data: {json.dumps(body)}\n\n".encode())]


@dataclass(frozen=True, kw_only=True)
class html(Injection):
    """A proxy's error page instead of the stream, with status 200."""

    def new_transforms(self) -> list[Transform]:
        return [transforms.ReplaceBody(PAGE, "text/html")]


@dataclass(frozen=True, kw_only=True)
class gap(_AfterEvents):
    """The event after the point is missing. Where events have no numbers, as in chat, nobody can notice."""

    def new_transforms(self) -> list[Transform]:
        return [AlterEvents(self.point, lambda event: b"")]


@dataclass(frozen=True, kw_only=True)
class duplicate(_AfterEvents):
    """The event after the point comes twice. Where events have no numbers, as in chat, nobody can notice."""

    def new_transforms(self) -> list[Transform]:
        return [AlterEvents(self.point, lambda event: event + event)]


@dataclass(frozen=True, kw_only=True)
class slow(Injection):
    """Every read takes so many seconds. Healthy, unless a timeout is shorter than that."""

    seconds: float = 1.0

    def new_transforms(self) -> list[Transform]:
        return [transforms.Delay(self.seconds)]


INJECTIONS: Final[Mapping[str, type[Injection]]] = {
    name: defined
    for name, defined in list(vars().items())
    if isinstance(defined, type) and issubclass(defined, Injection) and name[0].islower()
}
"""Every fault by its name."""


def _whole(least: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


_CHECKS: Final[Mapping[str, tuple[str, Callable[[object], bool]]]] = {
    "times": ("a whole number, 1 or more, or None", lambda value: value is None or _whole(1)(value)),
    "every": ("a whole number, 1 or more", _whole(1)),
    "after_events": ("a whole number, 0 or more", _whole(0)),
    "after_bytes": ("a whole number, 0 or more", _whole(0)),
    "on": (" or ".join(map(repr, LANDMARKS)), LANDMARKS.__contains__),
    "seed": ("a whole number", _whole(-math.inf)),
    "size": ("a whole number, 1 or more", _whole(1)),
    "seconds": ("a finite number of seconds, 0 or more", _seconds),
    "retry_after": ("a finite number of seconds, 0 or more", _seconds),
    "status": ("an HTTP status from 400 to 599", lambda value: type(value) is int and 400 <= value <= 599),
}
"""What an argument must be, in words and as a test. One whose default is None may be None as well."""

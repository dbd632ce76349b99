"""One line of a capture: a JSON object that anybody may have written.

The law its tests keep: whatever the line holds, a member is what it was asked for as, or `NotACapture` names the line.
"""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any, get_args

_MAX_TIME = 1e9


class NotACapture(ValueError):
    """What was to be loaded is no capture, or none that this release reads; the message says why."""


class Line:
    """One JSON object, each of whose members is looked at before it is used."""

    def __init__(self, line: bytes, number: int, members: object = None) -> None:
        self._number = number
        if members is None:
            with suppress(ValueError, RecursionError):
                members = json.loads(line)
        if not isinstance(members, dict):
            raise self.wrong("is no JSON object")
        self._members: dict[str, Any] = members

    def wrong(self, what: str) -> NotACapture:
        """The error for this line."""
        if self._number == 1 and what == "is no JSON object":
            return NotACapture("the file is no capture")
        return NotACapture(f"line {self._number} {what}")

    def _get(self, name: str, kind: type | tuple[type, ...], expected: str) -> Any:
        value = self._members.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(f"has no {name!r} that is {expected}")
        return value

    def has(self, name: str) -> bool:
        """Whether the member is there and not null."""
        return self._members.get(name) is not None

    def inner(self, name: str) -> Line:
        """A member that is an object."""
        return Line(b"", self._number, self._get(name, dict, "an object"))

    def plain(self) -> dict[str, Any]:
        """The members as they are."""
        return dict(self._members)

    def text(self, name: str) -> str:
        """A member that is text."""
        return str(self._get(name, str, "a text"))

    def word(self, name: str, words: object) -> Any:
        """One of the words of a `Literal`."""
        word = self._get(name, str, "a text")
        if word not in get_args(words):
            raise self.wrong(f"has an unknown {name!r}")
        return word

    def flag(self, name: str) -> bool:
        """A member that is true or false."""
        return bool(self._get(name, bool, "true or false"))

    def count(self, name: str) -> int:
        """A member that is a whole number, 0 or more."""
        count = self._get(name, int, "a whole number")
        if not 0 <= count <= 1 << 62:
            raise self.wrong(f"has a {name!r} out of range")
        return int(count)

    def seconds(self, name: str) -> float:
        """A member that is a time, 0 or more."""
        seconds = self._get(name, (int, float), "a number of seconds")
        if not 0 <= seconds <= _MAX_TIME:
            raise self.wrong(f"has a {name!r} out of range")
        return float(seconds)

    def data(self) -> bytes:
        """The bytes of a read."""
        try:
            if self.has("base64"):
                return base64.b64decode(self.text("base64"), validate=True)
            return self.text("text").encode()
        except NotACapture:
            raise
        except ValueError:
            raise self.wrong("holds bytes that cannot be read") from None

    def texts(self, name: str) -> dict[str, str]:
        """A member that is an object, all of it text."""
        members = self.inner(name).plain()
        if not all(isinstance(value, str) for value in members.values()):
            raise self.wrong(f"has a {name!r} that is not all text")
        return members

"""One line of a capture file: a JSON object whose members are checked against the types of a dataclass.

The file may come from anyone. The law that its tests keep: every value that is returned has the type that was asked
for, or `NotACapture` names the line and the member.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class NotACapture(ValueError):
    """The file is not a capture, or is one that this release cannot read. The message says why."""


class _Scalar(NamedTuple):
    """A type that JSON has, and which of its values are accepted."""

    accepted: tuple[type, ...]
    maximum: float | None
    """None for a type without an order."""
    expected: str


_SCALARS: Final[Mapping[object, _Scalar]] = {
    str: _Scalar((str,), None, "a string"),
    bool: _Scalar((bool,), None, "true or false"),
    int: _Scalar((int,), 1 << 62, "an integer from 0 to 2**62"),
    float: _Scalar((int, float), 1e9, "a number of seconds from 0 to 1e9"),
}


class JsonLine:
    """One JSON object of a file.

    Args:
        number: the number of the line in the file, from 1.
        members: the members, if they are already parsed: those of an object inside the line.
    """

    def __init__(self, line: bytes, number: int, members: Mapping[str, object] | None = None) -> None:
        self._number = number
        parsed: object = members
        if members is None:
            with suppress(ValueError, RecursionError):
                parsed = json.loads(line)
        if not isinstance(parsed, dict):
            raise NotACapture("not a capture file") if number == 1 else self.error("not a JSON object")
        self.members: dict[str, Any] = parsed

    def error(self, problem: str) -> NotACapture:
        """Return the error for this line."""
        return NotACapture(f"line {self._number}: {problem}")

    def get(self, name: str, hint: Any) -> Any:
        """Return a member that must have the type `hint`; a missing one counts as null."""
        return self._checked(name, self.members.get(name), hint)

    def inner(self, name: str) -> JsonLine:
        """Return a member that must be an object."""
        return JsonLine(b"", self._number, self.get(name, dict[str, object]))

    def build(self, cls: type[T], **given: object) -> T:
        """Return an instance of a dataclass, its fields read from the members of the same names.

        A member that is missing takes the default of its field, so that files of earlier releases can be read.

        Args:
            given: fields that are not read from the line.
        """
        dataclass: Any = cls
        hints = _hints(dataclass)
        for field in fields(dataclass):
            optional = field.default is not MISSING or field.default_factory is not MISSING
            if field.name not in given and (field.name in self.members or not optional):
                given[field.name] = self.get(field.name, hints[field.name])
        return cls(**given)

    def data(self) -> bytes:
        """Return the bytes of a read, from the member `base64` or `text`."""
        encoded = self.get("base64", str | None)
        text = "" if encoded is not None else self.get("text", str)
        try:
            return text.encode() if encoded is None else base64.b64decode(encoded, validate=True)
        except ValueError:
            raise self.error("the bytes cannot be decoded") from None

    def _checked(self, name: str, value: object, hint: Any) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if hint is object:
            return value
        if origin in (Union, UnionType):  # `X | None` only
            (inner,) = (argument for argument in arguments if argument is not NoneType)
            return None if value is None else self._checked(name, value, inner)
        if origin is Literal:
            expected = f"one of {', '.join(arguments)}"
            if value in arguments:
                return value
        elif origin in (dict, Mapping):
            expected = "an object"
            if isinstance(value, dict):
                return {key: self._checked(f"{name}.{key}"[:60], item, arguments[1]) for key, item in value.items()}
        else:
            accepted, maximum, expected = _SCALARS[hint]
            right_type = isinstance(value, accepted) and (hint is bool or not isinstance(value, bool))
            if right_type and (maximum is None or 0 <= value <= maximum):  # type: ignore[operator] # a number
                return hint(value)
        raise self.error(f"{name!r} must be {expected}")


@cache
def _hints(cls: type[Any]) -> Mapping[str, Any]:
    return get_type_hints(cls)

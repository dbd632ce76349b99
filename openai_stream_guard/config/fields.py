"""The types of settings: how a value is checked, how text is parsed, and what the error message says.

Which settings exist is in `policy`, where their text comes from is in `environment`.
Tests hold: an accepted value is accepted again unchanged, and a setting rejects values with `ValueError` only.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ..records import Record
from ..redaction import redact

NONE = "none"

T = TypeVar("T")
R = TypeVar("R")

_SIZE = r"(?i)([0-9]{1,18}) ?(KiB|MiB|GiB)?"
_UNITS = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_HOST = r"(?:[^\s/@:\[\]]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "on", "yes"), True),
    **dict.fromkeys(("0", "false", "off", "no"), False),
}
_USERINFO = rb"//[^/@]*@"


class StreamGuardConfigError(ValueError):
    """A setting has an invalid value; the message names the setting, the value, and what it must be."""


class InvalidValue(ValueError):
    """A setting rejects a value. Its argument, if any, is the reason; the caller adds the setting's name."""


class Setting(Record):
    """
    How the values of a setting are checked and parsed.

    `expected` completes the sentence "must be …". `accept` returns the value as it is stored; `read` converts text
    into a value to accept. Both raise `ValueError` (usually `InvalidValue`) for anything else.
    """

    expected: str
    accept: Callable[[object], object]
    read: Callable[[str], object] = str

    def parse(self, text: str) -> object:
        """Return the value that `text` describes, as it is stored. Raises `ValueError`."""
        return self.accept(self.read(text.strip()))


def _displayed(value: object) -> str:
    """Format `value` for an error message: shortened, credentials masked, for other objects only the type."""
    plain = all(isinstance(part, str) for part in value) if isinstance(value, tuple | list) else False
    if not plain and not isinstance(value, str | int | float | None):
        return f"<{type(value).__name__}>"
    try:
        text = re.sub(_USERINFO, b"//***@", redact(repr(value).encode())).decode()
    except ValueError:  # an int of more digits than Python agrees to write out
        return f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:79] + "…"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Complete an error message about an unknown `name`: with the nearest known name, or else with all of them."""
    import difflib  # needed for errors only

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; must be one of {', '.join(names)}."


def checked(check: Callable[[T], R], value: T, label: str, expected: str) -> R:
    """Return `check(value)`. Raises `StreamGuardConfigError` about the setting `label` where `check` rejects it."""
    try:
        return check(value)
    except ValueError as error:
        reason = f" ({error})" if isinstance(error, InvalidValue) and error.args else ""
        message = f"{label} is {_displayed(value)}{reason}; must be {expected}."
        raise StreamGuardConfigError(message) from error.__cause__


def optional(setting: Setting) -> Setting:
    """Allow None as well; as text, `none`."""
    return Setting(
        f"{setting.expected}, or {NONE}",
        lambda value: None if value is None else setting.accept(value),
        lambda text: None if text.lower() == NONE else setting.read(text),
    )


def _integer(minimum: int) -> Callable[[object], object]:
    def accept(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise InvalidValue
        return value

    return accept


def _read_size(text: str) -> object:
    match = re.fullmatch(_SIZE, text)
    if match is None:
        raise InvalidValue
    return int(match[1]) * _UNITS[(match[2] or "").lower()]


def _non_negative(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue
    try:
        number = float(value)
    except OverflowError as error:
        raise InvalidValue from error
    if not (math.isfinite(number) and number >= 0):
        raise InvalidValue
    return number


def _positive(value: object) -> float:
    number = _non_negative(value)
    if number == 0:
        raise InvalidValue
    return number


def _flag(value: object) -> object:
    if not isinstance(value, bool):
        raise InvalidValue
    return value


def _read_flag(text: str) -> object:
    return _BOOLEANS.get(text.lower())


def one_of(*words: str, removed: Mapping[str, str] | None = None) -> Setting:
    """One of `words`; text may be in any case. `removed` holds words of earlier releases, each with what to do."""
    former = removed or {}

    def accept(value: object) -> object:
        if isinstance(value, str) and value in former:
            raise InvalidValue(former[value])
        if not isinstance(value, str) or value not in words:
            raise InvalidValue
        return value

    return Setting(" or ".join(map(repr, words)), accept, str.lower)


def _names(value: object) -> tuple[str, ...]:
    """Return the names in a tuple, a list or a comma-separated string: in lower case, in order, without duplicates."""
    if isinstance(value, str):
        value = () if value.strip().lower() == NONE else value.split(",")
    if not isinstance(value, tuple | list) or not all(isinstance(part, str) for part in value):
        raise InvalidValue
    return tuple(dict.fromkeys(part.strip().lower() for part in value))


def any_of(words: Iterable[str]) -> Setting:
    """Any selection of `words`: a tuple, a list or a comma-separated string; `none` and `()` select nothing."""
    known = tuple(words)

    def accept(value: object) -> object:
        chosen = _names(value)
        if chosen != (NONE,) and not set(chosen) <= set(known):
            raise InvalidValue
        return () if chosen == (NONE,) else chosen

    return Setting(f"'{NONE}' or any of {', '.join(map(repr, known))}", accept)


def _hosts(value: object) -> object:
    hosts = _names(value)
    if not all(re.fullmatch(_HOST, host) for host in hosts):
        raise InvalidValue
    return hosts


def _callable(value: object) -> object:
    if not callable(value):
        raise InvalidValue
    return value


def _read_callable(text: str) -> object:
    """Import the object that `module:attribute` names: setting such a variable means to run that code."""
    import pkgutil  # needed for settings that name code only

    if ":" not in text:
        raise InvalidValue
    try:
        return pkgutil.resolve_name(text)
    except Exception as error:  # the user's module may raise anything
        raise InvalidValue(f"importing it raised {type(error).__name__}") from error


def word_or_callable(*words: str) -> Setting:
    """One of `words`, or a callable; as text, `module:attribute`."""
    word = one_of(*words)

    def accept(value: object) -> object:
        return word.accept(value) if isinstance(value, str) else CALLABLE.accept(value)

    def read(text: str) -> object:
        return CALLABLE.read(text) if ":" in text else word.read(text)

    return Setting(f"{word.expected}, or {CALLABLE.expected}", accept, read)


def _path(value: object) -> object:
    if not isinstance(value, str | os.PathLike):
        raise InvalidValue
    path = os.fspath(value)
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidValue
    return path


COUNT = Setting("a whole number, 0 or more", _integer(0), int)
SIZE = Setting("a whole number of bytes, 1 or more (as text also like '16 MiB')", _integer(1), _read_size)
SECONDS = Setting("a finite number of seconds, 0 or more", _non_negative, float)
TIMEOUT = Setting("a finite number of seconds above 0", _positive, float)
RATIO = Setting("a finite number, 0 or more", _non_negative, float)
FLAG = Setting("true or false", _flag, _read_flag)
HOSTS = Setting("host names, each 'name' or 'name:port', without scheme or path", _hosts)
CALLABLE = Setting("a callable (as text 'module:attribute')", _callable, _read_callable)
PATH = Setting("the path of a folder", _path)

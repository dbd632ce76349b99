"""What one setting may hold: its check for values, its reading of text, and the words that refuse the rest.

Knows nothing of which settings exist (`policy`) nor of where their text comes from (`settings`).
The law: accepting twice changes nothing, and a kind refuses with `ValueError` only.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from ..redaction import redact

NONE = "none"

T = TypeVar("T")
R = TypeVar("R")

_SIZE = re.compile(r"([0-9]{1,18}) ?(KiB|MiB|GiB)?", re.IGNORECASE)
_UNITS = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_HOST = re.compile(r"(?:[^\s/@:\[\]]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "on", "yes"), True),
    **dict.fromkeys(("0", "false", "off", "no"), False),
}
_USERINFO = re.compile(rb"//[^/@]*@")


class StreamGuardConfigError(ValueError):
    """A setting is not allowed; the message names the setting, its value and what is allowed."""


class NotAllowed(ValueError):
    """A kind does not allow this value; the caller knows the setting's name and words the message."""


@dataclass(frozen=True)
class Kind:
    """
    One kind of setting.

    `allowed` completes the sentence "allowed is …". `accept` returns the value as it is stored, `read` turns
    text into something to accept; both raise a `ValueError` (`NotAllowed` is the plainest) for all else.
    """

    allowed: str
    accept: Callable[[object], object]
    read: Callable[[str], object] = str

    def parse(self, text: str) -> object:
        """The stored value that `text` stands for; raises `ValueError`."""
        return self.accept(self.read(text.strip()))


def shown(value: object) -> str:
    """`value` for a message: short, what looks like a credential masked, of other objects only the type."""
    plain = all(isinstance(part, str) for part in value) if isinstance(value, tuple | list) else False
    if not plain and not isinstance(value, str | int | float | None):
        return f"<{type(value).__name__}>"
    try:
        text = _USERINFO.sub(b"//***@", redact(repr(value).encode())).decode()
    except ValueError:  # an int of more digits than Python agrees to write out
        return f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:79] + "…"


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown `name`: the nearest known one as a question, or all of them."""
    import difflib  # only on the way to an error

    allowed = sorted(known)
    near = difflib.get_close_matches(name, allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; allowed are {', '.join(allowed)}."


def checked(check: Callable[[T], R], value: T, label: str, allowed: str) -> R:
    """`check(value)`; where it refuses, `StreamGuardConfigError` in terms of the setting called `label`."""
    try:
        return check(value)
    except ValueError as refusal:
        reason = f" ({refusal})" if isinstance(refusal, NotAllowed) and refusal.args else ""
        raise StreamGuardConfigError(f"{label} is {shown(value)}{reason}; allowed is {allowed}.") from refusal.__cause__


def optional(kind: Kind) -> Kind:
    """`kind`, or None, written `none`."""
    return Kind(
        f"{kind.allowed}, or {NONE}",
        lambda value: None if value is None else kind.accept(value),
        lambda text: None if text.lower() == NONE else kind.read(text),
    )


def _whole(least: int) -> Callable[[object], object]:
    def accept(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise NotAllowed
        return value

    return accept


def _read_size(text: str) -> object:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise NotAllowed
    return int(match[1]) * _UNITS[(match[2] or "").lower()]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotAllowed
    try:
        number = float(value)
    except OverflowError as error:
        raise NotAllowed from error
    if not (math.isfinite(number) and number >= 0):
        raise NotAllowed
    return number


def _positive(value: object) -> float:
    number = _number(value)
    if number == 0:
        raise NotAllowed
    return number


def _flag(value: object) -> object:
    if not isinstance(value, bool):
        raise NotAllowed
    return value


def _read_flag(text: str) -> object:
    return _BOOLEANS.get(text.lower())


def one_of(*words: str) -> Kind:
    """Exactly one of `words`; text may be in any case."""

    def accept(value: object) -> object:
        if not isinstance(value, str) or value not in words:
            raise NotAllowed
        return value

    return Kind(" or ".join(map(repr, words)), accept, str.lower)


def _names(value: object) -> tuple[str, ...]:
    """The parts of a tuple, a list or a comma-separated string, lower case, each once, in order."""
    if isinstance(value, str):
        value = () if value.strip().lower() == NONE else value.split(",")
    if not isinstance(value, tuple | list) or not all(isinstance(part, str) for part in value):
        raise NotAllowed
    return tuple(dict.fromkeys(part.strip().lower() for part in value))


def any_of(words: Iterable[str]) -> Kind:
    """Any selection of `words`, as tuple, list or comma-separated string; `none` and `()` select nothing."""
    known = tuple(words)

    def accept(value: object) -> object:
        chosen = _names(value)
        if chosen != (NONE,) and not set(chosen) <= set(known):
            raise NotAllowed
        return () if chosen == (NONE,) else chosen

    return Kind(f"'{NONE}' or any of {', '.join(map(repr, known))}", accept)


def _hosts(value: object) -> object:
    hosts = _names(value)
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise NotAllowed
    return hosts


def _call(value: object) -> object:
    if not callable(value):
        raise NotAllowed
    return value


def _read_call(text: str) -> object:
    """What `module:attribute` names. Imports the module: whoever sets the variable means that code to run."""
    import pkgutil  # only where a setting names code

    if ":" not in text:
        raise NotAllowed
    try:
        return pkgutil.resolve_name(text)
    except Exception as error:  # the module is the user's, and may fail in any way
        raise NotAllowed(f"importing it raised {type(error).__name__}") from error


def word_or_callable(*words: str) -> Kind:
    """One of `words`, or a callable, in text `module:attribute`."""
    word, call = one_of(*words), CALLABLE

    def accept(value: object) -> object:
        return word.accept(value) if isinstance(value, str) else call.accept(value)

    def read(text: str) -> object:
        return call.read(text) if ":" in text else word.read(text)

    return Kind(f"{word.allowed}, or {call.allowed}", accept, read)


def _path(value: object) -> object:
    if not isinstance(value, str | os.PathLike):
        raise NotAllowed
    path = os.fspath(value)
    if not isinstance(path, str) or not path or "\0" in path:
        raise NotAllowed
    return path


COUNT = Kind("a whole number, 0 or more", _whole(0), int)
SIZE = Kind("a whole number of bytes, 1 or more (in text also like '16 MiB')", _whole(1), _read_size)
SECONDS = Kind("a finite number of seconds, 0 or more", _number, float)
TIMEOUT = Kind("a finite number of seconds above 0", _positive, float)
RATIO = Kind("a finite number, 0 or more", _number, float)
FLAG = Kind("true or false", _flag, _read_flag)
HOSTS = Kind("host names, each 'name' or 'name:port', without scheme or path", _hosts)
CALLABLE = Kind("a callable (in text 'module:attribute')", _call, _read_call)
PATH = Kind("the path of a folder", _path)

"""Keeping keys out of what is kept for diagnosis, and what a server calls something fit to be shown.

Keys are known by their form, by the label before them, or because the request itself was sent with them: a server that
refuses a key may say which, and not every provider's keys have a form of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import AnyStr

MASK = "***"
SHOWN_TAIL = 1024
"""Bytes of what was read that an error carries, and `log_raw` logs."""
_MIN_CREDENTIAL = 16
"""Characters. What is shorter is a stand-in for local servers, such as `none`, and may be a word of the answer."""
_MAX_IDENTIFIER = 200
_DEEPEST = 32

_FORMS = r"""
    \b(?:sk|pk|rk|sess|org|proj)-[a-z0-9_\-]{6,}      # OpenAI's own forms
  | \bproj_[a-z0-9]{16,}
  | (?<![a-z0-9_\-])eyJ[a-z0-9_\-]{8,}\.[a-z0-9_\-]+\.[a-z0-9_\-]+   # JSON Web Tokens
  | \bAKIA[A-Z0-9]{12,}
  | (?P<label>
        \b(?:bearer|basic)\s+(?=[a-z0-9._~+/=\-]{6})
      | (?:api[-_]?key|authorization|access[-_]?token|secret|password)
        \\*["']?\s*[:=]\s*\\*["']?(?:(?:bearer|basic)\s+)?(?=[^\s"',}&\\]{4})
    ) [^\s"',}&\\]+
"""
_TOKENS = re.compile(
    rb"""(?ix)
    \b(?:sk|pk|rk|sess)-[a-z0-9_\-]{12,}
  | (?<=bearer\ )[a-z0-9._~+/=\-]{12,}
  | (?<![a-z0-9_\-])eyJ[a-z0-9_\-]{8,}\.[a-z0-9_\-]+\.[a-z0-9_\-]+
  | \bAKIA[A-Z0-9]{12,}
    """
)
"""Of these only what cannot be a word, and stands inside one piece of text: what surrounds it keeps its meaning."""
_LABEL = re.compile(r"(?ix) api[-_]?key | authorization | access[-_]?token | secret | password")
_CARRIES = re.compile(r"(?i)key|token|secret|authorization|cookie|organization|project|\bsig\b|\bcode\b")


def credentials(named: Iterable[tuple[str, str]]) -> frozenset[str]:
    """What authenticates a request, among its headers and the parts of its query, by their names."""
    carried = [value for name, value in named if _CARRIES.search(name)]
    words = {word for value in carried for word in re.split(r"[\s;,]+", value)}
    return frozenset(word for word in words if len(word) >= _MIN_CREDENTIAL)


def redact(said: AnyStr, known: Collection[str] = ()) -> AnyStr:
    """`said` with everything that looks like a key or a token, and all of `known`, replaced by `***`."""
    mask = _like(said, MASK)
    return _pattern(said, known).sub(lambda found: (found["label"] or said[:0]) + mask, said)


def redact_in_place(said: AnyStr, known: Collection[str] = ()) -> AnyStr:
    """The same, of the same length: what points into `said` still does."""
    star = _like(said, "*")

    def stars(found: re.Match[AnyStr]) -> AnyStr:
        label = found["label"] or said[:0]
        return label + star * (len(found[0]) - len(label))

    return _pattern(said, known).sub(stars, said)


def blanked(raw: bytes, known: Collection[str] = ()) -> bytes:
    """`raw` with every token replaced by as many asterisks: each other byte stays at its place, and events events."""
    for word in known:
        raw = raw.replace(word.encode(), b"*" * len(word.encode()))
    return _TOKENS.sub(lambda found: b"*" * len(found[0]), raw)


def redact_tail(raw: bytes, known: Collection[str] = ()) -> bytes:
    """The last bytes of `raw`, masked. It should be longer: a key that the cut halves is known by its beginning."""
    start = max(len(raw) - SHOWN_TAIL, 0)
    for found in _pattern(raw, known).finditer(raw):
        if found.start() < start < found.end():
            start = found.end()
    return redact(raw[start:], known)


def redact_tree(value: object, known: Collection[str] = (), depth: int = 0) -> object:
    """A JSON value with every string in it masked, and what a name calls a key; nothing below its 32nd level."""
    if isinstance(value, str):
        return redact(value, known)
    if not isinstance(value, dict | list):
        return value
    if depth == _DEEPEST:
        return None
    if isinstance(value, list):
        return [redact_tree(entry, known, depth + 1) for entry in value]
    return {
        redact(name, known): MASK if part and _LABEL.fullmatch(name) else redact_tree(part, known, depth + 1)
        for name, part in value.items()
    }


def identifier(given: str | None, known: Collection[str] = ()) -> str | None:
    """An id that a server gave, fit for a log: one line, masked, and not endless."""
    if given is None:
        return None
    plain = "".join(character if character.isprintable() else "?" for character in given[: 2 * _MAX_IDENTIFIER])
    return redact(plain, known)[:_MAX_IDENTIFIER]


def _pattern(said: AnyStr, known: Collection[str]) -> re.Pattern[AnyStr]:
    forms = "|".join([*map(re.escape, sorted(known, key=len, reverse=True)), _FORMS]) if known else _FORMS
    return re.compile(_like(said, forms), re.IGNORECASE | re.VERBOSE)


def _like(said: AnyStr, text: str) -> AnyStr:
    if isinstance(said, str):
        return text
    return text.encode()

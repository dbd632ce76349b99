"""Masks credentials in everything that is kept, logged or raised.

They are recognised by their form, by the label before them, or because the request itself was sent with them: a server
that refuses a key may repeat it, and the keys of many providers have no form of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import AnyStr

MASK = "***"
SHOWN_TAIL = 1024
"""Bytes: the length of the raw tail that an error has, and that `log_raw` logs."""
_MIN_CREDENTIAL = 16
"""Characters. A shorter word is masked only where it stands alone, and only if it has a digit or, where its name says
that it is a credential, anything but letters: others are placeholders for local servers, such as `none` or `ollama`,
and may be words of the answer."""
_MIN_SHORT_CREDENTIAL = 6
_MAX_IDENTIFIER = 200
_MAX_LABEL = 64
"""Bytes that the longest label of a credential takes, with what stands between the two."""
_WORD_ENDS = b' \t\r\n"{}\\'
"""What no credential holds."""
_MAX_DEPTH = 32

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
_TOKENS = rb"""(?ix)
    \b(?:sk|pk|rk|sess)-[a-z0-9_\-]{12,}
  | (?<=bearer\ )[a-z0-9._~+/=\-]{12,}
  | (?<![a-z0-9_\-])eyJ[a-z0-9_\-]{8,}\.[a-z0-9_\-]+\.[a-z0-9_\-]+
  | \bAKIA[A-Z0-9]{12,}
"""
"""Those of `_FORMS` that cannot be words and stand inside one piece of text, so that an event stays an event."""
_LABEL = r"(?ix) api[-_]?key | authorization | access[-_]?token | secret | password"
_CREDENTIAL_NAMES = r"(?i)key|token|secret|authorization|cookie|organization|project|\bsig\b|\bcode\b"
_PUBLIC_HEADERS = (
    r"(?i)(accept|content|x-stainless|sec|access-control)(-.*)?|host|connection|user-agent|transfer-encoding|te"
    r"|trailer|upgrade|expect|via|date|age|pragma|cache-control|if-.*|(x-)?forwarded(-.*)?|x-real-ip|openai-beta"
    r"|.*(request|correlation|trace|span)-?id|traceparent|tracestate|baggage|.*-version"
)
"""The headers that say nothing secret."""


def credentials(headers: Iterable[tuple[str, str]], query: Iterable[tuple[str, str]] = ()) -> frozenset[str]:
    """Return what a request was authenticated with.

    That may be any header but those that are public by their name, and of the query what is secret by its name.
    """
    is_public, is_secret = re.compile(_PUBLIC_HEADERS).fullmatch, re.compile(_CREDENTIAL_NAMES).search
    sent = [(name, value) for name, value in headers if not is_public(name)]
    sent += [(name, value) for name, value in query if is_secret(name)]
    return frozenset(
        word
        for name, value in sent
        for word in (*re.split(r"[\s;,]+", value), *re.split(r"[\s;,=\"]+", value))
        if _is_credential(word, is_named=is_secret(name) is not None)
    )


def _is_credential(word: str, *, is_named: bool) -> bool:
    if len(word) >= _MIN_CREDENTIAL:
        return True
    is_odd = is_named and "=" not in word and not word.isalpha()
    return len(word) >= _MIN_SHORT_CREDENTIAL and (is_odd or any(map(str.isdigit, word)))


def redact(text: AnyStr, known: Collection[str] = ()) -> AnyStr:
    """Return the text with everything that looks like a key or token, and all of `known`, replaced by `***`."""
    mask = _in_type_of(text, MASK)
    return _pattern(text, known).sub(lambda found: (found["label"] or text[:0]) + mask, text)


def redact_in_place(text: AnyStr, known: Collection[str] = ()) -> AnyStr:
    """Like `redact`, but of the same length, so that positions in the text stay right."""
    star = _in_type_of(text, "*")

    def stars(found: re.Match[AnyStr]) -> AnyStr:
        label = found["label"] or text[:0]
        return label + star * (len(found[0]) - len(label))

    return _pattern(text, known).sub(stars, text)


def blanked(raw: bytes, known: Collection[str] = ()) -> bytes:
    """Return the bytes with each token replaced by as many asterisks: other bytes keep their positions."""
    for word in known:
        raw = re.sub(_exactly(word).encode(), b"*" * len(word.encode()), raw)
    return re.sub(_TOKENS, lambda found: b"*" * len(found[0]), raw)


def redact_tail(raw: bytes, known: Collection[str] = ()) -> bytes:
    """Return the last bytes, masked.

    `raw` should be longer: a key that is cut is recognised by its beginning, or by the label before it. A long word
    that begins before `raw`, or so near its start that a label may have stood there, is masked whatever it is.
    """
    start = max(len(raw) - SHOWN_TAIL, 0)
    word = 1 + max(raw.rfind(end, 0, start) for end in _WORD_ENDS)
    if word < _MAX_LABEL < start:
        end = min((at for end in _WORD_ENDS if (at := raw.find(end, start)) >= 0), default=len(raw))
        return _in_type_of(raw, MASK) + redact(raw[end:], known)
    for found in _pattern(raw, known).finditer(raw):
        if found.start() < start < found.end():
            start = found.end()
    return redact(raw[start:], known)


def redact_tree(value: object, known: Collection[str] = (), depth: int = 0) -> object:
    """Return a JSON value with every string masked, and every value whose name is that of a key; 32 levels deep."""
    if isinstance(value, str):
        return redact(value, known)
    if not isinstance(value, dict | list):
        return value
    if depth == _MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [redact_tree(entry, known, depth + 1) for entry in value]
    return {
        redact(name, known): MASK if part and re.fullmatch(_LABEL, name) else redact_tree(part, known, depth + 1)
        for name, part in value.items()
    }


def identifier(given: str | None, known: Collection[str] = ()) -> str | None:
    """Return an id from a server in a form that can be logged: one line, masked, at most 200 characters."""
    if given is None:
        return None
    plain = "".join(character if character.isprintable() else "?" for character in given[: 2 * _MAX_IDENTIFIER])
    return redact(plain, known)[:_MAX_IDENTIFIER]


def _pattern(text: AnyStr, known: Collection[str]) -> re.Pattern[AnyStr]:
    forms = "|".join([*map(_exactly, sorted(known, key=len, reverse=True)), _FORMS]) if known else _FORMS
    return re.compile(_in_type_of(text, forms), re.IGNORECASE | re.VERBOSE)


def _exactly(word: str) -> str:
    """Return the pattern of a known credential; a short one has to stand alone."""
    return re.escape(word) if len(word) >= _MIN_CREDENTIAL else rf"(?<![\w\-.]){re.escape(word)}(?![\w\-]|\.\w)"


def _in_type_of(example: AnyStr, text: str) -> AnyStr:
    """Return a text as `str` or `bytes`, whichever the example is."""
    if isinstance(example, str):
        return text
    return text.encode()

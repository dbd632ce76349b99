"""JSON texts: what one is worth, and where one that arrives in pieces is whole.

This module knows JSON and bytes. It must not know lines, fields, events or repairs.

The laws its tests keep: `loads` gives the very value `json.loads` gives, or raises what it raises; a `Scanner` finds
the end of a container at the same byte however the text is cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_Parser = Callable[[bytes], object]


def _fast_parser() -> _Parser | None:
    """jiter where it is installed (openai requires it since 1.40) and sound."""
    try:
        from jiter import from_json
    except ImportError:
        return None
    # jiter 0.4, which openai 1.40 allows, hands out escaped characters beyond ASCII as their UTF-8 bytes.
    return from_json if from_json(b'"\\u00e9\\ud83d\\ude80"') == "\u00e9\U0001f680" else None


_parse = _fast_parser()


def loads(text: bytes) -> object:
    """
    The value of one JSON text in UTF-8, as `json.loads(text.decode())` gives it.

    Raises:
        ValueError: json.JSONDecodeError, UnicodeDecodeError, or int()'s own for a number of too many digits.
        RecursionError: nested deeper than Python's parser can follow.
    """
    if _parse is not None:
        try:
            return _parse(text)
        except ValueError:
            pass  # what jiter refuses Python may accept: lone surrogates, nesting beyond 200
    return json.loads(text.decode())


def loads_loosely(text: bytes, note: Callable[[str], None]) -> tuple[bytes, object]:
    """
    Text and value where bytes that are not UTF-8 become U+FFFD, and strings may hold raw control characters.

    `note` is told which of the two it took. Raises as `loads` does.
    """
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        decoded = text.decode("utf-8", "replace")
        text = decoded.encode()
        note("replaced_bytes")
    try:
        return text, loads(text)
    except json.JSONDecodeError:
        value = json.loads(decoded, strict=False)
        note("raw_control")
        return text, value


def stock_error(text: bytes) -> Exception | None:
    """What reading `text` with `bytes.decode` and `json.loads` raises; None where it raises nothing."""
    try:
        json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        return error.with_traceback(None)
    return None


def undecodable(text: bytes) -> UnicodeDecodeError | None:
    """What `bytes.decode` raises; None where it raises nothing."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.with_traceback(None)
    return None


def is_prefix(text: bytes) -> bool:
    """Whether nothing is wrong with `text` but that it ends too early, and it ends between two tokens."""
    error = stock_error(text)
    return isinstance(error, json.JSONDecodeError) and error.pos >= len(error.doc.rstrip())


def may_continue(text: bytes, more: bytes) -> bool:
    """Whether `more` may come right after the unfinished `text` without the seam making one token of two."""
    last, first = text.rstrip()[-1:], more.lstrip()[:1]
    match last:
        case b"{":
            allowed = b'"}'
        case b"[":
            allowed = b']"{[-0123456789tfnNI'
        case b"," | b":":
            allowed = b'"{[-0123456789tfnNI'
        case _:  # a value, or a key, has ended
            allowed = b",:}]"
    return bool(first) and first in allowed


_BRACKET = re.compile(rb'["{}\[\]]')
_QUOTE = re.compile(rb'"|\\.?', re.DOTALL)


class Scanner:
    """
    Follows brackets and strings through a container that arrives in pieces, looking at each byte once.

    It finds where a container ends, not whether it is JSON: brackets that do not match are `loads`'s to refuse.
    """

    __slots__ = ("_depth", "in_escape", "in_string")

    def __init__(self) -> None:
        self._depth = 0
        self.in_string = False
        self.in_escape = False  # the last piece ended on a backslash

    def scan(self, piece: bytes, start: int = 0) -> int:
        """The offset after the bracket that closes the container, or -1 when `piece` does not close it."""
        if self.in_escape and piece:
            self.in_escape = False
            start += 1
        while True:
            found = (_QUOTE if self.in_string else _BRACKET).search(piece, start)
            if found is None:
                return -1
            start = found.end()
            match found[0]:
                case b'"':
                    self.in_string = not self.in_string
                case b"{" | b"[":
                    self._depth += 1
                case b"}" | b"]":
                    self._depth -= 1
                    if self._depth == 0:
                        return start
                case b"\\":
                    self.in_escape = True

"""JSON texts: parsing one, and finding where one ends that arrives in pieces.

This module knows JSON and bytes, and nothing of lines, fields, events or repairs.

Invariants, held by tests: `loads` returns the very value that `json.loads` returns, or raises what it raises; a
`Scanner` finds the end of an object or array at the same byte however the text is cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_Parser = Callable[[bytes], object]


def _fast_parser() -> _Parser | None:
    """Return jiter's parser where it is installed (openai requires it since 1.40) and correct."""
    try:
        from jiter import from_json
    except ImportError:
        return None
    # jiter 0.4, which openai 1.40 allows, returns escaped characters beyond ASCII as their UTF-8 bytes.
    return from_json if from_json(b'"\\u00e9\\ud83d\\ude80"') == "\u00e9\U0001f680" else None


def _stock_parser(text: bytes) -> object:
    return json.loads(text.decode())


def _first_parse(text: bytes) -> object:
    """Parse the first text, and from then on by the best parser, so that `enable()` need not import that."""
    global _parse
    _parse = _fast_parser() or _stock_parser
    return _parse(text)


_parse: _Parser = _first_parse


def loads(text: bytes) -> object:
    """
    Return the value of one JSON text in UTF-8, exactly as `json.loads(text.decode())` does.

    Raises:
        ValueError: A `json.JSONDecodeError`, a `UnicodeDecodeError`, or what `int` raises for a number of too many
            digits.
        RecursionError: The text is nested deeper than Python's parser can follow.
    """
    try:
        return _parse(text)
    except ValueError:
        pass  # Python accepts some texts that jiter refuses: lone surrogates, nesting deeper than 200
    return _stock_parser(text)


def stock_error(text: bytes) -> Exception | None:
    """Return the exception that `json.loads(text.decode())` raises, without its traceback; None where it succeeds."""
    try:
        json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        return error.with_traceback(None)
    return None


def is_beginning(text: bytes) -> bool:
    """Return whether nothing is wrong with a JSON text but that it ends too early."""
    match stock_error(text):
        case json.JSONDecodeError() as error:
            return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc.rstrip())
        case UnicodeDecodeError() as error:
            return error.reason == "unexpected end of data"
    return False


def undecodable(text: bytes) -> UnicodeDecodeError | None:
    """Return the exception that `text.decode()` raises, without its traceback; None where it succeeds."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.with_traceback(None)
    return None


def closes_more_than_it_opens(text: bytes) -> bool:
    """Return whether `text` is one JSON value, and then a bracket or a comma of what it stood in."""
    try:
        decoded = text.decode().lstrip()
        _, end = _decoder.raw_decode(decoded)
    except (ValueError, RecursionError):
        return False
    return decoded[end:].lstrip()[:1] in {",", "}", "]"}


_decoder = json.JSONDecoder()
_BRACKET = re.compile(rb'["{}\[\]]')
_QUOTE = re.compile(rb'"|\\.?', re.DOTALL)  # or a backslash with the character that it escapes


class Scanner:
    """
    Finds the end of one object or array that arrives in pieces, looking at each byte once.

    It follows brackets and strings only. Whether the text is JSON is for `loads` to say: brackets that do not match
    each other pass here.
    """

    __slots__ = ("_depth", "_ends_in_backslash", "in_string")

    def __init__(self) -> None:
        self.in_string = False
        """Whether the last piece ended inside a string."""
        self._depth = 0
        self._ends_in_backslash = False

    def scan(self, piece: bytes, start: int = 0) -> int:
        """Return the offset after the bracket that closes the value, or -1 where `piece` does not close it."""
        if self._ends_in_backslash and piece:
            self._ends_in_backslash = False
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
                    self._ends_in_backslash = True

"""Lines that no SSE field begins, and what they turn out to be.

WHATWG ignores such lines, and so do we unless one is plainly something. This module decides that by the look of the
one line. It must not know what came before it, nor what is done about it: `blocks` does.

The law its tests keep: what looks like ordinary text is `unknown`.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from .event_data import DONE

Kind = Literal["blank", "html", "bare_done", "bare_json", "error_line", "json_array", "bytes_repr", "unknown"]

_PADDING = re.compile(rb"(?:[ \t\v\f\0]|\xef\xbb\xbf)*")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]+[ \t]*(?:;.*)?")
_LOOKS: tuple[tuple[Kind, re.Pattern[bytes]], ...] = (
    ("blank", re.compile(rb"$")),
    ("html", re.compile(rb"<!doctype|<html", re.IGNORECASE)),
    ("bare_done", re.compile(rb"\[DONE\][ \t\0]*$")),
    ("bare_json", re.compile(rb"(?=\{)")),
    ("error_line", re.compile(rb"error:[ \t]*(?=\{)")),
    ("json_array", re.compile(rb"(?=\[[ \t]*(?:\{|$))")),
    ("bytes_repr", re.compile(rb"""(?=b['"](?:data:|event:|id:|retry:|:|\{|\[DONE\]))""")),
)


class Stray(NamedTuple):
    """What a line is, and the text of the payload in it or that begins in it."""

    kind: Kind
    text: bytes


def unpadded(line: bytes) -> bytes:
    """The line without what keep-alives may have left before it: white space, NUL, a byte order mark."""
    padding = _PADDING.match(line)
    return line[padding.end() :] if padding else line


def stray(line: bytes) -> Stray:
    """What the line is."""
    text = unpadded(line)
    for kind, look in _LOOKS:
        if found := look.match(text):
            return Stray(kind, DONE if kind == "bare_done" else text[found.end() :])
    return Stray("unknown", text)


def is_content(line: bytes) -> bool:
    """Whether the line, come while a JSON string is open, is likely to be more of that string.

    The count of a chunked body is all hexadecimal digits, and so is many a word: not even a reader that takes
    liberties can tell them apart.
    """
    return stray(line).kind not in ("blank", "html", "bare_done", "error_line") and not _CHUNK_SIZE.fullmatch(
        unpadded(line).rstrip()
    )

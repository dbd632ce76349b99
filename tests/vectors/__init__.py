"""What was seen of servers, as data: a line of JSON each; and how the bytes of a case are cut into reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SHORT = 400
"""Bytes up to which every single cut is tried."""


@dataclass(frozen=True)
class Case:
    """One case: the bytes as they were seen, in their reads, and what its file says about them."""

    name: str
    reads: tuple[bytes, ...]
    row: dict[str, Any]

    @property
    def body(self) -> bytes:
        """All bytes."""
        return b"".join(self.reads)

    def __repr__(self) -> str:
        return self.name


def rows_of(file: str) -> list[Any]:
    """The lines of a file of this folder."""
    text = (Path(__file__).parent / f"{file}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, object_hook=_with_floats) for line in text.split("\n") if line]


@cache
def cases(file: str) -> list[Case]:
    """The cases of `spec` or `repair`."""
    rows = rows_of(file)
    return [Case(row["id"], tuple(base64.b64decode(read) for read in row["chunks_b64"]), row) for row in rows]


def _with_floats(value: dict[str, Any]) -> object:
    return float(value["$float"]) if value.keys() == {"$float"} else value


def in_pieces(body: bytes, size: int) -> list[bytes]:
    """Reads of `size` bytes."""
    return [body[start : start + size] for start in range(0, len(body), size)]


def cuts(body: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, in odd sizes; and, of a short body, each cut in two."""
    yield [body]
    for size in (1, 2, 3, 7, 61):
        yield in_pieces(body, size)
    if len(body) <= SHORT:
        for at in range(1, len(body)):
            yield [body[:at], b"", body[at:]]
    else:
        for at in range(1, len(body), len(body) // 40):
            yield [body[:at], body[at:]]

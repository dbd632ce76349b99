"""The law: the page has every field of the report, every attribute of the error, and every kind of fault."""

from __future__ import annotations

import dataclasses
import re
from typing import get_args

from openai_stream_guard import OpenAIStreamParseError, StreamReport
from openai_stream_guard.notices import FaultKind, Notice, Outcome
from tests.support.pages import OBSERVABILITY, section, table

INHERITED = {"code", "type", "param", "body"}
"""What the SDK's own errors have, which a class says of its instances only."""


def named(cell: str) -> set[str]:
    """What a cell has between backticks."""
    return set(re.findall(r"`(\w+)`", cell))


def test_the_report() -> None:
    """A row for its fields, and each outcome."""
    rows = table(section(OBSERVABILITY, "The report"), "field")
    assert set.union(*(named(cell) for cell, _ in rows)) == {field.name for field in dataclasses.fields(StreamReport)}
    assert named(rows[0][1]) == set(get_args(Outcome))


def test_the_error() -> None:
    """A row for its attributes, and each fault."""
    rows = table(section(OBSERVABILITY, "The error"), "attribute")
    annotated = {name for name in OpenAIStreamParseError.__annotations__ if not name.startswith("_")}
    assert set.union(*(named(cell) for cell, _ in rows)) - INHERITED == annotated
    assert named(rows[0][1]) == set(get_args(FaultKind))


def test_the_notices() -> None:
    """Each class that a hook is given."""
    text = section(OBSERVABILITY, "Notices").partition("```")[0]
    assert {kind.__name__ for kind in get_args(Notice)} <= named(text)

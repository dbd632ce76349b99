"""What happens to the streams of a program: the cases, and the server that plays one of them.

The same question always gets the same answer, as from a model that is asked without chance; ids are new each time.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from openai_stream_guard.testing import (
    FAULTS,
    Answer,
    AnswerVariant,
    Request,
    ScriptedResponse,
    Server,
    build_answer,
    healthy,
    replying,
)

from .roster import Kind

REQUESTS = 50
"""More than any program makes: what is not scripted would be answered in the server's own way."""

ARGUMENTS = {"city": "Zürich", "unit": "celsius", "days": [1, 2, 3]}
"""What the answer calls the tool with."""


@dataclass(frozen=True)
class Case:
    """Something that happens to a stream, half way; with `tool`, half way through the arguments of a tool call."""

    name: str
    fault: str | None
    tool: bool = False


CASES = (
    Case("healthy", None),
    Case("truncated", "truncate_clean"),
    Case("disconnected", "fin_no_terminator"),
    Case("stalled", "stall"),
    Case("JSON split over lines", "data_line_cut"),
    Case("JSON split over events", "blank_inside"),
    Case("tool call, healthy", None, tool=True),
    Case("tool call, truncated", "truncate_clean", tool=True),
    Case("tool call, disconnected", "fin_no_terminator", tool=True),
)


def cases_of(kind: Kind) -> tuple[Case, ...]:
    """The cases that a program of this kind can meet."""
    return tuple(case for case in CASES if kind == "tools" or not case.tool)


def text() -> str:
    """What the answer says in words."""
    message = build_answer("chat", "text", AnswerVariant(0)).plain["choices"][0]["message"]
    return str(message["content"])


class Fields(AnswerVariant):
    """A take that answers as DSPy asks for it, each field under its heading."""

    def say(self, recorded: str) -> str:
        return f"[[ ## answer ## ]]\n{recorded}\n\n[[ ## completed ## ]]"


@contextmanager
def serving(case: Case, kind: Kind, *, every_time: bool) -> Iterator[Server]:
    """A server that breaks the first stream it can break, or all of them."""
    serials = itertools.count(1)
    struck = False

    def play(request: Request) -> ScriptedResponse:
        nonlocal struck
        called = _has_result(request.body)
        calling = kind == "object" or (case.tool and not called)
        api = "responses" if request.path.endswith("/responses") else "chat"
        variant = (Fields if kind == "fields" else AnswerVariant)(next(serials))
        answer = build_answer(api, "one_call" if calling else "text", variant)
        if not request.body.get("stream"):
            return replying(answer.plain)
        if case.fault is None or (struck and not every_time) or (case.tool and called):
            return healthy(answer)
        struck = True
        return FAULTS[case.fault].apply(answer, _half_way(answer, calling=calling))

    with Server() as server:
        server.script(*[play] * REQUESTS)
        yield server


def _half_way(answer: Answer, *, calling: bool) -> int:
    """The number of the first frame that tells the reader this word, or argument."""
    word = "unit" if calling else "東京"
    return next(number for number, frame in enumerate(answer.frames) if word in frame.data)


def _has_result(body: Any) -> bool:
    """Whether the request already says what came of the tool call."""
    said = body.get("messages") or body.get("input") or []
    return isinstance(said, list) and any(
        one.get("role") == "tool" or one.get("type") == "function_call_output" for one in said
    )


@dataclass(frozen=True)
class Wanted:
    """What a program comes to where it got the whole answer."""

    printed: str
    calls: list[dict[str, object]]
    last_line: bool = False
    """It prints the answer anew as it grows, on a line each time; else piece by piece."""


def wanted(case: Case, kind: Kind) -> Wanted:
    """What the program has to come to."""
    if kind == "object":
        return Wanted(json.dumps(ARGUMENTS, ensure_ascii=False, separators=(",", ":")), [], last_line=True)
    return Wanted(text(), [ARGUMENTS] if case.tool else [])

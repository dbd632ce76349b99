"""What the server behind a proxy does, most of it half way through an answer."""

from __future__ import annotations

from dataclasses import dataclass

from openai_stream_guard.testing import (
    FAULTS,
    Answer,
    AnswerVariant,
    ScriptedResponse,
    Send,
    Server,
    Wait,
    build_answer,
    healthy,
)
from openai_stream_guard.testing.server.scripted_response import End

ANSWER: Answer = build_answer("chat", "text", AnswerVariant(1))
TEXT = str(ANSWER.plain["choices"][0]["message"]["content"])
HALF = len(ANSWER.frames) // 2

SHORT = 1.0
"""Seconds after which a proxy gives up, where it is told to give up soon."""
PATIENCE = 2.5
"""Seconds that a client waits for a byte where the server goes silent, and a proxy may give up before it does."""
PACE = 0.15
"""Seconds between the events of a server that takes its time, so that the answer takes longer than `SHORT`."""


@dataclass(frozen=True)
class Case:
    """One thing that the server does, and how the page calls it."""

    name: str
    scripted: ScriptedResponse
    timeout: float = 10.0
    """Seconds that the client waits for a byte."""

    def prepare(self, server: Server, times: int = 1) -> None:
        """Let it happen to the next requests, so many of them; those behind are answered well."""
        server.reset()
        server.script(*[self.scripted] * times, *[healthy(ANSWER)] * 4)


def _broken(name: str, fault: str, **options: float) -> Case:
    return Case(name, FAULTS[fault].apply(ANSWER, HALF), **options)


def _paced() -> ScriptedResponse:
    steps = [step for part in ANSWER.encode() for step in (Send(part), Wait(PACE))]
    return ScriptedResponse((*steps, End()))


HEALTHY = Case("is healthy", healthy(ANSWER))
PACED = Case("takes its time", _paced())
ENDS = _broken("ends early, in good order", "truncate_clean")
CLOSES = _broken("closes in the middle of a chunk", "fin_mid_chunk")
RESETS = _broken("resets the connection", "rst")
SILENT = _broken("goes silent", "stall", timeout=PATIENCE)

BROKEN = (ENDS, CLOSES, RESETS, SILENT)
"""What is done to a program; healthy streams are compared item by item."""
EXAMINED = (PACED, CLOSES, SILENT)
"""What the doctor meets."""

"""
The fault kit: a loopback server that performs OpenAI's streaming endpoints, healthy or broken.

    with Server(answer="text", fault="truncate_clean") as server:
        client = OpenAI(base_url=server.base_url, api_key="none")

`FAULTS` names what can go wrong, `ANSWERS` what there is to say. A `Performance` is one response as a list of
steps, for what the catalogue does not have; `Server.script` takes them. Standard library only: neither openai
nor httpx.
"""

from __future__ import annotations

from .answer import Answer, Frame, Take
from .answers import ANSWERS, take_answer
from .catalogue import FAULTS, Fault, find_fault
from .habits import Habits
from .performance import Close, End, Performance, Raw, Repeat, Reset, Send, Wait, healthy, replying, streaming
from .promises import Equal, Outcome, Promise, Raises, Whole
from .script import Request
from .server import Server

__all__ = [
    "ANSWERS",
    "FAULTS",
    "Answer",
    "Close",
    "End",
    "Equal",
    "Fault",
    "Frame",
    "Habits",
    "Outcome",
    "Performance",
    "Promise",
    "Raises",
    "Raw",
    "Repeat",
    "Request",
    "Reset",
    "Send",
    "Server",
    "Take",
    "Wait",
    "Whole",
    "find_fault",
    "healthy",
    "replying",
    "streaming",
    "take_answer",
]

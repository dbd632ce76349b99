"""
The fault kit: break the streams of your own tests, whatever serves them; and a server that serves, and breaks, them.

    with faults(cut(after_events=3)):       # the next stream ends early, once; with the guard on or off
        my_app.summarise()

`cut`, `disconnect`, `stall`, `garble`, `split`, `glue`, `refuse`, `error`, `html`, `gap`, `duplicate` and `slow` make
faults that are put between the transport and the decoder, of a real server, a mock transport or a cassette. Under
pytest the fixture `stream_guard`, a `StreamGuard`, plans them.

    with Server(answer="text", fault="truncate_clean") as server:
        client = OpenAI(base_url=server.base_url, api_key="none")

The server performs OpenAI's streaming endpoints over real sockets. `FAULTS` names what can go wrong on the wire,
`ANSWERS` what there is to say. A `ScriptedResponse` is one response as a list of steps, for what the catalogue does not
have; `Server.script` takes them. Importing this needs the standard library only: neither openai nor httpx.
"""

from __future__ import annotations

from .faults import Faults, Injection
from .faults.kinds import cut, disconnect, duplicate, error, gap, garble, glue, html, refuse, slow, split, stall
from .harness import faults
from .sent_requests import SentRequest
from .server.answers import ANSWERS, take_answer
from .server.answers.answer import Answer, AnswerVariant, Frame, ServerBehaviour
from .server.captured import captured
from .server.routing import Request
from .server.scripted_response import (
    Close,
    End,
    Raw,
    Repeat,
    Reset,
    ScriptedResponse,
    Send,
    Wait,
    healthy,
    replying,
    streaming,
)
from .server.server import Server
from .server.wire_faults import FAULTS, Fault, find_fault
from .server.wire_faults.fault import Equal, Outcome, Promise, Raises, Whole
from .stream_guard import StreamGuard

__all__ = [
    "ANSWERS",
    "FAULTS",
    "Answer",
    "AnswerVariant",
    "Close",
    "End",
    "Equal",
    "Fault",
    "Faults",
    "Frame",
    "Injection",
    "Outcome",
    "Promise",
    "Raises",
    "Raw",
    "Repeat",
    "Request",
    "Reset",
    "ScriptedResponse",
    "Send",
    "SentRequest",
    "Server",
    "ServerBehaviour",
    "StreamGuard",
    "Wait",
    "Whole",
    "captured",
    "cut",
    "disconnect",
    "duplicate",
    "error",
    "faults",
    "find_fault",
    "gap",
    "garble",
    "glue",
    "healthy",
    "html",
    "refuse",
    "replying",
    "slow",
    "split",
    "stall",
    "streaming",
    "take_answer",
]

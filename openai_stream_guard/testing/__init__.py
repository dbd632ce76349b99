"""
The test kit: break the streams in your own tests, whatever serves them; and a server that serves, and breaks, them.

    with faults(cut(after_events=3)):       # the next stream ends early, once; with the guard on or off
        my_app.summarise()

`cut`, `disconnect`, `stall`, `garble`, `split`, `glue`, `refuse`, `error`, `html`, `gap`, `duplicate` and `slow` create
faults that take effect between the transport and the decoder: of a real server, a mock transport or a cassette. All
take `times`, the number of responses that get the fault, re-issues included (default 1; None: all), and `every`: only
every n-th response. Those that take effect at a point take `after_events` or `after_bytes`, how much gets through
before it, and `on="tool_call"`, which counts from the first event that brings part of a tool call. Every one raises
`ValueError` for a value that is not allowed. Under pytest the fixture `stream_guard`, a `StreamGuard`, plans them.

    with Server(answer="text", fault="truncate_clean") as server:
        client = OpenAI(base_url=server.base_url, api_key="none")

The server has OpenAI's streaming endpoints, over real sockets. `FAULTS` names what can go wrong on the wire, `ANSWERS`
what the server can say. A `ScriptedResponse` is one response as a list of steps, for what is not in the catalogue;
`Server.script` takes it. Importing this needs the standard library only: neither openai nor httpx.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

from .faults import Faults, Injection
from .faults.injections import cut, disconnect, duplicate, error, gap, garble, glue, html, refuse, slow, split, stall
from .harness import faults
from .sent_requests import SentRequest
from .server.answers import ANSWERS, build_answer
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
    "build_answer",
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
]

_RENAMED: Final = {
    "Habits": "ServerBehaviour",
    "Performance": "ScriptedResponse",
    "Take": "AnswerVariant",
    "take_answer": "build_answer",
}
"""Old names, which work for one more release."""

if not TYPE_CHECKING:  # a type checker shall report a name that does not exist

    def __getattr__(name: str) -> Any:
        if name not in _RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        words = f"{__name__}.{name} is now called {_RENAMED[name]}; the old name will be removed in the next release"
        warnings.warn(words, DeprecationWarning, stacklevel=2)
        return globals()[_RENAMED[name]]

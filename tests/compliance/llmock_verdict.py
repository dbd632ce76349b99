"""LLMock (PyPI `llmock`): a server that breaks answers, and judges the client by the requests that it sends.

    python -m tests.compliance.llmock_verdict            compare its verdicts with README.md
    python -m tests.compliance.llmock_verdict --write    put them there

Every fault of its README, with the SDK alone and guarded, sync and async, on both APIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmock.scenarios import Delay, Fail, Reply, SlowFirstToken, StreamFault, ToolCall, ToolFault
from llmock.testing import LLMockServer
from llmock.verdict import judge

from .judging import APIS, CLIENT_KINDS, GUARDS, IDLE_TIMEOUT, Endpoint, cell, outcome, quiet, report, stream, text_of

WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
CALL = ToolCall("get_weather", {"city": "Paris"})
STALL = IDLE_TIMEOUT + 1.0
BY_CHANCE = "WARN `malformed_chunk_ignored`"
"""Given where the server could send on before the guard had closed: a matter of milliseconds."""
TOO_LONG = "This model's maximum context length was exceeded."

SCENARIOS: Final[Mapping[str, tuple[Any, ...]]] = {
    "nothing breaks": (),
    "503, once": (Fail(503),),
    "503, every time": (Fail(503, times=None),),
    "429 with `Retry-After: 1`, once": (Fail(429, retry_after=1.0),),
    "400 `context_length_exceeded`": (Fail(400, code="context_length_exceeded", message=TOO_LONG),),
    "late response": (Delay(0.5),),
    "late first chunk": (SlowFirstToken(0.5),),
    "connection dropped, once": (StreamFault("disconnect", after_chunks=3),),
    "connection dropped, every time": (StreamFault("disconnect", after_chunks=3, times=None),),
    "truncated, once": (StreamFault("truncate", after_chunks=3),),
    "truncated, every time": (StreamFault("truncate", after_chunks=3, times=None),),
    "malformed chunk, once": (StreamFault("malformed", after_chunks=3),),
    "malformed chunk, every time": (StreamFault("malformed", after_chunks=3, times=None),),
    "stalled, once": (StreamFault("stall", after_chunks=3, stall_seconds=STALL),),
    "scripted answer": (Reply(text="Trams are blue."),),
    "tool call": (Reply(tool_calls=(CALL,), times=None),),
    "tool call, connection dropped": (Reply(tool_calls=(CALL,), times=None), StreamFault("disconnect", after_chunks=2)),
    "tool call, truncated": (Reply(tool_calls=(CALL,), times=None), StreamFault("truncate", after_chunks=2)),
    "tool call with malformed arguments": (ToolFault("malformed_arguments"),),
    "tool call of an unknown tool": (ToolFault("unknown_tool"),),
}


def ask(api: str, *, tools: bool) -> Any:
    """The request for a stream."""

    def chat(client: Any) -> Any:
        extra = {"tools": [{"type": "function", "function": WEATHER}]} if tools else {}
        messages = [{"role": "user", "content": "Tell me about trams."}]
        return client.chat.completions.create(model="gpt-4.1", messages=messages, stream=True, **extra)

    def responses(client: Any) -> Any:
        extra = {"tools": [{"type": "function", **WEATHER}]} if tools else {}
        return client.responses.create(model="gpt-4.1", input="Tell me about trams.", stream=True, **extra)

    return chat if api == "chat" else responses


def judged(server: LLMockServer, scenario: str, api: str, client_kind: str, guard: str) -> str:
    """What the consumer got, and what LLMock says about it."""
    endpoint, state = Endpoint(server.base_url("openai")), server.state
    request = ask(api, tools=scenario.startswith("tool call"))
    state.reset()
    state.scenarios.add(*(one for one in SCENARIOS[scenario] if isinstance(one, Reply | ToolFault)))
    complete = text_of(stream(endpoint, client_kind, "off", request))
    state.reset()
    state.scenarios.add(*SCENARIOS[scenario])
    seen = stream(endpoint, client_kind, guard, request)
    verdict = judge(state.journal.records(wait=STALL + 1.0))
    found = {f"{'FAIL' if one.severity == 'error' else 'WARN'} `{one.code}`" for one in verdict.findings}
    if guard == "on" and scenario.startswith("malformed chunk"):
        found = {*(found - {BY_CHANCE}), f"PASS or {BY_CHANCE}"}
    return f"{outcome(seen, complete)}: {', '.join(sorted(found)) or 'PASS'}"


def main() -> None:
    quiet()
    rows = []
    with LLMockServer() as server:
        for scenario in SCENARIOS:
            cells = [
                cell({kind: judged(server, scenario, api, kind, guard) for kind in CLIENT_KINDS})
                for api in APIS
                for guard in GUARDS
            ]
            rows.append([scenario, *cells])
    heading = ["LLMock does", *(f"{api}, guard {guard}" for api in APIS for guard in GUARDS)]
    report("LLMock", heading, rows)


if __name__ == "__main__":
    main()

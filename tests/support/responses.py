"""How the tests break and read Responses streams, and what an unbroken one comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any, Literal

import pytest

import openai_stream_guard
from openai_stream_guard import StreamReport
from openai_stream_guard.testing import (
    Answer,
    AnswerVariant,
    Close,
    End,
    Fault,
    ScriptedResponse,
    Send,
    Server,
    Whole,
    build_answer,
)

from . import streams
from .ported import unported
from .streams import VERSION, Ask, Seen, alone, opened, run

has_responses = pytest.mark.skipif(VERSION < (1, 66), reason="this SDK has no Responses API")
has_background = pytest.mark.skipif(VERSION < (1, 109), reason="this SDK resumes no responses")
has_helper = pytest.mark.skipif(VERSION < (1, 109), reason="this SDK has no responses.stream()")

CutEnd = Literal["clean", "reset"]
NAMES = ("text", "function_call", "reasoning", "refusal", "several")


def create(client: Any, **body: Any) -> Any:
    """Ask for a stream by `create`."""
    return client.responses.create(model="m", input="", stream=True, **body)


def asking(**body: Any) -> Ask:
    """The same, with these parameters."""
    return lambda client: create(client, **body)


def consume(server: Server, client_kind: str = "sync", ask: Ask = create, **options: Any) -> Seen:
    """One response to its end, by a client of its own."""
    return streams.consume(server, client_kind, ask, **options)


def cut_at(offset: int, end: CutEnd = "clean") -> Fault:
    """A fault: the body breaks after so many bytes, an event a chunk."""

    def play(answer: Answer, at: int) -> ScriptedResponse:
        frames = answer.encode()
        starts = [0, *accumulate(map(len, frames))]
        reads = [frame[: offset - start] for frame, start in zip(frames, starts, strict=False) if start < offset]
        return ScriptedResponse((*map(Send, reads), End() if end == "clean" else Close()))

    return Fault(f"cut_at_{offset}_{end}", "The body breaks off.", Whole(2), play)


@cache
def offsets(name: str, *, background: bool = False) -> tuple[tuple[int, ...], int]:
    """Where the events of an answer end, and how long it is."""
    answer = build_answer("responses", name, AnswerVariant(1, background=background))
    ends = tuple(accumulate(map(len, answer.encode())))
    return ends[:-1], ends[-1]


@dataclass
class Helped:
    """What a consumer of `responses.stream()` got."""

    events: list[Any] = field(default_factory=list)
    final: Any = None
    error: Any = None
    report: StreamReport | None = None

    @property
    def numbers(self) -> list[int]:
        """The events' numbers."""
        return [event["sequence_number"] for event in self.events]


def help_along(server: Server, client_kind: str = "sync", **body: Any) -> Helped:
    """One stream through the helper, to its final response."""
    seen = Helped()
    run(client_kind, _help_along, seen, server, client_kind, body)
    return seen


async def _help_along(seen: Helped, server: Server, client_kind: str, body: dict[str, Any]) -> None:
    async with opened(server, client_kind) as client:
        try:
            async with client.responses.stream(**{"model": "m", "input": "", **body}) as stream:
                seen.events += [event.model_dump(warnings=False) async for event in stream]
                seen.final = await stream.get_final_response()
        except Exception as error:
            seen.error = error
        seen.report = openai_stream_guard.report(unported(stream))


IDS = ("id", "item_id", "call_id")


def nameless(value: Any) -> Any:
    """A dumped event without the ids that differ from one answer to the next."""
    if isinstance(value, dict):
        return {name: nameless(part) for name, part in value.items() if name not in IDS}
    return [nameless(part) for part in value] if isinstance(value, list) else value


def ids_in(value: Any) -> set[str]:
    """All ids in a dumped value, but those of requests."""
    if isinstance(value, dict):
        own = {value[name] for name in IDS if isinstance(value.get(name), str)}
        return own.union(*map(ids_in, value.values()))
    return set().union(*map(ids_in, value)) if isinstance(value, list) else set()


def plain(seen: Any) -> list[Any]:
    """The items of a stream without ids."""
    return [nameless(dumped) for _, dumped in seen.items]


@cache
def unbroken(name: str, *, background: bool = False) -> tuple[list[Any], int]:
    """What the SDK alone makes of the unbroken answer: its items without ids, and how many ids there were."""
    with Server(answer=name) as server:
        seen = alone(server, "sync", asking(background=True) if background else create)
    return plain(seen), len(ids_in([item for _, item in seen.items]))


@cache
def unbroken_help(name: str, *, background: bool = False) -> tuple[list[Any], Any]:
    """The same through the helper: its events and its final response."""
    from openai_stream_guard import activation as switch

    with Server(answer=name) as server, switch.restored():
        switch.disable()
        seen = help_along(server, **({"background": True} if background else {}))
    assert seen.error is None
    return nameless(seen.events), nameless(seen.final.model_dump(warnings=False))

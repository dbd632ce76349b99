"""The law: `atomic` hands nothing over of an answer that is not whole, `tool_calls` nothing of such a call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.responses import nameless
from tests.support.simulated import answer_variant
from tests.support.streams import Seen, alone, client_for, consume, helpers_of, opened, run

pytestmark = pytest.mark.usefixtures("guarded")

CLIENT_KINDS = ("sync", "asyncio")
UNFINISHED = len(answer_variant("tool_calls", 1).frames) - 2
"""Events of the answer with tool calls before its finish_reason."""


def plain(seen: Seen) -> list[Any]:
    """The items without what differs from one answer to the next."""
    return [nameless(dumped) for _, dumped in seen.items]


def calls_in(items: list[Any]) -> dict[int, str]:
    """The arguments of each tool call in some dumped chunks."""
    arguments: dict[int, str] = {}
    for dumped in items:
        for call in dumped["choices"][0]["delta"].get("tool_calls") or ():
            arguments[call["index"]] = arguments.get(call["index"], "") + call["function"]["arguments"]
    return arguments


def helper(server: Server, client_kind: str) -> tuple[list[str], Any]:
    """The kinds of event that the SDK's `.stream()` gives, and its final message or error."""

    async def body() -> tuple[list[str], Any]:
        kinds: list[str] = []
        async with opened(server, client_kind) as client:
            try:
                async with helpers_of(client).stream(model="m", messages=[]) as stream:
                    async for event in stream:
                        kinds += [event.type]
                    return kinds, (await stream.get_final_completion()).choices[0].message
            except openai.APIError as error:
                return kinds, error

    return run(client_kind, body)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("answer", ["text", "tool_calls", "n2", "logprobs", "usage"])
@pytest.mark.parametrize("delivery", ["atomic", "tool_calls"])
def test_a_healthy_answer_is_the_same_however_it_is_delivered(
    server: Server, answer: str, delivery: str, client_kind: str
) -> None:
    """Holding back changes the moment, and nothing else: equal items, in order, in one request."""
    server.reset(answer=answer)
    live = plain(alone(server, client_kind))
    server.reset(answer=answer)
    configure(delivery=delivery)
    seen = consume(server, client_kind)
    assert (plain(seen), seen.error, len(server.requests)) == (live, None, 1)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("after", [0, 4, 11])
def test_atomic_delivery_restarts_even_a_sampling_model(after: int, client_kind: str) -> None:
    """Nothing was handed over, so the second answer need not be the first one again."""
    configure(delivery="atomic")
    with Server(sampled=True) as server:
        server.script("rst", "truncate_clean", after=after)
        seen = consume(server, client_kind)
        assert seen.error is None
        assert seen.report.recoveries == ["restart"]
        assert [attempt.way for attempt in seen.report.attempts] == [None, "restart", "restart"]
        assert seen.text.split(" ")[1] == "3:", "the text of the third answer, alone"
        assert len(seen.text) > len(TEXT)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("after", [1, 6])
def test_atomic_delivery_hands_over_all_or_nothing(server: Server, after: int, client_kind: str) -> None:
    """Where every answer breaks, the consumer has not seen a single item, not even the role."""
    configure(delivery="atomic")
    server.reset(fault="truncate_mid_event", after=after, times=None)
    seen = consume(server, client_kind, max_retries=1)
    assert (seen.items, seen.error.partial_text, len(server.requests)) == ([], "", 2)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_tool_call_that_is_cut_never_reaches_the_consumer(server: Server, client_kind: str) -> None:
    """Wherever the stream breaks, no part of a call was handed over; text before it was."""
    configure(delivery="tool_calls", max_retries=0)
    for after in range(1, UNFINISHED + 1):
        server.reset(answer="tool_calls", fault="truncate_clean", after=after)
        seen = consume(server, client_kind)
        assert isinstance(seen.error, OpenAIStreamParseError)
        assert calls_in([dumped for _, dumped in seen.items]) == {}, after
        assert seen.error.partial.choices[0].message.to_dict().get("tool_calls") is None
    server.reset(fault="truncate_clean", after=6)
    assert consume(server, client_kind).text, "text flows"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_cut_tool_call_is_asked_for_again_even_of_a_sampling_model(client_kind: str) -> None:
    """Nothing visible was handed over, so it is a restart, and the calls come whole, from one answer."""
    configure(delivery="tool_calls")
    with Server(answer="tool_calls", sampled=True) as server:
        server.reset(answer="tool_calls", fault="rst", after=8)
        seen = consume(server, client_kind)
        calls = calls_in([dumped for _, dumped in seen.items])
        cities = {json.loads(arguments)["city"].split(" ")[1] for arguments in calls.values()}
        assert (seen.error, len(calls), cities, len(server.requests)) == (None, 2, {"2:"}, 2)
        assert seen.report.recoveries == ["restart"]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("delivery", ["atomic", "tool_calls"])
def test_the_helper_streams_hold_too(server: Server, delivery: str, client_kind: str) -> None:
    """`.stream()` emits its events from what is handed over: all of them once whole, none of a cut call."""
    server.reset(answer="tool_calls")
    whole, message = helper(server, client_kind)
    assert "tool_calls.function.arguments.done" in whole
    configure(delivery=delivery)
    server.reset(answer="tool_calls", fault="rst", after=8)
    kinds, again = helper(server, client_kind)
    assert (kinds, again.tool_calls[1].function) == (whole, message.tool_calls[1].function)

    server.reset(answer="tool_calls", fault="rst", after=8, times=None)
    kinds, error = helper(server, client_kind)
    assert isinstance(error, OpenAIStreamParseError)
    assert not any(kind.startswith("tool_calls") for kind in kinds)
    assert bool(kinds) == (delivery == "tool_calls"), "the role was handed over"


def test_held_items_come_at_the_end_of_a_live_connection(server: Server) -> None:
    """The first item is handed over when the answer is whole, and the connection need not have ended by then."""
    from openai_stream_guard.testing import AnswerVariant, ScriptedResponse, Send, Wait, build_answer

    configure(delivery="atomic")
    frames = build_answer("chat", "text", AnswerVariant(1)).encode()
    server.script(ScriptedResponse((*map(Send, frames), Wait())))
    with client_for(server) as client:
        stream: Iterator[Any] = client.chat.completions.create(model="m", messages=[], stream=True)
        assert len(list(stream)) == len(frames) - 1

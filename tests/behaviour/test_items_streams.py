"""The law: over real sockets plans give the SDK's own items, and every way back to the SDK's own building works."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
import wrapt

import openai_stream_guard
from openai_stream_guard import activation as switch
from openai_stream_guard import configure, guarding, sdk
from openai_stream_guard.items import NOT_BUILT, VERIFY_EVERY
from openai_stream_guard.items.builder import VerifiedPlan
from openai_stream_guard.sdk.items import ItemPlans
from openai_stream_guard.sdk.runtime import RUNTIME
from openai_stream_guard.testing import ANSWERS, FAULTS, Server, build_answer, healthy, streaming
from openai_stream_guard.testing.server.answers.answer import AnswerVariant
from tests.support.item_equality import seen_unequal, unequal
from tests.support.ported import unported
from tests.support.responses import has_helper
from tests.support.streams import (
    CLIENT_KINDS,
    VERSION,
    chat,
    client_for,
    completions,
    helpers_of,
    opened,
    responses,
    run,
)

ROOT = Path(__file__).parents[2]
ASKS: dict[Any, Any] = {"chat": chat, "completions": completions, "responses": responses}
SHAPES = [
    (api, name)
    for api in ASKS
    for name in ANSWERS[api]
    if name != "huge" and (api != "responses" or VERSION >= (1, 109))  # whose classes know what these answers hold
]

pytestmark = pytest.mark.usefixtures("guarded")


@pytest.fixture(autouse=True)
def plans(guarded: None, monkeypatch: pytest.MonkeyPatch) -> ItemPlans:
    """Plans as a process that has just begun would have them."""
    fresh = ItemPlans()
    fresh.process_response_data = RUNTIME.item_plans.process_response_data
    monkeypatch.setattr(RUNTIME, "item_plans", fresh)
    return fresh


def played(api: Any, name: str) -> Any:
    """An answer of the catalogue, the same every time."""
    return healthy(build_answer(api, name, AnswerVariant(1)))


def items_of(server: Server, client_kind: str = "sync", ask: Any = chat) -> tuple[list[Any], Any]:
    """The items of one stream as they were handed out, and its report."""

    async def consume() -> tuple[list[Any], Any]:
        async with opened(server, client_kind) as client:
            stream = await ask(client)
            return [item async for item in stream], openai_stream_guard.report(unported(stream))

    return run(client_kind, consume)


@pytest.mark.parametrize(
    ("client_kind", "api", "name"),
    [
        *(("sync", *shape) for shape in SHAPES),
        *((client_kind, api, "text") for client_kind in CLIENT_KINDS[1:] for api, name in SHAPES if name == "text"),
    ],
)
def test_items_are_the_same_with_plans_and_without(server: Server, client_kind: str, api: Any, name: str) -> None:
    """Every answer of the catalogue, three times over: plans build the last two of them."""
    server.script(*([played(api, name)] * 4))
    with guarding(items="sdk"):
        expected, report = items_of(server, client_kind, ASKS[api])
    assert report.items == "SDK: the policy has items='sdk'"
    for _ in range(3):
        built, report = items_of(server, client_kind, ASKS[api])
        assert report.items == "plans"
        assert unequal(expected, built, {}, {}) is None
        assert not any(map(seen_unequal, expected, built))


def test_plans_do_build(server: Server, plans: ItemPlans, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the first item, the second, and one in so many, which the SDK builds as well."""
    both: list[int] = []
    build_both_ways = VerifiedPlan._build_both_ways

    def counted(self: Any, data: Any) -> Any:
        both.append(self._seen)
        return build_both_ways(self, data)

    monkeypatch.setattr(VerifiedPlan, "_build_both_ways", counted)
    chunk = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    server.script(streaming([chunk] * (2 * VERIFY_EVERY) + [b"data: [DONE]\n\n"]))
    built, report = items_of(server)
    assert len(built) == 2 * VERIFY_EVERY
    assert both == [2, VERIFY_EVERY, 2 * VERIFY_EVERY]
    assert report.items == "plans"


def test_a_replayed_stream_is_built_by_plans(server: Server) -> None:
    """A stream that breaks and is recovered has the same items, too."""
    server.script(*[played("chat", "text")] * 3)
    for _ in range(3):
        expected, _ = items_of(server)
    server.script(FAULTS["truncate_clean"].apply(build_answer("chat", "text", AnswerVariant(1)), 4))
    built, report = items_of(server)
    assert (report.outcome, report.items) == ("recovered", "plans")
    assert [item.choices for item in built] == [item.choices for item in expected]


def test_the_hook_is_told_as_well(server: Server) -> None:
    """The report that `on_event` gets at the end says how the items were built."""
    told: list[Any] = []
    configure(on_event=told.append)
    items_of(server)
    assert told[-1].report.items == "plans"


def test_an_observed_stream_has_the_sdks_items(server: Server) -> None:
    """Observing changes nothing, and so no item."""
    switch.observe()
    _, report = items_of(server)
    assert report.items == "SDK: streams are only observed"


def test_an_unguarded_stream_is_not_touched(server: Server, plans: ItemPlans, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrapper stays, and does nothing, not even look at the SDK."""
    switch.disable()
    monkeypatch.setattr(plans, "look", lambda: pytest.fail("looked at the SDK"))
    items, report = items_of(server)
    assert items
    assert report is None


def test_a_strict_client_has_the_sdks_items(server: Server) -> None:
    """It validates each of them."""
    with client_for(server, _strict_response_validation=True) as client:
        stream = chat(client)
        list(stream)
    report = openai_stream_guard.report(stream)
    assert report is not None
    assert report.items == "SDK: the client validates responses strictly"


def test_what_the_sdk_raises_is_raised(server: Server) -> None:
    """An item that the SDK cannot build is its exception, with plans and without."""
    broken = b'data: {"id":"1","_fields_set":1,"choices":[]}\n\n'
    whole = b'data: {"id":"1","choices":[]}\n\n'
    errors = []
    for setting in ("sdk", "auto"):
        configure(items=setting)
        server.script(streaming([whole, whole, whole, broken]))
        with client_for(server) as client, pytest.raises(Exception) as raised:  # noqa: PT011 - compared below
            list(chat(client))
        errors.append((raised.type, str(raised.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("raw", ["with_raw_response", "with_streaming_response"])
def test_a_parsed_raw_response_is_built_by_plans(server: Server, raw: str) -> None:
    """A stream that is made by `parse()` is guarded, and so its items are built alike."""
    with client_for(server) as client:
        asked = getattr(client.chat.completions, raw).create(model="m", messages=[], stream=True)
        if raw == "with_raw_response":
            stream = asked.parse()
            assert list(stream)
        else:
            with asked as response:
                stream = response.parse()
                assert list(stream)
    report = openai_stream_guard.report(stream)
    assert report is not None
    assert report.items == "plans"


def test_a_wrapper_that_came_later_is_called(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer that looks at items sees each of them."""
    seen: list[Any] = []

    def trace(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append(wrapped(*args, **kwargs))
        return seen[-1]

    owner = openai._base_client.BaseClient
    name = "_process_response_data"
    monkeypatch.setattr(owner, name, wrapt.FunctionWrapper(vars(owner)[name], trace))
    items, report = items_of(server)
    assert items == seen
    assert report.items == "plans"
    assert sdk.plans_status().in_use


def test_streams_of_many_threads_start_together(server: Server, plans: ItemPlans) -> None:
    """Eight of them at the first use of a process, and each has the items of the SDK."""
    with guarding(items="sdk"):
        expected, _ = items_of(server)
    server.script(*([played("chat", "text")] * 24))
    start, found = threading.Barrier(8), list[Any]()

    def consume() -> None:
        start.wait()
        for _ in range(3):
            found.append(items_of(server)[0])

    threads = [threading.Thread(target=consume) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 24
    texts = {"".join(item.choices[0].delta.content or "" for item in items if item.choices) for items in found}
    assert texts == {"".join(item.choices[0].delta.content or "" for item in expected if item.choices)}
    assert plans.status().differences == ()


TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "strict": True, "parameters": {"type": "object", "properties": {}}},
}


class Said(pydantic.BaseModel):
    """What a program asks an answer to be."""

    answer: str


@pytest.mark.parametrize("client_kind", ["sync", "asyncio"])
@pytest.mark.parametrize("name", [name for name in ANSWERS["chat"] if name != "huge"])
def test_the_chat_helper_gives_the_same_events(server: Server, client_kind: str, name: str) -> None:
    """Its events, with the snapshot that each one shows, and its final completion."""
    server.script(*[played("chat", name)] * 4)
    with guarding(items="sdk"):
        expected, _ = helped(server, client_kind, helpers_of, model="m", messages=[], tools=[TOOL])
    for _ in range(3):
        found, report = helped(server, client_kind, helpers_of, model="m", messages=[], tools=[TOOL])
        assert unequal(expected, found, {}, {}) is None
        assert report.items == "plans"


@pytest.mark.parametrize("client_kind", ["sync", "asyncio"])
def test_the_chat_helper_parses_the_same(server: Server, client_kind: str) -> None:
    """An answer in the form of a class, piece by piece and whole."""
    said = ['{"ans', 'wer": "ye', 's", "x"', ": [1, ", "2.0]}"]
    deltas = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in said)]
    choices = [*({"index": 0, "delta": delta} for delta in deltas), {"index": 0, "delta": {}, "finish_reason": "stop"}]
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [b"data: %b\n\n" % json.dumps({**chunk, "choices": [choice]}).encode() for choice in choices]
    server.script(*[streaming([*events, b"data: [DONE]\n\n"])] * 4)
    asked = {"model": "m", "messages": [], "response_format": Said}
    with guarding(items="sdk"):
        expected, _ = helped(server, client_kind, helpers_of, **asked)
    assert expected[-1].choices[0].message.parsed == Said(answer="yes")
    for _ in range(3):
        found, _ = helped(server, client_kind, helpers_of, **asked)
        assert unequal(expected, found, {}, {}) is None


@pytest.mark.slow
@has_helper
@pytest.mark.parametrize("client_kind", ["sync", "asyncio"])
@pytest.mark.parametrize("name", ["text", "tool_calls", "reasoning", "refusal", "several"])
def test_the_responses_helper_gives_the_same_events(server: Server, client_kind: str, name: str) -> None:
    """Its events, with the snapshots that they show, and its final response."""
    server.script(*[played("responses", name)] * 4)
    with guarding(items="sdk"):
        expected, _ = helped(server, client_kind, lambda client: client.responses, model="m", input="")
    for _ in range(3):
        found, report = helped(server, client_kind, lambda client: client.responses, model="m", input="")
        assert unequal(expected, found, {}, {}) is None
        assert report.items == "plans"


def test_a_helper_of_an_unguarded_stream_builds_by_itself(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a guarded one is read at the same time."""
    built: list[Any] = []
    monkeypatch.setattr(RUNTIME.item_plans, "build", lambda *asked: built.append(asked) or NOT_BUILT)
    server.script(*[played("chat", "text")] * 2)
    with client_for(server) as client, helpers_of(client).stream(model="m", messages=[]) as guarded_stream:
        next(iter(guarded_stream))
        switch.disable()
        with helpers_of(client).stream(model="m", messages=[]) as stream:
            before = len(built)
            assert before
            list(stream)
            assert len(built) == before
        list(guarded_stream)
        assert len(built) > before


def test_a_helper_whose_items_the_sdk_builds_builds_by_itself(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the policy says so, and where nobody knows, since the guard's wrapper is not called."""
    monkeypatch.setattr(RUNTIME.item_plans, "build", lambda *asked: pytest.fail("built by a plan"))
    server.script(*[played("chat", "text")] * 2)
    asked = {"model": "m", "messages": []}
    with guarding(items="sdk"):
        events, report = helped(server, "sync", helpers_of, **asked)
    assert report.items == "SDK: the policy has items='sdk'"
    owner, name = openai._base_client.BaseClient, "_process_response_data"
    monkeypatch.setattr(owner, name, vars(owner)[name].__wrapped__)
    others, report = helped(server, "sync", helpers_of, **asked)
    assert report.items is None
    assert unequal(events, others, {}, {}) is None


def test_a_stream_that_casts_to_another_type_has_items_of_that(server: Server) -> None:
    """Each item is of the type that the SDK asks for, whatever the one before was."""
    with client_for(server) as client:
        stream = chat(client)
        chunk, completion = type(next(iter(stream))), openai.types.Completion
        for cast_to in (completion, chunk) * 4:
            data = {"id": "1", "choices": []}
            item = client._process_response_data(data=data, cast_to=cast_to, response=stream.response)
            assert type(item) is cast_to
        stream.close()


def helped(server: Server, client_kind: str, helpers: Any, **asked: Any) -> tuple[list[Any], Any]:
    """What a helper gives, its events as they were when they came, then the whole answer; and its report."""

    async def consume() -> tuple[list[Any], Any]:
        async with opened(server, client_kind) as client, helpers(client).stream(**asked) as stream:
            events: list[Any] = []
            try:
                async for event in stream:
                    events.append(copy.deepcopy(event))  # noqa: PERF401 - those before an error count as well
                events.append(await getattr(stream, whole_answer(stream))())
            except Exception as error:  # some answers are too much for the SDK
                events.append((type(error), str(error)))
            return events, openai_stream_guard.report(unported(stream))

    return run(client_kind, consume)


def whole_answer(stream: Any) -> str:
    """What the method is called that gives it."""
    return "get_final_response" if hasattr(unported(stream), "get_final_response") else "get_final_completion"


def status(before: str = "", **environment: str) -> str:
    """What `status` says of items, in a process that has run some code before."""
    program = f"""
        {textwrap.indent(textwrap.dedent(before), " " * 8).strip()}
        import openai_stream_guard.cli
        openai_stream_guard.cli.main(["status"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_STREAM_GUARD": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("items ")]
    return line.removeprefix("items").strip()


@pytest.mark.slow
def test_status_says_how_items_are_built() -> None:
    """By plans, or by the SDK and why."""
    assert status() == "built by plans"
    assert status(OPENAI_STREAM_GUARD_ITEMS="sdk") == "built by the SDK (items is 'sdk')"
    assert status(OPENAI_STREAM_GUARD="observe") == "built by the SDK (streams are only observed)"
    assert status(OPENAI_STREAM_GUARD="") == "built by the SDK (nothing is guarded)"


@pytest.mark.slow
def test_status_names_who_came_first() -> None:
    """A wrapper below the guard's would be passed by: the SDK builds."""
    wrapped = """
        import functools, openai
        owner, name = openai._base_client.BaseClient, "_process_response_data"
        stock = vars(owner)[name]
        setattr(owner, name, functools.wraps(stock)(lambda *a, **k: stock(*a, **k)))
        import openai_stream_guard
    """
    version = openai.__version__
    function = "BaseClient._process_response_data"
    assert status(wrapped) == f"built by the SDK (openai {version}, as it is here, was not tested: {function})"


@pytest.mark.slow
def test_status_sees_that_the_guard_was_replaced() -> None:
    """By a function that does not call it."""
    replaced = """
        import openai, openai_stream_guard
        owner, name = openai._base_client.BaseClient, "_process_response_data"
        setattr(owner, name, lambda *a, **k: None)
    """
    function = "openai._base_client.BaseClient._process_response_data"
    assert status(replaced) == f"built by the SDK ({function} is not the guard's)"

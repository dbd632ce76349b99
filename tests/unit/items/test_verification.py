"""The law: a plan is held against the SDK's own item at first and every so often, and a wrong one builds no more."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal, Union

import openai
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import BaseModel
from openai.types.chat import ChatCompletionChunk

from openai_stream_guard.items import NOT_BUILT, VERIFY_EVERY, ItemBuilder, Planner, difference
from openai_stream_guard.items.builder import VerifiedPlan
from openai_stream_guard.sdk.items import sdk_functions

CHUNK: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "a word", "reasoning": {"x": [1.0]}}, "finish_reason": None}],
}


def by_sdk(value: Any) -> Any:
    """What the SDK makes of a chunk."""
    construct_type: Any = openai._models.construct_type
    return construct_type(type_=ChatCompletionChunk, value=value)


class Counted:
    """A function that counts how often it was called."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, value: Any) -> Any:
        self.calls += 1
        return self.function(value)


def verified(plan: Callable[[Any], Any]) -> tuple[VerifiedPlan, Counted, list[str]]:
    """A plan under verification, the SDK beside it, and what is told of differences."""
    sdk, told = Counted(by_sdk), list[str]()
    return VerifiedPlan(lambda: plan, sdk, told.append), sdk, told


def misreading(value: Any) -> Any:
    """A plan that reads one field wrongly."""
    return by_sdk({**value, "created": value["created"] + 1})


def test_the_first_item_is_the_sdks_and_costs_nothing_more() -> None:
    """Not even a plan is made before it was handed over."""
    made = Counted(lambda _: pytest.fail("a plan was made"))
    plan = VerifiedPlan(lambda: made(None), by_sdk, pytest.fail)
    assert plan.build(CHUNK) is NOT_BUILT
    assert made.calls == 0


def test_the_sdk_is_asked_for_the_second_and_then_for_one_in_so_many() -> None:
    """All others are the plan's; whatever was built, it is the same."""
    plan, sdk, told = verified(by_sdk)
    items = [plan.build(CHUNK) for _ in range(3 * VERIFY_EVERY)]
    assert items[0] is NOT_BUILT
    assert {difference(items[1], item) for item in items[1:]} == {None}
    assert sdk.calls == 1 + 3
    assert told == []


def test_a_plan_that_is_wrong_builds_nothing() -> None:
    """The SDK's item is handed over, one sentence says where the difference is, and the SDK builds from then on."""
    plan, sdk, told = verified(misreading)
    items = [plan.build(CHUNK) for _ in range(2 * VERIFY_EVERY)]
    assert difference(items[1], by_sdk(CHUNK)) is None
    assert items[2:] == [NOT_BUILT] * (2 * VERIFY_EVERY - 2)
    assert told == ["ChatCompletionChunk.created has another value"]
    assert sdk.calls == 1


def test_a_plan_that_goes_wrong_later_is_found_out() -> None:
    """By the next item that is built both ways, which is the SDK's."""
    wrong = False
    plan, _, told = verified(lambda value: misreading(value) if wrong else by_sdk(value))
    for _ in range(10):
        plan.build(CHUNK)
    wrong = True
    items = [plan.build(CHUNK) for _ in range(VERIFY_EVERY)]
    assert told == ["ChatCompletionChunk.created has another value"]
    assert difference(items[VERIFY_EVERY - 11], by_sdk(CHUNK)) is None
    assert items[-1] is NOT_BUILT


def test_what_the_sdk_refuses_is_left_to_it() -> None:
    """So that the exception is its own, at the second item and at any other."""

    def refuse(value: Any) -> Any:
        raise ValueError

    plan, _, told = verified(by_sdk)
    refused = VerifiedPlan(lambda: refuse, refuse, told.append)
    assert [refused.build(CHUNK) for _ in range(4)] == [NOT_BUILT] * 4
    assert plan.build(CHUNK) is NOT_BUILT
    plan.build(CHUNK)
    late = VerifiedPlan(lambda: lambda value: refuse(value) if value["created"] else by_sdk(value), by_sdk, told.append)
    healthy = {**CHUNK, "created": 0}
    assert late.build(healthy) is NOT_BUILT
    assert difference(late.build(healthy), by_sdk(healthy)) is None
    assert late.build(CHUNK) is NOT_BUILT
    assert difference(late.build(healthy), by_sdk(healthy)) is None
    assert told == []


@pytest.mark.parametrize("build", [by_sdk, misreading])
def test_a_plan_that_another_thread_ends_meanwhile_stays_out_of_use(build: Callable[[Any], Any]) -> None:
    """Though the comparison that is under way finds no difference; where it finds one, the first is told."""

    def work(value: Any) -> Any:
        plan._end("the other thread's")
        return build(value)

    plan, _, told = verified(work)
    items = [plan.build(CHUNK) for _ in range(4)]
    assert difference(items[1], by_sdk(CHUNK)) is None
    assert items[2:] == [NOT_BUILT] * 2
    assert told == ["the other thread's"]


def test_a_plan_that_spoils_its_json_spoils_no_item_of_the_sdk() -> None:
    """While it is compared."""

    def spoil(value: Any) -> Any:
        built = by_sdk(value)
        value["choices"][0]["delta"]["reasoning"].clear()
        return built

    plan, _, told = verified(spoil)
    plan.build(CHUNK)
    item = plan.build(copy.deepcopy(CHUNK))
    assert difference(item, by_sdk(CHUNK)) is None
    assert told


def test_a_plan_that_cannot_be_made_is_not_tried_again() -> None:
    """It is said once, and the SDK builds."""
    tried, told = Counted(lambda _: 1 / 0), list[str]()
    plan = VerifiedPlan(lambda: tried(None), by_sdk, told.append)
    items = [plan.build(CHUNK) for _ in range(5)]
    assert difference(items[1], by_sdk(CHUNK)) is None
    assert items[2:] == [NOT_BUILT] * 3
    assert tried.calls == 1
    assert told == ["no plan can be made for ChatCompletionChunk (ZeroDivisionError)"]


def test_a_plan_is_made_once() -> None:
    """Also where the first items that it is tried on are left to the SDK."""

    def build(value: Any) -> Any:
        return by_sdk(value) if value["created"] else 1 / 0

    made = Counted(lambda _: build)
    plan = VerifiedPlan(lambda: made(None), by_sdk, pytest.fail)
    items = [plan.build({**CHUNK, "created": number // 5}) for number in range(20)]
    assert made.calls == 1
    assert {difference(item, by_sdk(item.to_dict())) for item in items[1:]} == {None}


def test_an_item_that_is_compared_is_the_consumers_own() -> None:
    """It holds the JSON's own lists and objects, as the SDK's does; the other one was built from a copy."""
    data = copy.deepcopy(CHUNK)
    plan, _, _ = verified(by_sdk)
    plan.build(data)
    item = plan.build(data)
    assert item.choices[0].delta.reasoning is data["choices"][0]["delta"]["reasoning"]
    item.choices[0].delta.reasoning["x"].clear()
    assert difference(plan.build(data), by_sdk(data)) is None


Tagged: dict[str, Any] = {
    word: pydantic.create_model(word, __base__=BaseModel, type=(Literal[word], ...))
    for word in ("words", "numbers")  # type: ignore[valid-type] # a variable, as pydantic allows
}
"""Classes that their tag tells apart."""


def test_a_union_that_no_tag_decides_is_refused() -> None:
    """Whoever asks for such items is told at once."""
    planner = Planner(sdk_functions())
    words, numbers = Tagged["words"], Tagged["numbers"]
    mixed = (Union[words, numbers, str], Union[words, numbers, dict[str, int]])  # noqa: UP007 - as the SDK writes them
    for annotation in (str, dict[str, int], int | str, ChatCompletionChunk | None, *mixed):
        with pytest.raises(TypeError):
            ItemBuilder(planner, annotation, pytest.fail)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_a_difference_is_seen_wherever_it_is(one: Any, other: Any) -> None:
    """Two values differ if and only if they are written differently, deep within an item as well."""
    differ = repr(one) != repr(other)
    assert (difference(one, other) is not None) == differ
    assert (difference(by_sdk({**CHUNK, "x": [one]}), by_sdk({**CHUNK, "x": [other]})) is not None) == differ


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda item: item.choices[0].delta.__dict__.update(content="secret"),
            ".choices[0].delta.content has another value",
        ),
        (lambda item: item.__pydantic_fields_set__.add("usage"), " has other fields set"),
        (lambda item: item.__dict__.pop("usage"), " has other fields"),
        (lambda item: object.__setattr__(item, "__pydantic_private__", {}), " has other private attributes"),
        (lambda item: item.choices.append("secret"), ".choices has 2 entries and not 1"),
        (
            lambda item: item.choices[0].delta.reasoning.update(secret=1),
            ".choices[0].delta.model_extra[…] has other keys",
        ),
        (lambda item: item.__dict__.update(id=["secret"]), ".id is a list and not a str"),
    ],
)
def test_a_difference_is_told_without_any_value(change: Callable[[Any], object], told: str) -> None:
    """Names of fields and classes are the SDK's; all else may be the answer's."""
    built = by_sdk(copy.deepcopy(CHUNK))
    change(built)
    assert difference(by_sdk(CHUNK), built) == f"ChatCompletionChunk{told}"

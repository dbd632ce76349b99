"""The law: what a `.stream()` helper builds otherwise than plans do is left to it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import openai
import pytest
import wrapt

from openai_stream_guard.sdk import helper_items


@pytest.mark.parametrize(
    ("name", "args", "named"),
    [
        ("construct_type", (), {"type_": str, "value": "a", "metadata": None}),
        ("construct_type_unchecked", (str,), {"value": "a"}),
        ("build", (str, str), {}),
    ],
)
def test_a_helper_that_calls_in_another_way_is_not_answered(name: str, args: Any, named: Any) -> None:
    """What a plan does not stand for goes to the SDK, as it was asked."""
    called: list[Any] = []
    wrapper = helper_items._build if name == "build" else helper_items._construct_type
    token = helper_items._by_plans.set(True)
    try:
        wrapper(lambda *a, **k: called.append((a, k)), None, args, named)
    finally:
        helper_items._by_plans.reset(token)
    assert called == [(args, named)]


def test_a_helper_of_another_shape_is_left_alone() -> None:
    """A module to come that keeps no such state, or has functions of its own under the names that plans stand for."""
    for helper in helper_items.HELPERS:
        own = lambda **named: named  # noqa: E731 - a function of any kind
        state = type(helper.state, (), {helper.handle: own})
        without_state = ModuleType(helper.module)
        vars(without_state).update(build=openai._models.build, construct_type=openai._models.construct_type)
        with_others = ModuleType(helper.module)
        vars(with_others).update({"build": own, "construct_type": own, helper.state: state})
        for module in (without_state, with_others):
            before = {**vars(module)}
            helper_items._patch(helper, wrapt.FunctionWrapper, module)
            assert vars(module) == before
            assert vars(state)[helper.handle] is own

"""The law: pydantic's validator is told which member a tag names, or stays as it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal, Union

import pydantic
import pytest
from openai import BaseModel

from openai_stream_guard.items.tagged_unions import TaggedUnion, validator


class Words(BaseModel):
    """A member of a union."""

    type: Literal["words"]
    text: str


class Number(BaseModel):
    """Another one."""

    type: Literal["number"]
    value: int


UNION = Union[Words, Number]  # noqa: UP007 - as the SDK writes them
ADAPTER: Any = pydantic.TypeAdapter(UNION)


def adapter(**instead: Any) -> Any:
    """That of the union, with something else in the place of some of it."""
    parts = {name: getattr(ADAPTER, name) for name in ("validator", "core_schema", "validate_python")}
    return SimpleNamespace(**{**parts, **instead})


def test_a_union_is_decided_by_its_tag() -> None:
    """Where nothing is unusual: else the tests below would show nothing."""
    assert validator(adapter()) not in (ADAPTER.validate_python, ADAPTER.validator.validate_python)
    assert validator(adapter())({"type": "number", "value": 1}) == Number(type="number", value=1)


def test_what_a_plugin_validates_stays_with_it() -> None:
    """Its validator is not pydantic-core's, and sees every value."""
    looking = adapter(validator=object(), validate_python=lambda value: value)
    assert validator(looking) is looking.validate_python
    union = TaggedUnion.of(looking)
    assert union is not None
    assert union.validator("words") is looking.validate_python


def with_field(model: Any, field: Any) -> Any:
    """The schema of a model with one field more."""
    inner = model["schema"]
    return {**model, "schema": {**inner, "fields": {**inner["fields"], "more": field}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "union"},
        {"type": "definitions", "schema": {"type": "definition-ref", "schema_ref": "none"}, "definitions": []},
        {
            "type": "union",
            "choices": [
                with_field(choice, {"type": "model-field", "schema": {"type": "unheard-of"}})
                for choice in ADAPTER.core_schema["choices"]
            ],
        },
    ],
)
def test_a_schema_of_a_shape_that_was_not_met_so_far_stays_as_it_is(schema: Any) -> None:
    """A release of pydantic to come may write it in other words, which this one does not even know."""
    odd = adapter(core_schema=schema)
    assert validator(odd) is odd.validate_python


def test_members_with_labels_stay_as_they_are() -> None:
    """A label is what an error names, and a schema of its own kind."""
    labelled = [(choice, "label") for choice in ADAPTER.core_schema["choices"]]
    odd = adapter(core_schema={"type": "union", "choices": labelled})
    assert validator(odd) == ADAPTER.validator.validate_python
    assert TaggedUnion.of(odd) is None

"""The law: a plan builds what pydantic builds, or leaves the class to the SDK; threads see none half made."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any, Literal, Optional, Union

import openai
import pydantic
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from openai import BaseModel
from openai.types.chat import ChatCompletionChunk
from typing_extensions import Annotated  # noqa: UP035 - as the SDK does

from openai_stream_guard.items import Planner, difference
from openai_stream_guard.sdk.items import sdk_functions
from tests.support.item_equality import places_in, unequal

CONSTRUCT_TYPE: Any = openai._models.construct_type


class Words(BaseModel):
    """A class like most."""

    type: Literal["words"]
    text: str
    weight: Optional[float] = None  # noqa: UP045 - as the SDK writes them
    more: Optional[list[str]] = None  # noqa: UP045 - as the SDK writes them


class Number(BaseModel):
    """Another one of a union."""

    type: Literal["number"]
    value: int
    inner: Optional[Words] = None  # noqa: UP045 - as the SDK writes them


class Tree(BaseModel):
    """A class that holds itself."""

    name: str
    children: list[Tree]
    parts: dict[str, Optional[Tree]]  # noqa: UP045 - as the SDK writes them


Tree.model_rebuild()
UNION = Union[Words, Number]  # noqa: UP007 - as the SDK writes them


class Whole(BaseModel):
    """All of them."""

    one: Union[Words, Number]  # noqa: UP007 - as the SDK writes them
    several: list[Union[Words, Number, str]]  # noqa: UP007 - as the SDK writes them
    named: dict[str, object]
    rate: float
    tree: Optional[Tree] = None  # noqa: UP045 - as the SDK writes them


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "words", "number", "1", "é", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "weight", "more", "value", "inner", "name", "children", "one", "several", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


def same(annotation: Any, value: Any, plan: Any) -> None:
    """Assert that a plan makes of a value what the SDK does, or raises where that raises."""
    try:
        expected = CONSTRUCT_TYPE(type_=annotation, value=value)
    except Exception:
        with pytest.raises(Exception):  # noqa: B017, PT011 - the SDK's own is raised by the SDK
            plan(value)
        return
    built = plan(value)
    assert unequal(expected, built, places_in(value), places_in(value)) is None
    assert difference(expected, built) is None


NAMED = typing_extensions.TypeAliasType("NAMED", UNION)
UNION_OR_ANY = Union[Words, Number, dict[str, object]]  # noqa: UP007 - as the SDK writes them


class Named(BaseModel):
    """A union under a name of its own, and one that nobody tells apart."""

    one: Annotated[NAMED, openai._utils.PropertyInfo(discriminator="type")]
    other: Union[Words, Number, dict[str, object]]  # noqa: UP007 - as the SDK writes them
    third: Optional[Union[Words, Number]] = None  # noqa: UP007, UP045 - as the SDK writes them


@given(JSON)
@pytest.mark.parametrize(
    "annotation",
    [Whole, Tree, UNION, Named, NAMED, UNION_OR_ANY, Words | Number, list[Optional[Number]], dict[str, float]],  # noqa: UP045 - as the SDK writes them
    ids=repr,
)
def test_a_plan_does_what_construct_type_does(annotation: Any, value: Any) -> None:
    """For any JSON at all."""
    same(annotation, value, Planner(sdk_functions()).plan(annotation))


class Aliased(BaseModel):
    """A field that has another name in JSON."""

    from_: str = pydantic.Field(alias="from")


class Constructed(BaseModel):
    """A class with an own `construct`."""

    text: str = ""

    @classmethod
    def construct(cls, _fields_set: Any = None, **values: Any) -> Any:
        """Its own."""
        return super().construct(_fields_set, **{**values, "text": "made here"})


class Extras(BaseModel):
    """Extra keys are of a type."""

    __pydantic_extra__: dict[str, Words]
    name: str


class Mutable(BaseModel):
    """A default that must not be shared."""

    words: list[str] = []  # noqa: RUF012 - a field of pydantic, which copies it


class ByName(BaseModel):
    """An alias that may be left out."""

    model_config = pydantic.ConfigDict(extra="allow", populate_by_name=True)
    text: str = ""


class Made(BaseModel):
    """An own `__new__`."""

    text: str = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Its own."""
        made = super().__new__(cls)
        MADE.append(made)
        return made


MADE: list[Any] = []


class Meta(type(BaseModel)):  # type: ignore[misc] # the metaclass of pydantic
    """A metaclass of somebody's own."""


class OfMeta(BaseModel, metaclass=Meta):
    """A class of that."""

    text: str = ""


class Early(BaseModel):
    """A class that names another one before there is one."""

    later: list[Later]  # type: ignore[name-defined] # noqa: F821 - so it is


class Checked(BaseModel):
    """A validator, which runs where a union is validated, and not where it is constructed."""

    type: Literal["checked"]
    text: str

    @pydantic.field_validator("text")
    @classmethod
    def shout(cls, value: str) -> str:
        """Change what was said."""
        return value.upper()


class Before(BaseModel):
    """A validator that looks at the tag first."""

    type: Literal["before"]
    text: str = ""

    @pydantic.model_validator(mode="before")
    @classmethod
    def adopt(cls, value: Any) -> Any:
        """Take any object for its own."""
        return {**value, "type": "before"} if isinstance(value, dict) else value


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        (Aliased, {"from": "a", "from_": "b", "x": 1}),
        (Constructed, {"text": "a"}),
        (Extras, {"name": "a", "x": {"type": "words", "text": "b"}}),
        (Mutable, {}),
        (ByName, {"text": "a"}),
        (Made, {"text": "a"}),
        (OfMeta, {"text": "a"}),
        (Early, {"later": [{}]}),
    ],
)
def test_an_unusual_class_is_left_to_the_sdk(cls: Any, value: Any) -> None:
    """And so it is within another class, whose own plan goes on."""
    asked = []

    def construct_type(**arguments: Any) -> Any:
        asked.append(arguments["type_"])
        return CONSTRUCT_TYPE(**arguments)

    planner = Planner(sdk_functions()._replace(construct_type=construct_type))
    same(cls, value, planner.plan(cls))
    outer = pydantic.create_model("Outer", __base__=BaseModel, inner=(list[cls], ...), text=(str, ""))
    same(outer, {"inner": [value, value], "text": "a"}, planner.plan(outer))
    assert cls in asked
    assert outer not in asked


class Begun(BaseModel):
    """An own `__init__`, which validation calls, and which may set the tag."""

    type: Literal["begun"]
    text: str = ""

    def __init__(self, **values: Any) -> None:
        super().__init__(**{**values, "type": "begun"})


class Renamed(BaseModel):
    """A tag that has another name in JSON."""

    type: Literal["renamed"] = pydantic.Field(alias="kind")
    text: str = ""


class First(BaseModel):
    """A tag that is a number, as `True` is."""

    type: Literal[1]
    text: str = ""


@pytest.mark.parametrize(
    "value",
    [
        {**tag, "text": "a"}
        for tag in (
            *({"type": kind} for kind in ("checked", "before", "begun", "renamed", "words", "none", 1, True, "1")),
            {"kind": "renamed"},
            {"type": "words", "kind": "renamed"},
        )
    ],
)
@pytest.mark.parametrize(
    "members",
    [
        *((Checked, Words), (Before, Words), (Words, Before), (Words, Checked, Before)),
        *((Begun, Words), (Words, Begun), (Renamed, Words), (Words, Renamed), (First, Words), (Words, First)),
    ],
)
def test_validators_run_where_the_sdk_validates(members: Any, value: Any) -> None:
    """A class whose validators may take any object is never passed over for its tag."""
    union = Union[members]  # noqa: UP007 - of so many
    same(union, value, Planner(sdk_functions()).plan(union))


def test_a_default_is_never_shared() -> None:
    """Two items with a list by default have one each."""
    plan = Planner(sdk_functions()).plan(Mutable)
    first, second = plan({}), plan({})
    assert first.words is not second.words


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("annotation", [ChatCompletionChunk, Tree, Whole])
def test_a_plan_that_is_half_made_is_seen_by_no_other_thread(annotation: Any) -> None:
    """Eight threads ask for the same plans at once, thirty times over, and all build the same."""
    leaf = {"name": "leaf", "children": [], "parts": {}}
    values: dict[Any, Any] = {
        Tree: {"name": "root", "children": [leaf, {**leaf, "children": [leaf]}], "parts": {"a": None, "b": leaf}},
        Whole: {"one": {"type": "number", "value": 1}, "several": ["a", {"type": "words"}], "named": {}, "rate": 1},
        ChatCompletionChunk: {
            "id": "1",
            "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}}],
        },
    }
    expected = CONSTRUCT_TYPE(type_=annotation, value=values[annotation])
    wrong: list[object] = []

    def build(planner: Planner, start: threading.Barrier) -> None:
        start.wait()
        try:
            wrong.extend(filter(None, [difference(expected, planner.plan(annotation)(values[annotation]))]))
        except Exception as error:
            wrong.append(error)

    for _ in range(30):
        planner, start = Planner(sdk_functions()), threading.Barrier(8)
        threads = [threading.Thread(target=build, args=(planner, start)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []

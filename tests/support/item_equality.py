"""Whether two items are equal in all that can be seen of them. Shares nothing with the comparison of the package."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pydantic

Places = dict[int, str]


def places_in(value: Any, place: str = "$") -> Places:
    """Where in the JSON each of its lists and objects is: an item may hold the very same one."""
    found: Places = {}
    if type(value) in (dict, list):
        found[id(value)] = place
        for key, part in value.items() if type(value) is dict else enumerate(value):
            found |= places_in(part, f"{place}.{key}")
    return found


def unequal(first: Any, second: Any, first_places: Places, second_places: Places, place: str = "") -> str | None:
    """In what two items differ, each with the places of the JSON that it was made of."""

    def next_unequal(parts: Iterator[tuple[Any, Any, str]]) -> str | None:
        inner = (unequal(one, other, first_places, second_places, where) for one, other, where in parts)
        return next((found for found in inner if found), None)

    if type(first) is not type(second):
        return f"{place}: {type(first)} / {type(second)}"
    match first:
        case pydantic.BaseModel():
            for name in ("__pydantic_fields_set__", "__pydantic_private__"):
                one, other = object.__getattribute__(first, name), object.__getattribute__(second, name)
                if type(one) is not type(other) or (one != other and repr(one) != repr(other)):  # as of NaN
                    return f"{place}: {name} {one} / {other}"
            one, other = first.__dict__, second.__dict__
            if [*one] != [*other]:
                return f"{place}: fields {[*one]} / {[*other]}"
            parts = [(one[name], other[name], f"{place}.{name}") for name in one]
            return next_unequal(iter([*parts, (first.__pydantic_extra__, second.__pydantic_extra__, f"{place}.extra")]))
        case dict() | list():
            if first_places.get(id(first)) != second_places.get(id(second)):
                return f"{place}: the JSON's own / a copy"
            keys = [*first] if isinstance(first, dict) else [*range(len(first))]
            if keys != ([*second] if isinstance(second, dict) else [*range(len(second))]):
                return f"{place}: keys {keys} / others"
            return next_unequal((first[key], second[key], f"{place}.{key}") for key in keys)
        case float():
            alike = (math.isnan(first) and math.isnan(second)) or (
                first == second and math.copysign(1, first) == math.copysign(1, second)
            )
            return None if alike else f"{place}: {first} / {second}"
    return None if first == second else f"{place}: {first!r} / {second!r}"


def seen_unequal(first: Any, second: Any) -> str | None:
    """In what two items that are equal look different to a program: shown, dumped, compared, copied and pickled."""
    for name, look in LOOKS.items():
        one, other = outcome(look, first), outcome(look, second)
        if one != other:
            return f"{name}: {one} / {other}"
    if not isinstance(first, pydantic.BaseModel):
        return None
    if outcome(lambda: first == second) != outcome(lambda: second == first):
        return "=="
    if "nan" not in repr(first) and outcome(lambda: first == second) != (True, None):
        return "=="
    for name, again in COPIES.items():
        (one, error), (other, other_error) = outcome(again, first), outcome(again, second)
        if type(error) is not type(other_error):
            return f"{name}: {error!r} / {other_error!r}"
        found = None if error else unequal(one, other, {}, {})
        if found:
            return f"{name}{found}"
    return None


def outcome(work: Callable[..., Any], *arguments: Any) -> tuple[Any, str | None]:
    """What comes of it: a value, or an exception in words."""
    try:
        return work(*arguments), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"[:300]


def _dumped(item: Any, **how: Any) -> str:
    return repr(item.model_dump(**how)) if isinstance(item, pydantic.BaseModel) else ""


LOOKS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "model_dump": lambda item: _dumped(item),
    "model_dump of what is set": lambda item: _dumped(item, exclude_unset=True, by_alias=True),
    "model_dump_json": lambda item: item.model_dump_json() if isinstance(item, pydantic.BaseModel) else "",
    "to_dict": lambda item: repr(item.to_dict()) if isinstance(item, pydantic.BaseModel) else "",
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda item: pickle.loads(pickle.dumps(item)),
}

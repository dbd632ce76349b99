"""Whether two items are the same in everything that a program can see of them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


def difference(expected: Any, built: Any) -> str | None:
    """Where two items differ, and in what; None where they do not. It names fields and classes, and no value.

    Floats are compared as written, so that -0.0 differs from 0.0, and NaN is the same as NaN.
    """
    return _difference(expected, built, type(expected).__name__)


def _difference(expected: Any, built: Any, place: str) -> str | None:
    if expected is built:
        return None
    if type(expected) is not type(built):
        return f"{place} is a {type(built).__name__} and not a {type(expected).__name__}"
    if isinstance(expected, BaseModel):
        return _difference_of_models(expected, built, place)
    if isinstance(expected, dict):
        if list(expected) != list(built):
            return f"{place} has other keys"
        parts = [(f"{place}[…]", expected[key], built[key]) for key in expected]
    elif isinstance(expected, list):
        if len(expected) != len(built):
            return f"{place} has {len(built)} entries and not {len(expected)}"
        parts = [(f"{place}[{number}]", *pair) for number, pair in enumerate(zip(expected, built, strict=True))]
    else:
        same = repr(expected) == repr(built) if isinstance(expected, float) else expected == built
        return None if same else f"{place} has another value"
    return _first_difference(parts)


def _difference_of_models(expected: BaseModel, built: BaseModel, place: str) -> str | None:
    if list(expected.__dict__) != list(built.__dict__):
        return f"{place} has other fields"
    if expected.__pydantic_fields_set__ != built.__pydantic_fields_set__:
        return f"{place} has other fields set"
    if expected.__pydantic_private__ != built.__pydantic_private__:
        return f"{place} has other private attributes"
    extras = (f"{place}.model_extra", expected.__pydantic_extra__, built.__pydantic_extra__)
    fields = [(f"{place}.{name}", value, built.__dict__[name]) for name, value in expected.__dict__.items()]
    return _first_difference([*fields, extras])


def _first_difference(parts: list[tuple[str, Any, Any]]) -> str | None:
    for place, expected, built in parts:
        found = _difference(expected, built, place)
        if found is not None:
            return found
    return None

"""JSON values for an annotation of the SDK: what fits it, and what fits it less and less."""

from __future__ import annotations

import inspect
import math
import random
from types import NoneType, UnionType
from typing import Any, Literal, Union

from openai import BaseModel
from typing_extensions import Annotated, get_args, get_origin  # noqa: UP035 - as the SDK does

TEXTS = ("", "a", "1", "-7", "1.5", "true", "no", "null", "2024-02-29T12:00:00Z", "1700000000", "function", "message")
TEXTS += ("text", "output_text", "auto", "\ud800", "é\u2028", "\x00", "long " * 60)
WHOLE = (0, 1, -1, 7, 2**31, 2**53 + 1, 2**63, 10**25, -(10**30), 10**400)
BROKEN = (0.0, -0.0, 1.0, 1.5, 2.0**53, 1e300, math.nan, math.inf, -math.inf)
STRANGE_KEYS = ("extra", "obfuscation", "self", "values", "_request_id", "__class__", "__dict__", "__pydantic_extra__")
STRANGE_KEYS += ("model_config", "model_fields", "construct", "copy", "type", "id", "index", "", "\ud800", "Ünï")
PARAMETERS = ("_fields_set", "__cls", "_BaseModel__cls", "cls")
"""What `construct` takes, or took, for its own parameters."""
DEEP = 8


class Values:
    """Values by chance.

    Args:
        wrong: the share of values that are anything but what their annotation says.
    """

    def __init__(self, chance: random.Random, wrong: float) -> None:
        self._chance, self._wrong = chance, wrong

    def of(self, annotation: Any, depth: int = 0) -> Any:
        """A value for an annotation."""
        chance = self._chance
        if chance.random() < self._wrong:
            return self.anything()
        annotation = getattr(annotation, "__value__", annotation)
        origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
        if origin is Annotated:
            return self.of(arguments[0], depth)
        if origin in (Union, UnionType):
            return None if depth > DEEP and NoneType in arguments else self.of(chance.choice(arguments), depth)
        if origin is Literal:
            return chance.choice(arguments)
        if origin is list:
            count = chance.randrange(4 if depth < DEEP / 2 else 2)
            return [self.of(arguments[0] if arguments else object, depth + 1) for _ in range(count)]
        if origin is dict:
            inner = arguments[1] if arguments else object
            return {chance.choice(TEXTS): self.of(inner, depth + 1) for _ in range(chance.randrange(3))}
        if inspect.isclass(origin) and issubclass(origin, BaseModel):
            return self._object(origin, depth)
        return self._scalar(origin)

    def _scalar(self, kind: Any) -> Any:
        chance = self._chance
        match kind:
            case _ if kind is str:
                return chance.choice(TEXTS)
            case _ if kind is bool:
                return chance.random() < 0.5
            case _ if kind is int:
                return chance.choice(WHOLE[:7])
            case _ if kind is float:
                return chance.choice((*BROKEN[:6], 1, 3, 2**60 + 1))
            case _ if kind is NoneType:
                return None
        return self.anything()

    def _object(self, cls: type[BaseModel], depth: int) -> dict[str, Any]:
        chance, found = self._chance, dict[str, Any]()
        sparse = chance.choice((0.1, 0.4, 0.9)) if depth <= DEEP else 1.0
        for name, field in cls.model_fields.items():
            if chance.random() < (self._wrong / 2 if field.is_required() else sparse):
                continue
            key = name if field.alias is None or chance.random() < 0.1 else field.alias
            found[key] = self.of(field.annotation, depth + 1)
        while chance.random() < 0.15:
            found[chance.choice(PARAMETERS if self._wrong and chance.random() < 0.1 else STRANGE_KEYS)] = (
                self.anything()
            )
        if chance.random() < 0.2:
            entries = list(found.items())
            chance.shuffle(entries)
            return dict(entries)
        return found

    def anything(self, depth: int = 0) -> Any:
        """A JSON value of any kind."""
        chance = self._chance
        match chance.randrange(12 if depth < 3 else 8):
            case 0:
                return None
            case 1:
                return chance.random() < 0.5
            case 2:
                return chance.choice(WHOLE)
            case 3:
                return chance.choice(BROKEN)
            case 4 | 5 | 6:
                return chance.choice(TEXTS)
            case 7:
                return chance.choice(([], {}))
            case 8 | 9:
                return [self.anything(depth + 1) for _ in range(chance.randrange(4))]
        return {chance.choice(STRANGE_KEYS): self.anything(depth + 1) for _ in range(chance.randrange(4))}

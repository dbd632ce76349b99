"""Frozen records: dataclasses whose methods are written once, here.

`@dataclass(frozen=True)` generates and compiles six functions for each class, and a `NamedTuple` one. For what every
program loads, that was half of the time of `import openai_stream_guard` and `enable()`. What is made for each event is
a `NamedTuple` all the same, since it is made several times faster; what only commands load may be what it likes.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        """Tells type checkers only: before Python 3.11 the standard library has none."""
        return lambda cls: cls


def _default(field: Field[Any]) -> object:
    """What the field is where nobody says; `Parameter.empty` where it has to be said."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return Parameter.empty if field.default is MISSING else field.default


class _Signature:
    """What `help()` and `inspect.signature` show of a class of records."""

    def __get__(self, record: object, cls: type[Record]) -> Signature:
        kind = Parameter.POSITIONAL_OR_KEYWORD
        fields = cls.__dataclass_fields__.values()
        return Signature([Parameter(one.name, kind, default=_default(one), annotation=one.type) for one in fields])


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """A subclass is a frozen dataclass of what it annotates: `fields`, `replace`, `asdict` and `match` know it."""

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    __signature__ = _Signature()

    def __init_subclass__(cls) -> None:
        dataclass(init=False, repr=False, eq=False)(cls)

    if not TYPE_CHECKING:  # to type checkers each class takes its own fields

        def __init__(self, *args: object, **given: object) -> None:
            fields = self.__dataclass_fields__
            values = dict(zip(fields, args, strict=False)) | given
            if len(values) != len(args) + len(given) or not values.keys() <= fields.keys():
                raise TypeError(f"{type(self).__name__} takes each of these once: {', '.join(fields)}")
            for name, one in fields.items():
                value = values[name] if name in values else _default(one)
                if value is Parameter.empty:
                    raise TypeError(f"{type(self).__name__} needs {name!r}")
                object.__setattr__(self, name, value)
            self.__post_init__()

    def __post_init__(self) -> None:
        """What a class does when its fields are set."""

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__dataclass_fields__)

    def __hash__(self) -> int:
        hashed = [name for name, one in self.__dataclass_fields__.items() if one.hash is not False]
        return hash(tuple(getattr(self, name) for name in hashed))

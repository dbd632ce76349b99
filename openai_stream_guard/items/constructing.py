"""Plans for what the SDK constructs without validating: `BaseModel.construct` and `construct_type`, as functions.

A plan is a function from a JSON value to what the SDK makes of it. It stands for `construct_type` of one annotation,
and does the same: what does not fit stays as it is, extra keys are kept apart, and a union is validated by pydantic
first. A class or an annotation that is in any way unusual gets a plan that calls the SDK.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FunctionType, NoneType, UnionType
from typing import Any, ForwardRef, Literal, NamedTuple, TypeVar, Union

from pydantic import BaseModel, TypeAdapter
from typing_extensions import Annotated, get_args, get_origin  # noqa: UP035 - as the SDK does, on every Python

from .tagged_unions import validator

Plan = Callable[[Any], Any]

_UNTOUCHED = (str, int, bool, bytes, object, Any)
"""Annotations under which `construct_type` looks at no value."""
_NUMBERS = frozenset((int, float, bool))
_IMMUTABLE = (NoneType, str, int, float, bool)
_new, _set = object.__new__, object.__setattr__


class SdkFunctions(NamedTuple):
    """What plans need of the SDK."""

    base_model: type[BaseModel]
    construct: FunctionType
    """The function below the class method `base_model.construct`."""
    construct_type: Callable[..., Any]
    """`construct_type(value=, type_=)`, which takes `metadata=` as well where `takes_metadata`."""
    takes_metadata: bool
    """Whether the metadata of a field (its discriminator) reaches the union below it."""
    default_of: Callable[[Any], Any]
    """What a field is, where the JSON says nothing."""
    type_adapter: Callable[[Any], TypeAdapter[Any]]
    """The adapter that validates a union, the SDK's own one."""
    discriminator_of: Callable[..., Any]
    """`discriminator_of(union=, meta_annotations=)`: how the SDK chooses a member that does not validate."""
    property_info: type
    """The only metadata that pydantic does not look at."""


class _Unusual(Exception):
    """This class is left to the SDK."""


def as_is(value: Any) -> Any:
    """The plan of an annotation under which every value stays as it is. Known by identity, and hardly ever called."""
    return value


class Planner:
    """Makes plans, and keeps those of classes.

    Threads need no lock: each makes the plans that it needs in a draft of its own, and publishes them when all of them
    are whole. At worst two threads make the same one.
    """

    def __init__(self, sdk: SdkFunctions) -> None:
        self.sdk = sdk
        self._models: dict[type, Plan] = {}

    def plan(self, annotation: Any) -> Plan:
        """What stands for the SDK's `construct_type` of this annotation."""
        known = self._models.get(annotation) if inspect.isclass(annotation) else None
        if known is not None:
            return known
        draft = _Draft(self, self._models)
        plan = draft.plan(annotation, ())
        self._models.update(draft.models)
        return plan


class _Draft:
    """Plans in the making. A class may hold itself, so the plan of a class can be asked for before it is whole."""

    def __init__(self, planner: Planner, known: dict[type, Plan]) -> None:
        self._planner, self._sdk, self._known = planner, planner.sdk, known
        self._begun: set[type] = set()
        self.models: dict[type, Plan] = {}

    def plan(self, annotation: Any, metadata: tuple[Any, ...]) -> Plan:
        """The plan of an annotation, with the metadata of the field that it is of."""
        by_sdk = self._by_sdk(annotation, metadata)
        if hasattr(annotation, "__value__"):  # `type X = …`
            return by_sdk
        if not metadata and get_origin(annotation) is Annotated:
            annotation, *rest = get_args(annotation)
            metadata = tuple(rest)
        origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
        if origin is UnionType:  # `X | Y`, which the SDK's own classes do not use, and some releases raise for
            return by_sdk
        if origin is Union:
            return self._union(annotation, metadata, arguments)
        if origin is Literal or annotation in _UNTOUCHED or isinstance(annotation, TypeVar):
            return as_is
        if annotation is float:
            return _float
        if origin is list and len(arguments) == 1:
            return _list_of(self.plan(arguments[0], ()))
        if origin is dict and len(arguments) == 2:
            return _dict_of(self.plan(arguments[1], ()))
        if inspect.isclass(annotation) and issubclass(annotation, self._sdk.base_model):
            return self._model(annotation)
        return by_sdk

    def _by_sdk(self, annotation: Any, metadata: tuple[Any, ...]) -> Plan:
        construct_type = self._sdk.construct_type
        if metadata and self._sdk.takes_metadata:
            return lambda value: construct_type(value=value, type_=annotation, metadata=list(metadata))
        return lambda value: construct_type(value=value, type_=annotation)

    def _model(self, cls: type[BaseModel]) -> Plan:
        known = self._known.get(cls) or self.models.get(cls)
        if known is not None:
            return known
        models = self.models
        if cls in self._begun:
            return lambda value: models[cls](value)
        self._begun.add(cls)
        try:
            models[cls] = self._construct(cls)
        except _Unusual:
            models[cls] = self._by_sdk(cls, ())
        return models[cls]

    def _construct(self, cls: type[BaseModel]) -> Plan:
        """What stands for `cls.construct(**value)`. Raises `_Unusual` for a class that does more than most."""
        sdk = self._sdk
        _refuse_unusual(cls, sdk)
        absent = {name: _default(sdk, field) for name, field in cls.model_fields.items()}
        plans = {
            name: self.plan(field.annotation, tuple(field.metadata) if sdk.takes_metadata else ())
            for name, field in cls.model_fields.items()
        }
        code = sdk.construct.__code__
        parameters = frozenset(code.co_varnames[: code.co_argcount])
        plan_of, all_absent = plans.get, absent.copy

        def build(value: Any) -> Any:
            if value.__class__ is not dict:
                if value.__class__ is list:
                    return [build(entry) if entry.__class__ is dict else entry for entry in value]
                return value
            fields: dict[str, Any] = all_absent()
            extra: dict[str, Any] = {}
            fields_set: set[str] = set()
            present = fields_set.add
            for key, part in value.items():
                plan = plan_of(key)
                if plan is None:
                    if key in parameters:
                        return cls.construct(**value)
                    extra[key] = part
                    continue
                present(key)
                if part is not None:  # null is what an absent field is
                    fields[key] = part if plan is as_is else plan(part)
            item = _new(cls)
            _set(item, "__dict__", fields)
            _set(item, "__pydantic_private__", None)
            _set(item, "__pydantic_extra__", extra)
            _set(item, "__pydantic_fields_set__", fields_set)
            return item

        return build

    def _union(self, union: Any, metadata: tuple[Any, ...], members: tuple[Any, ...]) -> Plan:
        """Pydantic's word, and where it refuses a value, the member that the SDK constructs."""
        unchanged = _unchanged_by_union(members, self._sdk)
        not_valid = unvalidated(self._planner, union, metadata)
        type_adapter = self._sdk.type_adapter
        validate: Plan | None = None

        def build(value: Any) -> Any:
            nonlocal validate
            if value.__class__ in unchanged:
                return value
            if validate is None:  # an adapter takes milliseconds to make, and many fields are never there
                validate = validator(type_adapter(union))
            try:
                return validate(value)
            except Exception:
                return not_valid(value)

        return build


def unvalidated(planner: Planner, union: Any, metadata: tuple[Any, ...]) -> Plan:
    """What the SDK makes of a value that is no member of a union: the member it names, or the first that can be."""
    discriminator_of = planner.sdk.discriminator_of
    members: list[Plan] = []

    def build(value: Any) -> Any:
        if value.__class__ is dict:
            found = discriminator_of(union=union, meta_annotations=metadata)
            word = value.get(found.field_alias_from or found.field_name) if found else None
            named = found.mapping.get(word) if word and word.__class__ is str else None
            if named:
                return planner.plan(named)(value)
        if not members:
            members[:] = [planner.plan(member) for member in get_args(union)]
        for member in members:
            try:
                return member(value)
            except Exception:  # the SDK asks the next one as well
                continue
        raise ValueError("no member can be constructed")  # the SDK says this in its own words

    return build


def _refuse_unusual(cls: type[BaseModel], sdk: SdkFunctions) -> None:
    construct = getattr(cls.construct, "__func__", None)
    usual = (
        construct is sdk.construct
        and cls.__new__ is object.__new__
        and type(cls) is type(sdk.base_model)
        and not cls.model_config.get("populate_by_name")
        and not _has_typed_extras(cls, sdk.base_model)
        and all(
            field.alias is None and field.annotation is not None and _is_resolved(field.annotation)
            for field in cls.model_fields.values()
        )
    )
    if not usual:
        raise _Unusual


def _default(sdk: SdkFunctions, field: Any) -> Any:
    default = sdk.default_of(field)
    if type(default) not in _IMMUTABLE:  # which would have to be copied for each item
        raise _Unusual
    return default


def _has_typed_extras(cls: type[BaseModel], base_model: type[BaseModel]) -> bool:
    """Whether extra keys have an annotation. (The class's schema says it too, and takes milliseconds to make.)"""
    above = cls.__mro__[: cls.__mro__.index(base_model)]
    return any("__pydantic_extra__" in _own_annotations(owner) for owner in above)


def _own_annotations(cls: type) -> Any:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return vars(cls).get("__annotations__", ())


def _is_resolved(annotation: Any) -> bool:
    """Whether no name is left in an annotation that pydantic has yet to look up."""
    if get_origin(annotation) is Literal:
        return True
    return not isinstance(annotation, str | ForwardRef) and all(map(_is_resolved, get_args(annotation)))


def _unchanged_by_union(members: tuple[Any, ...], sdk: SdkFunctions) -> frozenset[type]:
    """Classes of JSON values that stay as they are under a union, valid or not, so that pydantic need not be asked."""
    bare = [_without_metadata(member, sdk) for member in members]
    numbers = _NUMBERS.intersection(member for member in bare if inspect.isclass(member))
    if not all(_is_simple(member, sdk) for member in bare):
        return frozenset()
    unchanged: set[type] = {NoneType} if NoneType in bare else set()
    if str in bare or not numbers:  # else "1" may become 1
        unchanged.add(str)
    if len(numbers) == 1:  # else 1 may become 1.0
        unchanged |= numbers
    return frozenset(unchanged)


def _without_metadata(member: Any, sdk: SdkFunctions) -> Any:
    if get_origin(member) is Annotated:
        inner, *metadata = get_args(member)
        return inner if all(isinstance(entry, sdk.property_info) for entry in metadata) else member
    return member


def _is_simple(member: Any, sdk: SdkFunctions) -> bool:
    """Whether validation makes nothing of a string, a number or null here but itself, or of a string a number."""
    if get_origin(member) is Literal:
        return all(type(word) is str for word in get_args(member))
    if get_origin(member) in (list, dict):
        return True
    return inspect.isclass(member) and (
        member in (str, NoneType) or member in _NUMBERS or issubclass(member, sdk.base_model)
    )


def _float(value: Any) -> Any:
    if isinstance(value, int):
        number = float(value)  # of one too large the SDK makes an exception, too
        return number if number == value else value
    return value


def _list_of(plan: Plan) -> Plan:
    if plan is as_is:
        return lambda value: list(value) if value.__class__ is list else value
    return lambda value: [plan(part) for part in value] if value.__class__ is list else value


def _dict_of(plan: Plan) -> Plan:
    if plan is as_is:
        return lambda value: dict(value) if value.__class__ is dict else value
    return lambda value: {key: plan(part) for key, part in value.items()} if value.__class__ is dict else value

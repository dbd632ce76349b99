"""Which plan an item needs, and the proof that the plan builds what the SDK builds.

Trust, but verify. The first item of each class is the SDK's own, and nothing is made for a plan before it was handed
over. The second is built both ways and compared, and after that one in `VERIFY_EVERY`: each time the SDK's item is the
one handed over. A difference ends the plan of that class for the life of the process.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from typing_extensions import Annotated, get_args, get_origin  # noqa: UP035 - as the SDK does, on every Python

from .comparison import difference
from .constructing import Plan, Planner, unvalidated
from .tagged_unions import TaggedUnion

VERIFY_EVERY = 256
"""One item in so many of each class is built by the SDK as well: 80 µs of each 256th chat chunk are 0.3 µs of each."""
NOT_BUILT: Final = object()
"""What stands for an item that is left to the SDK."""

OnDifference = Callable[[str], object]
"""Called with a sentence that says what a plan built differently."""


class ItemBuilder:
    """Builds the items of streams of one annotation, a class or a union of classes, or leaves them to the SDK.

    Raises:
        TypeError: for an annotation that no plan can be made of.
    """

    def __init__(self, planner: Planner, annotation: Any, on_difference: OnDifference) -> None:
        """Make no plan yet: the first item is the SDK's."""
        self._planner, self._annotation, self._on_difference = planner, annotation, on_difference
        self._only: VerifiedPlan | None = None
        self._union: TaggedUnion | None = None
        self._members: dict[str, VerifiedPlan] = {}
        bare, *metadata = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
        if inspect.isclass(bare) and issubclass(bare, planner.sdk.base_model):
            self._only = self._verified(lambda: planner.plan(annotation))
        elif get_args(bare):
            self._union = TaggedUnion.of(planner.sdk.type_adapter(bare))
            self._not_valid = unvalidated(planner, bare, tuple(metadata))
        if self._only is None and self._union is None:
            raise TypeError("items of this type cannot be told apart")
        self._tag = None if self._union is None else self._union.tag

    def build(self, data: Any) -> Any:
        """The item for an event's JSON, or `NOT_BUILT`."""
        if data.__class__ is not dict:
            return NOT_BUILT
        verified = self._only
        if verified is None:
            word = data.get(self._tag)
            if word.__class__ is not str:
                return NOT_BUILT
            verified = self._members.get(word) or self._member(word)
            if verified is None:
                return NOT_BUILT
        return verified.build(data)

    def _member(self, word: str) -> VerifiedPlan | None:
        """The plan of the member that a word names; None where no member does."""
        union = self._union
        if union is None or word not in union.words:
            return None
        return self._members.setdefault(word, self._verified(lambda: self._plan_of_member(union, word)))

    def _plan_of_member(self, union: TaggedUnion, word: str) -> Plan:
        validate, not_valid = union.validator(word), self._not_valid

        def build(data: Any) -> Any:
            try:
                return validate(data)
            except Exception:
                return not_valid(data)

        return build

    def _verified(self, make: Callable[[], Plan]) -> VerifiedPlan:
        construct_type, annotation = self._planner.sdk.construct_type, self._annotation
        return VerifiedPlan(make, lambda data: construct_type(value=data, type_=annotation), self._on_difference)


class VerifiedPlan:
    """A plan for the items of one class, used only while it builds what the SDK builds.

    Threads share it without a lock: a plan is made whole before it is used, a count that is lost means a later
    comparison, and whoever ends the plan says so before taking it out of use.
    """

    def __init__(self, make: Callable[[], Plan], by_sdk: Plan, on_difference: OnDifference) -> None:
        self._make, self._by_sdk, self._on_difference = make, by_sdk, on_difference
        self._made: Plan | None = None
        self._plan: Plan | None = None
        """The same, while it is in use."""
        self._ended = False
        self._seen = 0

    def build(self, data: dict[str, Any]) -> Any:
        """The item, or `NOT_BUILT`: the SDK's own function then says what becomes of it, or raises."""
        self._seen += 1
        plan = self._plan
        if plan is not None and self._seen % VERIFY_EVERY:
            try:
                return plan(data)
            except Exception:
                return NOT_BUILT
        if self._ended or self._seen == 1:
            return NOT_BUILT
        return self._build_both_ways(data)

    def _build_both_ways(self, data: dict[str, Any]) -> Any:
        try:
            expected = self._by_sdk(data)
        except Exception:
            return NOT_BUILT
        try:
            plan = self._made = self._made or self._make()
        except Exception as error:
            self._end(f"no plan can be made for {type(expected).__name__} ({type(error).__name__})")
            return expected
        try:
            found = difference(expected, plan(_copied(data)))
        except Exception:  # the plan leaves such an item to the SDK
            return expected
        if found is None:
            self._plan = plan
            if self._ended:  # by another thread, meanwhile
                self._plan = None
        else:
            self._end(found)
        return expected

    def _end(self, what: str) -> None:
        """Use this plan no more."""
        already, self._ended = self._ended, True
        self._plan = None
        if not already:
            self._on_difference(what)


def _copied(value: Any) -> Any:
    """A JSON value again, which shares no list and no object with the first."""
    if value.__class__ is dict:
        return {key: _copied(part) for key, part in value.items()}
    if value.__class__ is list:
        return [_copied(part) for part in value]
    return value

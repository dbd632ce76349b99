"""When the items of a guarded stream are built by plans, and when they are left to the SDK.

Plans stand for functions of the SDK. They are used where each of these is the SDK's own and says what it said in a
release that was tested, on a pydantic that was tested.

    client._process_response_data(data=, cast_to=, response=)     one item; wrapped in `patches`, used by `streams`

Above it lies everything else that a stream does with an event: errors, `[DONE]`, closing and wrapping stay the SDK's.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import openai
import pydantic

from ..items import NOT_BUILT, ItemBuilder, Planner, SdkFunctions
from ..observability.publish import logger
from ..records import Record
from .known_functions import FUNCTIONS, PROCESS_RESPONSE_DATA, Files, KnownFunction

TESTED_PYDANTIC = ((2, 4), (2, 14))
"""The oldest and the newest minor release of pydantic that plans were tested with."""
MAX_ITEM_TYPES = 64
"""A program that streams items of more types than this makes them as it goes: those beyond are left to the SDK."""


class PlansStatus(Record):
    """Whether items are built by plans in this process."""

    in_use: bool
    reason: str | None
    """Why they are not."""
    differences: tuple[str, ...] = ()
    """What plans built differently from the SDK, which builds the classes concerned since."""

    def __str__(self) -> str:
        """What the report of a stream calls it."""
        return "plans" if self.reason is None else f"SDK: {self.reason}"


class StreamItems(Record):
    """How the items of one stream are built."""

    item_type: Any
    """What the SDK calls `cast_to`."""
    build: Callable[[Any], Any]
    """Makes an item of an event's JSON, or returns `NOT_BUILT`: then the SDK's own function is to be called."""
    status: PlansStatus


class ItemPlans:
    """The plans of this process: whether there may be any, and one builder for each type of items."""

    def __init__(self) -> None:
        self.process_response_data: Any = None
        """The SDK's own function, once it is wrapped."""
        self._functions: tuple[Any, ...] = ()
        self._planner: Planner | None = None
        self._reason: str | None = "not looked at yet"
        self._looked = False
        self._items: dict[Any, StreamItems | None] = {}
        self._differences: list[str] = []

    def status(self) -> PlansStatus:
        """Whether plans are in use. Looks at the SDK when first asked, which takes about a millisecond."""
        self.look()
        reason = self._reason or self._replaced()
        return PlansStatus(reason is None, reason, tuple(self._differences))

    def look(self) -> None:
        """Find out, once, whether this is an SDK that plans were tested with."""
        if self._looked:
            return
        self._reason = _against_pydantic() or self._against_sdk()
        self._looked = True
        if self._reason is not None:
            logger.debug("items are built by the SDK and not by plans: %s", self._reason)

    def for_stream(self, client: Any, item_type: Any) -> StreamItems:
        """How the items of a stream of this client are to be built."""
        self.look()
        reason = self._reason or self._replaced()
        if client._strict_response_validation:
            reason = "the client validates responses strictly"
        if reason is not None or self._planner is None:
            return left_to_sdk(item_type, reason or "")
        items = self._items_of(self._planner, item_type)
        return left_to_sdk(item_type, "items of this type are not known") if items is None else items

    def build(self, item_type: Any, data: Any) -> Any:
        """One more thing for a stream whose items are built by plans, or `NOT_BUILT`."""
        items = None if self._planner is None else self._items_of(self._planner, item_type)
        return NOT_BUILT if items is None else items.build(data)

    def _items_of(self, planner: Planner, item_type: Any) -> StreamItems | None:
        try:
            return self._items[item_type]
        except KeyError:
            return self._new_items(planner, item_type)
        except TypeError:  # not hashable
            return None

    def _new_items(self, planner: Planner, item_type: Any) -> StreamItems | None:
        if len(self._items) >= MAX_ITEM_TYPES:
            return None
        items = None
        if not hasattr(item_type, "build"):  # such a class builds its items itself
            try:
                build = ItemBuilder(planner, item_type, self._on_difference).build
                items = StreamItems(item_type, build, PlansStatus(True, None))
            except Exception as error:
                logger.debug("items of %r are built by the SDK (%s: %s)", item_type, type(error).__name__, error)
        return self._items.setdefault(item_type, items)

    def _on_difference(self, what: str) -> None:
        self._differences.append(what)
        logger.warning(
            "an item was built differently from the SDK: %s. The SDK's was handed over, and the SDK builds this "
            "class from now on. Please report it, with openai %s and pydantic %s",
            what,
            openai.__version__,
            pydantic.VERSION,
        )

    def _against_sdk(self) -> str | None:
        files: Files = {}
        try:
            functions = tuple(self._find(function) for function in FUNCTIONS)
            pairs = zip(FUNCTIONS, functions, strict=True)
            unknown = [function.path for function, found in pairs if not function.knows(found, files)]
        except (OSError, AttributeError, KeyError, UnicodeDecodeError) as error:
            return f"the functions of openai {openai.__version__} cannot be read ({type(error).__name__})"
        if unknown:
            return f"openai {openai.__version__}, as it is here, was not tested: {', '.join(unknown)}"
        self._functions, self._planner = functions, Planner(sdk_functions())
        return None

    def _replaced(self) -> str | None:
        """Which function somebody has put another in the place of, after they were looked at."""
        for function, before in zip(FUNCTIONS, self._functions, strict=False):
            if self._find(function) is not before:
                return f"{function.name} has been replaced"
        base_client, models = openai._base_client, openai._models
        if self._functions and vars(base_client)["construct_type"] is not models.construct_type:
            return f"{base_client.__name__}.construct_type has been replaced"
        return None

    def _find(self, function: KnownFunction) -> Any:
        if self.process_response_data is not None and function.path == PROCESS_RESPONSE_DATA:
            return self.process_response_data
        return function.find()


def left_to_sdk(item_type: Any, reason: str) -> StreamItems:
    """Items that the SDK builds, and why."""
    return StreamItems(item_type, lambda data: NOT_BUILT, PlansStatus(False, reason))


def _against_pydantic() -> str | None:
    oldest, newest = TESTED_PYDANTIC
    found = tuple(int(part) for part in re.findall(r"\d+", pydantic.VERSION)[:2])
    if not oldest <= found <= newest:
        tested = f"{oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
        return f"pydantic {pydantic.VERSION} was not tested, only {tested}"
    try:
        from pydantic.plugin._loader import get_plugins
    except ImportError:
        return f"pydantic {pydantic.VERSION} does not say whether it has plugins"
    return "a pydantic plugin looks on" if any(True for _ in get_plugins() or ()) else None


def sdk_functions() -> SdkFunctions:
    """What plans need, as this release has it."""
    models: Any = openai._models
    return SdkFunctions(
        base_model=models.BaseModel,
        construct=models.BaseModel.construct.__func__,
        construct_type=models.construct_type,
        takes_metadata="metadata" in inspect.signature(models.construct_type).parameters,
        default_of=openai._compat.field_get_default,
        type_adapter=models.TypeAdapter,
        discriminator_of=models._build_discriminated_union_meta,
        property_info=models.PropertyInfo,
    )

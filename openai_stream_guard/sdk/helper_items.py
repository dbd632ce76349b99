"""What the `.stream()` helpers build for themselves, by plans as well.

For each item that a helper reads it builds events and a snapshot of the answer so far, by functions that its module has
imported from the SDK's models. Those two names are wrapped in the helpers' modules; the wrappers pass every call on,
but while a helper handles an item of a guarded stream whose items are built by plans.

    ChatCompletionStream(raw_stream=…)     marks the state that the helper keeps
      state.handle_chunk(chunk)            says that calls from here on may be built by plans
        build(…), construct_type(…)        do so
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import openai
import wrapt

from ..items import NOT_BUILT
from ..records import Record
from .runtime import RUNTIME
from .streams import GuardedStream, guarded_stream_of

_MARK = "openai_stream_guard_stream"
"""Under this name a helper's state holds what the guard knows of its stream."""


class Helper(Record):
    """A `.stream()` helper of the SDK: its module, its classes, and the state that they keep."""

    module: str
    streams: tuple[str, ...]
    state: str
    handle: str
    """The state's method that is given each item."""


HELPERS = (
    Helper(
        "openai.lib.streaming.chat._completions",
        ("ChatCompletionStream", "AsyncChatCompletionStream"),
        "ChatCompletionStreamState",
        "handle_chunk",
    ),
    Helper(
        "openai.lib.streaming.responses._responses",
        ("ResponseStream", "AsyncResponseStream"),
        "ResponseStreamState",
        "handle_event",
    ),
)

_by_plans: ContextVar[bool] = ContextVar("openai_stream_guard_helper_by_plans", default=False)


def patch_helpers(wrapper: type) -> None:
    """Wrap what the helpers call once their modules are imported; `wrapper` is the guard's own kind of wrapper."""
    for helper in HELPERS:
        wrapt.register_post_import_hook(partial(_patch, helper, wrapper), helper.module)


def _patch(helper: Helper, wrapper: type, module: Any) -> None:
    """Wrap one module's; a release whose helper looks otherwise builds by itself."""
    builders: dict[str, Callable[..., Any]] = {
        "build": _build,
        "construct_type": _construct_type,
        "construct_type_unchecked": _construct_type,
    }
    ours = [name for name in builders if _is_the_models_own(module, name)]
    if not hasattr(getattr(module, helper.state, None), helper.handle) or not ours:
        return
    for stream in helper.streams:
        if hasattr(module, stream):
            wrapt.wrap_object(module, f"{stream}.__init__", wrapper, (_mark,))
    wrapt.wrap_object(module, f"{helper.state}.{helper.handle}", wrapper, (_handle,))
    for name in ours:
        wrapt.wrap_object(module, name, wrapper, (builders[name],))


def _is_the_models_own(module: Any, name: str) -> bool:
    found = vars(module).get(name)
    return found is not None and found is vars(openai._models).get(name)


def _mark(wrapped: Callable[..., Any], helper: Any, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    guarded = guarded_stream_of(getattr(kwargs.get("raw_stream"), "response", None))
    state = getattr(helper, "_state", None)
    if guarded is not None and state is not None:
        setattr(state, _MARK, guarded)


def _handle(wrapped: Callable[..., Any], state: Any, args: Any, kwargs: Any) -> Any:
    guarded: GuardedStream | None = getattr(state, _MARK, None)
    if guarded is None or guarded.items is None or not guarded.items.status.in_use:
        return wrapped(*args, **kwargs)
    token = _by_plans.set(True)
    try:
        return wrapped(*args, **kwargs)
    finally:
        _by_plans.reset(token)


def _build(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
    if len(args) != 1 or not _by_plans.get():
        return wrapped(*args, **kwargs)
    item = RUNTIME.item_plans.build(args[0], kwargs)
    return wrapped(*args, **kwargs) if item is NOT_BUILT else item


def _construct_type(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
    if args or len(kwargs) != 2 or not _by_plans.get():  # with metadata
        return wrapped(*args, **kwargs)
    item = RUNTIME.item_plans.build(kwargs["type_"], kwargs["value"])
    return wrapped(*args, **kwargs) if item is NOT_BUILT else item

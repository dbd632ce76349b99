"""What is wrapped of the SDK, whether a release still has it, and how a request is learnt on its way."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

import openai
import wrapt

from ..observability.publish import listeners
from .helper_items import patch_helpers
from .items import ITEM_PLANS, PlansStatus
from .requests import Call, Guarding, asks_for_speech, copy_options, reissuing
from .streams import aiter_events, bind, binding_on, build_item, iter_events

_ANSWERED = ("cast_to", "options", "response", "stream", "stream_cls")
PATCH_POINTS = (
    ("openai._base_client", "SyncAPIClient", "request", ("cast_to", "options", "stream", "stream_cls")),
    ("openai._base_client", "AsyncAPIClient", "request", ("cast_to", "options", "stream", "stream_cls")),
    ("openai._base_client", "SyncAPIClient", "_process_response", _ANSWERED),
    ("openai._base_client", "AsyncAPIClient", "_process_response", _ANSWERED),
    ("openai._streaming", "Stream", "_iter_events", ("self",)),
    ("openai._streaming", "AsyncStream", "_iter_events", ("self",)),
)
"""What is wrapped: module, class, method, and the parameters it must have."""

BUILDS_ITEMS = ("openai._base_client", "BaseClient", "_process_response_data")
"""What builds an item. The guard does without it where a release lacks it."""

RESPONSES_HELPERS = "openai.lib.streaming.responses._responses"
"""Where `ResponseStream` and `AsyncResponseStream` are, which take the keyword `raw_stream`."""


_call: ContextVar[Call | None] = ContextVar("openai_stream_guard_call", default=None)


class StreamGuardPatch(wrapt.FunctionWrapper):  # type: ignore[type-arg] # not generic in wrapt 1
    """The guard's wrapper around a method of the SDK."""

    is_stream_guard_patch = True
    """What it is recognised by, wherever it is in a chain of wrappers."""


def is_patched(module: str, owner: str, method: str) -> bool:
    """Return whether the guard's wrapper is on this method, be it under wrappers of other libraries.

    Wrappers are followed by `__wrapped__`, which `wrapt` and `functools.wraps` set. What is under one that lacks it
    cannot be seen.
    """
    function = _method(module, owner, method)
    return _is_patch(inspect.unwrap(function, stop=_is_patch)) if function is not None else False


def _is_patch(function: object) -> bool:
    return getattr(function, "is_stream_guard_patch", False) is True


def _method(module: str, owner: str, method: str) -> Any:
    """The method as its class has it, not bound; None where this SDK release lacks it."""
    try:
        cls = getattr(importlib.import_module(module), owner)
    except (ImportError, AttributeError):
        return None
    return inspect.getattr_static(cls, method, None)


def missing_patch_points() -> list[str]:
    """What this SDK release lacks of what the guard leans on, in words; empty where all is well."""
    missing = []
    for module, owner, method, parameters in PATCH_POINTS:
        function = _method(module, owner, method)
        if function is None:
            missing.append(f"{module}.{owner}.{method}")
            continue
        known = inspect.signature(function).parameters
        missing += [f"{module}.{owner}.{method}({name})" for name in parameters if name not in known]
    return missing


def patch(guarding: Callable[[], Guarding | None]) -> None:
    """Wrap the seams, once for the life of the process; `guarding` says for each request whether to guard it."""

    def learn(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = _learn(guarding, wrapped, client, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        token = _call.set(call)
        try:
            return wrapped(*args, **kwargs)
        finally:
            _call.reset(token)

    def alearn(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = _learn(guarding, wrapped, client, args, kwargs)
        return wrapped(*args, **kwargs) if call is None else _await_learning(call, wrapped(*args, **kwargs))

    def answered(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Serves both colours: it only leaves word, and returns what the wrapped method returns.
        if (kwargs.get("stream") or asks_for_speech(kwargs["options"])) and not reissuing.get():
            call = _call.get() or _learn_late(guarding(), client, kwargs)
            if call is not None:
                bind(call, kwargs)
        return wrapped(*args, **kwargs)

    wrappers: tuple[Callable[..., Any], ...] = (learn, alearn, answered, answered, iter_events, aiter_events)
    for (module, owner, method, _), wrapper in zip(PATCH_POINTS, wrappers, strict=True):
        wrapt.wrap_object(module, f"{owner}.{method}", StreamGuardPatch, (wrapper,))
    if (stock := _method(*BUILDS_ITEMS)) is not None:
        ITEM_PLANS.process_response_data = stock
        module, owner, method = BUILDS_ITEMS
        wrapt.wrap_object(module, f"{owner}.{method}", StreamGuardPatch, (build_item,))
        patch_helpers(StreamGuardPatch)
    wrapt.register_post_import_hook(_wrap_helpers, RESPONSES_HELPERS)


def plans_status() -> PlansStatus:
    """Whether the items of guarded streams are built by plans in this process, and if not, why."""
    if not is_patched(*BUILDS_ITEMS):
        return PlansStatus(False, f"{'.'.join(BUILDS_ITEMS)} is not the guard's")
    return ITEM_PLANS.status()


def _wrap_helpers(module: Any) -> None:
    """Learn which streams the `responses.stream()` helper reads; a release without it needs no telling."""
    for helper in ("ResponseStream", "AsyncResponseStream"):
        if hasattr(module, helper):
            wrapt.wrap_function_wrapper(module, f"{helper}.__init__", _note_helper)


def _note_helper(wrapped: Callable[..., Any], helper: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    binding = binding_on(getattr(kwargs.get("raw_stream"), "response", None))
    if binding is not None:
        binding.one_identity = True
    return wrapped(*args, **kwargs)


async def _await_learning(call: Call, request: Any) -> Any:
    token = _call.set(call)
    try:
        return await request
    finally:
        _call.reset(token)


def _learn(
    guarding: Callable[[], Guarding | None],
    wrapped: Callable[..., Any],
    client: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Call | None:
    if reissuing.get():
        return None
    how = guarding()
    if how is None:
        return None
    given = {**dict(zip(("cast_to", "options"), args, strict=False)), **kwargs}  # all others have to be named
    if not (given.get("stream") or asks_for_speech(given["options"])):
        return None
    options, told = copy_options(given["options"]), listeners(how.policy.on_event)
    return Call(client, wrapped, given["cast_to"], options, given.get("stream_cls"), how, told)


def _learn_late(how: Guarding | None, client: Any, asked: Mapping[str, Any]) -> Call | None:
    """What an answered request asked for, where it did not come by our wrapper around `request`.

    So it is where somebody had kept the SDK's own `request`, and put it or a wrapper of theirs on the client or its
    class. The options are prepared by then, so that a re-issue has the credentials of the first request.
    """
    if how is None:
        return None
    base = openai._base_client
    owner = base.SyncAPIClient if isinstance(client, base.SyncAPIClient) else base.AsyncAPIClient
    send = partial(owner.request, client)
    options, told = copy_options(asked["options"]), listeners(how.policy.on_event)
    return Call(client, send, asked["cast_to"], options, asked["stream_cls"], how, told)

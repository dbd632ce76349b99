"""What is patched of the SDK, whether a release still has it, and how a streaming request becomes a guarded stream."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import openai
import wrapt

from ..observability.publish import listeners
from ..transport import clock as timing
from .background import as_asked, in_background, refuses_background, sending, with_background
from .decoder import caught_by_sdk, on_stream
from .helper_items import patch_helpers
from .items import PlansStatus
from .raw_readers import examine_read_body, watch_reads
from .requests import Guarding, OriginalRequest, asks_for_speech, copy_options
from .runtime import RUNTIME
from .streams import KEY, GuardedStream, build_item, guarded_stream_of

_REQUEST = ("cast_to", "options", "stream", "stream_cls")
_RESPONSE = ("cast_to", "options", "response", "stream", "stream_cls")
_STREAM = ("cast_to", "response", "client")
PATCH_POINTS = (
    ("openai._base_client", "SyncAPIClient", "request", _REQUEST),
    ("openai._base_client", "AsyncAPIClient", "request", _REQUEST),
    ("openai._base_client", "SyncAPIClient", "_process_response", _RESPONSE),
    ("openai._base_client", "AsyncAPIClient", "_process_response", _RESPONSE),
    ("openai._streaming", "Stream", "__init__", _STREAM),
    ("openai._streaming", "AsyncStream", "__init__", _STREAM),
)
"""What is patched: module, class, method, and the parameters it must have."""
RELIED_ON = (
    ("openai._streaming", "Stream", "_iter_events", ()),
    ("openai._streaming", "AsyncStream", "_iter_events", ()),
    ("openai._streaming", "SSEDecoder", "iter_bytes", ()),
    ("openai._streaming", "SSEDecoder", "aiter_bytes", ()),
    ("openai._streaming", "SSEDecoder", "decode", ()),
    ("openai._streaming", "ServerSentEvent", "json", ()),
)
"""What is not patched, but has to be there."""

BUILDS_ITEMS = ("openai._base_client", "BaseClient", "_process_response_data")
"""What builds an item. It is patched too, and the guard does without it where a release lacks it."""

RESPONSES_HELPERS = "openai.lib.streaming.responses._responses"
"""Where `ResponseStream` and `AsyncResponseStream` are, which take the keyword `raw_stream`."""


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


def _parameters(function: Any) -> Collection[str]:
    """The names of its parameters. `enable()` asks for them, and `inspect.signature` looks at much more."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return inspect.signature(function).parameters
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]  # type: ignore[no-any-return] # of names


def missing_patch_points() -> list[str]:
    """Return the names of what this SDK release lacks of what the guard needs; empty where it has all."""
    missing = []
    for module, owner, method, parameters in (*PATCH_POINTS, *RELIED_ON):
        function = _method(module, owner, method)
        if function is None:
            missing.append(f"{module}.{owner}.{method}")
            continue
        known = _parameters(function)
        missing += [f"{module}.{owner}.{method}({name})" for name in parameters if name not in known]
    return missing


def patch(guarding: Callable[[], Guarding | None]) -> None:
    """Patch the SDK, once for the life of the process.

    Args:
        guarding: returns for each request how it is to be guarded; None for not at all.
    """

    def on_request(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        request = _original_request(guarding, wrapped, client, args, kwargs)
        return wrapped(*args, **kwargs) if request is None else _send(request, args, kwargs)

    def on_async_request(
        wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        request = _original_request(guarding, wrapped, client, args, kwargs)
        return wrapped(*args, **kwargs) if request is None else _asend(request, args, kwargs)

    def on_response(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Serves both kinds of clients: it returns what the wrapped method returns, a coroutine or not.
        if (kwargs.get("stream") or asks_for_speech(kwargs["options"])) and not RUNTIME.reissue.get():
            request = RUNTIME.request.get() or _prepared_request(guarding(), client, kwargs)
            if request is not None:
                _guard(request, kwargs)
        return wrapped(*args, **kwargs)

    wrappers: tuple[Callable[..., Any], ...] = (
        on_request, on_async_request, on_response, on_response, on_stream, on_stream,
    )  # fmt: skip
    for (module, owner, method, _), wrapper in zip(PATCH_POINTS, wrappers, strict=True):
        wrapt.wrap_object(module, f"{owner}.{method}", StreamGuardPatch, (wrapper,))
    for name in ("timeout_exceptions", "request_exceptions"):
        if hasattr(openai._streaming, name):
            wrapt.wrap_function_wrapper(openai._streaming, name, caught_by_sdk)
    if (by_sdk := _method(*BUILDS_ITEMS)) is not None:
        RUNTIME.item_plans.process_response_data = by_sdk
        module, owner, method = BUILDS_ITEMS
        wrapt.wrap_object(module, f"{owner}.{method}", StreamGuardPatch, (build_item,))
        patch_helpers(StreamGuardPatch)
    wrapt.register_post_import_hook(_wrap_helpers, RESPONSES_HELPERS)


def plans_status() -> PlansStatus:
    """Return whether the items of guarded streams are built by plans in this process, and if not, why."""
    if not is_patched(*BUILDS_ITEMS):
        return PlansStatus(False, f"{'.'.join(BUILDS_ITEMS)} is not the guard's")
    return RUNTIME.item_plans.status()


def _guard(request: OriginalRequest, kwargs: dict[str, Any]) -> None:
    """Let a response know how its stream is guarded."""
    response = kwargs["response"]
    if isinstance(getattr(response, "extensions", None), dict):  # else it is not from httpx or httpx2
        request = request.sharing(kwargs["options"])
        guarded = response.extensions[KEY] = GuardedStream(request, response, kwargs.get("retries_taken") or 0)
        if not kwargs.get("stream") and response.is_stream_consumed:
            examine_read_body(response, guarded)  # speech, which the SDK has read as a whole
        else:
            watch_reads(response, guarded)
        if guarded.against_plans is None:
            RUNTIME.item_plans.look()  # not between an event and its item


def _wrap_helpers(module: Any) -> None:
    """Note which streams the `responses.stream()` helper reads; a release may have no such helper."""
    for helper in ("ResponseStream", "AsyncResponseStream"):
        if hasattr(module, helper):
            wrapt.wrap_function_wrapper(module, f"{helper}.__init__", _on_helper)


def _on_helper(wrapped: Callable[..., Any], helper: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    guarded = guarded_stream_of(getattr(kwargs.get("raw_stream"), "response", None))
    if guarded is not None:
        guarded.one_identity = True
    return wrapped(*args, **kwargs)


def _send(request: OriginalRequest, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if request.background_options is not None:
        changed, named = in_background(request, args, kwargs)
        try:
            with sending(request):
                return request.send(*changed, **named)
        except openai.APIStatusError as error:
            if not refuses_background(error):
                raise
        request = as_asked(request)
    with sending(request):
        return request.send(*args, **kwargs)


async def _asend(request: OriginalRequest, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if request.background_options is not None:
        changed, named = in_background(request, args, kwargs)
        try:
            with sending(request):
                return await request.send(*changed, **named)
        except openai.APIStatusError as error:
            if not refuses_background(error):
                raise
        request = as_asked(request)
    with sending(request):
        return await request.send(*args, **kwargs)


def _original_request(
    guarding: Callable[[], Guarding | None],
    wrapped: Callable[..., Any],
    client: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> OriginalRequest | None:
    """Return the streaming request that is about to be sent; None where it is not to be guarded."""
    if RUNTIME.reissue.get():
        return None
    how = guarding()
    if how is None:
        return None
    given = {**dict(zip(("cast_to", "options"), args, strict=False)), **kwargs}  # all others have to be named
    if not (given.get("stream") or asks_for_speech(given["options"])):
        return None
    return with_background(_request(how, client, wrapped, given))


def _prepared_request(how: Guarding | None, client: Any, given: dict[str, Any]) -> OriginalRequest | None:
    """Return the request that a response answers, where it did not pass the patch of `request`.

    That happens where somebody had kept the SDK's own `request`, and put it or a wrapper of it on the client or its
    class. The SDK has prepared its options by then, so a re-issue has the credentials of the first request.
    """
    if how is None:
        return None
    base = openai._base_client
    owner = base.SyncAPIClient if isinstance(client, base.SyncAPIClient) else base.AsyncAPIClient
    return _request(how, client, partial(owner.request, client), given)


def _request(how: Guarding, client: Any, send: Callable[..., Any], given: dict[str, Any]) -> OriginalRequest:
    options = copy_options(given["options"])
    return OriginalRequest(
        client=client,
        send=send,
        cast_to=given["cast_to"],
        options=options,
        idempotency_key=options.idempotency_key,
        stream_cls=given.get("stream_cls"),
        guarding=how,
        listeners=listeners(how.policy.on_event),
        sent_at=timing.current.clock(),
    )

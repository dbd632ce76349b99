"""Every private name of openai, and the three seams: a new SDK release is followed in this folder or nowhere.

    client.request(…)            learn the request, and read the policy
      _process_response(…)       bind both to the response
        stream._iter_events()    decode and recover

They reach `create`, `.stream()`, and `parse()` of the raw and streaming responses, since all of them end in
`_iter_events`. A stream whose request was not seen, built by hand on some response, is left alone.
"""

from __future__ import annotations

import importlib
import inspect
import random
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import openai
import wrapt

from ..drivers import adrive, drive
from ..exchange import AsyncExchange, SyncExchange
from ..hosts import Hosts
from ..logs import publish, publish_raw
from ..notices import FaultSeen, Notice, StreamReport
from ..raw import leave_reads, watch_reads
from ..session import Session
from ..transport import clock, clocks_for
from .calls import Call, Guarding, areissue, asked_of, asks_for_speech, copy_of, reissue, reissuing

KEY = "openai_stream_guard"
"""Under this name the `extensions` of a response say how it is guarded."""

HOSTS = Hosts()
"""What this process has learnt about servers."""

SEAMS = (
    ("openai._base_client", "SyncAPIClient", "request", ("cast_to", "options", "stream", "stream_cls")),
    ("openai._base_client", "AsyncAPIClient", "request", ("cast_to", "options", "stream", "stream_cls")),
    ("openai._base_client", "SyncAPIClient", "_process_response", ("response", "stream")),
    ("openai._base_client", "AsyncAPIClient", "_process_response", ("response", "stream")),
    ("openai._streaming", "Stream", "_iter_events", ("self",)),
    ("openai._streaming", "AsyncStream", "_iter_events", ("self",)),
)
"""What is wrapped: module, class, method, and the parameters it must have."""

RESPONSES_HELPERS = "openai.lib.streaming.responses._responses"
"""Where `ResponseStream` and `AsyncResponseStream` are, which take the keyword `raw_stream`."""


@dataclass
class Binding:
    """What a response knows about the guard."""

    call: Call
    retries_taken: int
    session: Session | None = None
    one_identity: bool = False
    """The `responses.stream()` helper reads it, which refuses a response whose id changes (openai 3)."""


_call: ContextVar[Call | None] = ContextVar("openai_stream_guard_call", default=None)


def missing_seams() -> list[str]:
    """What this SDK release lacks of what the guard leans on, in words; empty where all is well."""
    missing = []
    for module, owner, method, parameters in SEAMS:
        function = getattr(getattr(importlib.import_module(module), owner, None), method, None)
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

    wrappers: tuple[Callable[..., Any], ...] = (learn, alearn, _bind, _bind, _iter_events, _aiter_events)
    for (module, owner, method, _), wrapper in zip(SEAMS, wrappers, strict=True):
        wrapt.wrap_function_wrapper(module, f"{owner}.{method}", wrapper)
    wrapt.register_post_import_hook(_wrap_helpers, RESPONSES_HELPERS)


def _wrap_helpers(module: Any) -> None:
    """Learn which streams the `responses.stream()` helper reads; a release without it needs no telling."""
    for helper in ("ResponseStream", "AsyncResponseStream"):
        if hasattr(module, helper):
            wrapt.wrap_function_wrapper(module, f"{helper}.__init__", _note_helper)


def _note_helper(wrapped: Callable[..., Any], helper: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    binding = getattr(kwargs.get("raw_stream"), "response", None)
    binding = None if binding is None else binding.extensions.get(KEY)
    if isinstance(binding, Binding):
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
    given = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    if not (given.get("stream") or asks_for_speech(given["options"])):
        return None
    return Call(client, given["cast_to"], copy_of(given["options"]), given.get("stream_cls"), how)


def _bind(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Serves both colours: it only leaves word, and returns what the wrapped method returns."""
    call = _call.get()
    if call is not None and (kwargs.get("stream") or asks_for_speech(call.options)) and not reissuing.get():
        response, binding = kwargs["response"], Binding(call, kwargs.get("retries_taken") or 0)
        response.extensions[KEY] = binding
        watch_reads(response, partial(_open_session, binding, raw=True), enforce=not call.guarding.observe)
    return wrapped(*args, **kwargs)


def _iter_events(wrapped: Callable[..., Any], stream: Any, args: Any, kwargs: Any) -> Any:
    binding = _binding_of(stream)
    if binding is None:
        return wrapped(*args, **kwargs)
    session = _open_session(binding, stream.response)
    exchange = SyncExchange(stream.response, session, lambda verdict: reissue(binding.call, verdict))
    return exchange.read_by(drive(session, exchange))


def _aiter_events(wrapped: Callable[..., Any], stream: Any, args: Any, kwargs: Any) -> Any:
    binding = _binding_of(stream)
    if binding is None:
        return wrapped(*args, **kwargs)
    session = _open_session(binding, stream.response)
    exchange = AsyncExchange(stream.response, session, lambda verdict: areissue(binding.call, verdict))
    return exchange.read_by(adrive(session, exchange))


def _binding_of(stream: Any) -> Binding | None:
    """How a stream is to be decoded; None where the SDK is to do it.

    That is a stream whose request was not seen, one that is only observed, and one whose decoder was replaced.
    """
    response = stream.response
    binding = response.extensions.get(KEY)
    if not isinstance(binding, Binding):
        return None
    decoder = getattr(stream, "_decoder", None)
    if decoder is not None and type(decoder) is not openai._streaming.SSEDecoder:
        response.extensions.pop(KEY)
        leave_reads(response)
        return None
    if binding.call.guarding.observe:
        return None
    leave_reads(response)
    return binding


def _open_session(binding: Binding, response: Any, *, raw: bool = False) -> Session:
    """A session for a response.

    Args:
        raw: its bytes are handed on as they are, so that nothing can be asked for again.
    """
    call, policy = binding.call, binding.call.guarding.policy
    if raw:
        policy = policy.replace(recovery=(), delivery="live", retry_budget=None)

    def notify(notice: Notice) -> None:
        publish(notice, policy.on_event)
        if policy.log_raw and isinstance(notice, FaultSeen) and binding.session is not None:
            publish_raw(binding.session.raw_tail)

    retries = policy.max_retries
    binding.session = Session(
        asked_of(call, response, one_identity=binding.one_identity),
        policy,
        HOSTS,
        now=clock(),
        max_retries=call.options.get_max_retries(call.client.max_retries) if retries is None else retries,
        clocks=clocks_for(response, policy.first_event_timeout, policy.idle_timeout),
        requests=1 + binding.retries_taken,
        status=response.status_code,
        request_id=response.headers.get("x-request-id"),
        jitter=random.random,
        notify=notify,
    )
    return binding.session


def report_of(handed_out: Any) -> StreamReport | None:
    """The report of a stream, helper stream or raw response; None where it is not guarded."""
    for response in _responses_in(handed_out):
        binding = getattr(response, "extensions", {}).get(KEY)
        if isinstance(binding, Binding):
            return StreamReport("open") if binding.session is None else binding.session.report()
    return None


def _responses_in(handed_out: Any) -> Iterator[Any]:
    yield handed_out
    for name in ("response", "http_response", "_response", "_raw_stream"):
        held = getattr(handed_out, name, None)
        if held is not None:
            yield held
            yield getattr(held, "response", None)

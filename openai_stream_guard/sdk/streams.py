"""A guarded stream: what its response knows of the guard, and what decodes it in place of the SDK's own decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import openai

from ..capture.folder import captured_session
from ..engine.host_memory import HostMemory
from ..engine.session import Session
from ..items import NOT_BUILT
from ..notices import Ended, FaultSeen, Notice, StreamReport
from ..observability.publish import publish, publish_raw
from ..transport import clock as timing
from ..transport.drivers import adrive, drive
from ..transport.exchange import AsyncExchange, SyncExchange
from ..transport.http import credentials_from, response_head
from ..transport.timeouts import stream_timeouts
from .items import ITEM_PLANS, StreamItems, left_to_sdk
from .raw_readers import leave_reads, watch_reads
from .requests import Call, areissue, reissue, stream_request_from

KEY = "openai_stream_guard"
"""Under this name the `extensions` of a response say how it is guarded."""

HOSTS = HostMemory()
"""What this process has learnt about servers."""

session_for: Callable[..., Session] | None = None
"""Set while `doctor` looks on: makes the session of a stream."""


@dataclass
class Binding:
    """What a response knows about the guard."""

    call: Call
    retries_taken: int
    session: Session | None = None
    one_identity: bool = False
    """The `responses.stream()` helper reads it, which refuses a response whose id changes (openai 3)."""
    items: StreamItems | None = None
    """How its items are built; None before the first one."""

    @property
    def against_plans(self) -> str | None:
        """Why its items are not to be built by plans, wherever there are any."""
        if self.call.guarding.observe:
            return "streams are only observed"
        return None if self.call.guarding.policy.items == "auto" else "the policy has items='sdk'"

    def full(self, report: StreamReport) -> StreamReport:
        """The report of its session, with what only the SDK's side knows."""
        return report if self.items is None else replace(report, items=str(self.items.status))


def binding_on(response: Any) -> Binding | None:
    """What word was left with a response; None where there is none, or where this is not the SDK's kind of response."""
    extensions = getattr(response, "extensions", None)
    binding = extensions.get(KEY) if isinstance(extensions, dict) else None
    return binding if isinstance(binding, Binding) else None


def bind(call: Call, kwargs: dict[str, Any]) -> None:
    """Leave word with a response of how it is guarded."""
    response, binding = kwargs["response"], Binding(call, kwargs.get("retries_taken") or 0)
    response.extensions[KEY] = binding
    if binding.against_plans is None:
        ITEM_PLANS.look()  # not between an event and its item
    watch_reads(response, partial(_open_session, binding, raw=True), enforce=not call.guarding.observe)


def iter_events(wrapped: Callable[..., Any], stream: Any, args: Any, kwargs: Any) -> Any:
    """Stands for the SDK's own, where a stream is guarded."""
    return _iter_events(wrapped, stream, args, kwargs, SyncExchange, reissue, drive)


def aiter_events(wrapped: Callable[..., Any], stream: Any, args: Any, kwargs: Any) -> Any:
    """Stands for the SDK's own, where a stream is guarded."""
    return _iter_events(wrapped, stream, args, kwargs, AsyncExchange, areissue, adrive)


def build_item(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
    """Stands for the SDK's own `_process_response_data`, where a stream is guarded."""
    binding = binding_on(kwargs["response"])
    if binding is None:
        return wrapped(*args, **kwargs)
    items, item_type = binding.items, kwargs["cast_to"]
    if items is None or items.item_type is not item_type:
        reason = binding.against_plans
        items = left_to_sdk(item_type, reason) if reason else ITEM_PLANS.for_stream(client, item_type)
        binding.items = items
    item = items.build(kwargs["data"])
    return wrapped(*args, **kwargs) if item is NOT_BUILT else item


def _iter_events(
    wrapped: Callable[..., Any],
    stream: Any,
    args: Any,
    kwargs: Any,
    exchange_of: Callable[..., Any],
    send_again: Callable[..., Any],
    driver: Callable[..., Any],
) -> Any:
    binding = _binding_of(stream)
    if binding is None:
        return wrapped(*args, **kwargs)
    session = _open_session(binding, stream.response)
    sdk_exception_for = partial(_sdk_exception_for, stream.response.request)
    exchange = exchange_of(
        stream.response,
        session,
        partial(send_again, binding.call, stream.response.request),
        sdk_exception_for=sdk_exception_for,
    )
    return exchange.read_by(driver(session, exchange))


def _sdk_exception_for(request: Any, error: Exception) -> Exception | None:
    """What this release makes of a transport's exception: since 3.14 one of its own, before that nothing."""
    for group, kind in (
        ("timeout_exceptions", openai.APITimeoutError),
        ("request_exceptions", openai.APIConnectionError),
    ):
        exceptions = getattr(openai._streaming, group, None)
        if exceptions is not None and isinstance(error, exceptions()):
            return kind(request=request)
    return None


def _binding_of(stream: Any) -> Binding | None:
    """How a stream is to be decoded; None where the SDK is to do it.

    That is a stream whose request was not seen, one that is only observed, and one whose decoder was replaced.
    """
    response = stream.response
    binding = binding_on(response)
    if binding is None:
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
        if isinstance(notice, Ended):
            notice = replace(notice, report=binding.full(notice.report))
        publish(notice, call.listeners)
        if policy.log_raw and isinstance(notice, FaultSeen) and binding.session is not None:
            publish_raw(binding.session.raw_tail, known)

    known, retries = credentials_from(response.request), policy.max_retries
    new_session: Callable[..., Session] = Session
    if session_for is not None:
        new_session = partial(session_for, credentials=known)
    elif policy.capture is not None:
        new_session = partial(captured_session, policy.capture, credentials=known)
    binding.session = new_session(
        stream_request_from(call, response, one_identity=binding.one_identity),
        policy,
        HOSTS,
        now=timing.current.clock(),
        max_retries=call.options.get_max_retries(call.client.max_retries) if retries is None else retries,
        clocks=stream_timeouts(response, policy.first_event_timeout, policy.idle_timeout),
        requests=1 + binding.retries_taken,
        head=response_head(response, known),
        jitter=timing.current.jitter,
        notify=notify,
    )
    return binding.session


def report_from(handed_out: Any) -> StreamReport | None:
    """The report of a stream, helper stream or raw response; None where it is not guarded."""
    for response in _responses_in(handed_out):
        binding = binding_on(response)
        if binding is not None:
            return binding.full(StreamReport("open") if binding.session is None else binding.session.report())
    return None


def _responses_in(handed_out: Any) -> Iterator[Any]:
    yield handed_out
    for name in ("response", "http_response", "_response", "_raw_stream"):
        held = getattr(handed_out, name, None)
        if held is not None:
            yield held
            yield getattr(held, "response", None)

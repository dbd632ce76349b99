"""A streaming request of the SDK: what it asks for, and how it is sent again.

Options are taken as they were before the SDK prepared them, so that a re-issue gets fresh credentials.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import openai

from ..apis.polled_response import Unfinished, finished_response
from ..apis.request import Resume, StreamRequest
from ..config.policy import Policy
from ..engine.decisions import Refusal, Reissue
from ..engine.retry_rules import refusal_is_retryable, retry_after
from ..observability.publish import Listener
from ..redaction import identifier
from ..transport.http import credentials_from, library_from
from ..transport.timeouts import request_timeouts

_RAW_HEADERS = ("X-Stainless-Raw-Response", "____stainless_override_cast_to")
"""With these a re-issue would come back as a raw response, and not as a stream."""
_MIN_WAIT = 1.0
"""Seconds that a re-issue may wait for its headers, however late it is sent."""


@dataclass(frozen=True)
class Guarding:
    """How the streams of a request are to be guarded."""

    policy: Policy
    observe: bool


@dataclass(frozen=True)
class Call:
    """A streaming request as it was made.

    `send` sends one again. It is the client's own `request`, below what others have wrapped around it: they have begun
    a span when the request was made, and a second one would wait in vain for somebody to read its stream.
    """

    client: Any
    send: Callable[..., Any]
    cast_to: Any
    options: Any
    stream_cls: Any
    guarding: Guarding
    listeners: tuple[Listener, ...] = ()
    """Who is told what becomes of its stream."""


reissuing: ContextVar[Reissue | None] = ContextVar("openai_stream_guard_reissuing", default=None)
"""Why a request is being sent again, while it is: then it is not to be guarded as one of its own."""


def copy_options(options: Any) -> Any:
    """Options are edited in place by some releases, and by some providers' clients."""
    return options.model_copy() if hasattr(options, "model_copy") else options.copy()


def asks_for_speech(options: Any) -> bool:
    """Whether this is speech as events, which the SDK does not ask for as a stream."""
    bodies = (options.json_data, options.extra_json)
    said = any(isinstance(body, dict) and body.get("stream_format") == "sse" for body in bodies)
    return said and options.url == "/audio/speech"


def stream_request_from(call: Call, response: Any, *, one_identity: bool) -> StreamRequest:
    """What a request asked for, in the terms of the dialects."""
    options, url = call.options, response.request.url
    body = {**options.json_data} if isinstance(options.json_data, dict) else {}
    if isinstance(options.extra_json, dict):
        body.update(options.extra_json)
    host = f"[{url.host}]" if ":" in url.host else url.host
    return StreamRequest(
        method=options.method.lower(),
        path=options.url,
        host=host if url.port is None else f"{host}:{url.port}",
        body=body,
        one_identity=one_identity,
        resendable=options.files is None and getattr(options, "content", None) is None,
        starting_after=_number(dict(options.params).get("starting_after")),
        errors_are_values=getattr(options, "stream_mode", "legacy") == "events",
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def reissue(call: Call, first: Any, decision: Reissue) -> Any:
    """Send a request again, of which `first` is the first HTTP request; the response that answers it."""
    token = reissuing.set(decision)
    try:
        options = _options_again(call, first, decision)
        if decision.resume is not None and decision.resume.poll:
            return finished_response(call.send(object, options))
        stream = call.send(call.cast_to, options, stream=True, stream_cls=call.stream_cls)
        return _unhurried(stream.response, first)
    finally:
        reissuing.reset(token)


async def areissue(call: Call, first: Any, decision: Reissue) -> Any:
    """Send a request again, of which `first` is the first HTTP request; the response that answers it."""
    token = reissuing.set(decision)
    try:
        options = _options_again(call, first, decision)
        if decision.resume is not None and decision.resume.poll:
            return finished_response(await call.send(object, options))
        stream = await call.send(call.cast_to, options, stream=True, stream_cls=call.stream_cls)
        return _unhurried(stream.response, first)
    finally:
        reissuing.reset(token)


def _hurried(first: Any, seconds: float) -> Any:
    """The timeouts of a request, but that its answer has to begin within so many seconds."""
    timeouts = request_timeouts(first)
    kinds = ("connect", "read", "write", "pool")
    bounded = {kind: seconds if (given := timeouts.get(kind)) is None else min(given, seconds) for kind in kinds}
    return library_from(first).Timeout(**bounded)


def _unhurried(response: Any, first: Any) -> Any:
    """The response, whose body may be read with the patience of the first one. (aiohttp has taken the other by now.)"""
    request_timeouts(response.request)["read"] = request_timeouts(first).get("read")
    return response


def _options_again(call: Call, first: Any, decision: Reissue) -> Any:
    """The request once more: without the SDK's own retries, which would multiply with ours."""
    options = copy_options(call.options)
    given = options.headers if isinstance(options.headers, dict) else {}
    headers = {name: value for name, value in given.items() if name not in _RAW_HEADERS}
    options.headers = {**headers, "x-stainless-retry-count": str(decision.retry)}
    options.max_retries = 0
    if decision.within < math.inf:
        options.timeout = _hurried(first, max(decision.within, _MIN_WAIT))
    options.post_parser = openai.NOT_GIVEN
    if decision.body is not None:
        options.json_data, options.extra_json = dict(decision.body), None
    if decision.resume is not None:
        _ask_for_the_rest(options, decision.resume)
    return options


def _ask_for_the_rest(options: Any, resume: Resume) -> None:
    """Make of the first request the one for a stored response, with its extra headers and query."""
    options.method = "get"
    path, mark, query = options.url.partition("?")  # `?beta=true` says of which API it is
    options.url = f"{path.partition('/responses')[0]}/responses/{resume.response_id}{mark}{query}"
    options.json_data = options.extra_json = None
    asked = {name: value for name, value in options.params.items() if name not in ("stream", "starting_after")}
    options.params = asked if resume.poll else {**asked, "stream": True, "starting_after": resume.after}


def refusal_from(error: Exception) -> Refusal:
    """What the failure of a re-issue means: any is the end of this try, some leave room for the next."""
    if isinstance(error, openai.APIStatusError):
        headers = error.response.headers
        return Refusal(
            retryable=refusal_is_retryable(error.status_code, headers, time.time()),
            no_longer_streamed="no longer be streamed" in error.message,
            status=error.status_code,
            request_id=identifier(headers.get("x-request-id"), credentials_from(error.request)),
            retry_after=retry_after(headers, time.time()),
        )
    return Refusal(retryable=isinstance(error, openai.APIConnectionError), unfinished=isinstance(error, Unfinished))

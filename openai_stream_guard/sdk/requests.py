"""A streaming request of the SDK: what it asks for, and how it is sent again.

The options are those that the program made, before the SDK has prepared them: a re-issue gets fresh credentials.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import openai

from ..apis.polled_response import Unfinished, finished_response
from ..apis.request import Resume, StreamRequest
from ..config.policy import Policy
from ..engine.decisions import Refusal, Reissue
from ..engine.retry_rules import refusal_is_retryable, retry_after
from ..observability.publish import Listener
from ..records import Record
from ..redaction import identifier
from ..transport.exceptions import fault_from, is_lost_response, message_of
from ..transport.http import HttpRequest, HttpResponse, credentials_from, library_from
from ..transport.timeouts import request_timeouts
from .runtime import RUNTIME

_RAW_HEADERS = ("X-Stainless-Raw-Response", "____stainless_override_cast_to")
"""With these a re-issue would return a raw response in place of a stream."""
_MIN_WAIT = 1.0
"""Seconds that a re-issue may wait for its headers, however late it is sent."""


class Guarding(Record):
    """How the streams of a request are guarded."""

    policy: Policy
    observe: bool


class OriginalRequest(Record):
    """A streaming request as the program made it.

    `send` sends it again. It is the client's own `request`, below what other libraries have wrapped around it: they
    have begun a span for the request already, and a second one would wait in vain for somebody to read its stream.
    """

    client: Any
    send: Callable[..., Any]
    cast_to: Any
    options: Any
    idempotency_key: str | None
    """Of the program: the SDK's own is another for each request."""
    stream_cls: Any
    guarding: Guarding
    listeners: tuple[Listener, ...]
    """Who is told what becomes of its stream."""
    sent_at: float
    """When the program sent it, on the clock of its stream."""
    background_options: Any = None
    """What is sent in place of `options`, since the guard asks for the response in the background; None: `options`."""
    background_refused: bool = False
    """The API refused to make it in the background, so that it is sent as the program made it."""
    notes: tuple[str, ...] = ()
    """For the report of its stream."""

    def sharing(self, prepared: Any) -> OriginalRequest:
        """Return the same with the options as the SDK has sent them, if it has changed nothing else in its copy.

        The SDK keeps that as long as the stream, and a second copy would take a kilobyte.
        """
        given, sent = vars(self.options), vars(prepared)
        is_same = all(value is sent.get(name) for name, value in given.items() if name != "idempotency_key")
        return replace(self, options=prepared) if is_same else self

    @property
    def max_retries(self) -> int:
        """How often the SDK would send it again."""
        return int(self.options.get_max_retries(self.client.max_retries))


def copy_options(options: Any) -> Any:
    """Return a shallow copy: some releases, and the clients of some providers, edit options in place."""
    return options.model_copy() if hasattr(options, "model_copy") else options.copy()


def asks_for_speech(options: Any) -> bool:
    """Whether this is a request for speech as events, which the SDK does not treat as a stream."""
    bodies = (options.json_data, options.extra_json)
    as_events = any(isinstance(body, dict) and body.get("stream_format") == "sse" for body in bodies)
    return as_events and options.url == "/audio/speech"


def stream_request_from(request: OriginalRequest, sent: HttpRequest, *, one_identity: bool) -> StreamRequest:
    """Describe a request in the terms of the API adapters; `sent` is the HTTP request that it became."""
    options, is_added = request.options, request.background_options is not None
    body, is_known = body_from(request.background_options if is_added else options)
    starting_after = dict(options.params).get("starting_after")
    return StreamRequest(
        method=options.method.lower(),
        path=options.url,
        host=host_from(sent.url),
        body=body,
        sent=partial(_json_sent, request, sent),
        background_added=is_added,
        one_identity=one_identity,
        resendable=options.files is None and is_known,
        starting_after=starting_after if isinstance(starting_after, int) else None,
        errors_are_values=getattr(options, "stream_mode", "legacy") == "events",
    )


def host_from(url: Any) -> str:
    """Return the `name` or `name:port` of a URL of httpx or httpx2."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return host if url.port is None else f"{host}:{url.port}"


def body_from(options: Any) -> tuple[dict[str, Any], bool]:
    """Return the JSON body of a request, and whether it is known, so that it can be sent again."""
    content = getattr(options, "content", None)
    if content is not None:
        try:
            body = json.loads(content) if isinstance(content, bytes | str) else None
        except ValueError:
            body = None
        return (body, True) if isinstance(body, dict) else ({}, False)
    body = {**options.json_data} if isinstance(options.json_data, dict) else {}
    if isinstance(options.extra_json, dict):
        body.update(options.extra_json)
    return body, True


def reissue(request: OriginalRequest, first: HttpRequest, decision: Reissue) -> HttpResponse:
    """Send a request again and return the response; `first` is the HTTP request that was sent first."""
    token = RUNTIME.reissue.set(decision)
    try:
        options = _reissue_options(request, first, decision)
        if decision.resume is not None and decision.resume.poll:
            return cast("HttpResponse", finished_response(request.send(object, options)))
        stream = request.send(request.cast_to, options, stream=True, stream_cls=request.stream_cls)
        return _restore_read_timeout(stream.response, first)
    finally:
        RUNTIME.reissue.reset(token)


async def areissue(request: OriginalRequest, first: HttpRequest, decision: Reissue) -> HttpResponse:
    """Send a request again and return the response; `first` is the HTTP request that was sent first."""
    token = RUNTIME.reissue.set(decision)
    try:
        options = _reissue_options(request, first, decision)
        if decision.resume is not None and decision.resume.poll:
            return cast("HttpResponse", finished_response(await request.send(object, options)))
        stream = await request.send(request.cast_to, options, stream=True, stream_cls=request.stream_cls)
        return _restore_read_timeout(stream.response, first)
    finally:
        RUNTIME.reissue.reset(token)


def _timeouts_capped_at(seconds: float, first: HttpRequest) -> Any:
    """Return the timeouts of the first request, each at most so many seconds: when the answer must have begun."""
    timeouts = request_timeouts(first)
    kinds = ("connect", "read", "write", "pool")
    capped = {kind: seconds if (given := timeouts.get(kind)) is None else min(given, seconds) for kind in kinds}
    library: Any = library_from(first)
    return library.Timeout(**capped)


def _restore_read_timeout(response: HttpResponse, first: HttpRequest) -> HttpResponse:
    """Give the body the read timeout of the first request. (aiohttp has read the capped one by now.)"""
    request_timeouts(response.request)["read"] = request_timeouts(first).get("read")
    return response


def options_to_send_once(request: OriginalRequest) -> Any:
    """Return options by which the guard sends a request of its own: without retries, answered by what it asks for."""
    options = copy_options(request.options)
    given = options.headers if isinstance(options.headers, dict) else {}
    options.headers = {name: value for name, value in given.items() if name not in _RAW_HEADERS}
    options.idempotency_key = request.idempotency_key
    options.max_retries = 0
    options.post_parser = openai.NOT_GIVEN
    return options


def _reissue_options(request: OriginalRequest, first: HttpRequest, decision: Reissue) -> Any:
    """The options for sending it again, without the SDK's own retries, which would multiply with the guard's."""
    options = options_to_send_once(request)
    options.headers = {**options.headers, "x-stainless-retry-count": str(decision.retry)}
    if decision.within < math.inf:
        options.timeout = _timeouts_capped_at(max(decision.within, _MIN_WAIT), first)
    body = decision.body or _json_sent(request, first)
    if body is not None:
        options.json_data, options.extra_json = dict(body), None
        _clear_content(options)
    if decision.resume is not None:
        _turn_into_retrieval(options, decision.resume, body or {})
    return options


def _json_sent(request: OriginalRequest, first: HttpRequest) -> dict[str, Any] | None:
    """Return the JSON object of the first request, as it was sent; None where it had none.

    The program may have edited what it was made from since, such as its list of messages. Reading it back costs a
    healthy stream nothing.
    """
    if not isinstance(request.options.json_data, dict) or request.options.files is not None:
        return None
    try:
        sent = json.loads(first.content)
    except (ValueError, RuntimeError):  # not JSON, or not in memory: the client has written a body of its own
        return None
    return sent if isinstance(sent, dict) else None


def _turn_into_retrieval(options: Any, resume: Resume, body: Mapping[str, Any]) -> None:
    """Turn the options into those of a GET for the stored response, with the extra headers and query of the first.

    Args:
        body: the JSON of the first request. What it had included in the answer is included in the rest of it.
    """
    params = {name: value for name, value in options.params.items() if name not in ("stream", "starting_after")}
    if body.get("include"):
        params.setdefault("include", body["include"])
    if not resume.poll:
        stream_options = body.get("stream_options")
        if isinstance(stream_options, Mapping) and stream_options.get("include_obfuscation") is not None:
            params.setdefault("include_obfuscation", stream_options["include_obfuscation"])
        params |= {"stream": True, "starting_after": resume.after}
    turn_into(options, "get", f"/{resume.response_id}", params)


def turn_into(options: Any, method: str, path: str, params: dict[str, Any]) -> None:
    """Turn the options of a request for a response into those of a request about it, which has no body.

    Args:
        path: what follows `/responses`.
    """
    options.method, options.params = method, params
    before, mark, query = options.url.partition("?")  # `?beta=true` names the API
    options.url = f"{before.partition('/responses')[0]}/responses{path}{mark}{query}"
    options.json_data = options.extra_json = None
    _clear_content(options)


def _clear_content(options: Any) -> None:
    if hasattr(options, "content"):  # from openai 2.24 on
        options.content = None


def refusal_from(error: Exception) -> Refusal | None:
    """Return what an exception of a re-issue means: whether another one may succeed, and when.

    Returns:
        None where it is the program's own: raised by a hook, a token provider or a signal handler. Releases before
        3.57 make an `APIConnectionError` of those too.
    """
    if isinstance(error, openai.APIStatusError):
        headers = error.response.headers
        return Refusal(
            retryable=refusal_is_retryable(error.status_code, headers, time.time()),
            no_longer_streamed="no longer be streamed" in error.message,
            status=error.status_code,
            request_id=identifier(headers.get("x-request-id"), credentials_from(error.request)),
            retry_after=retry_after(headers, time.time()),
        )
    if isinstance(error, Unfinished):
        return Refusal(retryable=False, unfinished=True)
    if isinstance(error, json.JSONDecodeError):  # what was polled is not the API's
        return Refusal(retryable=False)
    is_connection_error = isinstance(error, openai.APIConnectionError)
    cause = error.__cause__ if is_connection_error else error
    if isinstance(cause, Exception) and not isinstance(cause, openai.APIError) and fault_from(cause) is None:
        return None
    reason = cause if isinstance(cause, Exception) else error
    return Refusal(
        retryable=is_connection_error or not isinstance(error, openai.APIError),
        error=type(reason).__name__,
        error_message=identifier(message_of(reason), _credentials_behind(error)) or None,
        lost=is_lost_response(reason),
    )


def _credentials_behind(error: Exception) -> frozenset[str]:
    """Return what the request that got no response was authenticated with, as far as its exception knows it."""
    request = getattr(error, "request", None)
    return frozenset() if request is None else credentials_from(request)

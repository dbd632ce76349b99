"""Responses that the guard makes in the background (`background="always"`): asked for, or as asked where refused.

with_background(request)     adds what is sent in place of the program's options
refuses_background(error)    whether the API refused just that: then it is asked again `as_asked`
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import openai

from ..apis.request import StreamRequest
from .requests import OriginalRequest, body_from, copy_options, host_from, options_to_send_once, turn_into
from .runtime import RUNTIME

_RAW_HEADER = "X-Stainless-Raw-Response"
_PARAMETERS = ("background", "store")
_NAMED = r"(?i)(?<![a-z])(background|store|data[ _-]retention)(?![a-z])"
LEFT_AS_ASKED = "background is left as the program asked, since it reads the response by with_streaming_response"


def account_from(client: Any) -> int:
    """Return a number that tells the accounts of a process apart; it says nothing about credentials."""
    return hash(tuple(str(getattr(client, name, None)) for name in ("api_key", "organization", "project")))


def with_background(request: OriginalRequest) -> OriginalRequest:
    """Return the request with what asks for it in the background, where policy, API and request allow that."""
    guarding, options = request.guarding, request.options
    if guarding.policy.background != "always" or guarding.observe or not isinstance(options.json_data, dict):
        return request
    body, _ = body_from(options)
    described = StreamRequest(options.method.lower(), options.url, host_from(request.client.base_url), body)
    if not described.may_add_background(guarding.policy.background_hosts):
        return request
    if RUNTIME.hosts.keeps_nothing(described.host, described.model, account_from(request.client)):
        return request
    if isinstance(options.headers, Mapping) and options.headers.get(_RAW_HEADER) == "stream":
        return replace(request, notes=(LEFT_AS_ASKED,))
    in_background = copy_options(options)
    in_background.json_data = {**options.json_data, "background": True}
    if isinstance(options.extra_json, Mapping):  # which overrides the body
        in_background.extra_json = {name: part for name, part in options.extra_json.items() if name != "background"}
    return replace(request, background_options=in_background)


def in_background(request: OriginalRequest, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Return the arguments of `client.request` that ask for the response in the background."""
    if "options" in kwargs:
        return args, {**kwargs, "options": request.background_options}
    return (args[0], request.background_options, *args[2:]), kwargs


def as_asked(request: OriginalRequest) -> OriginalRequest:
    """Return the request as the program made it, after the API has refused it in the background."""
    return replace(request, background_options=None, background_refused=True)


def refuses_background(error: openai.APIStatusError) -> bool:
    """Whether an API has refused a request because it was to be made, and so to be stored, in the background."""
    if error.status_code not in (400, 403):
        return False
    if isinstance(error.param, str) and error.param:
        return error.param in _PARAMETERS
    body = error.body
    said = body.get("message") if isinstance(body, Mapping) else body
    return isinstance(said, str) and re.search(_NAMED, said) is not None


@contextmanager
def sending(request: OriginalRequest) -> Iterator[None]:
    """Let `_process_response` know the request that is sent in the `with` block."""
    token = RUNTIME.request.set(request)
    try:
        yield
    finally:
        RUNTIME.request.reset(token)


def cancel(request: OriginalRequest, response_id: str) -> None:
    """Ask the API to cancel a response that was made in the background. Raises what the SDK raises."""
    options = _cancel_options(request, response_id)
    try:
        request.send(object, options)
    except Exception:
        if not _may_open_again(request.client):
            raise
    else:
        return
    with request.client.copy(http_client=openai.DefaultHttpxClient()) as client:
        client.request(object, options)


async def acancel(request: OriginalRequest, response_id: str) -> None:
    """The same by an asynchronous client."""
    options = _cancel_options(request, response_id)
    try:
        await request.send(object, options)
    except Exception:
        if not _may_open_again(request.client):
            raise
    else:
        return
    async with request.client.copy(http_client=openai.DefaultAsyncHttpxClient()) as client:
        await client.request(object, options)


def _may_open_again(client: Any) -> bool:
    """Whether the program has closed its client, as a `with` block does, and another one sends as that did.

    Not where the program has made the HTTP client, whose transport and proxies nobody else knows.
    """
    made_by_sdk = (openai._base_client.SyncHttpxClientWrapper, openai._base_client.AsyncHttpxClientWrapper)
    return bool(client.is_closed()) and isinstance(client._client, made_by_sdk)


def _cancel_options(request: OriginalRequest, response_id: str) -> Any:
    from ..transport.cancelling import CANCEL_SECONDS

    options = options_to_send_once(request)
    turn_into(options, "post", f"/{response_id}/cancel", dict(options.params))
    options.idempotency_key = None
    options.timeout = CANCEL_SECONDS
    return options

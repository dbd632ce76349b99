"""Where tests get between the SDK and the network. Only `openai_stream_guard.testing` loads this module.

    client.request(…)                    note which requests ask for a stream; re-issues are the guard's own
      http_client.send(…)                answer in place of the server, or see what it answers
    client._calculate_retry_timeout(…)   how long the SDK waits between two requests of its own
      random()                           by how much it shortens that wait

`send` is public in httpx and httpx2, and above every transport, so that mocks and cassettes are below it. The patches
stay for the life of the process, and do nothing while no hook is set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import wrapt

from ..notices import RecoveryMethod
from ..records import Record
from ..transport.http import HttpRequest, HttpResponse
from .requests import asks_for_speech
from .runtime import RUNTIME

BASE_CLIENT = "openai._base_client"
RAW = "X-Stainless-Raw-Response"


class Sending(Record):
    """A request on its way out, for a stream or for the rest of one."""

    request: HttpRequest
    way: RecoveryMethod | None
    """The recovery method by which it is sent again; None where it is not the guard that sends it."""
    max_retries: int
    """How often this client may send a request again."""
    raw: bool
    """Whether the program may read the bytes by itself."""


class TestHook(Protocol):
    """What tests do about requests."""

    def sending(self, sending: Sending) -> None:
        """A request is about to be sent."""

    def answer(self, sending: Sending) -> HttpResponse | None:
        """Return a response in place of the server's, or None."""

    def arrived(self, sending: Sending, response: HttpResponse) -> None:
        """A response has come; its body has not been read yet."""

    @property
    def skips_time(self) -> bool:
        """Whether waits are skipped. Then the SDK's are not shortened by chance either, so that they can be told."""

    def skips(self, seconds: float) -> bool:
        """Whether the SDK is not to wait so many seconds between two requests of its own."""


class SentBy(Record):
    """How the streaming request was made that is being sent."""

    max_retries: int
    raw: bool


_BY_GUARD = SentBy(max_retries=0, raw=False)
"""A re-issue, which is sent below all wrappers around `request`."""


@cache
def install() -> None:
    """Patch what has to be patched, once, as soon as it is imported."""
    wrapt.register_post_import_hook(_patch_clients, BASE_CLIENT)
    for library in ("httpx", "httpx2"):
        wrapt.register_post_import_hook(_patch_library, library)


def _patch_clients(module: Any) -> None:
    wrapt.wrap_function_wrapper(module, "SyncAPIClient.request", _on_request)
    wrapt.wrap_function_wrapper(module, "AsyncAPIClient.request", _on_async_request)
    wrapt.wrap_function_wrapper(module, "BaseClient._calculate_retry_timeout", _retry_timeout)
    if hasattr(module, "random"):
        wrapt.wrap_function_wrapper(module, "random", _random)


def _patch_library(module: Any) -> None:
    wrapt.wrap_function_wrapper(module, "Client.send", _send)
    wrapt.wrap_function_wrapper(module, "AsyncClient.send", _async_send)


def _on_request(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    token = RUNTIME.sent_by.set(_sent_by(client, args, kwargs))
    try:
        return wrapped(*args, **kwargs)
    finally:
        RUNTIME.sent_by.reset(token)


async def _on_async_request(
    wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    token = RUNTIME.sent_by.set(_sent_by(client, args, kwargs))
    try:
        return await wrapped(*args, **kwargs)
    finally:
        RUNTIME.sent_by.reset(token)


def _sent_by(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> SentBy | None:
    """Return how a streaming request is made; None where it does not ask for a stream, or no hook is set."""
    options = kwargs["options"] if "options" in kwargs else args[1]
    if not (RUNTIME.test_hooks and (kwargs.get("stream") or asks_for_speech(options))):
        return None
    headers = options.headers if isinstance(options.headers, dict) else {}
    return SentBy(options.get_max_retries(client.max_retries), RAW in headers or asks_for_speech(options))


def _current_sender() -> SentBy | None:
    return RUNTIME.sent_by.get() if RUNTIME.reissue.get() is None else _BY_GUARD


def _send(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    sent_by, hooks = _current_sender(), tuple(reversed(RUNTIME.test_hooks))
    if sent_by is None or not hooks:
        return wrapped(*args, **kwargs)
    sending, instead = _ask(sent_by, hooks, args, kwargs)
    response = wrapped(*args, **kwargs) if instead is None else instead
    for hook in hooks:
        hook.arrived(sending, response)
    return response


async def _async_send(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    sent_by, hooks = _current_sender(), tuple(reversed(RUNTIME.test_hooks))
    if sent_by is None or not hooks:
        return await wrapped(*args, **kwargs)
    sending, instead = _ask(sent_by, hooks, args, kwargs)
    response = await wrapped(*args, **kwargs) if instead is None else instead
    for hook in hooks:
        hook.arrived(sending, response)
    return response


def _ask(
    sent_by: SentBy, hooks: tuple[TestHook, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Sending, HttpResponse | None]:
    """Tell the hooks of a request; return what answers it in place of the server, if anything does."""
    decision = RUNTIME.reissue.get()
    request = args[0] if args else kwargs["request"]
    sending = Sending(request, None if decision is None else decision.way, sent_by.max_retries, sent_by.raw)
    for hook in hooks:
        hook.sending(sending)
    answers = (hook.answer(sending) for hook in hooks)
    return sending, next((answer for answer in answers if answer is not None), None)


def _retry_timeout(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    seconds = wrapped(*args, **kwargs)
    return 0.0 if any(hook.skips(seconds) for hook in reversed(RUNTIME.test_hooks)) else seconds


def _random(wrapped: Callable[..., Any], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return 0.0 if any(hook.skips_time for hook in RUNTIME.test_hooks) else wrapped(*args, **kwargs)

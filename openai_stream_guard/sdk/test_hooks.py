"""Where tests get between the SDK and the network; nothing of this is loaded but by `openai_stream_guard.testing`.

    client.request(…)               note which requests ask for a stream; the guard says itself what it sends again
      http_client.send(…)           answer in the server's place, or look at what it answers
    client._calculate_retry_timeout(…)   how long the SDK itself would wait
      random()                      by how much it shortens that by chance

`send` is public in httpx and httpx2, and lies above every transport, so that all mocks and cassettes lie below. The
wrappers stay for the life of the process, and do nothing while no stage is set.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import wrapt

from ..notices import RecoveryMethod
from .requests import asks_for_speech, reissuing

BASE_CLIENT = "openai._base_client"
RAW = "X-Stainless-Raw-Response"


@dataclass(frozen=True, eq=False)
class Sending:
    """A request on its way out, for a stream or for what is left of one."""

    request: Any
    """The HTTP library's own."""
    way: RecoveryMethod | None
    """Why it is sent again; None where it is not the guard that does so."""
    max_retries: int
    """How often this client may send a request again."""
    raw: bool
    """Whoever asked may read the bytes by themselves."""


class Stage(Protocol):
    """What tests do about requests."""

    def sending(self, sending: Sending) -> None:
        """A request is about to be sent."""

    def answer(self, sending: Sending) -> Any:
        """A response in the server's place, or None."""

    def arrived(self, sending: Sending, response: Any) -> None:
        """A response has come; its body is not read yet."""

    @property
    def skips_time(self) -> bool:
        """Whether waits are skipped, and can be foretold: then they are not shortened by chance either."""

    def skips(self, seconds: float) -> bool:
        """Whether the SDK is not to wait so many seconds between two requests of its own."""


stages: list[Stage] = []
"""What is set at present; the last one is asked first."""


@dataclass(frozen=True)
class _Asked:
    max_retries: int
    raw: bool


_AGAIN = _Asked(max_retries=0, raw=False)
"""What the guard sends again, which it has asked for below all wrappers around `request`."""
_asked: ContextVar[_Asked | None] = ContextVar("openai_stream_guard_asked", default=None)
_built = False


def build() -> None:
    """Wrap what has to be wrapped, once, as soon as it is imported."""
    global _built
    if _built:
        return
    _built = True
    wrapt.register_post_import_hook(_wrap_clients, BASE_CLIENT)
    for library in ("httpx", "httpx2"):
        wrapt.register_post_import_hook(_wrap_library, library)


def _wrap_clients(module: Any) -> None:
    for owner in ("SyncAPIClient", "AsyncAPIClient"):
        wrapt.wrap_function_wrapper(module, f"{owner}.request", _note if owner[0] == "S" else _anote)
    wrapt.wrap_function_wrapper(module, "BaseClient._calculate_retry_timeout", _retry_timeout)
    if hasattr(module, "random"):
        wrapt.wrap_function_wrapper(module, "random", _dice)


def _wrap_library(module: Any) -> None:
    wrapt.wrap_function_wrapper(module, "Client.send", _send)
    wrapt.wrap_function_wrapper(module, "AsyncClient.send", _asend)


def _note(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    token = _asked.set(_asked_by(client, args, kwargs))
    try:
        return wrapped(*args, **kwargs)
    finally:
        _asked.reset(token)


async def _anote(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    token = _asked.set(_asked_by(client, args, kwargs))
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _asked.reset(token)


def _asked_by(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Asked | None:
    options = kwargs["options"] if "options" in kwargs else args[1]
    if not (stages and (kwargs.get("stream") or asks_for_speech(options))):
        return None
    headers = options.headers if isinstance(options.headers, dict) else {}
    return _Asked(options.get_max_retries(client.max_retries), RAW in headers or asks_for_speech(options))


def _asked_now() -> _Asked | None:
    return _asked.get() if reissuing.get() is None else _AGAIN


def _send(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    asked, acting = _asked_now(), tuple(reversed(stages))
    if asked is None or not acting:
        return wrapped(*args, **kwargs)
    sending, instead = _ask(asked, acting, args, kwargs)
    response = wrapped(*args, **kwargs) if instead is None else instead
    for stage in acting:
        stage.arrived(sending, response)
    return response


async def _asend(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    asked, acting = _asked_now(), tuple(reversed(stages))
    if asked is None or not acting:
        return await wrapped(*args, **kwargs)
    sending, instead = _ask(asked, acting, args, kwargs)
    response = await wrapped(*args, **kwargs) if instead is None else instead
    for stage in acting:
        stage.arrived(sending, response)
    return response


def _ask(
    asked: _Asked, acting: tuple[Stage, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Sending, Any]:
    decision = reissuing.get()
    request = args[0] if args else kwargs["request"]
    sending = Sending(request, None if decision is None else decision.way, asked.max_retries, asked.raw)
    for stage in acting:
        stage.sending(sending)
    answers = (stage.answer(sending) for stage in acting)
    return sending, next((answer for answer in answers if answer is not None), None)


def _retry_timeout(wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    seconds = wrapped(*args, **kwargs)
    return 0.0 if any(stage.skips(seconds) for stage in reversed(stages)) else seconds


def _dice(wrapped: Callable[..., Any], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return 0.0 if any(stage.skips_time for stage in stages) else wrapped(*args, **kwargs)

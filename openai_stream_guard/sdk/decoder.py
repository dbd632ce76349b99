"""What decodes a guarded stream in place of the SDK's decoder.

The SDK's own `_iter_events` stays, and with it whatever others have wrapped around it: it reads from the `_decoder` of
its stream, which is replaced. A stream is left to the SDK where a function that decodes events is not the SDK's own.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType
from typing import Any

import openai

from ..errors import OpenAIStreamParseError
from ..transport.drivers import adrive, drive
from ..transport.exchange import AsyncExchange, SyncExchange
from ..transport.http import HttpResponse
from .raw_readers import WatchedBody, stop_watching
from .streams import KEY, GuardedStream, Opening, guarded_stream_of

DECODING_FUNCTIONS = (
    ("SSEDecoder", "iter_bytes"),
    ("SSEDecoder", "aiter_bytes"),
    ("SSEDecoder", "decode"),
    ("ServerSentEvent", "json"),
)
"""The functions of `openai._streaming` that decode events."""


class GuardedDecoder:
    """The `_decoder` of a guarded stream. Other attributes are those of the SDK's decoder in whose place it is."""

    __slots__ = ("_guarded", "_response", "_sdk_decoder")

    def __init__(self, guarded: GuardedStream, response: HttpResponse, sdk_decoder: Any) -> None:
        self._guarded = guarded
        self._response = response
        self._sdk_decoder = sdk_decoder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what `copy` asks an object for that has no attributes yet
            raise AttributeError(name)
        return getattr(self._sdk_decoder, name)

    def iter_bytes(self, body: Iterator[bytes]) -> Iterator[Any]:
        """Yield the events of a body. The SDK calls it once a stream."""
        return self._decode(body, drive, SyncExchange, self._sdk_decoder.iter_bytes)  # type: ignore[no-any-return] # a generator

    def aiter_bytes(self, body: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Yield the events of a body. The SDK calls it once a stream."""
        return self._decode(body, adrive, AsyncExchange, self._sdk_decoder.aiter_bytes)  # type: ignore[no-any-return] # a generator

    def _decode(self, body: Any, driver: Callable[..., Any], exchange_type: Any, by_sdk: Callable[..., Any]) -> Any:
        watched = isinstance(body, WatchedBody)
        if decoding_is_replaced(self._sdk_decoder):
            leave_to_sdk(self._response)
            return by_sdk(body.unwatched() if watched else body)
        self._guarded.is_decoded = True
        # Somebody's reader in front of the response's own is read as it is.
        chunks = (lambda: None) if watched else (lambda: body)
        return Opening(self._guarded, self._response, exchange_type, chunks=chunks).by(driver)


def on_stream(wrapped: Callable[..., Any], stream: Any, args: Any, kwargs: Any) -> None:
    """Wraps `Stream.__init__`: replace the decoder of a guarded stream."""
    wrapped(*args, **kwargs)
    guarded = guarded_stream_of(getattr(stream, "response", None))
    if guarded is None:
        return
    decoder = getattr(stream, "_decoder", None)
    if type(decoder) is not openai._streaming.SSEDecoder or decoding_is_replaced(decoder):
        leave_to_sdk(stream.response)
        return
    guarded.stream = weakref.ref(stream)
    if not guarded.observe:
        stream._decoder = GuardedDecoder(guarded, stream.response, decoder)


def leave_to_sdk(response: Any) -> None:
    """Let the SDK read a response as it does without the guard."""
    guarded = response.extensions.pop(KEY, None)
    if guarded is not None:
        guarded.is_decoded = True
        stop_watching(guarded)


def decoding_is_replaced(decoder: object) -> bool:
    """Whether events are decoded by a function that is not the SDK's own, be it a wrapper around that."""
    streaming = openai._streaming
    for owner, name in DECODING_FUNCTIONS:
        function = inspect.getattr_static(getattr(streaming, owner), name, None)
        if type(function) is not FunctionType or function.__globals__ is not vars(streaming):
            return True
    return any(name in vars(decoder) for _, name in DECODING_FUNCTIONS)


def caught_by_sdk(wrapped: Callable[..., Any], module: Any, args: Any, kwargs: Any) -> Any:
    """Wraps the functions that name what `_iter_events` converts into the SDK's errors, which openai has from 3.14 on.

    The guard's error is a child of the transport's classes too, but is to be raised as it is.
    """
    return () if isinstance(sys.exc_info()[1], OpenAIStreamParseError) else wrapped(*args, **kwargs)

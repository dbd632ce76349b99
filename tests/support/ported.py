"""One text for synchronous and asynchronous clients: a synchronous one is read as if it were asynchronous.

A test writes `async with`, `await` and `async for`, and `streams.run` plays it for each kind of client: under asyncio,
under trio, and for the synchronous client without any event loop, where nothing ever has to be waited for.
"""

from __future__ import annotations

import importlib
from collections.abc import Coroutine, Generator, Iterator
from typing import Any

import openai
import pydantic

HTTP: Any = importlib.import_module("httpx2" if hasattr(openai._base_client, "httpx2") else "httpx")
"""The HTTP library that this release of the SDK speaks."""
_PORTED = ("openai", "httpx")
_ASYNC_NAMES = ("aclose", "aread", "aiter_bytes", "aiter_raw", "aiter_lines", "aiter_text")


class Ported:
    """A synchronous client, stream, response or context manager under the names of its asynchronous twin.

    What a call returns may be awaited, entered, iterated, or used at once, as each twin wants it.
    """

    def __init__(self, held: Any) -> None:
        self.held = held

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.held, name[1:] if name in _ASYNC_NAMES else name)
        if callable(value):
            return lambda *args, **kwargs: Ported(value(*args, **kwargs))
        return port(value)

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from ()
        return port(self.held)

    async def __aenter__(self) -> Any:
        return port(self.held.__enter__())

    async def __aexit__(self, *raised: Any) -> Any:
        return self.held.__exit__(*raised)

    def __aiter__(self) -> Ported:
        return Ported(iter(self.held))

    async def __anext__(self) -> Any:
        try:
            return next(self.held)
        except StopIteration:
            raise StopAsyncIteration from None


def port(value: Any) -> Any:
    """A value as an asynchronous client would have it: items and plain values are the same for both."""
    is_item = isinstance(value, pydantic.BaseModel) or not type(value).__module__.startswith(_PORTED)
    return value if is_item and not isinstance(value, Iterator) else Ported(value)


def unported(value: Any) -> Any:
    """The SDK's own object."""
    return value.held if isinstance(value, Ported) else value


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError("it waits for something")

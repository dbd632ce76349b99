"""Readers of a response's own bytes: `iter_lines`, `iter_text`, `iter_bytes`, `iter_raw`, `read`.

They get every byte untouched; what they cannot see for themselves, that bytes are missing, is raised as the typed
error. All of them go through `iter_bytes` or `iter_raw` of the response, which are shadowed on the instance.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeAlias

from ..engine.decisions import Reissue
from ..engine.session import Session
from ..transport.drivers import awatch, watch
from ..transport.exchange import AsyncExchange, SyncExchange

Open: TypeAlias = Callable[[Any], Session]
_SHADOWED = ("iter_bytes", "iter_raw", "aiter_bytes", "aiter_raw")


def watch_reads(response: Any, open_session: Open, *, enforce: bool) -> None:
    """Let a session look on whenever the body of this response is read.

    Args:
        enforce: raise the typed error where bytes are missing.
    """
    # Weakly, since a response that is in a reference cycle keeps its connection until the next collection.
    itself = weakref.ref(response)
    for name in _SHADOWED:
        setattr(response, name, _shadow(itself, name, open_session, enforce))


def leave_reads(response: Any) -> None:
    """Let reads be as they were."""
    for name in _SHADOWED:
        response.__dict__.pop(name, None)


def _shadow(itself: Callable[[], Any], name: str, open_session: Open, enforce: bool) -> Callable[..., Any]:
    read = _read_async if name.startswith("a") else _read_sync

    def reader(chunk_size: int | None = None) -> Any:
        response = itself()
        leave_reads(response)  # a body is read once, and the readers are built on each other
        own = getattr(type(response), name)
        judge = name.endswith("iter_bytes") or "content-encoding" not in response.headers
        return read(response, open_session(response), lambda: own(response, chunk_size), enforce, judge)

    return reader


def _read_sync(
    response: Any, session: Session, chunks: Callable[[], Iterator[bytes]], enforce: bool, judge: bool
) -> Iterator[bytes]:
    exchange = SyncExchange(response, session, _never, chunks=chunks())
    if not enforce:
        exchange.only_look_on()
    return exchange.read_by(watch(session, exchange, enforce=enforce, judge=judge))


def _read_async(
    response: Any, session: Session, chunks: Callable[[], AsyncIterator[bytes]], enforce: bool, judge: bool
) -> AsyncIterator[bytes]:
    exchange = AsyncExchange(response, session, _never, chunks=chunks())
    if not enforce:
        exchange.only_look_on()
    return exchange.read_by(awatch(session, exchange, enforce=enforce, judge=judge))


def _never(decision: Reissue) -> Any:
    """Bytes that were handed out untouched cannot be continued from another response."""
    raise AssertionError(decision)

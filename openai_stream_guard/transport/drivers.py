"""Reading, sleeping, asking again and closing, as a session says: the only place that does any of it.

`drive` and `adrive` are one text but for the words of async code, and a test compares them. What an exchange does
behind these words is the transport's matter, see `exchange.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

from ..decoding.payload import Payload
from ..diagnosis.evidence import ResponseHead
from ..engine.decisions import Decision, Fail, Finish, Refusal, Reissue, StreamFault
from ..engine.session import Session

_MISSING_BYTES = ("disconnected", "truncated", "stalled", "gap")


def _is_in_plain_sight(decision: Decision | None) -> bool:
    """Whether a reader of raw bytes has the fault before it, in the bytes; that some are missing it cannot see."""
    if not isinstance(decision, Fail):
        return False
    fault = decision.first_failure.fault
    is_the_parsers = fault.error is None or isinstance(fault.error, ValueError)
    return is_the_parsers and fault.kind not in _MISSING_BYTES


class _Exchange(Protocol):
    """One logical request and the response that answers it now."""

    head: ResponseHead

    def clock(self) -> float: ...
    def fault(self, error: Exception) -> StreamFault | None:
        """What an exception of the transport means; None for one that is not about this stream."""

    def raise_as_sdk(self, error: Exception) -> None:
        """Raise what the SDK alone makes of such an exception; nothing where it lets it out as it is."""

    def refusal(self, error: Exception) -> Refusal:
        """The same for an exception of a re-issue, where any is the end of this try."""

    def error(self, session: Session, decision: Fail) -> Exception:
        """The exception to raise."""

    @property
    def abandoned(self) -> bool:
        """The consumer has closed the stream."""

    @property
    def consumer_clock(self) -> Callable[[], float]:
        """The time by which the program's own is told from the stream's, in seconds, as `clock`; 0 where it is not."""


class Exchange(_Exchange, Protocol):
    @property
    def read(self) -> Callable[[], bytes]:
        """Gives the bytes of one read; StopIteration where the body ends. (Called once a read: no layer in between.)"""

    def close(self) -> None: ...
    def release(self) -> None:
        """Close for good."""

    def drain(self) -> None:
        """Read what is left, so that the connection can be used again: for a moment only, and no error counts."""

    def sleep(self, seconds: float) -> None: ...
    def reopen(self, decision: Reissue) -> None: ...


class AsyncExchange(_Exchange, Protocol):
    @property
    def read(self) -> Callable[[], Awaitable[bytes]]: ...
    async def close(self) -> None: ...
    async def release(self) -> None: ...
    async def drain(self) -> None: ...
    async def sleep(self, seconds: float) -> None: ...
    async def reopen(self, decision: Reissue) -> None: ...


def drive(session: Session, exchange: Exchange) -> Iterator[Payload]:
    """Yield the events of one logical stream."""
    try:
        while True:
            try:
                data = exchange.read()
            except StopIteration:
                if exchange.abandoned:
                    return
                events = session.end(exchange.clock())
            except Exception as error:
                fault = exchange.fault(error)
                if fault is None:
                    exchange.raise_as_sdk(error)
                    raise
                events = session.fail(fault, exchange.clock())
            else:
                events = session.receive(data, exchange.clock())
            for event in events:
                yield event  # outside the try: the consumer's exceptions are the consumer's
            decision = session.decision
            if decision is None:
                if events:
                    session.waiting_since = exchange.consumer_clock()
                continue

            if isinstance(decision, Finish):
                exchange.drain()
                return
            exchange.close()
            while isinstance(decision, Reissue):
                exchange.sleep(decision.delay)
                if exchange.abandoned:
                    return
                try:
                    exchange.reopen(decision)
                except Exception as error:
                    session.refused(decision, exchange.refusal(error), exchange.clock())
                else:
                    session.reopened(decision, exchange.head, exchange.clock())
                decision = session.decision
            if exchange.abandoned:
                return
            if isinstance(decision, Fail):
                raise exchange.error(session, decision)
    finally:
        exchange.release()
        session.abandon(exchange.clock())


async def adrive(session: Session, exchange: AsyncExchange) -> AsyncIterator[Payload]:
    """Yield the events of one logical stream."""
    try:
        while True:
            try:
                data = await exchange.read()
            except StopAsyncIteration:
                if exchange.abandoned:
                    return
                events = session.end(exchange.clock())
            except Exception as error:
                fault = exchange.fault(error)
                if fault is None:
                    exchange.raise_as_sdk(error)
                    raise
                events = session.fail(fault, exchange.clock())
            else:
                events = session.receive(data, exchange.clock())
            for event in events:
                yield event  # outside the try: the consumer's exceptions are the consumer's
            decision = session.decision
            if decision is None:
                if events:
                    session.waiting_since = exchange.consumer_clock()
                continue

            if isinstance(decision, Finish):
                await exchange.drain()
                return
            await exchange.close()
            while isinstance(decision, Reissue):
                await exchange.sleep(decision.delay)
                if exchange.abandoned:
                    return
                try:
                    await exchange.reopen(decision)
                except Exception as error:
                    session.refused(decision, exchange.refusal(error), exchange.clock())
                else:
                    session.reopened(decision, exchange.head, exchange.clock())
                decision = session.decision
            if exchange.abandoned:
                return
            if isinstance(decision, Fail):
                raise exchange.error(session, decision)
    finally:
        await exchange.release()
        session.abandon(exchange.clock())


def watch(
    session: Session,
    exchange: Exchange,
    *,
    enforce: bool,
    judge: bool = True,
) -> Iterator[bytes]:
    """Yield the bytes of one response untouched, while a session looks on.

    Args:
        enforce: raise the typed error where bytes are missing; else leave all to the transport.
        judge: whether the bytes are server-sent events as they stand, and not compressed.
    """
    try:
        while True:
            data = None
            try:
                data = exchange.read()
            except StopIteration:
                if judge and session.decision is None and not exchange.abandoned:
                    session.end(exchange.clock())
            except Exception as error:
                fault = exchange.fault(error)
                if fault is not None and session.decision is None:
                    session.fail(fault, exchange.clock())
                if fault is None or not enforce or _is_in_plain_sight(session.decision):
                    raise
            else:
                events = session.receive(data, exchange.clock()) if judge and session.decision is None else []
                yield data
                if events:
                    session.waiting_since = exchange.consumer_clock()
            decision = session.decision
            if enforce and isinstance(decision, Fail) and not _is_in_plain_sight(decision):
                raise exchange.error(session, decision)
            if data is None:
                return
    finally:
        exchange.release()
        session.abandon(exchange.clock())


async def awatch(
    session: Session,
    exchange: AsyncExchange,
    *,
    enforce: bool,
    judge: bool = True,
) -> AsyncIterator[bytes]:
    """Yield the bytes of one response untouched, while a session looks on.

    Args:
        enforce: raise the typed error where bytes are missing; else leave all to the transport.
        judge: whether the bytes are server-sent events as they stand, and not compressed.
    """
    try:
        while True:
            data = None
            try:
                data = await exchange.read()
            except StopAsyncIteration:
                if judge and session.decision is None and not exchange.abandoned:
                    session.end(exchange.clock())
            except Exception as error:
                fault = exchange.fault(error)
                if fault is not None and session.decision is None:
                    session.fail(fault, exchange.clock())
                if fault is None or not enforce or _is_in_plain_sight(session.decision):
                    raise
            else:
                events = session.receive(data, exchange.clock()) if judge and session.decision is None else []
                yield data
                if events:
                    session.waiting_since = exchange.consumer_clock()
            decision = session.decision
            if enforce and isinstance(decision, Fail) and not _is_in_plain_sight(decision):
                raise exchange.error(session, decision)
            if data is None:
                return
    finally:
        await exchange.release()
        session.abandon(exchange.clock())

"""Reading, sleeping, asking again and closing, as a session says: the only place that does any of it.

`drive` and `adrive` are one text but for the words of async code, and a test compares them. What an exchange does
behind these words is the transport's matter, see `exchange.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

from ..decoding.payload import Payload
from ..diagnosis.evidence import ResponseHead
from ..engine.decisions import Finish, GiveUp, Refusal, Reopen, Trouble, Verdict
from ..engine.session import Session

_MISSING_BYTES = ("disconnected", "truncated", "stalled", "gap")


def _is_in_plain_sight(verdict: Verdict | None) -> bool:
    """Whether a reader of raw bytes has the fault before it, in the bytes; that some are missing it cannot see."""
    if not isinstance(verdict, GiveUp):
        return False
    trouble = verdict.failure.trouble
    is_the_parsers = trouble.error is None or isinstance(trouble.error, ValueError)
    return is_the_parsers and trouble.fault not in _MISSING_BYTES


class _Exchange(Protocol):
    """One logical request and the response that answers it now."""

    head: ResponseHead

    def clock(self) -> float: ...
    def trouble(self, error: Exception) -> Trouble | None:
        """What an exception of the transport means; None for one that is not about this stream."""

    def let_out(self, error: Exception) -> None:
        """Raise what the SDK alone makes of such an exception; nothing where it lets it out as it is."""

    def refusal(self, error: Exception) -> Refusal:
        """The same for an exception of a re-issue, where any is the end of this try."""

    def error(self, session: Session, verdict: GiveUp) -> Exception:
        """The exception to raise."""

    @property
    def abandoned(self) -> bool:
        """The consumer has closed the stream."""

    @property
    def stopwatch(self) -> Callable[[], float]:
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
    def reopen(self, verdict: Reopen) -> None: ...


class AsyncExchange(_Exchange, Protocol):
    @property
    def read(self) -> Callable[[], Awaitable[bytes]]: ...
    async def close(self) -> None: ...
    async def release(self) -> None: ...
    async def drain(self) -> None: ...
    async def sleep(self, seconds: float) -> None: ...
    async def reopen(self, verdict: Reopen) -> None: ...


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
                trouble = exchange.trouble(error)
                if trouble is None:
                    exchange.let_out(error)
                    raise
                events = session.fail(trouble, exchange.clock())
            else:
                events = session.receive(data, exchange.clock())
            for event in events:
                yield event  # outside the try: the consumer's exceptions are the consumer's
            verdict = session.verdict
            if verdict is None:
                if events:
                    session.waiting_since = exchange.stopwatch()
                continue

            if isinstance(verdict, Finish):
                exchange.drain()
                return
            exchange.close()
            while isinstance(verdict, Reopen):
                exchange.sleep(verdict.delay)
                if exchange.abandoned:
                    return
                try:
                    exchange.reopen(verdict)
                except Exception as error:
                    session.refused(verdict, exchange.refusal(error), exchange.clock())
                else:
                    session.reopened(verdict, exchange.head, exchange.clock())
                verdict = session.verdict
            if exchange.abandoned:
                return
            if isinstance(verdict, GiveUp):
                raise exchange.error(session, verdict)
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
                trouble = exchange.trouble(error)
                if trouble is None:
                    exchange.let_out(error)
                    raise
                events = session.fail(trouble, exchange.clock())
            else:
                events = session.receive(data, exchange.clock())
            for event in events:
                yield event  # outside the try: the consumer's exceptions are the consumer's
            verdict = session.verdict
            if verdict is None:
                if events:
                    session.waiting_since = exchange.stopwatch()
                continue

            if isinstance(verdict, Finish):
                await exchange.drain()
                return
            await exchange.close()
            while isinstance(verdict, Reopen):
                await exchange.sleep(verdict.delay)
                if exchange.abandoned:
                    return
                try:
                    await exchange.reopen(verdict)
                except Exception as error:
                    session.refused(verdict, exchange.refusal(error), exchange.clock())
                else:
                    session.reopened(verdict, exchange.head, exchange.clock())
                verdict = session.verdict
            if exchange.abandoned:
                return
            if isinstance(verdict, GiveUp):
                raise exchange.error(session, verdict)
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
                if judge and session.verdict is None and not exchange.abandoned:
                    session.end(exchange.clock())
            except Exception as error:
                trouble = exchange.trouble(error)
                if trouble is not None and session.verdict is None:
                    session.fail(trouble, exchange.clock())
                if trouble is None or not enforce or _is_in_plain_sight(session.verdict):
                    raise
            else:
                events = session.receive(data, exchange.clock()) if judge and session.verdict is None else []
                yield data
                if events:
                    session.waiting_since = exchange.stopwatch()
            verdict = session.verdict
            if enforce and isinstance(verdict, GiveUp) and not _is_in_plain_sight(verdict):
                raise exchange.error(session, verdict)
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
                if judge and session.verdict is None and not exchange.abandoned:
                    session.end(exchange.clock())
            except Exception as error:
                trouble = exchange.trouble(error)
                if trouble is not None and session.verdict is None:
                    session.fail(trouble, exchange.clock())
                if trouble is None or not enforce or _is_in_plain_sight(session.verdict):
                    raise
            else:
                events = session.receive(data, exchange.clock()) if judge and session.verdict is None else []
                yield data
                if events:
                    session.waiting_since = exchange.stopwatch()
            verdict = session.verdict
            if enforce and isinstance(verdict, GiveUp) and not _is_in_plain_sight(verdict):
                raise exchange.error(session, verdict)
            if data is None:
                return
    finally:
        await exchange.release()
        session.abandon(exchange.clock())

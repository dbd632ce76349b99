"""The loops that read, wait, send again and close as a session decides.

`drive` and `adrive` are one text but for the async keywords, and so are `watch` and `awatch`: a test compares them.
What a read or a close does is in `exchange.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from ..decoding.payload import Payload
from ..engine.decisions import Decision, Fail, Finish, Reissue, Wait
from .exchange import AsyncExchange, SyncExchange

_MISSING_BYTES = ("disconnected", "truncated", "stalled")  # a hole in the numbers is in plain sight, and may be a habit


def _is_visible_in_bytes(decision: Decision | None) -> bool:
    """Whether a reader of the raw bytes sees the fault in them; it cannot see that bytes are missing."""
    if not isinstance(decision, Fail):
        return False
    fault = decision.first_failure.fault
    is_from_parser = fault.error is None or isinstance(fault.error, ValueError)
    return is_from_parser and fault.kind not in _MISSING_BYTES


def drive(open_exchange: Callable[[], SyncExchange]) -> Iterator[Payload]:
    """Yield the events of one logical stream, over as many attempts as its session decides.

    Args:
        open_exchange: opens the session and its exchange. Called at the first `next`, inside the `try`, so that
            whatever interrupts it leaves no connection open.

    Raises:
        OpenAIStreamParseError: if the stream broke and was not recovered.
    """
    exchange = None
    try:
        exchange = open_exchange()
        del open_exchange  # which is kept as long as this generator otherwise
        session = exchange.session
        while True:
            try:
                events = exchange.receive()
            except StopIteration:
                if exchange.abandoned:
                    return
                events = session.end(exchange.clock())
            except Exception as error:
                fault = exchange.fault(error)
                if fault is None:
                    raise
                events = session.fail(fault, exchange.clock())
            if session.outcome == "recovered":  # the SDK reads no further than `[DONE]`, and drains the first response
                exchange.drain()
            for event in events:
                yield event  # outside the try: the consumer's exceptions are the consumer's
            decision = session.decision
            if events and not isinstance(decision, Finish):
                session.consumer_resumed(exchange.consumer_clock())
            if decision is None:
                continue

            if isinstance(decision, Finish):
                if session.outcome == "complete":
                    exchange.drain()
                return
            exchange.close()
            while isinstance(decision, Reissue | Wait):
                if isinstance(decision, Wait):
                    exchange.wait(decision)
                else:
                    exchange.sleep(decision.delay)
                if exchange.abandoned:
                    raise exchange.closed_error()
                events = session.proceed(exchange.clock())
                decision = session.decision
                if not isinstance(decision, Reissue):
                    continue
                try:
                    exchange.reopen(decision)
                except Exception as error:
                    refusal = exchange.refusal(error)
                    if refusal is None:
                        raise
                    events = session.refused(decision, refusal, exchange.clock())
                else:
                    session.reopened(decision, exchange.head, exchange.clock())
                decision = session.decision
            if exchange.abandoned:
                raise exchange.closed_error()
            if isinstance(decision, Finish):  # an answer that ended as failed, and is handed on as it was
                for event in events:
                    yield event
                return
            if isinstance(decision, Fail):
                raise exchange.error(decision)
    finally:
        if exchange is not None:
            exchange.release()


async def adrive(open_exchange: Callable[[], AsyncExchange]) -> AsyncIterator[Payload]:
    """Yield the events of one logical stream, over as many attempts as its session decides.

    Args:
        open_exchange: opens the session and its exchange. Called at the first `next`, inside the `try`, so that
            whatever interrupts it leaves no connection open.

    Raises:
        OpenAIStreamParseError: if the stream broke and was not recovered.
    """
    exchange = None
    try:
        exchange = open_exchange()
        del open_exchange  # which is kept as long as this generator otherwise
        session = exchange.session
        while True:
            try:
                events = await exchange.receive()
            except StopAsyncIteration:
                if exchange.abandoned:
                    return
                events = session.end(exchange.clock())
            except Exception as error:
                fault = exchange.fault(error)
                if fault is None:
                    raise
                events = session.fail(fault, exchange.clock())
            if session.outcome == "recovered":  # the SDK reads no further than `[DONE]`, and drains the first response
                await exchange.drain()
            for event in events:
                yield event  # outside the try: the consumer's exceptions are the consumer's
            decision = session.decision
            if events and not isinstance(decision, Finish):
                session.consumer_resumed(exchange.consumer_clock())
            if decision is None:
                continue

            if isinstance(decision, Finish):
                if session.outcome == "complete":
                    await exchange.drain()
                return
            await exchange.close()
            while isinstance(decision, Reissue | Wait):
                if isinstance(decision, Wait):
                    await exchange.wait(decision)
                else:
                    await exchange.sleep(decision.delay)
                if exchange.abandoned:
                    raise exchange.closed_error()
                events = session.proceed(exchange.clock())
                decision = session.decision
                if not isinstance(decision, Reissue):
                    continue
                try:
                    await exchange.reopen(decision)
                except Exception as error:
                    refusal = exchange.refusal(error)
                    if refusal is None:
                        raise
                    events = session.refused(decision, refusal, exchange.clock())
                else:
                    session.reopened(decision, exchange.head, exchange.clock())
                decision = session.decision
            if exchange.abandoned:
                raise exchange.closed_error()
            if isinstance(decision, Finish):  # an answer that ended as failed, and is handed on as it was
                for event in events:
                    yield event
                return
            if isinstance(decision, Fail):
                raise exchange.error(decision)
    finally:
        if exchange is not None:
            await exchange.release()


def watch(
    open_exchange: Callable[[], SyncExchange],
    *,
    raise_faults: bool,
    is_event_stream: bool = True,
) -> Iterator[bytes]:
    """Yield the bytes of one response unchanged while a session examines them.

    Args:
        open_exchange: opens the session and its exchange. Called at the first `next`.
        raise_faults: raise the typed error where bytes are missing; else only the transport's own exceptions.
        is_event_stream: False where the bytes are compressed, so that only the transport's exceptions can be judged.
    """
    exchange = None
    try:
        exchange = open_exchange()
        del open_exchange  # which is kept as long as this generator otherwise
        session = exchange.session
        while True:
            data = None
            try:
                data = exchange.read()
            except StopIteration:
                if is_event_stream and session.decision is None and not exchange.abandoned:
                    session.end(exchange.clock())
            except Exception as error:
                fault = exchange.fault(error)
                if fault is not None and session.decision is None:
                    session.fail(fault, exchange.clock())
                if fault is None or not raise_faults or _is_visible_in_bytes(session.decision):
                    raise
            else:
                examined = is_event_stream and session.decision is None
                events = session.receive(data, exchange.clock()) if examined else []
                yield data
                if events:
                    session.consumer_resumed(exchange.consumer_clock())
            decision = session.decision
            if raise_faults and isinstance(decision, Fail) and not _is_visible_in_bytes(decision):
                raise exchange.error(decision)
            if data is None:
                return
    finally:
        if exchange is not None:
            exchange.release()


async def awatch(
    open_exchange: Callable[[], AsyncExchange],
    *,
    raise_faults: bool,
    is_event_stream: bool = True,
) -> AsyncIterator[bytes]:
    """Yield the bytes of one response unchanged while a session examines them.

    Args:
        open_exchange: opens the session and its exchange. Called at the first `next`.
        raise_faults: raise the typed error where bytes are missing; else only the transport's own exceptions.
        is_event_stream: False where the bytes are compressed, so that only the transport's exceptions can be judged.
    """
    exchange = None
    try:
        exchange = open_exchange()
        del open_exchange  # which is kept as long as this generator otherwise
        session = exchange.session
        while True:
            data = None
            try:
                data = await exchange.read()
            except StopAsyncIteration:
                if is_event_stream and session.decision is None and not exchange.abandoned:
                    session.end(exchange.clock())
            except Exception as error:
                fault = exchange.fault(error)
                if fault is not None and session.decision is None:
                    session.fail(fault, exchange.clock())
                if fault is None or not raise_faults or _is_visible_in_bytes(session.decision):
                    raise
            else:
                examined = is_event_stream and session.decision is None
                events = session.receive(data, exchange.clock()) if examined else []
                yield data
                if events:
                    session.consumer_resumed(exchange.consumer_clock())
            decision = session.decision
            if raise_faults and isinstance(decision, Fail) and not _is_visible_in_bytes(decision):
                raise exchange.error(decision)
            if data is None:
                return
    finally:
        if exchange is not None:
            await exchange.release()

"""A network in memory between the drivers and the recorded server: no SDK, no socket, a clock that waits move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.decisions import Fail, Refusal, Reissue, StreamFault, Timeouts, Wait
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.server_habits import Server
from openai_stream_guard.engine.session import Session
from openai_stream_guard.transport.drivers import adrive, drive
from tests.support.ported import at_once
from tests.support.simulated import AsyncReceives, GaveUp, Receives

from .damage import Damaged
from .law import Seen
from .recorded import HOST, POLICIES, RecoveryMethod, Stream

TIMEOUTS = Timeouts(first_event=10.0, idle=10.0)
KEEP_ALIVE = b": keep-alive\n\n"


def fault_from(error: Exception) -> StreamFault | None:
    """What the exceptions of a network in memory mean; no other one is expected."""
    match error:
        case TimeoutError():
            return StreamFault("stalled", "nothing came", error, ending="timeout")
        case ConnectionResetError():
            return StreamFault("disconnected", "reset", error, ending="reset")
    return None


class Wire(Receives):
    """The exchange of a blocking driver. The first response is damaged, those to re-issues are healthy."""

    head = ResponseHead(200)
    abandoned = False

    def __init__(self, first: Damaged, again: Callable[[Reissue], Damaged | None], busy: float) -> None:
        self.now = 0.0
        self._busy = busy
        self.requests = 0
        self.open = 0
        self.before_reissue = 0
        self.items: list[Any] = []
        """What the consumer has."""
        self._again = again
        self._answer(first)

    def _answer(self, response: Damaged | None) -> None:
        self.requests += 1
        if response is None:
            raise ConnectionRefusedError
        self._reads, self._end = iter(response.reads), response.end
        self.open += 1

    def clock(self) -> float:
        """Simulated seconds."""
        return self.now

    def consumer_clock(self) -> float:
        """When the program is done with what it got."""
        self.now += self._busy
        return self.now

    def read(self) -> bytes:
        """The next bytes, or how the body ends."""
        data = next(self._reads, None)
        if data is not None:
            return data
        match self._end:
            case "clean":
                raise StopIteration
            case "reset":
                raise ConnectionResetError
            case "silence":
                self.now += TIMEOUTS.idle
                raise TimeoutError
        self.now += 4.0
        return KEEP_ALIVE

    def close(self) -> None:
        """Close the response that is open, if any is."""
        self.open = 0

    release = close

    def drain(self) -> None:
        """Nothing is reused here."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.now += seconds

    def wait(self, decision: Wait) -> None:
        """Wait as long as there is nobody who could call."""
        self.sleep(decision.seconds)

    def reopen(self, verdict: Reissue) -> None:
        """Ask again."""
        assert self.open == 0, "the broken response has to be closed first"
        self.before_reissue = len(self.items)
        self._answer(self._again(verdict))

    fault = staticmethod(fault_from)

    def refusal(self, error: Exception) -> Refusal:
        """The server knows no such response. (Any other exception is one of ours.)"""
        if not isinstance(error, ConnectionRefusedError):
            raise error
        return Refusal(retryable=False, status=404)

    def error(self, verdict: Fail) -> Exception:
        """The typed error's stand-in; what it is made of is made."""
        session = self.session
        session.adapter.partial_text(session.transcript)
        session.adapter.partial(session.transcript)
        return GaveUp(verdict)


class AsyncWire(AsyncReceives):
    """The same for the asynchronous driver."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    async def read(self) -> bytes:
        """The next bytes, or how the body ends."""
        try:
            return self._wire.read()
        except StopIteration:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        """Close the response that is open, if any is."""
        self._wire.close()

    release = close

    async def drain(self) -> None:
        """Nothing is reused here."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self._wire.sleep(seconds)

    async def wait(self, decision: Wait) -> None:
        """The same."""
        self._wire.wait(decision)

    async def reopen(self, verdict: Reissue) -> None:
        """Ask again."""
        self._wire.reopen(verdict)


def see(
    stream: Stream,
    way: RecoveryMethod,
    client_kind: str,
    first: Damaged,
    again: Callable[[Reissue], Damaged | None],
    *,
    busy: float = 0.0,
) -> Seen:
    """What a consumer gets of a damaged stream, straight from a driver.

    Args:
        busy: seconds that it takes for what each read brings.
    """
    hosts = HostMemory()
    hosts.habits.expect_finish(Server(HOST, stream.path, "m"))  # as after the first stream in a process
    session = Session(stream.asked, POLICIES[way], hosts, now=0.0, max_retries=2, timeouts=TIMEOUTS)
    wire = Wire(first, again, busy)
    wire.session = session
    error: Exception | None = None
    try:
        if client_kind == "sync":
            wire.items.extend(event.value for event in drive(lambda: wire) if not event.is_done)
        else:
            at_once(_collect(wire))
    except Exception as raised:
        error = raised
    if wire.open:
        error = AssertionError("a response was left open")
    return Seen(wire.items, error, isinstance(error, GaveUp), session.outcome, wire.requests)


async def _collect(wire: Wire) -> None:
    async for event in adrive(lambda: AsyncWire(wire)):
        if not event.is_done:
            wire.items.append(event.value)

"""Many streams of one host in simulated time, through an outage: what comes back, and at what price.

Drivers, sessions and recovery are the guard's own. What decides whether a request may be sent again is a *design*: the
guard's, or that of another library, by its formula. Streams are long answers of few events, so that an hour with
thousands of them takes seconds.
"""

from __future__ import annotations

import heapq
import json
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from openai_stream_guard import Policy
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.decisions import Fail, Refusal, Reissue, StreamFault, Timeouts, Wait
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.host_queue import Ticket
from openai_stream_guard.engine.retry_rules import backoff
from openai_stream_guard.engine.session import Session
from openai_stream_guard.transport.drivers import adrive
from tests.support.simulated import AsyncReceives, GaveUp

HOST = "crowd.test"
RETRIES = 2
"""The SDK's default for `max_retries`, and so the guard's."""
ROUND_TRIP = 0.02
STEP = 5.0
"""Seconds between two events of an answer."""
SHORTEST, LONGEST = 5.0, 40.0
"""Seconds that answers take, all lengths between them alike."""
_REQUEST = StreamRequest("post", "/chat/completions", HOST, {"model": "m", "messages": [], "stream": True})


class Loop:
    """A scheduler whose clock jumps to whatever is due next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def call_at(self, at: float, callback: Callable[[], None]) -> None:
        """Call a function at this time."""
        heapq.heappush(self._due, (at, next(self._order), callback))

    def start(self, coroutine: Coroutine[Any, Any, None], at: float) -> None:
        """Run a coroutine from this time on."""
        self.call_at(at, partial(self._step, coroutine))

    def run(self) -> None:
        """Run until nothing is left to do."""
        while self._due:
            self.now, _, callback = heapq.heappop(self._due)
            callback()

    def pause(self, seconds: float) -> Awaitable[None]:
        """Return what a coroutine awaits to let time pass."""
        return _Suspension(lambda resume: self.call_at(self.now + seconds, resume))

    def wait(self, decision: Wait) -> Awaitable[None]:
        """Return what a coroutine awaits to wait for its ticket to be called."""

        def arm(resume: Callable[[], None]) -> None:
            once = _Once(resume)
            self.call_at(self.now + decision.seconds, once)
            decision.ticket.on_call(lambda: self.call_at(self.now, once))

        return _Suspension(arm)

    def _step(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            arm = coroutine.send(None)
        except StopIteration:
            return
        arm(partial(self._step, coroutine))


class _Suspension:
    def __init__(self, arm: Callable[[Callable[[], None]], None]) -> None:
        self._arm = arm

    def __await__(self) -> Generator[Any, None, None]:
        yield self._arm


class _Once:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def __call__(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Outage(NamedTuple):
    """What a server does to the attempts that are made of it."""

    breaks: Callable[[float, float], float | None] = lambda opened, seconds: None
    """When an attempt breaks, by when it was opened and how long its answer would take; None where it does not."""
    refuses: Callable[[float], bool] = lambda now: False
    """Whether it refuses requests at this time."""


@dataclass
class Figures:
    """What became of a crowd."""

    started: int = 0
    unreached: int = 0
    """Refused before the headers, as often as the SDK asks."""
    cut: int = 0
    open_at_first_cut: int = 0
    """Streams that were read when the first one broke."""
    back: int = 0
    """Of those, whole in the end."""
    reissues: int = 0
    refused: int = 0
    """Of those, refused."""
    broken: int = 0
    """Of those, broken again."""
    sdk_retries: int = 0
    stopped: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    reissued_at: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def share_back(self) -> float:
        """Of the streams that were cut."""
        return self.back / max(self.cut, 1)

    @property
    def requests_per_cut(self) -> float:
        """Of the streams that were cut, the first one included."""
        return 1 + self.reissues / max(self.cut, 1)

    @property
    def requests_per_stream(self) -> float:
        """Of all streams."""
        return 1 + self.reissues / max(self.started, 1)


class Crowd:
    """Streams of one host.

    Args:
        first_event: seconds from a request to the first event of its answer.
        budget: the design; None for the guard's own.
    """

    def __init__(
        self, outage: Outage, policy: Policy, *, first_event: float = 0.5, budget: Any = None, seed: int = 1
    ) -> None:
        self.loop = Loop()
        self.hosts = HostMemory()
        if budget is not None:
            self.hosts.budget = budget
        self.outage = outage
        self.figures = Figures()
        self.first_event = first_event
        self.open = 0
        """Streams that are read now."""
        self._policy = policy
        self._dice = random.Random(seed)

    def run(self, rate: float, seconds: float) -> Figures:
        """Start so many streams a second, for so long, and run them to their ends."""
        for number in range(int(rate * seconds)):
            self.loop.start(self._consume(self._dice.uniform(SHORTEST, LONGEST)), number / rate)
        self.loop.run()
        return self.figures

    def sends_at_once(self) -> bool:
        """Whether a stream that broke now would be sent again without a wait."""
        ticket = Ticket(HOST, needs_token=True, lends=True)
        ticket.since = self.loop.now
        told = self.hosts.budget.request(ticket, self.loop.now, outage_timeout=self._policy.outage_timeout)
        self.hosts.budget.leave(ticket)
        return told is None

    async def _consume(self, length: float) -> None:
        figures, loop, dice = self.figures, self.loop, self._dice
        for retry in range(1 + RETRIES):  # the SDK's own, before the headers
            await loop.pause(ROUND_TRIP)
            if not self.outage.refuses(loop.now):
                break
            if retry == RETRIES:
                figures.unreached += 1
                return
            figures.sdk_retries += 1
            await loop.pause(backoff(self._policy, retry, jitter=dice.random()))
        figures.started += 1
        self.open += 1
        network = _Network(self, length)
        network.session = session = Session(
            _REQUEST,
            self._policy,
            self.hosts,
            now=loop.now,
            max_retries=RETRIES,
            timeouts=Timeouts(),
            jitter=dice.random,
        )
        received = 0
        try:
            async for event in adrive(lambda: network):  # type: ignore[arg-type, return-value] # it stands in
                received += not event.is_done
        except GaveUp as error:
            figures.stopped[error.decision.stopped_by] += 1
        self.open -= 1
        report = session.report()
        if network.broken:
            figures.cut += 1
            figures.back += report.outcome == "recovered"
            if report.waited_seconds:
                figures.waits.append(report.waited_seconds)
        if (report.outcome == "failed") != (received < len(network.events)) or report.outcome == "open":
            figures.wrong.append(f"{report.outcome} with {received} of {len(network.events)} events")


class _Network(AsyncReceives):
    """The exchange of one stream."""

    head = ResponseHead(200)
    abandoned = False
    session: Session

    def __init__(self, crowd: Crowd, length: float) -> None:
        self._crowd = crowd
        self._length = length
        self.events = _answer(max(2, math.ceil((length - crowd.first_event) / STEP)))
        self.broken = False
        self._is_reissue = False
        self._open()

    def _open(self) -> None:
        now = self._crowd.loop.now
        self._opened, self._next = now, 0
        self._breaks_at = self._crowd.outage.breaks(now, self._length)

    def clock(self) -> float:
        return self._crowd.loop.now

    def consumer_clock(self) -> float:
        return 0.0

    async def read(self) -> bytes:
        loop = self._crowd.loop
        if self._next == len(self.events):
            raise StopAsyncIteration
        last = self._next == len(self.events) - 1
        due = self._opened + (self._length if last else self._crowd.first_event + self._next * STEP)
        if self._breaks_at is not None and self._breaks_at <= due:
            await loop.pause(max(0.0, self._breaks_at - loop.now))
            self.broken = True
            self._crowd.figures.open_at_first_cut = self._crowd.figures.open_at_first_cut or self._crowd.open
            self._crowd.figures.broken += self._is_reissue
            raise ConnectionResetError
        await loop.pause(max(0.0, due - loop.now))
        self._next += 1
        return self.events[self._next - 1]

    async def close(self) -> None:
        pass

    release = drain = close

    async def sleep(self, seconds: float) -> None:
        await self._crowd.loop.pause(seconds)

    async def wait(self, decision: Wait) -> None:
        await self._crowd.loop.wait(decision)
        decision.ticket.on_call(None)

    async def reopen(self, decision: Reissue) -> None:
        loop, figures = self._crowd.loop, self._crowd.figures
        figures.reissues += 1
        figures.reissued_at.append(loop.now)
        await loop.pause(ROUND_TRIP)
        if self._crowd.outage.refuses(loop.now):
            figures.refused += 1
            raise ConnectionRefusedError
        self._is_reissue = True
        self._open()

    def fault(self, error: Exception) -> StreamFault | None:
        return StreamFault("disconnected", "reset", error) if isinstance(error, ConnectionResetError) else None

    def refusal(self, error: Exception) -> Refusal:
        if not isinstance(error, ConnectionRefusedError):
            raise error
        return Refusal(retryable=True)

    def error(self, decision: Fail) -> Exception:
        return GaveUp(decision)


_ANSWERS: dict[int, list[bytes]] = {}


def _answer(events: int) -> list[bytes]:
    """The reads of an answer of so many events, the last of which ends it."""
    if events not in _ANSWERS:
        made = []
        for number in range(events):
            finish = "stop" if number == events - 1 else None
            choice = {"index": 0, "delta": {"content": f"word {number} "}, "finish_reason": finish}
            made.append(f"data: {json.dumps({'id': 'c', 'choices': [choice]})}\n\n".encode())
        made[-1] += b"data: [DONE]\n\n"
        _ANSWERS[events] = made
    return _ANSWERS[events]


# What outages do.


def mass_cut(at: float, refusing: float = 0.0) -> Outage:
    """Every open stream is cut at one moment, and then requests are refused for a while."""
    return Outage(
        lambda opened, seconds: at if opened < at < opened + seconds else None,
        lambda now: at <= now < at + refusing,
    )


def breaks_all(after: float, start: float = 0.0, end: float = math.inf) -> Outage:
    """Every attempt breaks so long after it was opened, while it lasts; what was open when it began is cut then."""

    def breaks(opened: float, seconds: float) -> float | None:
        if opened < start:
            return start if opened + seconds > start else None
        return opened + min(after, 0.9 * seconds) if opened < end else None

    return Outage(breaks)


def bursts(every: float, lasting: float, after: float) -> Outage:
    """Such an outage again and again."""

    def breaks(opened: float, seconds: float) -> float | None:
        start = opened // every * every
        if opened - start < lasting:
            return opened + min(after, max(0.01, start + lasting - opened))
        return start + every if start + every < opened + seconds else None

    return Outage(breaks)


def refuses_all(start: float, end: float) -> Outage:
    """What is open is cut, and requests are refused."""
    return mass_cut(start, end - start)

"""A host and its streams in simulated time: one seed drives clock, network, server and consumers.

Drivers, session, budget and policy are the guard's own; sockets and clock are not, so that a world is the same each
time. Requests that are refused before their headers are the SDK's to send again, and are told apart.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from openai_stream_guard import Policy
from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.decisions import Fail, Refusal, Reissue, Timeouts, Wait
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.retry_rules import backoff
from openai_stream_guard.engine.server_habits import Server
from openai_stream_guard.engine.session import Session
from openai_stream_guard.transport.drivers import adrive
from tests.support.responses import nameless
from tests.support.simulated import AsyncReceives, GaveUp

from .crowd import Loop
from .law import last_finish
from .recorded import HOST, STREAMS, Stream
from .wire import fault_from

RETRIES = 2
"""The SDK's default for `max_retries`, and so the guard's."""
IDLE = 20.0
TIMEOUTS = Timeouts(first_event=IDLE, idle=IDLE)
RATE = 20.0
"""Streams that begin in a second."""
STRUCK = ("reset", "reset", "clean", "silence")
"""How streams end that do not live to their end, each as often as it stands here."""


class Refused(Exception):
    """The server answered with an error status."""


@dataclass
class Figures:
    """What happened in a world; worlds add up."""

    streams: int = 0
    unreached: int = 0
    """Refused before the headers, as often as the SDK asks: no stream began."""
    left: int = 0
    """Closed by their consumers."""
    broken: int = 0
    recovered: int = 0
    stopped: Counter[str] = field(default_factory=Counter)
    """Those that failed, by what stopped recovery."""
    reissues: int = 0
    sdk_retries: int = 0
    delays: list[float] = field(default_factory=list)
    """Seconds by which recovered streams ended later than they would have."""
    out_of_budget: list[float] = field(default_factory=list)
    """When streams failed for want of it."""
    begun: list[float] = field(default_factory=list)
    reissued: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __add__(self, other: Figures) -> Figures:
        return Figures(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def delay(self, share: float) -> float:
        """The delay that this share of the recovered streams did not exceed."""
        ranked = sorted(self.delays)
        return ranked[min(int(share * len(ranked)), len(ranked) - 1)] if ranked else 0.0


class World:
    """A host, what is asked of it, and its weather.

    Args:
        failing: the probability that a living stream breaks within a second, by the time; 1 breaks each.
        refusing: how much of that strikes requests before their headers.
    """

    def __init__(self, failing: Callable[[float], float], policy: Policy, seed: str, *, refusing: float = 0.5) -> None:
        self.failing = failing
        self.dice = random.Random(seed)
        self.loop = Loop()
        self.figures = Figures()
        self._policy = policy
        self._refusing = refusing
        self._hosts = HostMemory()
        for stream in STREAMS:
            self._hosts.habits.expect_finish(Server(HOST, stream.path, "m"))

    def run(self, streams: int) -> Figures:
        """So many streams, begun at random times."""
        at = 0.0
        for number in range(streams):
            at += self.dice.expovariate(RATE)
            self.loop.start(self._consume(number), at)
        self.loop.run()
        return self.figures

    def refuses(self) -> bool:
        """Whether a request gets no stream now."""
        return self.dice.random() < self.failing(self.loop.now) * self._refusing

    async def _consume(self, number: int) -> None:
        """One program: ask, read to the end, or leave."""
        figures, dice, loop = self.figures, self.dice, self.loop
        figures.streams += 1
        stream = dice.choice(STREAMS)
        retries = await self._connect()
        if retries is None:
            figures.unreached += 1
            return
        figures.begun.append(loop.now)
        patience = dice.randrange(1, 12) if dice.random() < 0.02 else math.inf
        slowness = dice.choice((0.0, 0.0, 0.0, 0.05))
        network = Network(self, stream)
        session = Session(
            stream.asked,
            self._policy,
            self._hosts,
            now=loop.now,
            max_retries=RETRIES,
            timeouts=TIMEOUTS,
            requests=1 + retries,
            jitter=dice.random,
        )
        network.session = session
        items, events = list[Any](), adrive(lambda: network)
        try:
            async for event in events:
                if not event.is_done:
                    items.append(event.value)
                if slowness:
                    await loop.pause(slowness)
                if len(items) >= patience:
                    break
        except GaveUp as error:
            figures.stopped[error.decision.stopped_by] += 1
            if error.decision.stopped_by == "budget":
                figures.out_of_budget.append(loop.now)
        await events.aclose()
        self._count(number, stream, session.outcome, network, items, left=len(items) >= patience)

    async def _connect(self) -> int | None:
        """The first request, which the SDK itself sends again; how often it did, None where it gave up."""
        for retry in range(1 + RETRIES):
            if not self.refuses():
                return retry
            if retry < RETRIES:
                self.figures.sdk_retries += 1
                await self.loop.pause(backoff(self._policy, retry, jitter=self.dice.random()))
        return None

    def _count(
        self, number: int, stream: Stream, outcome: str, network: Network, items: list[Any], *, left: bool
    ) -> None:
        figures = self.figures
        figures.reissues += network.reissues
        if left:
            figures.left += 1
        elif network.struck_at is not None:
            figures.broken += 1
            figures.recovered += outcome != "failed"
            if outcome == "recovered":
                figures.delays.append(max(0.0, network.read_at - network.due_at))
        if (told := unsound(stream, outcome, network, items, left=left)) is not None:
            figures.wrong.append(f"stream {number}, {stream.name}: {told}")


def unsound(stream: Stream, outcome: str, network: Network, items: list[Any], *, left: bool) -> str | None:
    """How the law is broken: an answer once and in order, whole where no exception came, and nothing left open."""
    given, whole = len(items), len(stream.items)
    if items != stream.items[:given] and [*map(nameless, items)] != nameless_items(stream)[:given]:
        return "what was delivered is no beginning of the answer"
    # What may follow the last finish_reason is not asked for again.
    finished = given == whole or (network.struck_at is not None and given > last_finish(stream))
    if outcome in ("complete", "recovered") and not finished and not left:
        return f"{outcome} with {given} of {whole} items"
    if network.open or outcome == "open":
        return f"{outcome}, and {network.open} responses left open"
    return None


@cache
def nameless_items(stream: Stream) -> list[Any]:
    """The items of a stream without ids."""
    return [nameless(item) for item in stream.items]


class Network(AsyncReceives):
    """One program's requests for one answer: the exchange of an asynchronous driver."""

    head = ResponseHead(200)
    abandoned = False

    def __init__(self, world: World, stream: Stream) -> None:
        dice = world.dice
        self._world, self._stream = world, stream
        self._token = dice.uniform(0.05, 0.4)
        self._thinking = dice.expovariate(1.0)
        self.reissues = 0
        self.open = 0
        self.struck_at: float | None = None
        self.due_at = self.read_at = 0.0
        """When the last byte would have been read, had nothing struck, and when it was."""
        self._answer(stream.frames)

    def _answer(self, frames: Sequence[bytes]) -> None:
        size = self._world.dice.choice((1, 2, 2, 3, 5))  # events that come in one read
        self._reads = [b"".join(frames[start : start + size]) for start in range(0, len(frames), size)]
        self._pause = self._token * size
        self._next = 0
        self._ending = "clean"
        self.open += 1

    def clock(self) -> float:
        """Simulated seconds."""
        return self._world.loop.now

    def consumer_clock(self) -> float:
        """The programs take each item at once."""
        return 0.0

    async def read(self) -> bytes:
        """The next bytes, unless the weather strikes."""
        world = self._world
        if self._next == len(self._reads):
            await self._end()
        pause = self._pause if self._next else self._thinking
        await world.loop.pause(pause)
        self.read_at = world.loop.now
        data = self._reads[self._next]
        self._next += 1
        failing = world.failing(world.loop.now)
        if failing < 1 and world.dice.random() < (1 - failing) ** pause:
            return data
        if self.struck_at is None:
            self.struck_at = world.loop.now
            self.due_at = world.loop.now + (len(self._reads) - self._next) * self._pause
        self._next = len(self._reads)
        self._ending = world.dice.choice(STRUCK)
        return data[: world.dice.randrange(len(data))] or await self._end()

    async def _end(self) -> bytes:
        """How the body ends."""
        match self._ending:
            case "silence":
                await self._world.loop.pause(IDLE)
                raise TimeoutError
            case "reset":
                raise ConnectionResetError
        raise StopAsyncIteration

    async def close(self) -> None:
        """Close the response."""
        self.open = 0

    async def release(self) -> None:
        await self.close()
        self.session.abandon(self.clock())

    async def drain(self) -> None:
        """Nothing is reused here."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._world.loop.pause(seconds)

    async def wait(self, decision: Wait) -> None:
        """Wait for a token, or for the host."""
        await self._world.loop.wait(decision)
        decision.ticket.on_call(None)

    async def reopen(self, verdict: Reissue) -> None:
        """Ask again; the server says the same words, or says no."""
        assert self.open == 0, "the broken response has to be closed first"
        self.reissues += 1
        self._world.figures.reissued.append(self._world.loop.now)
        await self._world.loop.pause(0.05)
        if self._world.refuses():
            raise Refused
        resume = verdict.resume
        self._answer(self._stream.answered(2) if resume is None else self._stream.frames[resume.after + 1 :])

    fault = staticmethod(fault_from)

    def refusal(self, error: Exception) -> Refusal:
        """The server says 503."""
        if not isinstance(error, Refused):
            raise error
        return Refusal(retryable=True, status=503)

    def error(self, verdict: Fail) -> Exception:
        """The typed error's stand-in."""
        return GaveUp(verdict)

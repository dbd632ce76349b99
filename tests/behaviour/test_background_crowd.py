"""The law: where a crowd leaves at random moments, each response whose id was known is cancelled once, and nothing is
left of any consumer.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from typing import Any

import pytest

from openai_stream_guard import configure
from openai_stream_guard.testing import Server
from openai_stream_guard.transport import cancelling
from openai_stream_guard.transport.cancelling import THREAD
from tests.support.responses import create, has_background
from tests.support.streams import client_for, idle, settles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), has_background]


@pytest.fixture(autouse=True)
def always(guarded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting, for the loopback server too; a loaded machine may take its time to cancel."""
    for limit in ("CANCEL_SECONDS", "CLOSING_SECONDS"):
        monkeypatch.setattr(cancelling, limit, 30.0)
    configure(background="always", background_hosts=("127.0.0.1",))


CROWD = 1000


class Left:
    """Consumers that have left at a random moment, each with what must become of its response."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.dice = random.Random(22)
        self.to_cancel: list[str] = []

    def plan(self) -> tuple[int, str]:
        """How many events are read, and how the consumer leaves then."""
        return self.dice.randint(0, 24), self.dice.choice(("close", "drop", "error"))

    def read(self, events: list[Any]) -> None:
        """Note the response of a consumer that leaves."""
        if events and events[-1].type != "response.completed":
            self.to_cancel.append(events[0].response.id)

    def check(self) -> None:
        """Each that was to be cancelled is, once, and no other."""
        assert len(self.to_cancel) > CROWD / 4
        assert sorted(self.server.cancelled) == sorted(self.to_cancel)


def test_a_crowd_of_threads_leaves(server: Server) -> None:
    """1,000 consumers in 20 threads: each response whose id was known is cancelled, and no thread is left."""
    left, before = Left(server), threading.active_count()
    plans = [left.plan() for _ in range(CROWD)]

    def consume(client: Any) -> None:
        while plans:
            count, way = plans.pop()
            stream = create(client)
            events = [event for _, event in zip(range(count), stream, strict=False)]
            left.read(events)
            if way == "close":
                stream.close()
            elif way == "error":
                with pytest.raises(ZeroDivisionError), stream:
                    raise ZeroDivisionError
            elif not count:
                stream.response.close()  # nobody reads it, and so nobody closes it
            del stream

    with client_for(server) as client:
        crowd = [threading.Thread(target=consume, args=(client,)) for _ in range(20)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        gc.collect()  # what raised is held by its own traceback
        THREAD.wait(60.0)
        assert settles(lambda: idle(client))
    left.check()
    assert settles(lambda: THREAD._thread is None)
    server.disconnect()
    assert settles(lambda: threading.active_count() <= before)


async def test_a_crowd_of_tasks_leaves(server: Server) -> None:
    """1,000 consumers, 50 at a time, some cancelled while they wait: no task and no connection is left."""
    left, turns = Left(server), asyncio.Semaphore(50)

    async def consume(client: Any, count: int, way: str) -> None:
        async with turns:
            stream, events = await create(client), []
            for _ in range(count):
                try:
                    events.append(await anext(stream))
                except StopAsyncIteration:
                    break
            left.read(events)
            if way == "close":
                await stream.close()
            elif way == "error":
                with pytest.raises(ZeroDivisionError):
                    async with stream:
                        raise ZeroDivisionError
            elif not count:
                await stream.response.aclose()

    async with client_for(server, "async") as client:
        await asyncio.gather(*(consume(client, *left.plan()) for _ in range(CROWD)))
        gc.collect()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
        assert settles(lambda: idle(client))
    left.check()

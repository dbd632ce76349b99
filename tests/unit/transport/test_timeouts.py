"""The law: a read past its deadline is called off, and no other; whoever else cancels its task is not hidden."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from openai_stream_guard.transport.timeouts import TaskDeadline
from tests.support.streams import run

LOOPS = ["asyncio", "trio"]
NEVER = 60.0


class Late(Exception):
    """What a read that took too long raises."""


class Bytes:
    """Something to read from: each read takes so long, and its deadline is so far away, in seconds."""

    def __init__(self, takes: float = 0.0, left: float = NEVER) -> None:
        self.takes = takes
        self.deadline = time.monotonic() + left
        self.begun = 0
        self.shielded = False
        """A cancelled read cleans up for some turns of the loop before it ends."""
        self.deadline_task = TaskDeadline(self.next, self.begin, lambda: self.deadline, time.monotonic, Late)

    def begin(self, now: float) -> float:
        self.begun += 1
        return self.deadline

    async def next(self) -> bytes:
        try:
            await anyio.sleep(self.takes)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                for _ in range(10 * self.shielded):
                    await anyio.sleep(0)
            raise
        return b"x"


def timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    """Those that the loop still waits for."""
    scheduled: list[asyncio.TimerHandle] = loop._scheduled
    return [timer for timer in scheduled if not timer.cancelled()]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_late_read_is_called_off_and_the_next_one_has_its_own_time(loop: str) -> None:
    """The task goes on: nothing of the cancellation is left in it."""

    async def body() -> float:
        source = Bytes(takes=NEVER, left=0.1)
        started = time.monotonic()
        with pytest.raises(Late):
            await source.deadline_task.read()
        took = time.monotonic() - started
        source.takes, source.deadline = 0.0, time.monotonic() + NEVER
        assert await source.deadline_task.read() == b"x"
        await anyio.sleep(0.01)
        source.deadline_task.end()
        return took

    assert 0.09 < run(loop, body) < 5


@pytest.mark.parametrize("loop", LOOPS)
def test_a_read_in_time_is_left_alone(loop: str) -> None:
    """Also where the deadline moves away while it is under way, and where the program is busy beyond it."""

    async def body() -> None:
        source = Bytes(takes=0.2, left=0.1)
        if loop == "asyncio":
            asyncio.get_running_loop().call_later(0.05, setattr, source, "deadline", time.monotonic() + NEVER)
        else:
            source.deadline = time.monotonic() + NEVER
        assert await source.deadline_task.read() == b"x"
        source.deadline = time.monotonic() + 0.05
        await anyio.sleep(0.1)
        source.takes, source.deadline = 0.0, time.monotonic() + NEVER
        assert await source.deadline_task.read() == b"x"
        source.deadline_task.end()

    run(loop, body)


def test_a_read_whose_loop_was_held_up_is_given_the_bytes_that_came() -> None:
    """They came in time, and nobody could hand them on until the deadline was over."""

    async def body() -> bytes:
        source = Bytes(takes=0.05, left=0.1)
        asyncio.get_running_loop().call_later(0.02, time.sleep, 0.2)
        try:
            return await source.deadline_task.read()
        finally:
            source.deadline_task.end()

    assert run("asyncio", body) == b"x"


def test_a_deadline_that_comes_nearer_is_noticed_soon() -> None:
    """Though the timer was set for another."""

    async def body() -> float:
        source = Bytes(takes=NEVER)
        asyncio.get_running_loop().call_later(0.05, setattr, source, "deadline", 0.0)
        started = time.monotonic()
        with pytest.raises(Late):
            await source.deadline_task.read()
        return time.monotonic() - started

    assert run("asyncio", body) < 5


def test_many_reads_share_one_timer_which_is_let_go() -> None:
    """None is set for a read, none stays."""

    async def body() -> None:
        source, loop = Bytes(), asyncio.get_running_loop()
        before = len(timers(loop))
        for _ in range(100):
            await source.deadline_task.read()
        assert len(timers(loop)) == before + 1
        assert source.begun == 1
        source.deadline_task.end()
        assert len(timers(loop)) == before

    run("asyncio", body)


def test_a_cancellation_from_elsewhere_is_one() -> None:
    """Alone."""

    async def body() -> bool:
        source = Bytes(takes=NEVER)
        task = asyncio.create_task(source.deadline_task.read())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        source.deadline_task.end()
        return task.cancelled()

    assert run("asyncio", body)


Order = Callable[["asyncio.Task[bytes]", Bytes], Awaitable[Any]]


async def first_elsewhere(task: asyncio.Task[bytes], source: Bytes) -> None:
    task.cancel()
    source.deadline_task._check()


async def first_elsewhere_and_late_for_long(task: asyncio.Task[bytes], source: Bytes) -> None:
    source.shielded = True
    task.cancel()
    for _ in range(5):
        source.deadline_task._check()
        await asyncio.sleep(0)


async def first_elsewhere_and_late_at_once(task: asyncio.Task[bytes], source: Bytes) -> None:
    task.cancel()
    source.deadline_task._check()
    source.deadline_task._check()


async def first_ours(task: asyncio.Task[bytes], source: Bytes) -> None:
    source.deadline_task._check()
    source.deadline_task._check()
    task.cancel()


LOST = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 itself loses the second of two cancellations")
ORDERS = [
    first_elsewhere,
    first_elsewhere_and_late_for_long,
    first_elsewhere_and_late_at_once,
    pytest.param(first_ours, marks=LOST),
]


@pytest.mark.parametrize("order", ORDERS)
def test_nor_is_one_hidden_that_comes_at_the_same_time(order: Order) -> None:
    """In either order, the task is cancelled for whoever asked, once."""

    async def body() -> tuple[bool, int]:
        source = Bytes(takes=NEVER)
        task = asyncio.create_task(source.deadline_task.read())
        await asyncio.sleep(0.01)
        source.deadline = 0.0
        source.deadline_task.end()
        await order(task, source)
        await asyncio.wait([task])
        source.deadline_task.end()
        return task.cancelled(), task.cancelling() if sys.version_info >= (3, 11) else 1

    assert run("asyncio", body) == (True, 1)


def test_a_task_that_has_swallowed_a_cancellation_is_watched() -> None:
    """Between two reads, while the timer of the first still runs."""

    async def body() -> bool:
        source = Bytes()

        async def reads_on() -> None:
            await source.deadline_task.read()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(NEVER)
            source.takes, source.deadline = NEVER, time.monotonic() + 0.05
            with pytest.raises(Late):
                await source.deadline_task.read()

        task = asyncio.create_task(reads_on())
        await asyncio.sleep(0.01)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        source.deadline_task.end()
        return bool(done) and task.exception() is None

    assert run("asyncio", body)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before Python 3.11 cancellations are not counted")
def test_a_task_that_cleans_up_after_a_cancellation_is_watched_too() -> None:
    """What it reads then can be late as well, though somebody's cancellation still counts."""

    async def body() -> bool:
        source = Bytes(takes=NEVER, left=NEVER)

        async def reads_on() -> None:
            try:
                await asyncio.sleep(NEVER)
            except asyncio.CancelledError:
                source.deadline = time.monotonic() + 0.05
                with pytest.raises(Late):
                    await source.deadline_task.read()
                raise

        task = asyncio.create_task(reads_on())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run("asyncio", body)

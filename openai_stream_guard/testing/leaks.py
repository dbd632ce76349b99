"""Responses that a test has left open: who asked for them, and how they are closed after all."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import sysconfig
import weakref
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

_CARRIERS: Final = frozenset(
    {
        "_pytest",
        "aiohttp",
        "anyio",
        "asyncio",
        "contextlib",
        "functools",
        "httpx",
        "httpx2",
        "openai",
        "openai_stream_guard",
        "pluggy",
        "trio",
        "wrapt",
    }
)
TURNS_OF_A_GENERATOR: Final = 20
MAX_TURNS: Final = 5 * TURNS_OF_A_GENERATOR
_INSTALLED: Final = tuple(sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "purelib", "platlib"))


@dataclass(frozen=True)
class Made:
    """A response, where its stream was asked for, and the event loop it belongs to, if asyncio's."""

    response: weakref.ref[Any]
    place: str
    loop: Any

    @property
    def open(self) -> bool:
        """Whether it is there and open. One that was collected is not there."""
        response = self.response()
        return response is not None and not response.is_closed


def made(response: Any) -> Made:
    """Remember a response that has just come, by whoever asked for it on the stack."""
    return Made(weakref.ref(response), _place(sys._getframe(1)), _running_loop())


def still_open(responses: list[Made]) -> list[Made]:
    """Those that are open for good: not those that only wait to be collected, or for their event loop to go on."""
    if not any(one.open for one in responses):
        return []
    gc.collect()
    for loop in {one.loop for one in responses if one.open and _can_run(one.loop)}:
        loop.run_until_complete(_finalised(responses))
    return [one for one in responses if one.open]


def close(left: Made) -> None:
    """Close the response, if there is still something that can: an event loop that is over cannot."""
    response = left.response()
    if response is None:
        return
    with contextlib.suppress(Exception):  # it was left open: that is what the test is told of
        if left.loop is None:
            response.close()
        elif _can_run(left.loop):
            left.loop.run_until_complete(response.aclose())


def _running_loop() -> Any:
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


def _can_run(loop: Any) -> bool:
    return loop is not None and not loop.is_running() and not loop.is_closed()


async def _finalised(responses: list[Made]) -> None:
    """Let what was dropped be finalised: generators within generators, each in some turns of the loop."""
    import asyncio

    for turn in range(MAX_TURNS):
        if not any(one.open for one in responses):
            break
        if turn % TURNS_OF_A_GENERATOR == 0:
            gc.collect()
        await asyncio.sleep(0)


def _place(frame: FrameType | None) -> str:
    """The innermost line that is not of a library; where all are, the innermost that is not of one of the carriers."""
    fallback = None
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _CARRIERS:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            if not frame.f_code.co_filename.startswith((*_INSTALLED, "<")):
                return place
            fallback = fallback or place
        frame = frame.f_back
    return fallback or "an unknown place"

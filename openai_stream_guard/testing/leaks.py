"""Responses that a test has left open: where they were requested, and how to close them after all."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import sysconfig
import weakref
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..transport.http import HttpResponse

_LIBRARIES: Final = frozenset(
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
"""What may be on the stack between the line that asks for a stream and the response."""
TURNS_OF_A_GENERATOR: Final = 20
MAX_TURNS: Final = 5 * TURNS_OF_A_GENERATOR
_INSTALLED: Final = tuple(sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "purelib", "platlib"))


@dataclass(frozen=True)
class TrackedResponse:
    """A response, the line `file:number` that requested it, and the asyncio event loop that it belongs to, if any."""

    response: weakref.ref[Any]
    requested_at: str
    loop: Any

    @property
    def open(self) -> bool:
        """Whether it still exists and is open."""
        response = self.response()
        return response is not None and not response.is_closed


def track(response: HttpResponse) -> TrackedResponse:
    """Remember a response that has just arrived."""
    return TrackedResponse(weakref.ref(response), _requesting_line(sys._getframe(1)), _running_loop())


def still_open(responses: list[TrackedResponse]) -> list[TrackedResponse]:
    """Return those left open: not those that only wait to be collected, or for their event loop to run again."""
    if not any(tracked.open for tracked in responses):
        return []
    gc.collect()
    for loop in {tracked.loop for tracked in responses if tracked.open and _can_run(tracked.loop)}:
        loop.run_until_complete(_finalised(responses))
    return [tracked for tracked in responses if tracked.open]


def close(tracked: TrackedResponse) -> None:
    """Close the response, unless its event loop is closed or runs: then nothing here can."""
    response = tracked.response()
    if response is None:
        return
    with contextlib.suppress(Exception):  # the test fails anyway, for leaving it open
        if tracked.loop is None:
            response.close()
        elif _can_run(tracked.loop):
            tracked.loop.run_until_complete(response.aclose())


def _running_loop() -> Any:
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


def _can_run(loop: Any) -> bool:
    return loop is not None and not loop.is_running() and not loop.is_closed()


async def _finalised(responses: list[TrackedResponse]) -> None:
    """Wait until dropped streams are finalised: they are nested generators, and each takes some turns of the loop."""
    import asyncio

    for turn in range(MAX_TURNS):
        if not any(tracked.open for tracked in responses):
            break
        if turn % TURNS_OF_A_GENERATOR == 0:
            gc.collect()
        await asyncio.sleep(0)


def _requesting_line(frame: FrameType | None) -> str:
    """The innermost line that is not of an installed package; if there is none, the innermost not of `_LIBRARIES`."""
    fallback = None
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _LIBRARIES:
            line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            if not frame.f_code.co_filename.startswith((*_INSTALLED, "<")):
                return line
            fallback = fallback or line
        frame = frame.f_back
    return fallback or "an unknown place"

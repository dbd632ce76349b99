"""`demo`: what becomes of a broken stream with the SDK alone, and with the guard, over real sockets.

This module decides the order of the rows and the exit code. `rows` has what is played, `listener` reads a stream,
`table` presents the result. The law: the exit code is 0 only if every guarded stream kept the promise of its row.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ...activation import restored
from ...testing import Outcome, Server, find_fault
from ...testing.server.answers import Api
from ..terminal import BOLD, paint
from .listener import has_responses, listen, new_client
from .rows import MAX_RETRIES, ROWS, Row
from .table import Result, heading, line, summary

if TYPE_CHECKING:
    from openai import OpenAI

SUMMARY = "play broken streams to the openai SDK, unguarded and guarded, and compare what arrives"
IDLE_TIMEOUT: Final = 0.6
"""The guard's idle timeout, in seconds."""
MAX_SECONDS_ALONE: Final = 1.2
"""Twice the client's read timeout."""
MAX_SECONDS_GUARDED: Final = 10.0
"""Far more than three attempts take."""

Guard: TypeAlias = Callable[[Mapping[str, object]], AbstractContextManager[None]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `demo`."""
    parser.add_argument("fault", nargs="*", help="play only these faults (default: all of the demo's)")


def run(arguments: argparse.Namespace) -> int:
    """Play the rows and print the table; return 0 if all promises were kept."""
    played = {row.fault for group in ROWS.values() for row in group}
    for fault in arguments.fault:
        if find_fault(fault).name not in played:
            raise ValueError(f"the demo does not play {fault!r}")
    rows = {
        title: tuple(row for row in group if not arguments.fault or row.fault in arguments.fault)
        for title, group in ROWS.items()
    }
    return play(rows, guarded)


@contextmanager
def guarded(settings: Mapping[str, object]) -> Iterator[None]:
    """Switch the guard on as a user does, with short waits; what is learnt about the server is forgotten afterwards."""
    import openai_stream_guard

    fields: dict[str, Any] = {
        "max_retries": MAX_RETRIES,
        "backoff_initial": 0.01,
        "backoff_max": 0.02,
        "idle_timeout": IDLE_TIMEOUT,
        "retry_budget": None,
        **settings,
    }
    with restored():
        openai_stream_guard.enable()
        with openai_stream_guard.guarding(**fields):
            yield


def play(groups: Mapping[str, Iterable[Row]], guard: Guard) -> int:
    """Play the groups of rows under this guard and print each result; return 0 if every promise was kept."""
    import openai_stream_guard

    results: list[Result] = []
    with restored(), Server() as server, new_client(server) as client:
        openai_stream_guard.disable()
        print(heading())
        player = _RowPlayer(server, client, guard)
        for title, rows in groups.items():
            for number, row in enumerate(rows):
                if number == 0:
                    print(f"\n{paint(title, BOLD)}")
                if row.api == "responses" and not has_responses():
                    print(f"{row.name}: not played, since this openai has no Responses API")
                    continue
                results.append(player.play(row))
                print(line(results[-1]), flush=True)
    print(f"\n{summary(results)}")
    return 0 if all(result.kept for result in results) else 1


class _RowPlayer:
    """Plays rows with one server and one client."""

    def __init__(self, server: Server, client: OpenAI, guard: Guard) -> None:
        self._server = server
        self._client = client
        self._guard = guard
        self._references: dict[tuple[str, Api | None], Outcome] = {}

    def play(self, row: Row) -> Result:
        """Play the row without the guard, then with it."""
        reference = self._reference(row)  # first, since a first request imports much of the SDK
        times = None if row.every_time else 1
        self._server.reset(fault=row.fault, after=row.after, times=times)
        alone = listen(self._client, self._server, api=row.api, max_seconds=MAX_SECONDS_ALONE)
        self._server.reset(fault=row.fault, after=row.after, times=times)
        started = time.monotonic()
        with self._guard(row.settings):
            outcome = listen(
                self._client,
                self._server,
                api=row.api,
                max_seconds=MAX_SECONDS_GUARDED,
                expected=None if alone.hang else alone.error,
            )
        return Result(row, reference, alone, outcome, time.monotonic() - started)

    def _reference(self, row: Row) -> Outcome:
        """Return what the SDK alone delivers of the row's answer when nothing is wrong."""
        key = (find_fault(row.fault).answer or "text", row.api)
        if key not in self._references:
            self._server.reset(answer=key[0])
            self._references[key] = listen(self._client, self._server, api=row.api, max_seconds=MAX_SECONDS_GUARDED)
        return self._references[key]

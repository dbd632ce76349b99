"""Errors that are planted in the rules of a second answer, one by one: `tests.proof.answers` has to find each.

    python -m tests.proof.planted_answers [--runs N] [--only NAME] [--quick]

Prints for each error after how many runs it was found; exit status 1 where one was not. They are found within 10,000.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from openai_stream_guard.apis import chat_deltas, repeated_events
from openai_stream_guard.apis.output_places import OutputPlaces
from openai_stream_guard.apis.second_answer import ReplayChecker, SecondAnswer
from openai_stream_guard.engine import delivery

from .answers import prepared, verdicts

_STEP = 50
_take = ReplayChecker.take


def _take_part(self: ReplayChecker, key: Any, text: str, *, whole: bool = False) -> str:
    return _take(self, key, text)


def _always(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _under_first_id(item: Any, place: object, replay: SecondAnswer) -> Any:
    return {**item, "id": replay.known(("item", place, "id"))}


ERRORS: dict[str, tuple[Any, str, Any]] = {
    "a finished choice grows": (ReplayChecker, "is_closed", _always(False)),
    "a closed part or item grows": (repeated_events, "_closing", _always([])),
    "an earlier part grows": (ReplayChecker, "_check_order", _always(None)),
    "what goes side by side is taken for in turn": (ReplayChecker, "_ordered", _always(True)),
    "a name is the beginning of another": (ReplayChecker, "take", _take_part),
    "what is told whole is not compared": (ReplayChecker, "tell_whole", _always(None)),
    "what is told whole is not read": (OutputPlaces, "whole_texts", _always([])),
    "the final response has other items": (OutputPlaces, "count", 0),
    "sealed content comes under another id": (repeated_events, "_renamed", _under_first_id),
    "a response has two ids": (repeated_events, "_LIFECYCLE", ()),
    "opened items need not come again": (ReplayChecker, "caught_up", property(lambda self: not self._behind)),
    "texts need not come again": (ReplayChecker, "caught_up", property(lambda self: not self._unseen)),
    "what adds no text comes twice": (ReplayChecker, "_repeats_aside", _always(False)),
    "what adds no text is lost": (ReplayChecker, "_repeats_aside", _always(True)),
    "objects are taken for new": (SecondAnswer, "take_value", _always(True)),
    "objects are not compared": (SecondAnswer, "take_value", _always(False)),
    "names are not learnt": (ReplayChecker, "identify", _always(None)),
    "an item may be another": (repeated_events, "_ONE_NAME", ()),
    "log probabilities are not cut": (chat_deltas, "_trim_logprobs", _always(None)),
    "a hole is not noticed": (delivery, "has_hole", _always(False)),
}


QUICK = (
    "what is told whole is not compared",
    "what is told whole is not read",
    "sealed content comes under another id",
)
"""Each found within some fifty runs."""


def found_after(name: str, runs: int) -> int | None:
    """How many runs it took to find an error; None where it was not found."""
    with mock.patch.object(*ERRORS[name]):
        for start in range(0, runs, _STEP):
            for number, _, verdict in sorted(verdicts(1, range(start, start + _STEP))):
                if verdict.startswith("wrong"):
                    return number + 1
    return None


def _measure(arguments: tuple[str, int]) -> tuple[str, int | None]:
    return arguments[0], found_after(*arguments)


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 if an error was not found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.planted_answers", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--runs", type=int, default=10_000, metavar="N", help="at most, for each error (10,000)")
    parser.add_argument("--only", choices=ERRORS, metavar="NAME", help="this error alone")
    parser.add_argument("--quick", action="store_true", help="those that are found soonest")
    options = parser.parse_args(arguments)
    names = [options.only] if options.only else list(QUICK if options.quick else ERRORS)
    missed = 0
    with multiprocessing.Pool(None, prepared) as pool:
        for name, runs in pool.imap(_measure, [(name, options.runs) for name in names]):
            missed += runs is None
            print(f"{name:45}{'not found' if runs is None else f'found after {runs:,} runs'}", flush=True)
    print(f"{len(names)} errors, {missed} not found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

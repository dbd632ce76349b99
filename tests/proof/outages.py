"""A million streams in simulated time: how many an outage breaks, how many come back, and what that costs a server.

    python -m tests.proof.outages [--streams N] [--seed N] [--jobs N] [--quick]

Each line is a kind of bad weather, with the default retry budget and with none. Every stream is held against its
answer. A second table has a server that breaks every stream, for the law of the budget: the requests of the guard are
at most a tenth of the streams, and ten. Exit status 1 where an answer is not delivered whole and once or as a true
beginning, where a host gets more than that, or where it takes more than 30 s after an outage until all is well.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

from openai_stream_guard import Policy

from .world import IDLE, RATE, RETRIES, Figures, World

BUDGETS = (0.1, None)
BUCKET = 10
SHARE = 20_000
"""Streams in one world, which has a clock, a network and a budget of its own."""
SOON = 30.0


class Weather(NamedTuple):
    """An outage model."""

    name: str
    failing: Callable[[float], float]
    """The probability that a living stream breaks within a second, by the time."""


def few(now: float) -> float:
    """What is left where nothing special happens."""
    return 0.005


def outage(now: float) -> float:
    """A minute in five."""
    return 1.0 if now % 300 < 60 else few(now)


def slowly(now: float) -> float:
    """Half a minute in five, and then two minutes until all is well."""
    since = now % 300
    return 1.0 if since < 30 else max(few(now), (150 - since) / 120)


WEATHERS = (
    Weather("healthy", lambda now: 0.0),
    Weather("1 in 100 breaks each second", lambda now: 0.01),
    Weather("6 in 100 break each second", lambda now: 0.06),
    Weather("a burst: 2 s of 30 break 80 %", lambda now: 0.8 if now % 30 < 2 else few(now)),
    Weather("all out for 60 s of 300", outage),
    Weather("flapping: 5 s up, 5 s down", lambda now: 1.0 if now % 10 < 5 else few(now)),
    Weather("out for 30 s, well after 150", slowly),
)


class Part(NamedTuple):
    """One world: which weather and budget, and where in the million it begins."""

    weather: int
    budget: float | None
    number: int
    streams: int
    seed: int


def simulate(part: Part) -> Figures:
    """What happens in one world."""
    weather, policy = WEATHERS[part.weather], Policy(retry_budget=part.budget)
    figures = World(weather.failing, policy, f"{part.seed} {weather.name} {part.number}").run(part.streams)
    figures.begun, figures.reissued = [], []  # too much to hand over
    return figures


class Storm(NamedTuple):
    """A server that breaks every stream, and then is nearly well."""

    begun: int
    """Streams, while it lasts."""
    reissues: int
    """Requests of the guard's in that time."""
    failed_last: float
    """Seconds from its end until the last stream that failed for want of budget; 0 where none did."""
    wrong: list[str]

    @property
    def factor(self) -> float:
        """Requests for each stream."""
        return (self.begun + self.reissues) / max(self.begun, 1)


def storm(seed: int, seconds: float, budget: float | None) -> Storm:
    """One storm, and a minute after it. No request is refused, so that none is the SDK's to send again."""
    world = World(lambda now: 1.0 if now < seconds else 0.01, Policy(retry_budget=budget), f"{seed}", refusing=0.0)
    figures = world.run(int(RATE * (seconds + 60)))
    during = [sum(at < seconds for at in times) for times in (figures.begun, figures.reissued)]
    # When no stream begins any more, none pays into the budget: what is left to fail then tells nothing.
    failed = [at for at in figures.out_of_budget if at <= max(figures.begun)]
    return Storm(during[0], during[1], max(0.0, max(failed, default=0.0) - seconds), figures.wrong)


def row(name: str, budget: float | None, figures: Figures) -> str:
    """One line of the first table."""
    begun = max(figures.streams - figures.unreached, 1)
    delays = f"{figures.delay(0.5):>9.1f}{figures.delay(0.99):>9.1f}" if figures.delays else f"{'-':>9}{'-':>9}"
    return (
        f"{name:30}{'none' if budget is None else budget:>7}{figures.streams:>10,}{figures.unreached:>10,}"
        f"{figures.broken:>9,}{figures.recovered / max(figures.broken, 1):>11.1%}"
        f"{(begun + figures.reissues) / begun:>9.3f}{(figures.streams + figures.sdk_retries) / figures.streams:>9.3f}"
        f"{delays}{len(figures.wrong):>7}"
    )


def weathers(streams: int, seed: int, jobs: int) -> list[str]:
    """Print the first table; return what is wrong."""
    print(f"{RATE:.0f} streams begin each second; max_retries {RETRIES}, idle_timeout {IDLE:.0f} s, else the defaults.")
    print("unreached: refused before the headers, as often as the SDK asks; broken: begun, then struck.")
    print(
        f"\n{'weather':30}{'budget':>7}{'streams':>10}{'unreached':>10}{'broken':>9}{'recovered':>11}"
        f"{'guard x':>9}{'SDK x':>9}{'p50 s':>9}{'p99 s':>9}{'wrong':>7}"
    )
    each = math.ceil(streams / len(WEATHERS) / len(BUDGETS))
    wrong = []
    with multiprocessing.Pool(jobs) as pool:
        for place, budget in product(range(len(WEATHERS)), BUDGETS):
            starts = range(0, each, SHARE)
            parts = [Part(place, budget, start, min(SHARE, each - start), seed) for start in starts]
            figures = sum(pool.imap(simulate, parts), Figures())
            print(row(WEATHERS[place].name, budget, figures), flush=True)
            wrong += [f"{WEATHERS[place].name}, budget {budget}: {told}" for told in figures.wrong]
    return wrong


def storms(seconds: float, seed: int) -> list[str]:
    """Print the second table; return what is wrong."""
    print(f"\n{f'every stream breaks, for {seconds:.0f} s':30}{'budget':>7}{'streams':>10}{'re-issues':>10}", end="")
    print(f"{'factor':>9}{'most':>9}{'well after s':>14}")
    wrong = []
    for budget in BUDGETS:
        found = storm(seed, seconds, budget)
        most = found.begun * RETRIES if budget is None else budget * found.begun + BUCKET
        print(f"{'':30}{'none' if budget is None else budget:>7}{found.begun:>10,}{found.reissues:>10,}", end="")
        print(f"{found.factor:>9.3f}{1 + most / max(found.begun, 1):>9.3f}{found.failed_last:>14.1f}", flush=True)
        wrong += found.wrong
        if found.reissues > most:
            wrong.append(f"{found.reissues} re-issues for {found.begun} streams, with a budget of {budget}")
        if found.failed_last > SOON:
            wrong.append(f"{found.failed_last:.1f} s after the storm a stream failed for want of budget")
    return wrong


def main(arguments: Sequence[str]) -> int:
    """Print the tables; 1 if anything was wrong."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.proof.outages", description=summary)
    parser.add_argument("--streams", type=int, default=1_000_000, metavar="N", help="in all weathers (1,000,000)")
    parser.add_argument("--seed", type=int, default=1, help="of everything (1)")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (one for each core)")
    parser.add_argument("--quick", action="store_true", help="a slice of some seconds: --streams 8000")
    options = parser.parse_args(arguments)
    streams, started = 8000 if options.quick else options.streams, time.monotonic()
    print(f"seed {options.seed}")
    wrong = weathers(streams, options.seed, options.jobs)
    wrong += storms(min(3600.0, max(60.0, streams / 250)), options.seed)
    print("\n" + "".join(f"{told}\n" for told in wrong[:20]), end="")
    print(f"{streams:,} streams, {len(wrong):,} exceptions to the law, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

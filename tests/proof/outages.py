"""Outages in simulated time: how many streams they break, how many come back, and what that costs a server.

    python -m tests.proof.outages [--streams N] [--seed N] [--jobs N] [--quick]

Each line of the first table is an outage of one host, with the guard's retry budget and with those of other libraries.
The laws of the guard's: a mass cut comes back to 95 %, at 2.2 requests a stream or fewer; where every stream breaks
again, the re-issues that led to nothing are at most a tenth of the streams, ten, and one for each that was open when it
began; while a host refuses there are probes only; and 30 s after any of it a lone cut is asked for again at once.

Each line of the second table is a kind of bad weather, with the default retry budget and with none. Every stream is
held against its answer. Exit status 1 where an answer is not delivered whole and once or as a true beginning, or where
a law is broken.
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

from .crowd import Crowd, Outage, breaks_all, bursts, mass_cut, refuses_all
from .crowd import Figures as CrowdFigures
from .designs import DESIGNS
from .world import IDLE, RATE, RETRIES, Figures, World

BUDGETS = (0.1, None)
BUCKET = 10
TEN_MINUTES = 600.0
"""How much of an hour's outage is simulated with other designs, whose figures are the same in each minute of it."""
SHARE = 20_000
"""Streams in one world, which has a clock, a network and a budget of its own."""


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
    print(
        f"\n{RATE:.0f} streams begin each second; max_retries {RETRIES}, idle_timeout {IDLE:.0f} s, else the defaults."
    )
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


class Scenario(NamedTuple):
    """An outage, the streams that meet it, and what is promised of it."""

    name: str
    outage: Outage
    rate: float
    """Streams that start in a second."""
    seconds: float
    """How long streams start."""
    first_event: float = 0.5
    comes_back: bool = False
    """A mass cut: nearly all come back."""
    breaks_all: bool = False
    """Every attempt breaks."""
    probes: int | None = None
    """Most requests that are refused."""
    over_at: float | None = None
    """When it is over; 30 s later a lone cut is asked for again at once."""


def scenarios(*, quick: bool, hour: float = 3600.0) -> list[Scenario]:
    """Those of the table; the quick ones take two minutes of simulated time where the others take an hour."""
    found = []
    rates = (2.4, 20.0) if quick else (2.4, 20.0, 100.0)
    for rate, first_event in product(rates, (3.0,) if quick else (0.3, 1.0, 3.0)):
        name = f"mass cut of {rate * 23:,.0f}, first event after {first_event} s"
        found.append(Scenario(name, mass_cut(45.0), rate, 80.0, first_event, comes_back=True, over_at=45.0))
    for rate, refusing in product(rates, (0.8, 5.0, 20.0)):
        name = f"mass cut of {rate * 23:,.0f}, then refusing for {refusing} s"
        end = 45.0 + refusing
        found.append(
            Scenario(name, mass_cut(45.0, refusing), rate, end + 35, 1.0, comes_back=True, probes=12, over_at=end)
        )
    hour = 120.0 if quick else hour
    found.append(Scenario(f"refuses for {hour:,.0f} s", refuses_all(45.0, 45.0 + hour), 5.0, 80.0 + hour,
                          probes=int(hour / 2), over_at=45.0 + hour))  # fmt: skip
    for after in (0.2, 1.0, 5.0, 15.0):  # the first event comes after half a second
        name = f"breaks each stream after {after} s, for {hour:,.0f} s"
        found.append(Scenario(name, breaks_all(after, 45.0, 45.0 + hour), 20.0, 80.0 + hour,
                              breaks_all=True, over_at=45.0 + hour))  # fmt: skip
    name = f"low traffic, breaks each after 5 s, for {hour:,.0f} s"
    found.append(Scenario(name, breaks_all(5.0, 45.0, 45.0 + hour), 0.5, 80.0 + hour,
                          breaks_all=True, over_at=45.0 + hour))  # fmt: skip
    found.append(Scenario("out for 60 s of 300", breaks_all(2.0, 100.0, 160.0), 20.0, 300.0, over_at=160.0))
    found.append(Scenario("bursts: 2 s of 30 break all", bursts(30.0, 2.0, 1.0), 20.0, 300.0))
    return found


class Result(NamedTuple):
    """What became of a scenario with one design."""

    figures: CrowdFigures
    wrong: list[str]


def play(number: int, design: str, seed: int, *, quick: bool) -> Result:
    """Run one of the scenarios; what is wrong is told of the guard's own design."""
    scenario = scenarios(quick=quick, hour=3600.0 if design == "guard" else TEN_MINUTES)[number]
    policy = Policy() if design == "guard" else Policy(outage_timeout=0.0)
    if design == "none":
        policy = policy.replace(retry_budget=None)
    budget = DESIGNS[design]() if design in DESIGNS else None
    crowd = Crowd(scenario.outage, policy, first_event=scenario.first_event, budget=budget, seed=seed)
    lone: list[bool] = []
    if design == "guard" and scenario.over_at is not None:
        crowd.loop.call_at(scenario.over_at + 30.0, lambda: lone.append(crowd.sends_at_once()))
    figures = crowd.run(scenario.rate, scenario.seconds)
    return Result(figures, broken_laws(scenario, figures, lone) if design == "guard" else figures.wrong)


def broken_laws(scenario: Scenario, figures: CrowdFigures, lone: list[bool]) -> list[str]:
    """What of the promise does not hold."""
    wrong = [*figures.wrong]
    if scenario.comes_back:
        if figures.share_back < 0.95:
            wrong.append(f"{figures.share_back:.1%} came back")
        if figures.requests_per_cut > 2.2:
            wrong.append(f"{figures.requests_per_cut:.2f} requests a stream")
    if scenario.breaks_all:
        most = 0.1 * figures.started + BUCKET + figures.open_at_first_cut
        if figures.broken > most:
            wrong.append(f"{figures.broken} re-issues led to nothing, more than {most:.0f}")
    if scenario.probes is not None and figures.refused > scenario.probes:
        wrong.append(f"{figures.refused} re-issues were refused")
    if False in lone:
        wrong.append("30 s later a lone cut had to wait")
    return wrong


def outages(seed: int, jobs: int, *, quick: bool) -> list[str]:
    """Print the first table; return what is wrong."""
    designs = ("guard", "none", *DESIGNS)
    print("Of each design: streams that came back, of those that were cut; and the guard's requests for each stream.")
    print("Of an hour, the other designs have ten minutes.")
    print(f"\n{'outage':46}{'cut':>7}" + "".join(f"{design:>15}" for design in designs))
    wrong = []
    with multiprocessing.Pool(jobs) as pool:
        chosen = scenarios(quick=quick)
        pending = [[pool.apply_async(play, (number, design, seed), {"quick": quick}) for design in designs]
            for number in range(len(chosen))]  # fmt: skip
        for scenario, row_pending in zip(chosen, pending, strict=True):
            results = [result.get() for result in row_pending]
            cells = [f"{each.figures.share_back:.0%} {each.figures.requests_per_stream:.2f}" for each in results]
            print(
                f"{scenario.name:46}{results[0].figures.cut:>7,}" + "".join(f"{cell:>15}" for cell in cells), flush=True
            )
            wrong += [f"{scenario.name}, {design}: {told}" for design, each in zip(designs, results, strict=True)
                      for told in each.wrong]  # fmt: skip
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
    wrong = outages(options.seed, options.jobs, quick=options.quick)
    wrong += weathers(streams, options.seed, options.jobs)
    print("\n" + "".join(f"{told}\n" for told in wrong[:20]), end="")
    print(f"{streams:,} streams, {len(wrong):,} exceptions to the law, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

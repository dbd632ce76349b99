"""The law: `python -m tests.proof.outages` loses nothing in any weather and keeps to the budget, or would tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openai_stream_guard import Policy
from openai_stream_guard.engine import retry_budget
from openai_stream_guard.engine.delivery import Delivery
from tests.support.pages import table

from .designs import DESIGNS
from .outages import WEATHERS, Part, play, scenarios, simulate
from .world import World

pytestmark = pytest.mark.slow

QUICK = scenarios(quick=True)
ROWS = table(Path(__file__).with_name("README.md").read_text("utf-8"), "outage")
TOLD = {name: guard.replace("*", "").replace(" %,", "%") for name, _, guard, *_ in ROWS}
"""What the page says of the guard's own design."""


@pytest.mark.parametrize("number", range(len(QUICK)), ids=[scenario.name for scenario in QUICK])
def test_no_outage_breaks_the_laws(number: int) -> None:
    """Mass cuts come back, refusals are probed, what breaks again costs a tenth, and soon all is as before.

    The figures are those of the page, where it has the outage: those of an hour are not played here.
    """
    result = play(number, "guard", 1, quick=True)
    assert result.wrong == []
    figures = f"{result.figures.share_back:.0%} {result.figures.requests_per_stream:.2f}"
    assert TOLD.get(QUICK[number].name, figures) == figures


def test_the_page_is_about_outages_that_are_played() -> None:
    """By the names that the command prints."""
    assert {name for name, *_ in ROWS} <= {scenario.name for scenario in scenarios(quick=False)}
    assert len({name for name, *_ in ROWS} & {scenario.name for scenario in QUICK}) >= 6


@pytest.mark.parametrize("design", ["none", *DESIGNS])
def test_other_designs_are_simulated_too(design: str) -> None:
    """By the same sessions: each of them loses more of a mass cut that is refused for five seconds."""
    number = next(place for place, each in enumerate(QUICK) if each.rate == 2.4 and "5.0 s" in each.name)
    result = play(number, design, 1, quick=True)
    assert result.wrong == []
    assert result.figures.cut > 30
    assert result.figures.share_back < 0.5


@pytest.mark.parametrize("budget", [0.1, None])
@pytest.mark.parametrize("place", range(len(WEATHERS)), ids=[weather.name for weather in WEATHERS])
def test_no_weather_loses_or_doubles_anything(place: int, budget: float | None) -> None:
    """A slice of each line of the table: every answer whole and once, or a true beginning and the error."""
    figures = simulate(Part(place, budget, 0, 400, 1))
    assert figures.wrong == []
    assert figures.streams == 400
    assert figures.broken == figures.recovered + figures.stopped.total()
    assert (figures.broken > 0) == (place > 0)


def test_a_world_is_the_same_each_time() -> None:
    """One seed drives clock, network, server and consumers; another one drives them elsewhere."""

    def figures(seed: str) -> dict[str, object]:
        return vars(World(WEATHERS[2].failing, Policy(), seed).run(150))

    assert figures("1") == figures("1")
    assert figures("1") != figures("2")


def test_what_a_broken_guard_does_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is begun again in the middle of another one, and a budget that is never taken back."""
    begin_again = Delivery.begin_again

    def forget(self: Delivery, continuation: object = None) -> None:
        begin_again(self)
        self._replay = None

    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "begin_again", forget)
        assert simulate(Part(2, None, 0, 200, 1)).wrong

    def never_take_back(self: Any, ticket: Any, now: float) -> None:
        with self._lock:
            state = self._host(ticket.host)
            state.unanswered.pop(ticket, None)
            ticket.loan = False
            state.tokens += 1
            self._advance(state)

    number = next(place for place, each in enumerate(QUICK) if each.name.startswith("breaks each stream after 1.0 s"))
    with monkeypatch.context() as patch:
        patch.setattr(retry_budget.RetryBudget, "broke", never_take_back)
        assert any("led to nothing" in told for told in play(number, "guard", 1, quick=True).wrong)

"""The law: `python -m tests.proof.outages` loses nothing in any weather and keeps to the budget, or would tell."""

from __future__ import annotations

import pytest

from openai_stream_guard import Policy
from openai_stream_guard.engine.delivery import Delivery
from openai_stream_guard.engine.recovery import Recovery

from .proof.outages import BUCKET, RATE, RETRIES, SOON, WEATHERS, Part, simulate, storm
from .proof.world import World


@pytest.mark.parametrize("budget", [0.1, None])
@pytest.mark.parametrize("place", range(len(WEATHERS)), ids=[weather.name for weather in WEATHERS])
def test_no_weather_loses_or_doubles_anything(place: int, budget: float | None) -> None:
    """A slice of each line of the table: every answer whole and once, or a true beginning and the error."""
    figures = simulate(Part(place, budget, 0, 400, 1))
    assert figures.wrong == []
    assert figures.streams == 400
    assert figures.broken == figures.recovered + figures.stopped.total()
    assert (figures.broken > 0) == (place > 0)
    if budget is not None:
        assert figures.reissues <= budget * (figures.streams - figures.unreached) + BUCKET


def test_a_storm_costs_a_tenth_more_and_is_over_when_it_is_over() -> None:
    """With the budget at most 1.1 requests a stream, and ten; soon after no stream fails for want of budget."""
    found = storm(1, 40.0, 0.1)
    assert found.begun > 35 * RATE
    assert 0.08 * found.begun < found.reissues <= 0.1 * found.begun + BUCKET
    assert found.failed_last < SOON
    assert found.wrong == []
    assert storm(1, 20.0, None).factor > 2, "it is the budget that holds it"


def test_a_world_is_the_same_each_time() -> None:
    """One seed drives clock, network, server and consumers; another one drives them elsewhere."""

    def figures(seed: str) -> dict[str, object]:
        return vars(World(WEATHERS[2].failing, Policy(), seed).run(150))

    assert figures("1") == figures("1")
    assert figures("1") != figures("2")


def test_what_a_broken_guard_does_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is begun again in the middle of another one, and a host that is asked without end."""
    begin_again, init = Delivery.begin_again, Recovery.__init__

    def forget(self: Delivery, continuation: object = None) -> None:
        begin_again(self)
        self._replay = None

    def no_deposit(self: Recovery, policy: Policy, *args: object, **more: object) -> None:
        init(self, policy.replace(retry_budget=None), *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "begin_again", forget)
        assert simulate(Part(2, None, 0, 200, 1)).wrong
    with monkeypatch.context() as patch:
        patch.setattr(Recovery, "__init__", no_deposit)
        assert storm(1, 20.0, 0.1).reissues > RETRIES / 3 * RATE * 20

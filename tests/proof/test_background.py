"""The law: `python -m tests.proof.answers` finds every background response whole wherever it is cut, and would tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from openai_stream_guard.apis import polled_response
from tests.support.responses import has_background

from .answers import Servers, cut_everywhere, guarded
from .answers_background import ANSWERS, WAYS, Way, cut_at, offsets

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unlogged"), has_background]


@pytest.fixture
def unlogged() -> Iterator[None]:
    """Each cut is a warning of the guard's."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


MIXED = "reasoning, two calls, a search, text"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS)
def test_a_response_of_all_kinds_is_cut_everywhere(way: Way) -> None:
    """Behind its first event: reasoning, two calls, a hosted tool and text, whole and in one generation each.

    At every 11th byte, which is each kind of place; the command cuts at each byte.
    """
    with guarded():
        assert list(cut_at(ANSWERS[MIXED], offsets(ANSWERS[MIXED], 11), way, Servers())) == []


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != MIXED])
def test_each_kind_of_item_is_cut(name: str) -> None:
    """At every 53rd byte, which the command does at each."""
    _, cuts, wrong = cut_everywhere(53, name)
    assert wrong == []
    assert cuts > 40


def test_a_step_that_is_not_told_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll that leaves out how a search went on is no whole answer."""
    told = polled_response.TOLD["web_search_call"]
    monkeypatch.setitem(polled_response.TOLD, "web_search_call", replace(told, after=()))
    _, _, wrong = cut_everywhere(101, "web_search_call")
    assert any("polled: not the answer" in each for each in wrong)
    assert not any("resumed" in each for each in wrong)

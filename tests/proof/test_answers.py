"""The law: `python -m tests.proof.answers` finds no second answer that is an exception, and would find one."""

from __future__ import annotations

import pytest

from tests.support.responses import has_responses

from .answers import verdicts
from .planted_answers import QUICK, found_after


@pytest.mark.parametrize("part_", range(4))
def test_no_second_answer_is_an_exception_to_the_law(part_: int) -> None:
    """A slice of `python -m tests.proof.answers`."""
    found = verdicts(7, range(part_ * 100, part_ * 100 + 100))
    assert [(number, kind, verdict) for number, kind, verdict in found if verdict.startswith("wrong")] == []
    assert sum(verdict == "recovered" for _, _, verdict in found) > 20


@has_responses  # of which these rules speak
@pytest.mark.parametrize("name", QUICK)
def test_the_proof_finds_an_error_that_is_planted_in_a_rule(name: str) -> None:
    """A slice of `python -m tests.proof.planted_answers`."""
    assert found_after(name, runs=100) is not None

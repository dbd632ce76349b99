"""The law: the page's table of frameworks is what was tried, all of it, and what was tried keeps the promise."""

from __future__ import annotations

import itertools

import pytest

from tests.compatibility.frameworks.cases import cases_of
from tests.compatibility.frameworks.results import BEGIN, END, README, Trial, load, table, unkept
from tests.compatibility.frameworks.roster import FRAMEWORKS, find
from tests.compatibility.frameworks.trial import GUARDS

TRIALS = load()
each_trial = pytest.mark.parametrize("trial", TRIALS, ids=[trial.framework for trial in TRIALS])


def test_the_table_is_what_was_tried() -> None:
    """`python -m tests.compatibility.frameworks` writes both from the same runs."""
    told = README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert told.strip() == table(TRIALS)
    assert [trial.framework for trial in TRIALS] == [framework.name for framework in FRAMEWORKS]


@each_trial
def test_nothing_is_left_out(trial: Trial) -> None:
    """Every program met every case it can meet, unguarded and guarded."""
    planned = {
        (program.name, case.name, guard)
        for program in find(trial.framework).programs
        for case, guard in itertools.product(cases_of(program.kind), GUARDS)
        if case.fault or guard != "on, fault every time"
    }
    assert {(row.program, row.case, row.guard) for row in trial.rows} == planned
    assert len(trial.rows) == len(planned)


@each_trial
def test_guarded_is_whole_or_the_typed_error(trial: Trial) -> None:
    """No half answer, no tool called with half its arguments, no hang; what is healthy comes whole."""
    assert unkept(trial) == []


@each_trial
def test_a_healthy_stream_costs_what_it_costs(trial: Trial) -> None:
    """As many requests with the guard as without it."""
    healthy = {(row.program, row.case, row.guard): row.outcome for row in trial.rows if not row.broken}
    for (program, case, guard), outcome in healthy.items():
        assert outcome.requests == healthy[program, case, "off"].requests, (program, case, guard)

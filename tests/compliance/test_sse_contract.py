"""The package's decoder passes every case of launchdarkly's contract tests that is about parsing."""

from __future__ import annotations

import pytest

from .sse_contract import Case, cases, guard_decoder


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case.group}/{case.name}")
def test_a_case_of_the_contract(case: Case) -> None:
    """The events that the suite wants, and no others."""
    assert guard_decoder(case.reads) == case.events

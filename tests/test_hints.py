"""Every error tells its likely cause, its remedy and why the guard stopped."""

from __future__ import annotations

import re
from itertools import product
from typing import get_args

import pytest

from openai_stream_guard.hints import hint
from openai_stream_guard.notices import FaultKind, StoppedBy
from openai_stream_guard.policy import KINDS


@pytest.mark.parametrize(("fault", "stopped_by"), list(product(get_args(FaultKind), get_args(StoppedBy))))
def test_each_fault_has_a_hint(fault: FaultKind, stopped_by: StoppedBy) -> None:
    """It is whole sentences, and the settings that it names exist."""
    text = hint(fault, stopped_by)
    assert re.fullmatch(r"[A-Z].{20,}\.", text)
    for name in re.findall(r"\b[a-z]+_[a-z_]+\b", text):
        assert name in KINDS or name == "finish_reason"


def test_the_hints_differ() -> None:
    """No two faults and no two stops have the same hint."""
    texts = {hint(fault, stop) for fault, stop in product(get_args(FaultKind), get_args(StoppedBy))}
    assert len(texts) == len(get_args(FaultKind)) * len(get_args(StoppedBy))

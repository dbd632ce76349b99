"""The law of plans: `python -m tests.proof.items` finds no difference from the SDK, and would find one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import openai
import pytest

import openai_stream_guard.items
from openai_stream_guard.sdk import known_functions

from . import item_errors, items


def test_plans_build_what_the_sdk_builds() -> None:
    """A slice of the command's cases, the same each time."""
    result = items.run(openai_stream_guard.items, 4_000, seed=3)
    assert result.mismatches == []
    assert len(result.built) > result.models / 2, f"openai {openai.__version__}: hardly a class was built"
    assert result.left < result.cases / 3, "hardly an item was built by a plan"


@pytest.mark.slow
@pytest.mark.parametrize("name", item_errors.ERRORS)
def test_an_error_would_be_found(name: str, tmp_path: Path) -> None:
    """Each of a dozen errors planted in the plans shows itself within the cases of a minute."""
    with item_errors.planted(item_errors.ERRORS[name], tmp_path) as planted:
        assert items.run(planted, 20_000, seed=1, enough=1).mismatches


def test_the_canary_says_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a known release it has nothing to say; a function that says something else is shown line by line."""
    assert items.main(["--functions"]) == 0
    before = tmp_path / "functions.json"
    before.write_text(capsys.readouterr().out, encoding="utf-8")
    assert items.main(["--changes", str(before)]) == 0
    capsys.readouterr()

    told = json.loads(before.read_text(encoding="utf-8"))
    name = "openai._models._construct_field"
    told[name] = told[name].replace("if value is None:", "if value is ...:")
    table = known_functions.FUNCTIONS
    unknown = tuple(replace(known, digests=frozenset()) if known.name == name else known for known in table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items, "FUNCTIONS", unknown)
        told_now = list(items.changes(told))
    assert told_now[0] == f"{name} is not as in any release that was tested"
    assert "-    if value is ...:" in told_now
    assert "+    if value is None:" in told_now

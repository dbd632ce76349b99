"""The law: beside a patcher that traces, in either order, streams are recovered and traced, and neither ends the other.

Each patcher that is installed is played in a process of its own; `.ci/patchers.py` installs and plays them all.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.support.programs import environment

from .cases import CLIENT_KINDS, ORDERS, PATCHERS, Patcher, line, play, wrong

README = Path(__file__).parent / "README.md"
CASES = [
    pytest.param(patcher, order, client_kind, api, id=f"{patcher.name}-{order}-{client_kind}-{api}")
    for patcher in PATCHERS
    for order in ORDERS
    for client_kind in CLIENT_KINDS
    for api in patcher.apis
]


def installed(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor can the package that it would be in
        return False


@pytest.mark.parametrize(("patcher", "order", "client_kind", "api"), CASES)
def test_streams_are_recovered_and_traced(patcher: Patcher, order: str, client_kind: str, api: str) -> None:
    """With each switched off and on again, in turn."""
    if not all(map(installed, patcher.modules)):
        pytest.skip(f"not installed: {', '.join([patcher.name, *patcher.extra])}")
    assert wrong(patcher, api, play(sys.executable, patcher, order, client_kind, api, environment())) == []


def test_the_table_of_the_page_has_them_all() -> None:
    """A row for each, as `.ci/patchers.py` prints it; the versions are those that it found."""
    rows = [row for row in README.read_text(encoding="utf-8").splitlines() if row.startswith("| `")]
    assert rows == [line(one, *row.split(" | ")[1:3]) for one, row in zip(PATCHERS, rows, strict=True)]

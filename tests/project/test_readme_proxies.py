"""The law: the page's table of proxies is what was tried, all of it, and what was tried keeps the promise."""

from __future__ import annotations

import pytest

from tests.compatibility.proxies.cases import ENDS, RESETS
from tests.compatibility.proxies.results import BEGIN, CASES, END, README, Row, load, table, unkept
from tests.compatibility.proxies.roster import FINDS, MOSTLY, PROXIES

ROWS = load()
each_row = pytest.mark.parametrize("row", ROWS, ids=[row.proxy for row in ROWS])


def test_the_table_is_what_was_tried() -> None:
    """`python -m tests.compatibility.proxies` writes both from the same runs, of every configuration there is."""
    told = README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert told.strip() == table(ROWS)
    assert [row.proxy for row in ROWS] == [proxy.name for proxy in PROXIES]


@each_row
def test_nothing_is_left_out(row: Row) -> None:
    """Every case was met, and came to what the tests expect of this configuration."""
    proxy = next(proxy for proxy in PROXIES if proxy.name == row.proxy)
    for part, cases in CASES.items():
        assert list(getattr(row, part)) == [case.name for case in cases]
    assert row.alone == {case.name: words for case, words in {**MOSTLY, **proxy.alone}.items()}
    found = {case.name: f"unhealthy: {name}" if name else "healthy" for case, name in {**FINDS, **proxy.finds}.items()}
    assert row.doctor == found


@each_row
def test_guarded_is_whole_or_the_typed_error(row: Row) -> None:
    """No half answer, through any of them."""
    assert unkept(row) == []


def test_what_the_table_leaves_to_a_sentence_is_so() -> None:
    """An early end in good order is passed on by all, and a reset by none: at best as a cut, at worst as nothing."""
    assert {row.alone[ENDS.name] for row in ROWS} == {"silent half"}
    assert {row.alone[RESETS.name] for row in ROWS} == {"APIConnectionError", "whole"}
    assert {row.proxy for row in ROWS if row.alone[RESETS.name] == "whole"} == {"mitmproxy, stock"}

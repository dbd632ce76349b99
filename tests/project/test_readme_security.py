"""The law: each line of the page's threat table names what bounds the threat, and tests that exist."""

from __future__ import annotations

import ast
import re

from openai_stream_guard import redaction as masking
from openai_stream_guard.apis import sequence
from openai_stream_guard.config.policy import SETTINGS
from openai_stream_guard.engine.delivery import MAX_ENTRIES
from openai_stream_guard.engine.retry_rules import MAX_RETRY_AFTER
from openai_stream_guard.transport.exchange import DRAIN_SECONDS
from tests.support.pages import ROOT, SECURITY, read, table

TESTS = ROOT / "tests" / "behaviour"


def rows() -> list[list[str]]:
    """The cells of every line of the table but its head."""
    return table(read(SECURITY), "what a server or a network does")


def test_every_threat_names_tests_that_exist() -> None:
    """A test that is renamed or dropped takes its line along."""
    assert len(rows()) >= 14
    for threat, _, named in rows():
        tests = re.findall(r"`([a-z_]+\.py)::(test_\w+)`", named)
        assert tests, threat
        for file, test in tests:
            tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, test)


def test_the_bounds_are_those_of_the_code() -> None:
    """Settings that are named exist, and figures are the code's."""
    bounds = " ".join(bound for _, bound, _ in rows())
    faults = {"oversized", "stalled", "malformed", "upstream_error", "sequence_number"}
    assert set(re.findall(r"`([a-z_]+)`", bounds)) <= set(SETTINGS) | faults
    for figure, words in {
        f"{MAX_ENTRIES:,}": "parts",
        f"{sequence._MAX_WAITING}": "events wait",
        f"{masking._MAX_DEPTH}": "levels",
        f"{MAX_RETRY_AFTER:.0f} s": "is a refusal",
        f"{DRAIN_SECONDS} s": "",
    }.items():
        assert f"{figure} {words}".strip() in bounds

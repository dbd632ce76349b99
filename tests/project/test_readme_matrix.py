"""The law: what the page says was tested is what the matrix tests."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from tests.support.pages import MATRIX, ROOT, read, table


def constant(name: str) -> Any:
    """A constant of the noxfile, which cannot be imported where nox is not installed."""
    for node in ast.parse((ROOT / ".ci" / "noxfile.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"the noxfile has no {name}")


def test_the_table_is_the_matrix() -> None:
    """A row for each release, with the library that carries it and the sessions that it has."""
    rows = table(read(MATRIX), "openai")
    expected = []
    for release in constant("RELEASES"):
        sessions = ["sdk"]
        sessions += ["clients"] * (release in constant("WITH_CLIENTS"))
        sessions += ["sdk_suite"] * (release in constant("WITH_SUITE"))
        library = "httpx" if release[:2] in ("1.", "2.") else "httpx2"
        expected.append((release, library, ", ".join(f"`{name}`" for name in sessions)))
    assert [(row[0].partition(" ")[0], *row[1:]) for row in rows] == expected
    newest = (ROOT / ".ci" / "requirements.txt").read_text(encoding="utf-8").rpartition("openai==")[2].strip()
    assert rows[-1][0] == f"newest ({newest})"


NAMED = ["sdk", "clients", "canary", "tests", "sdk_suite", "proxies", "proxies_more", "proxies_table", "wheel"]
NAMED += ["types", "docs", "coverage", "examples", "frameworks"]


@pytest.mark.parametrize("name", NAMED)
def test_the_sessions_that_are_named_are_there(name: str) -> None:
    """Each is a function of the noxfile, with a sentence of its own, and the page tells of it."""
    tree = ast.parse((ROOT / ".ci" / "noxfile.py").read_text(encoding="utf-8"))
    (session,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert "nox.session" in ast.unparse(session.decorator_list[0])
    assert ast.get_docstring(session)
    assert f"-s {name}" in read(MATRIX) or f'-s "{name}(' in read(MATRIX)

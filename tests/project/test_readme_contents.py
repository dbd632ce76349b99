"""The law: each page is one click from the README, and what a page links to, or says to type, is there."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import io
import re
import sys
from pathlib import Path

import pytest

from openai_stream_guard.cli import COMMANDS, main
from tests.support.pages import CONTRIBUTING, README, ROOT, anchor, read, section, table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLACES = ("*.md", ".ci/*.md", ".github/*.md", "openai_stream_guard/**/*.md", "tests/**/*.md")
PAGES = sorted({page for place in PLACES for page in ROOT.glob(place)})
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", read(page), flags=re.DOTALL | re.MULTILINE)


def headings(page: Path) -> list[str]:
    """Those of the second level."""
    return re.findall(r"^## (.*)$", prose(page), re.MULTILINE)


def targets(page: Path) -> set[Path]:
    """The files that a page links to."""
    links = (link.partition("#")[0] for link in LINK.findall(prose(page)) if not link.startswith("http"))
    return {(page.parent / link).resolve() for link in links if link}


def test_the_contents_are_the_sections_that_follow() -> None:
    """All of them, once, in order, under their own names."""
    contents = re.findall(r"\[([^]]+)\]\(#([^)]+)\)", prose(README).partition("\n## ")[0])
    assert contents == [(heading, anchor(heading)) for heading in headings(README)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a section of it where one is named."""
    for link in LINK.findall(prose(page)):
        if link.startswith("http"):
            continue
        file, _, section = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not section or section in map(anchor, headings(target)), link


def test_every_page_is_one_click_away() -> None:
    """A page that nobody finds is not written."""
    assert set(PAGES) - {README} <= targets(README)


def test_the_way_leads_to_files() -> None:
    """Each that is named is there; one without a folder stands in some folder."""
    for _, cell in table(section(CONTRIBUTING, "Find your way"), "you want to …"):
        for name in re.findall(r"`([\w/]+(?:/|\.py))`", cell):
            places = (ROOT / name, ROOT / "openai_stream_guard" / name)
            assert any(place.exists() for place in places) or ("/" not in name and list(ROOT.rglob(name))), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_typed_is_there(page: Path) -> None:
    """Modules, sessions of nox, and the options of our own commands."""
    text = read(page).replace("openai-stream-guard ", "python -m openai_stream_guard ")
    for module in set(re.findall(r"python -m ([\w.]+)", text)) - {"your_service"}:
        assert importlib.util.find_spec(module), module
    nox = ast.parse((ROOT / ".ci" / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {node.name for node in nox.body if isinstance(node, ast.FunctionDef)}
    assert {name for name in re.findall(r'-s "?([a-z_]+)', text) if "nox" in text} <= sessions
    for command, rest in re.findall(r"python -m openai_stream_guard (\w+)([^`\n]*)", text):
        if command != "run":  # behind whose script the options are the script's
            known = help_of(command)
            assert set(re.findall(r"--[a-z-]+", rest)) <= set(re.findall(r"--[a-z-]+", known)), (command, rest)


def test_the_commands_are_all_there_are() -> None:
    """With options that they have."""
    rows = {re.findall(r"`(\w+)", cell)[0]: line for cell, *line in table(section(README, "Commands"), "command")}
    assert set(rows) == set(COMMANDS)
    for command, line in rows.items():
        assert set(re.findall(r"--[a-z-]+", " ".join(line))) <= set(re.findall(r"--[a-z-]+", help_of(command))), command


@functools.cache
def help_of(command: str) -> str:
    """What a command says of itself."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        main([command, "--help"])
    return said.getvalue()


def test_on_an_index_every_link_is_absolute() -> None:
    """There the page stands by itself: what the build puts into the metadata links to the repository."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    text = read(README)
    for rule in settings["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    home = settings["project"]["urls"]["Homepage"]
    links = LINK.findall(text)
    assert {link for link in links if not link.startswith(("https://", "#"))} == set()
    assert f"{home}/blob/main/.github/SUPPORT.md" in links
    pictures = re.findall(r"!\[[^]]+\]\((.*?)\)", text)
    assert [picture.rpartition("/main/")[2] for picture in pictures] == [".github/stream.svg", ".github/doctor.png"]
    assert all(picture.startswith("https://raw.githubusercontent.com/") for picture in pictures)

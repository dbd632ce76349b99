"""Errors planted in the plans, one at a time, to see whether the harness finds them."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import openai_stream_guard.items

PACKAGE = Path(openai_stream_guard.items.__file__).parent
NAME = "planted_items"


class Planted(NamedTuple):
    """A line of a module of `items`, and what stands there instead."""

    module: str
    line: str
    instead: str


ERRORS = {
    "a null does not count as set": Planted("constructing", "present(key)", "part is None or present(key)"),
    "an extra key counts as set": Planted("constructing", "extra[key] = part", "extra[key] = part; present(key)"),
    "an absent field counts as set": Planted(
        "constructing", "fields_set: set[str] = set()", "fields_set = set(absent)"
    ),
    "no private attributes are an empty dict": Planted(
        "constructing", '"__pydantic_private__", None', '"__pydantic_private__", {}'
    ),
    "parameters of construct are extra keys": Planted("constructing", "if key in parameters:", "if False:"),
    "a list is the JSON's own": Planted("constructing", "list(value) if value.__class__ is list", "value if True"),
    "a number is a float though it loses digits": Planted(
        "constructing", "return number if number == value else value", "return number"
    ),
    "the discriminator is not asked": Planted("constructing", "if named:", "if False:"),
    "numbers in words stay words": Planted("constructing", "if str in bare or not numbers:", "if True:"),
    "an alias is a name": Planted("constructing", "field.alias is None and ", ""),
    "a tag need not tell apart": Planted("tagged_unions", "== sum(map(len, words)):", "> 0:"),
    "what is invalid is an error": Planted("builder", "return not_valid(data)", "return None"),
}


@contextmanager
def planted(error: Planted, folder: Path) -> Iterator[ModuleType]:
    """The package with an error in it, under another name."""
    package = folder / NAME
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    module = package / f"{error.module}.py"
    text = module.read_text(encoding="utf-8")
    assert text.count(error.line) == 1, f"{error.line!r} is {text.count(error.line)} times in {error.module}"
    module.write_text(text.replace(error.line, error.instead), encoding="utf-8")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(NAME)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]

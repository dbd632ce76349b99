"""What the SDK builds of generated JSON, and what plans build of it: the same, in all that a program can see.

    python -m tests.proof.items [--cases N] [--seed N]     try so many values (a million takes some minutes)
    python -m tests.proof.items --quick                    a slice of some seconds
    python -m tests.proof.items --functions                print what the SDK's functions say that plans stand for
    python -m tests.proof.items --changes FILE             compare that with what another release printed: the canary

Every type that the installed SDK streams, and every class within them, is given values that fit, and values that fit
less and less: of wrong types, with fields missing, with keys that nobody knows. Exit status 1 for any difference.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import difflib
import importlib
import inspect
import json
import pkgutil
import platform
import random
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

import openai
import openai.resources
import pydantic
from typing_extensions import get_args  # noqa: UP035 - as the SDK does

from openai_stream_guard.sdk.helper_items import HELPERS
from openai_stream_guard.sdk.items import sdk_functions
from openai_stream_guard.sdk.known_functions import FUNCTIONS, Files, digest, source
from tests.support.item_equality import outcome, places_in, seen_unequal, unequal

from .item_values import Values

WRONG = (0.0, 0.0, 0.02, 0.05, 0.2, 0.5)
"""Shares of wrong values, one of which a case has."""
LOOKED_AT = 0.12
"""The share of cases in which the items are also printed, dumped, compared, copied and pickled."""
SHOWN = 10


@dataclass
class Result:
    """What came of a run."""

    item_types: int
    models: int
    cases: int = 0
    left: int = 0
    """Those that plans left to the SDK."""
    built: set[type] = field(default_factory=set)
    mismatches: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"openai {openai.__version__}, pydantic {pydantic.VERSION}, Python {platform.python_version()}: "
            f"{self.item_types} item types, {self.models} models ({len(self.built)} classes of items built), "
            f"{self.cases:,} cases ({self.left:,} left to the SDK), {len(self.mismatches)} mismatches"
        )


@dataclass(frozen=True)
class Subject:
    """An annotation, and what builds its values by plans (or returns `not_built`)."""

    name: str
    annotation: Any
    build: Callable[[Any], Any]


def item_types() -> dict[str, Any]:
    """Every type of items that the SDK's resources stream."""
    found: dict[str, Any] = {}
    for info in pkgutil.walk_packages(openai.resources.__path__, "openai.resources."):
        module = importlib.import_module(info.name)
        for name in re.findall(r"\bStream\[(\w+)\]", inspect.getsource(module)):
            annotation = getattr(module, name, None)
            if models_in(annotation, set()):
                found[name] = annotation
    return found


def helper_models() -> set[type]:
    """The classes that the `.stream()` helpers build for themselves."""
    found: set[type] = set()
    for helper in HELPERS:
        with contextlib.suppress(ModuleNotFoundError):  # of a release without this helper
            for value in vars(importlib.import_module(helper.module)).values():
                if inspect.isclass(value):
                    models_in(value, found)
    return found


def models_in(annotation: Any, found: set[type]) -> set[type]:
    """Every class of the SDK's models that an annotation leads to."""
    for argument in get_args(annotation):
        models_in(argument, found)
    if inspect.isclass(annotation) and issubclass(annotation, openai.BaseModel) and annotation not in found:
        found.add(annotation)
        for member in annotation.model_fields.values():
            models_in(member.annotation, found)
    return found


def subjects(items: ModuleType, differences: list[str]) -> tuple[list[Subject], list[Subject]]:
    """The item types, and all classes within them, by the plans of a package: the one that is to be tried."""
    planner = items.Planner(sdk_functions())
    types = item_types()
    whole = [
        Subject(name, annotation, items.ItemBuilder(planner, annotation, differences.append).build)
        for name, annotation in types.items()
    ]
    models = helper_models()
    for annotation in types.values():
        models_in(annotation, models)
    parts = []
    for model in sorted(models, key=lambda model: (model.__module__, model.__qualname__)):
        parts.append(Subject(model.__name__, model, planner.plan(model)))
        optional = Optional[model]  # noqa: UP045 - what the SDK writes
        parts.append(Subject(f"Optional[{model.__name__}]", optional, planner.plan(optional)))
    return whole, parts


def run(
    items: ModuleType,
    cases: int,
    seed: int,
    *,
    enough: int = sys.maxsize,
    tell: Callable[[str], object] = lambda line: None,
) -> Result:
    """Try so many cases on the plans of a package, or until there are mismatches enough."""
    warnings.simplefilter("ignore")  # pydantic's, of items that dump what does not fit
    chance, differences = random.Random(seed), list[str]()
    whole, parts = subjects(items, differences)
    result = Result(len(whole), len(parts) // 2)
    while result.cases < cases and len(result.mismatches) < enough:
        result.cases += 1
        subject = chance.choice(whole if chance.random() < 0.6 else parts)
        value = Values(chance, chance.choice(WRONG)).of(subject.annotation)
        found = compared(subject, value, items.NOT_BUILT, result, look=chance.random() < LOOKED_AT)
        found = found or (differences.pop() if differences else None)
        if found:
            result.mismatches.append(f"{subject.name}{found}")
            if len(result.mismatches) <= SHOWN:
                tell(f"{subject.name}{found}\n    {json.dumps(value)[:500]}")
    return result


def compared(subject: Subject, value: Any, not_built: object, result: Result, *, look: bool) -> str | None:
    """What differs between the SDK's and ours for one value; None where nothing does."""
    theirs, ours = copy.deepcopy(value), copy.deepcopy(value)
    construct_type: Any = openai._models.construct_type
    expected, error = outcome(lambda: construct_type(type_=subject.annotation, value=theirs))
    built, our_error = outcome(subject.build, ours)
    if built is not_built or our_error:  # the seam then calls the SDK's own function
        result.left += 1
        return None
    if error:
        return f": built, where the SDK raises {error}"
    result.built.add(type(built))
    if repr(theirs) != repr(ours):
        return ": the JSON was changed"
    found = unequal(expected, built, places_in(theirs), places_in(ours))
    return found or (seen_unequal(expected, built) if look else None)


def functions() -> dict[str, str]:
    """What the functions say that plans stand for, each with its digest in the first line."""
    files: Files = {}
    found = {function.name: function.find() for function in FUNCTIONS}
    found = {name: getattr(function, "__wrapped__", function) for name, function in found.items()}
    return {name: f"# {digest(text, files)}\n{source(text, files)}" for name, text in found.items() if text is not None}


def changes(before: dict[str, str]) -> Iterator[str]:
    """What the installed release changed since another one, as far as it was not tested."""
    now, files = functions(), dict[str, list[str]]()
    for function in FUNCTIONS:
        if not function.knows(getattr(found := function.find(), "__wrapped__", found), files):
            old, new = before.get(function.name, ""), now.get(function.name, "")
            yield f"{function.name} is not as in any release that was tested"
            yield from difflib.unified_diff(
                old.splitlines(), new.splitlines(), "known", openai.__version__, lineterm=""
            )


def main(arguments: Sequence[str]) -> int:
    """Try the cases, or look at the functions."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.items", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1_000_000, metavar="N", help="default: a million")
    parser.add_argument("--quick", action="store_true", help="a slice of some seconds: --cases 20000")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--functions", action="store_true", help="print what the SDK's functions say, as JSON")
    parser.add_argument("--changes", type=Path, metavar="FILE", help="what --functions printed on a known release")
    options = parser.parse_args(arguments)
    if options.functions:
        print(json.dumps(functions(), indent=1))
        return 0
    if options.changes:
        told = list(changes(json.loads(options.changes.read_text(encoding="utf-8"))))
        print(*told or [f"openai {openai.__version__}: all functions are known"], sep="\n")
        return 1 if told else 0
    started = time.monotonic()
    cases = 20_000 if options.quick else options.cases
    result = run(importlib.import_module("openai_stream_guard.items"), cases, options.seed, tell=print)
    print(f"{result}; seed {options.seed}, {time.monotonic() - started:.0f} s")
    return 1 if result.mismatches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

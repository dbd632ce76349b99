"""The law: imports go one way, from doors over doing to thinking, and the thinking has no effects."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[2] / "openai_stream_guard"
FACADE = "openai_stream_guard"

# Each room, a folder or a module at the root, and what it may import. The standard library is free.
THINKING = {
    "records": "",
    "redaction": "",
    "notices": "records",
    "sse": "",
    "config": "records redaction",
    "diagnosis": "notices records",
    "decoding": "diagnosis records sse",
    "apis": "decoding notices records redaction",
    "engine": "apis config decoding diagnosis notices records redaction",
}
DOING = {
    "imports": "",
    "observability": "notices redaction opentelemetry",
    "capture": "apis config decoding diagnosis engine notices redaction",
    "transport": "decoding diagnosis engine redaction anyio",
    "items": "pydantic pydantic_core typing_extensions",
    "errors": "diagnosis engine notices redaction transport openai",
    "sdk": "apis capture config engine errors items notices observability records redaction transport"
    " openai pydantic wrapt",
}
DOORS = {
    "activation": "config imports wrapt",
    "autostart": "activation",
    "testing": "capture config notices",
    "cli": "activation apis capture config decoding diagnosis engine redaction testing wrapt",
    FACADE: "activation config notices",
    "pytest_plugin": "pytest",
    "pytest_entry": "",
    "__main__": "cli",
}
MAY_IMPORT = {**THINKING, **DOING, **DOORS}

# What they may import in a function, or for the type checker alone: not before it is needed.
MAY_IMPORT_INSIDE = {
    "records": "typing_extensions",
    "config": "typing_extensions",
    "decoding": "jiter",
    "items": "annotationlib",
    "activation": "errors sdk typing_extensions",
    "testing": f"activation observability redaction sdk transport {FACADE} anyio",
    "cli": f"sdk transport {FACADE} openai",
    FACADE: "errors openai sdk",
    "pytest_plugin": f"activation config testing {FACADE}",
}

# The thinking is told the time and handed its dice, and touches no file, socket or log.
EFFECTS = {
    "asyncio",
    "logging",
    "pathlib",
    "random",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "ssl",
}
EFFECTS |= {"subprocess", "sys", "tempfile", "time", "urllib", "http", "warnings", "os", "threading"}
EXCUSED = {
    ("config", "os"),  # the environment that is read, and `os.PathLike`
    ("config", "warnings"),  # of a variable that sets nothing
    ("engine", "os"),  # a forked child forgets what was learnt about hosts
    ("engine", "threading"),  # what is learnt about hosts is shared by threads
}

NAMES_THAT_SAY_NOTHING = {"utils", "helpers", "core", "common", "base", "patch", "compat", "misc"}
MAX_LINES = 400


class Import(NamedTuple):
    """That a module imports another, and whether as soon as it is imported itself."""

    importer: str
    imported: str
    at_once: bool
    where: str


@cache
def imports() -> tuple[Import, ...]:
    """All imports of the package, a subpackage counting as one module."""
    return tuple(
        Import(_module(path), imported, at_once, f"{path.relative_to(PACKAGE)}:{line}")
        for path in _sources()
        for imported, at_once, line in _imports(path)
    )


def _sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _module(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return FACADE if first == "__init__" else first


def _imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """Each import of a file outside of its own module: what, whether at once, and in which line."""
    for targets, at_once, line in _targets(path):
        for name in {_owner(target) for target in targets} - {_module(path)}:
            yield name, at_once, line


@cache
def _targets(path: Path) -> list[tuple[list[str], bool, int]]:
    """The full names that each import statement of a file asks for, whether at once, and in which line."""
    found = []
    package = [FACADE, *path.relative_to(PACKAGE).parts[:-1]]
    for node, at_once in _statements(ast.parse(path.read_text(encoding="utf-8")), at_once=True):
        match node:
            case ast.Import():
                found.append(([alias.name for alias in node.names], at_once, node.lineno))
            case ast.ImportFrom(level=0):
                found.append(([f"{node.module}.{alias.name}" for alias in node.names], at_once, node.lineno))
            case ast.ImportFrom():
                start = package[: len(package) - node.level + 1] + ([node.module] if node.module else [])
                found.append(([".".join([*start, alias.name]) for alias in node.names], at_once, node.lineno))
    return found


def _statements(node: ast.AST, *, at_once: bool) -> Iterator[tuple[ast.AST, bool]]:
    """The nodes below `node`, each with whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        yield child, at_once
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        )
        yield from _statements(child, at_once=at_once and not deferred)


def _owner(target: str) -> str:
    """`a.b.c` → `a`; of our own package the module, or the facade where the name is none."""
    first, *rest = target.split(".")
    if first != FACADE:
        return first
    found = rest and ((PACKAGE / rest[0]).is_dir() or (PACKAGE / f"{rest[0]}.py").is_file())
    return rest[0] if found else FACADE


def test_every_module_has_its_place() -> None:
    """A new module is entered here first, among the thinking, the doing or the doors."""
    assert {_module(path) for path in _sources()} <= set(MAY_IMPORT)


def test_the_table_has_one_direction() -> None:
    """Nothing imports, over however many steps, what imports it."""
    graphlib.TopologicalSorter({name: row.split() for name, row in MAY_IMPORT.items()}).prepare()
    assert all(set(row.split()) <= set(THINKING) for row in THINKING.values())
    assert all(set(row.split()).isdisjoint(DOORS) for row in DOING.values())


def test_files_of_one_package_have_one_direction_too() -> None:
    """No file needs, in order to be imported, a file that needs it."""
    files = {_dotted(path): path for path in _sources()}
    graph = {
        name: {
            next(file for file in _prefixes(target) if file in files)
            for targets, at_once, _ in _targets(path)
            for target in targets
            if at_once and target.startswith(FACADE)
        }
        for name, path in files.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


def _dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _prefixes(target: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`."""
    while target:
        yield target
        target = target.rpartition(".")[0]


def test_imports_are_those_of_the_table() -> None:
    """No module imports anything that its row does not name, be it in a function."""
    strays = []
    for importer, imported, at_once, where in imports():
        allowed = MAY_IMPORT.get(importer, "").split()
        if not at_once:
            allowed += MAY_IMPORT_INSIDE.get(importer, "").split()
        if imported not in allowed and imported not in sys.stdlib_module_names:
            strays.append(f"{where} imports {imported}{'' if at_once else ' inside'}")
    assert strays == []


def test_thinking_has_no_effects() -> None:
    """No clock, no dice, no I/O: the same values in give the same values out."""
    strays = [
        f"{where} imports {imported}"
        for importer, imported, _, where in imports()
        if importer in THINKING and imported in EFFECTS and (importer, imported) not in EXCUSED
    ]
    assert strays == []


def test_modules_are_named_for_what_they_do() -> None:
    """A name that would fit any module tells a reader nothing."""
    named = {part.removesuffix(".py") for path in _sources() for part in path.relative_to(PACKAGE).parts}
    assert named & NAMES_THAT_SAY_NOTHING == set()


def test_files_stay_readable() -> None:
    """No file grows past what can be read in one sitting."""
    long = {path.name: length for path in _sources() if (length := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}


@pytest.mark.parametrize("mode", ["", "1", "observe"])
def test_import_is_light(mode: str) -> None:
    """Importing the guard, on or off, loads neither the SDK nor anything heavy that wrapt has not loaded."""
    program = """
        import sys, wrapt
        before = set(sys.modules)
        import openai_stream_guard
        print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))
    """
    loaded = _run(program, OPENAI_STREAM_GUARD=mode).split()
    assert "openai_stream_guard" in loaded
    heavy = {
        "openai",
        "httpx",
        "httpx2",
        "pydantic",
        "anyio",
        "jiter",
        "asyncio",
        "pytest",
        "socket",
        "random",
    }
    assert heavy.isdisjoint(loaded)


def test_thinking_needs_no_sdk() -> None:
    """Every module of the thinking can be imported where there is no openai, nor anything it brings."""
    modules = sorted({_module(path) for path in _sources()} & set(THINKING))
    program = f"""
        import importlib, sys
        for name in ("openai", "jiter", "pydantic", "httpx", "httpx2", "anyio"):
            sys.modules[name] = None
        for name in {modules!r}:
            importlib.import_module("openai_stream_guard." + name)
        print("imported")
    """
    assert _run(program) == "imported\n"


def _run(program: str, **environ: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env={**environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

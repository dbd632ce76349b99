"""`run`: any program, guarded, unchanged: what `python script.py` and `python -m module` would do, in this process.

Decides what the program finds as `__main__`, `sys.argv` and `sys.path[0]`, and what is told of a program that is not
there. All it raises is the program's own.
"""

from __future__ import annotations

import argparse
import builtins
import importlib.util
import io
import os
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pkgutil import get_importer
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

from .. import activation as switch

SUMMARY = "run a program with its streams guarded; the exit code is the program's"
_HOOKS = "AUTOWRAPT_BOOTSTRAP"
"""Names the groups of entry points that autowrapt, where it is installed, loads in every Python it starts with."""
_GROUP = "openai_stream_guard"


class NoProgram(ValueError):
    """There is no such program; the message says what is missing."""


@dataclass(frozen=True)
class Program:
    """What is to be run: its code, and how Python would present it."""

    code: CodeType
    file: str
    """The file that `__main__` is."""
    name: str
    """`sys.argv[0]`."""
    folder: str
    """`sys.path[0]`."""
    loader: Any
    spec: ModuleSpec | None = None
    """None of a script."""
    is_container: bool = False
    """A folder or archive, which is put on the path whatever `-I` and `-P` say of folders of scripts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `run` takes; all that follows the program is the program's."""
    parser.usage = "%(prog)s [-h] (SCRIPT | -m MODULE) [ARGUMENT ...]"
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, default=[], help="a module, and its arguments")
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="SCRIPT",
        help="a script, or a folder or archive with a __main__.py, and its arguments",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the program; 0 when it ends by itself, 1 when it dies of an exception, else what it exits with.

    Raises:
        NoProgram: what was named cannot be run.
        StreamGuardConfigError: the environment has a setting that is not allowed.
    """
    words = [*arguments.module, *arguments.program]  # of `-m a -- b` argparse gives the option what comes before --
    name, *rest = (words[1:] if words[:1] == ["--"] else words) or [""]
    if not name:
        raise NoProgram("no program was named: give a script, or -m and a module.")
    switch.guard_by_default()
    _guard_children()
    if arguments.module:
        _set_first_path(os.getcwd(), insert=False)  # before the search, as Python does
        sys.argv = ["-m", *rest]
    try:
        program = _module(name) if arguments.module else _file(name)
    except NoProgram:
        raise
    except Exception as error:  # of the program's own: it cannot be compiled, or the package it is in fails
        _die(error, None if isinstance(error, SyntaxError) else error.__traceback__)
    return _execute(program, rest)


def _guard_children() -> None:
    """Where autowrapt is installed, have it guard the Python processes that the program starts, too."""
    groups = [group for group in os.environ.get(_HOOKS, "").split(",") if group.strip()]
    if _GROUP not in groups:
        os.environ[_HOOKS] = ",".join([*groups, _GROUP])


def _module(name: str) -> Program:
    """What `python -m name` runs."""
    if name.startswith("."):
        raise NoProgram(f"{name} is a relative name, and there is nothing here that it could be relative to.")
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name = f"{name}.__main__"
            spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module's package imports something that is not there
        spec = None
    code = _code_of(spec)
    if spec is None or code is None:
        raise NoProgram(f"there is no module {name} to run.")
    file = spec.origin or name
    return Program(code, file, file, os.getcwd(), spec.loader, spec)


def _file(path: str) -> Program:
    """What `python path` runs."""
    importer: Any = get_importer(path)
    if importer is not None:
        spec = PathFinder.find_spec("__main__", [path])
        code = _code_of(spec)
        if spec is None or code is None:
            raise NoProgram(f"there is no __main__.py in {path}.")
        folder = os.path.join(os.getcwd(), path)
        return Program(code, spec.origin or path, path, folder, spec.loader, spec, is_container=True)
    file = os.path.join(os.getcwd(), path)  # not made any tidier, as Python does not
    try:
        with io.open_code(file) as script:
            source = script.read()
    except OSError as error:
        raise NoProgram(f"{path} cannot be read: {error.strerror}.") from None
    loader = SourceFileLoader("__main__", file)
    return Program(loader.source_to_code(source, file), file, path, os.path.dirname(os.path.realpath(path)), loader)


def _code_of(spec: ModuleSpec | None) -> CodeType | None:
    """The code of a module that is written in Python."""
    get_code = getattr(spec and spec.loader, "get_code", None)
    return None if spec is None or get_code is None else get_code(spec.name)


def _execute(program: Program, arguments: list[str]) -> int:
    main = ModuleType("__main__")
    vars(main).update(
        __builtins__=builtins,
        __file__=program.file,
        __loader__=program.loader,
        __package__=None if program.spec is None else program.spec.parent,
        __spec__=program.spec,
    )
    sys.modules["__main__"] = main  # and stays it: threads, exit functions and pickles look there once this has ended
    sys.argv = [program.name, *arguments]
    _set_first_path(program.folder, insert=program.is_container)
    try:
        exec(program.code, vars(main))
    except Exception as error:
        _die(error, error.__traceback__ and error.__traceback__.tb_next)
    return 0


def _set_first_path(folder: str, *, insert: bool) -> None:
    """Put a folder where Python has put the command's own, or, asked to be safe, has put none."""
    safe = getattr(sys.flags, "safe_path", False) or sys.flags.isolated
    if not safe:
        sys.path[0] = folder
    elif insert:
        sys.path.insert(0, folder)


def _die(error: Exception, traceback: TracebackType | None) -> NoReturn:
    """End as Python does on an exception, whose traceback begins where the program does."""
    sys.excepthook(type(error), error.with_traceback(traceback), traceback)
    raise SystemExit(1) from None

"""`run`: run any program guarded, in this process, as `python script.py` or `python -m module` would run it.

This module decides what the program finds as `__main__`, `sys.argv` and `sys.path[0]`, and what is said about a
program that does not exist. Every other exception is the program's own.
"""

from __future__ import annotations

import argparse
import builtins
import importlib.util
import io
import os
import sys
from dataclasses import dataclass
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pkgutil import get_importer
from types import CodeType, ModuleType, TracebackType
from typing import NoReturn

import wrapt

from .. import activation

SUMMARY = "run a program with its streams guarded; the exit code is the program's"
_HOOKS_VARIABLE = "AUTOWRAPT_BOOTSTRAP"
"""Names the groups of entry points that autowrapt, if it is installed, loads in every Python that starts."""
_HOOKS_GROUP = "openai_stream_guard"
_SPAWNERS = (
    "multiprocessing.popen_spawn_posix",
    "multiprocessing.popen_spawn_win32",
    "multiprocessing.popen_forkserver",
)
"""Imported by `multiprocessing` when it starts a process that is not a fork, and so does not inherit the guard."""
_warned_of_children = False


class NoProgram(ValueError):
    """There is no such program. The message says what is missing."""


@dataclass(frozen=True)
class Program:
    """The code to run, and how Python would present it."""

    code: CodeType
    file: str
    """`__main__.__file__`."""
    name: str
    """`sys.argv[0]`."""
    folder: str
    """`sys.path[0]`."""
    loader: Loader | None
    spec: ModuleSpec | None = None
    """None for a script."""
    is_container: bool = False
    """A folder or an archive. It is put on the path even with `-I` and `-P`, which keep folders of scripts off it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.usage = "%(prog)s [-h] (SCRIPT | -m MODULE) [ARGUMENT ...]"
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, default=[], help="a module, and its arguments")
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="SCRIPT",
        help="a script, or a folder or archive with a __main__.py, and its arguments",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the program; return 0 if it ends by itself. If it exits or fails, this raises `SystemExit`.

    Raises:
        NoProgram: the program cannot be run.
        StreamGuardConfigError: the environment has an invalid setting.
    """
    words = [*arguments.module, *arguments.program]  # for `-m a -- b`, argparse assigns to -m what is before the --
    name, *rest = (words[1:] if words[:1] == ["--"] else words) or [""]
    if not name:
        raise NoProgram("no program was named: give a script, or -m and a module.")
    activation.guard_by_default()
    _guard_children()
    if arguments.module:
        _set_first_path(os.getcwd(), insert=False)  # before the search, as Python does
        sys.argv = ["-m", *rest]
    try:
        program = _find_module(name) if arguments.module else _find_file(name)
    except NoProgram:
        raise
    except Exception as error:  # from the program: it cannot be compiled, or importing its package fails
        _exit_with(error)
    return _execute(program, rest)


def _guard_children() -> None:
    """If autowrapt is installed, have it guard the Python processes that the program starts; else say when it does."""
    groups = [group for group in os.environ.get(_HOOKS_VARIABLE, "").split(",") if group.strip()]
    if _HOOKS_GROUP not in groups:
        os.environ[_HOOKS_VARIABLE] = ",".join([*groups, _HOOKS_GROUP])
    if importlib.util.find_spec("autowrapt") is None:
        for module in _SPAWNERS:
            wrapt.register_post_import_hook(_warn_of_children, module)


def _warn_of_children(module: ModuleType) -> None:
    """Say once that worker processes are not guarded; called when the program is about to start the first one."""
    global _warned_of_children
    if not _warned_of_children:
        _warned_of_children = True
        print(
            "openai-stream-guard run: worker processes that this program spawns are NOT guarded; install autowrapt "
            "(pip install autowrapt) to guard them too",
            file=sys.stderr,
        )


def _find_module(name: str) -> Program:
    """Return what `python -m name` runs."""
    if name.startswith("."):
        raise NoProgram(f"{name} is a relative name; give the full name of the module.")
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name = f"{name}.__main__"
            spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module's package imports something that does not exist
        spec = None
    code = _code(spec)
    if spec is None or code is None:
        raise NoProgram(f"there is no module {name} to run.")
    file = spec.origin or name
    return Program(code, file, file, os.getcwd(), spec.loader, spec)


def _find_file(path: str) -> Program:
    """Return what `python path` runs."""
    if get_importer(path) is not None:
        spec = PathFinder.find_spec("__main__", [path])
        code = _code(spec)
        if spec is None or code is None:
            raise NoProgram(f"there is no __main__.py in {path}.")
        folder = os.path.join(os.getcwd(), path)
        return Program(code, spec.origin or path, path, folder, spec.loader, spec, is_container=True)
    file = os.path.join(os.getcwd(), path)  # not normalised, as Python does not
    try:
        with io.open_code(file) as script:
            source = script.read()
    except OSError as error:
        raise NoProgram(f"cannot read {path}: {error.strerror}.") from None
    loader = SourceFileLoader("__main__", file)
    return Program(loader.source_to_code(source, file), file, path, os.path.dirname(os.path.realpath(path)), loader)


def _code(spec: ModuleSpec | None) -> CodeType | None:
    """Return the code of a module that is written in Python."""
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
    sys.modules["__main__"] = main  # for good: threads, exit functions and pickles look there after it has ended
    sys.argv = [program.name, *arguments]
    _set_first_path(program.folder, insert=program.is_container)
    try:
        exec(program.code, vars(main))
    except SystemExit:
        raise
    except KeyboardInterrupt as error:  # raised again, because Python then dies of the signal, as shells expect
        _shorten_next_traceback(_program_traceback(error))
        raise
    except BaseException as error:
        _exit_with(error)
    return 0


def _set_first_path(folder: str, *, insert: bool) -> None:
    """Put a folder where Python has put that of this command. With -I or -P Python has put none there."""
    safe = getattr(sys.flags, "safe_path", False) or sys.flags.isolated
    if not safe:
        sys.path[0] = folder
    elif insert:
        sys.path.insert(0, folder)


def _exit_with(error: BaseException) -> NoReturn:
    """Exit as Python does for an uncaught exception, with a traceback that begins in the program."""
    traceback = _program_traceback(error)
    sys.excepthook(type(error), error.with_traceback(traceback), traceback)
    raise SystemExit(1) from None


def _program_traceback(error: BaseException) -> TracebackType | None:
    """Return the traceback without the frames of this module and of the import system, which come first."""
    traceback = error.__traceback__
    machinery = (__file__, "<frozen importlib", os.path.dirname(str(importlib.__file__)))
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(machinery):
        traceback = traceback.tb_next
    return traceback


def _shorten_next_traceback(traceback: TracebackType | None) -> None:
    """Let the exception that is about to end the process be shown with this traceback."""
    hook = sys.excepthook

    def show(error_type: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        hook(error_type, error.with_traceback(traceback), traceback)

    sys.excepthook = show

"""The command `openai-stream-guard`, also `python -m openai_stream_guard`: one module for each subcommand.

A new subcommand is a module with `SUMMARY`, `add_arguments` and `run`, and one row in `COMMANDS`.

No command but `run` ends in a traceback because of how it is used: an interrupt, a reader that has gone away, a
terminal that lacks a character and a missing openai are all expected. What happens to a program under `run` is the
program's own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from typing import Final, Protocol

from . import demo, doctor, replay, run, status
from .terminal import printable

EXIT_CODES: Final = """\
exit codes:
  0  everything is as it should be
  1  something is not: a promise was broken, a stream is unguarded or unhealthy
  2  the command was wrong: an unknown name, a bad value
"""
INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells report it."""
PIPE_CLOSED: Final = 141
"""The exit code when whatever reads the output has closed it, as shells report it."""


class Command(Protocol):
    """The module of a subcommand. `run` raises `ValueError` for a wrong command; users see its message."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


COMMANDS: Final[Mapping[str, Command]] = {
    "demo": demo,
    "doctor": doctor,
    "replay": replay,
    "run": run,
    "status": status,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; `argv` defaults to the arguments of the process."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        print(f"{parser.prog} {status.own_version()}")
        return 0
    if arguments.command is None:
        parser.print_help()
        return 2
    command = COMMANDS[arguments.command]
    try:
        return command.run(arguments) if command is run else _run_quietly(command, arguments)
    except ValueError as error:
        parser.exit(2, f"{parser.prog} {arguments.command}: {printable(str(error))}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="openai-stream-guard",
        description="Makes every stream of the openai SDK arrive whole, or say why not.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=command.SUMMARY,
            description=command.SUMMARY,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
    return parser


def _run_quietly(command: Command, arguments: argparse.Namespace) -> int:
    """Run a command that is all ours. Raises `ValueError` for a wrong command."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that lack a character
    try:
        code = command.run(arguments)
        sys.stdout.flush()  # here, and not at exit, where nobody could catch what it raises
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
        return PIPE_CLOSED
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "openai":
            raise
        raise ValueError(f"the openai package is needed, and cannot be imported ({error})") from None
    return code

"""The command `openai-stream-guard`, also `python -m openai_stream_guard`: one module for each subcommand.

A new subcommand is a module with `SUMMARY`, `add_arguments` and `run`, and one row in `COMMANDS`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from . import demo, doctor, replay, run, status

EXIT_CODES: Final = """\
exit codes:
  0  everything is as it should be
  1  something is not: a promise was broken, a stream is unguarded or unhealthy
  2  the command was wrong: an unknown name, a bad value
"""


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
    parser = argparse.ArgumentParser(
        prog="openai-stream-guard",
        description="Makes every stream of the openai SDK arrive whole, or say why not.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            help=command.SUMMARY,
            description=command.SUMMARY,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
    arguments = parser.parse_args(argv)
    try:
        return COMMANDS[arguments.command].run(arguments)
    except ValueError as error:
        parser.exit(2, f"{parser.prog} {arguments.command}: {error}\n")

"""What the judges have in common: one stream to its end, what came out of it in words, and the table in README.md."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai_stream_guard import OpenAIStreamParseError, Policy, activation
from tests.support.streams import Seen, alone, consume

README = Path(__file__).parent / "README.md"
APIS = ("chat", "responses")
CLIENT_KINDS = ("sync", "asyncio")
GUARDS = ("off", "on")
IDLE_TIMEOUT = 1.0
"""Seconds; the judges stall for longer."""
TEXT_KEYS = ("content", "arguments", "delta")


@dataclass(frozen=True)
class Endpoint:
    """Where a judge listens."""

    base_url: str


def stream(endpoint: Endpoint, client_kind: str, guard: str, ask: Any, **options: Any) -> Seen:
    """Read one stream to its end or its error."""
    if guard == "off":
        return alone(endpoint, client_kind, ask, **options)
    with activation.restored():
        activation.enable(Policy(idle_timeout=IDLE_TIMEOUT, retry_budget=None))
        return consume(endpoint, client_kind, ask, **options)


def text_of(seen: Seen) -> str:
    """All streamed text, that of tool calls included."""
    return "".join(_texts([dumped for _, dumped in seen.items if not _repeats(dumped)]))


def _repeats(dumped: Mapping[str, Any]) -> bool:
    """Whether an event of Responses repeats what its deltas have said."""
    return str(dumped.get("type") or "").startswith("response.") and not dumped["type"].endswith(".delta")


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str) and key in TEXT_KEYS:
                yield inner
            else:
                yield from _texts(inner)


def outcome(seen: Seen, complete: str) -> str:
    """What the consumer got, compared with the text of the complete answer."""
    match seen.error:
        case OpenAIStreamParseError() as error:
            return f"typed error ({error.fault})"
        case None if text_of(seen) == complete:
            return "complete"
        case None:
            return (
                "**part of the answer, no error**" if complete.startswith(text_of(seen)) else "**other text, no error**"
            )
        case error:
            return f"`{type(error).__name__}`"


def cell(findings: Mapping[str, str]) -> str:
    """What happened with each client: once if it is the same."""
    distinct = set(findings.values())
    if len(distinct) == 1:
        return distinct.pop()
    return "; ".join(f"{client_kind}: {found}" for client_kind, found in findings.items())


def report(name: str, heading: list[str], rows: list[list[str]]) -> None:
    """Print the table of a judge; exit 1 if README.md has another one, or put it there with `--write`."""
    parser = argparse.ArgumentParser(description=f"Ask {name}, and compare its table with the one in README.md.")
    parser.add_argument("--write", action="store_true", help="put the table into README.md instead")
    arguments = parser.parse_args()
    table = "\n".join(f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows))
    print(table)
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"\n<!-- end of {name} -->")
    if not (begin and end):
        sys.exit(f"{README} has no place for the table of {name}")
    written = f"{before}{begin}{table}{end}{after}"
    if arguments.write:
        README.write_text(written, encoding="utf-8")
    elif written != text:
        sys.exit(f"{README} has another table: see it again with --write")
    print(f"{name}: {len(rows)} rows, as README.md has them")


def quiet() -> None:
    """Keep the guard's log records off the terminal."""
    logging.getLogger("openai_stream_guard").addHandler(logging.NullHandler())

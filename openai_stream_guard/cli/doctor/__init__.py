"""`doctor`: streams a short answer or two and says what the way there and back does to them.

Decides where the streams come from, where the report goes, and what the exit code is: 1 where a stream does not come
through as it should. What is asked is `asking`'s, what is found `examination`'s.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from ..terminal import check_writable, in_colour, read_capture, write_text
from . import html_view as page
from . import pretty
from . import text_view as plain
from .analysis import examined
from .probe import MAX_TOKENS, REQUESTS, Progress, visit
from .report import Report, made_by
from .target import KEY, target_from

SUMMARY = "stream a short answer from a server, and say what the way does to it"
DESCRIPTION = (
    f"Asks a server for {len(REQUESTS)} short answers (at most {MAX_TOKENS} tokens each, which may be billed), and "
    "one more request for the list of models where no --model is given. Prints when what arrived, what is wrong with "
    "it, and what helps. No text of an answer, and no key, is printed or written."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `doctor` takes."""
    parser.description = DESCRIPTION
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--base-url", metavar="URL", help="the server's (default: the variable OPENAI_BASE_URL)")
    source.add_argument("--from-capture", metavar="FILE", help="ask nothing, and examine a .ssecap file")
    parser.add_argument("--model", help="default: the first that the server names")
    parser.add_argument("--api", choices=("chat", "responses", "completions"), default="chat", help="default: chat")
    parser.add_argument(
        "--api-key-env",
        metavar="NAME",
        help=f"the variable with the key (default: {KEY}; a server on this machine is sent none unless this is given)",
    )
    parser.add_argument(
        "--timeout", metavar="S", type=float, default=60.0, help="seconds to wait for an event (default: 60)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", metavar="FILE", help="also write the report as one page")


def run(arguments: argparse.Namespace) -> int:
    """Examine, and report; 1 where the path is unhealthy."""
    if arguments.html is not None:
        check_writable(arguments.html)
    try:
        report = _of_server(arguments) if arguments.from_capture is None else _of_capture(arguments.from_capture)
    except KeyboardInterrupt:  # nothing is written, and the streams are closed
        return 130
    if arguments.html is not None:
        write_text(arguments.html, page.page(report))
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2))
    elif _has_rich() and in_colour():
        pretty.show(report, pretty.console())
    else:
        plain.show(report)
    return 1 if report.verdict == "unhealthy" else 0


def _of_capture(path: str) -> Report:
    capture = read_capture(path)
    if not capture.attempts:
        raise ValueError(f"{path}: there is no attempt in this capture")
    asked = capture.asked
    makers = ", ".join(f"{name} {version}" for name, version in sorted(capture.made_by.items()))
    return Report(
        subject=f"{path} (of {asked.host})",
        api=asked.path.strip("/"),
        model=asked.model or "unknown",
        requests=0,
        streams=examined(capture),
        written=capture.written,
        made_by=makers,
    )


def _of_server(arguments: argparse.Namespace) -> Report:
    given = arguments
    target = target_from(given.base_url, given.api, given.model, given.api_key_env, given.timeout)
    with _progress() as progress:
        seen = visit(target, progress)
    return Report(
        subject=target.shown,
        api=target.api,
        model=seen.model,
        requests=seen.requests,
        streams=seen.streams,
        written=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        made_by=made_by(),
        items=seen.items,
    )


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


@contextmanager
def _progress() -> Iterator[Progress]:
    """Tells a person at a terminal what comes; nothing of it is in the output."""
    if not sys.stderr.isatty():
        yield lambda *told: None
    elif _has_rich() and in_colour(sys.stderr):
        with pretty.progress(pretty.console(sys.stderr)) as tell:
            yield tell
    else:
        try:
            yield _tell
        finally:
            print("\r" + " " * 79 + "\r", end="", file=sys.stderr, flush=True)


def _tell(title: str, seconds: float, events: int, size: int) -> None:
    line = f"{title}: {seconds:.1f} s, {events} events, {size:,} bytes"
    print(f"\r{line:<79}", end="", file=sys.stderr, flush=True)

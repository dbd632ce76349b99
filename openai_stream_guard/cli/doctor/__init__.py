"""`doctor`: stream one or two short answers, and report what the path to the server and back does to them.

This module decides where the streams come from, where the report goes, and the exit code: 1 if a stream does not come
through as it should. `probe` sends the requests, `analysis` and `findings` judge the streams, `report` has the words.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from ..terminal import check_writable, read_capture, write_text
from . import text_view
from .analysis import analyzed
from .html_view import page
from .probe import MAX_TOKENS, REQUESTS, Progress, visit
from .report import Report, own_versions
from .target import KEY_VARIABLE, target_from

SUMMARY = "stream a short answer from a server, and report what the path does to it"
DESCRIPTION = (
    f"Requests {len(REQUESTS)} short answers from a server (at most {MAX_TOKENS} tokens each, which may be billed), "
    "and the list of models if no --model is given. Prints when what arrived, what is wrong with it, and what helps. "
    "No text of an answer, and no key, is printed or written."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    parser.description = DESCRIPTION
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--base-url", metavar="URL", help="the server's URL (default: the variable OPENAI_BASE_URL)")
    source.add_argument("--from-capture", metavar="FILE", help="send nothing, and examine a .ssecap file")
    parser.add_argument("--model", help="default: the first that the server lists")
    parser.add_argument("--api", choices=("chat", "responses", "completions"), default="chat", help="default: chat")
    parser.add_argument(
        "--api-key-env",
        metavar="NAME",
        help=f"the variable with the key (default: {KEY_VARIABLE}; a server on this machine gets none by default)",
    )
    parser.add_argument(
        "--timeout", metavar="S", type=float, default=60.0, help="seconds to wait for an event (default: 60)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", metavar="FILE", help="also write the report as an HTML page")


def run(arguments: argparse.Namespace) -> int:
    """Examine and report; return 1 if the path is unhealthy."""
    if arguments.html is not None:
        check_writable(arguments.html)
    if arguments.from_capture is None:
        report = _report_on_server(arguments)
    else:
        report = _report_on_capture(arguments.from_capture)
    if arguments.html is not None:
        write_text(arguments.html, page(report))
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        text_view.show(report)
    return 1 if report.health == "unhealthy" else 0


def _report_on_capture(path: str) -> Report:
    capture = read_capture(path)
    if not capture.attempts:
        raise ValueError(f"{path}: there is no attempt in this capture")
    request = capture.request
    return Report(
        subject=f"{path} (of {request.host})",
        api=request.path.strip("/"),
        model=request.model or "unknown",
        requests=0,
        streams=analyzed(capture),
        written=capture.written,
        made_by=capture.makers,
    )


def _report_on_server(arguments: argparse.Namespace) -> Report:
    target = target_from(arguments.base_url, arguments.api, arguments.model, arguments.api_key_env, arguments.timeout)
    with _progress() as progress:
        result = visit(target, progress)
    return Report(
        subject=target.shown,
        api=target.api,
        model=result.model,
        requests=result.requests,
        streams=result.streams,
        written=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        made_by=own_versions(),
        items=result.items,
        proxy=target.proxy,
    )


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show a person at a terminal what comes, on a line of standard error that is erased at the end."""
    if not sys.stderr.isatty():
        yield lambda *read: None
        return
    try:
        yield _print_progress
    finally:
        print("\r" + " " * 79 + "\r", end="", file=sys.stderr, flush=True)


def _print_progress(title: str, seconds: float, events: int, size: int) -> None:
    line = f"{title}: {seconds:.1f} s, {events} events, {size:,} bytes"
    print(f"\r{line:<79}", end="", file=sys.stderr, flush=True)

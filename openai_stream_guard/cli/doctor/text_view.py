"""The report as lines of text: all of it, wherever it goes; colour where a person sees it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from ..terminal import BOLD, DIM, GREEN, RED, YELLOW, harmless, paint
from .analysis import Stream
from .findings import Finding, Severity, Verdict
from .report import Report, came_to, facts, where

COLOURS: Final[dict[Severity | Verdict, str]] = {
    "problem": RED,
    "unhealthy": RED,
    "warning": YELLOW,
    "doubtful": YELLOW,
    "note": DIM,
    "healthy": GREEN,
}
WIDTH: Final = 100
STRIP: Final = 72
_BARS: Final = " ▁▂▃▄▅▆▇█"
_PLAIN_BARS: Final = " .:-=+*#%"  # where the terminal knows no blocks


def show(report: Report) -> None:
    """Print the report."""
    bars = _bars(sys.stdout.encoding)
    for line in lines(report, bars):
        print(line)


def lines(report: Report, bars: str = _BARS) -> Iterator[str]:
    """The report, line by line."""
    yield paint(harmless(report.asked), BOLD)
    if report.items:
        yield f"items {report.items}"
    for number, stream in enumerate(report.streams, 1):
        yield ""
        yield paint(harmless(f"stream {number}, {stream.title}: {came_to(stream)}"), BOLD)
        yield from (f"  {name:<13} {harmless(value)}" for name, value in facts(stream))
        yield from (f"  {name:<13} {value}" for name, value in strips(stream, bars))
    for finding in report.found:
        yield ""
        yield from _finding_lines(finding, where(finding, report.streams))
    yield ""
    yield f"{paint(report.verdict, COLOURS[report.verdict])}: {report.sentence}"


def _finding_lines(finding: Finding, place: str) -> Iterator[str]:
    yield f"{paint(finding.severity, COLOURS[finding.severity])}  {finding.name}{place}"
    yield from _wrapped(f"{harmless(finding.what)}.")
    yield from _wrapped(f"Remedy: {harmless(finding.remedy)}.")
    yield from (f"    {product + ':':<12} {line}" for product, line in finding.lines.items())


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def strips(stream: Stream, bars: str = _BARS, width: int = STRIP) -> list[tuple[str, str]]:
    """When the reads came, and when the events, from left to right; the higher, the more at once."""
    if not stream.steps:
        return []
    reads = _counted(stream, [1 if step.size else 0 for step in stream.steps], width)
    events = _counted(stream, [len(step.payloads) for step in stream.steps], width)
    most = max(*reads, *events, 1)
    end = f"{stream.seconds:.3f} s"
    return [
        ("reads", _strip(reads, most, bars)),
        ("events", _strip(events, most, bars)),
        ("", f"0 s{end:>{width - 3}}"),
    ]


def _counted(stream: Stream, amounts: Sequence[int], width: int) -> list[int]:
    columns = [0] * width
    for step, amount in zip(stream.steps, amounts, strict=True):
        place = (stream.headers_at + step.at) / (stream.seconds or 1.0)
        columns[min(width - 1, int(place * width))] += amount
    return columns


def _strip(columns: Sequence[int], most: int, bars: str) -> str:
    """Bars, of which the lowest stands for anything above nothing."""
    top = len(bars) - 1
    return "".join(bars[max(1, round(count / most * top)) if count else 0] for count in columns).rstrip()


def _bars(encoding: str | None) -> str:
    try:
        _BARS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_BARS
    return _BARS

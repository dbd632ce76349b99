"""The report as lines of text, with color on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from ..terminal import BOLD, DIM, GREEN, RED, YELLOW, can_print, paint, printable
from .analysis import Stream
from .findings import Finding, Health, Severity
from .report import Report, facts, outcome, place

COLORS: Final[dict[Severity | Health, str]] = {
    "problem": RED,
    "unhealthy": RED,
    "warning": YELLOW,
    "doubtful": YELLOW,
    "note": DIM,
    "healthy": GREEN,
}
WIDTH: Final = 100
TIMELINE_WIDTH: Final = 72
_BARS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = " .:-=+*#%"


def show(report: Report) -> None:
    """Print the report."""
    for line in lines(report, _BARS if can_print(_BARS) else _ASCII_BARS):
        print(line)


def lines(report: Report, bars: str = _BARS) -> Iterator[str]:
    """Yield the report, line by line."""
    yield paint(printable(report.about), BOLD)
    if report.items:
        yield f"items {report.items}"
    for number, stream in enumerate(report.streams, 1):
        yield ""
        yield paint(printable(f"stream {number}, {stream.title}: {outcome(stream)}"), BOLD)
        yield from (f"  {name:<13} {printable(value)}" for name, value in facts(stream))
        yield from (f"  {name:<13} {value}" for name, value in timeline(stream, bars))
    for finding in report.findings:
        yield ""
        yield from _finding_lines(finding, place(finding, report.streams))
    yield ""
    yield f"{paint(report.health, COLORS[report.health])}: {report.summary}"


def _finding_lines(finding: Finding, where: str) -> Iterator[str]:
    yield f"{paint(finding.severity, COLORS[finding.severity])}  {finding.name}{where}"
    yield from _wrapped(f"{printable(finding.what)}.")
    yield from _wrapped(f"Remedy: {printable(finding.remedy)}.")
    yield from (f"    {product + ':':<12} {line}" for product, line in finding.lines.items())


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def timeline(stream: Stream, bars: str = _BARS, width: int = TIMELINE_WIDTH) -> list[tuple[str, str]]:
    """Return a row of bars for the reads and one for the events, over time; a higher bar stands for more of them."""
    if not stream.steps:
        return []
    reads = _columns(stream, [1 if step.size else 0 for step in stream.steps], width)
    events = _columns(stream, [len(step.payloads) for step in stream.steps], width)
    highest = max(*reads, *events, 1)
    end = f"{stream.seconds:.3f} s"
    return [
        ("reads", _drawn(reads, highest, bars)),
        ("events", _drawn(events, highest, bars)),
        ("", f"0 s{end:>{width - 3}}"),
    ]


def _columns(stream: Stream, amounts: Sequence[int], width: int) -> list[int]:
    """Return the sum of the amounts in each of `width` equal intervals of time."""
    columns = [0] * width
    for step, amount in zip(stream.steps, amounts, strict=True):
        part = (stream.headers_at + step.at) / (stream.seconds or 1.0)
        columns[min(width - 1, int(part * width))] += amount
    return columns


def _drawn(columns: Sequence[int], highest: int, bars: str) -> str:
    """Return one bar for each column; anything above nothing gets at least the lowest."""
    top = len(bars) - 1
    return "".join(bars[max(1, round(count / highest * top)) if count else 0] for count in columns).rstrip()

"""The report by rich, where that is installed and a person looks on; the words are those of `plain`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..terminal import harmless
from .analysis import Stream
from .report import Report, came_to, facts, where
from .text_view import strips

if TYPE_CHECKING:
    from rich.console import Console

    from .probe import Progress

_STYLES = {
    "problem": "bold red",
    "unhealthy": "bold red",
    "warning": "yellow",
    "doubtful": "yellow",
    "note": "dim",
    "healthy": "bold green",
}


def console(file: Any = None, **options: Any) -> Console:
    """A console that takes nothing in what it prints for its own."""
    from rich.console import Console

    return Console(file=file, markup=False, highlight=False, emoji=False, **options)


def show(report: Report, to: Console) -> None:
    """Print the report."""
    from rich.text import Text

    to.print(Text(harmless(report.asked), style="bold"))
    if report.items:
        to.print(Text(f"items {report.items}", style="dim"))
    for number, stream in enumerate(report.streams, 1):
        to.print()
        to.print(_stream(number, stream, to.width))
    for finding in report.found:
        to.print()
        heading = Text(f"{finding.severity}  ", style=_STYLES[finding.severity])
        heading.append(finding.name + where(finding, report.streams), style="bold")
        to.print(heading)
        to.print(_indented(f"{finding.what}."))
        to.print(_indented(f"Remedy: {finding.remedy}."))
        if finding.lines:
            to.print(_grid([(product, line) for product, line in finding.lines.items()], "cyan"))
    to.print()
    to.print(Text.assemble((report.verdict, _STYLES[report.verdict]), f": {report.sentence}"))


@contextmanager
def progress(to: Console) -> Iterator[Progress]:
    """A line that tells what comes, and how long nothing has."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[came]}", markup=False),
        console=to,
        transient=True,
    ) as bar:
        task = bar.add_task("connecting", total=None, came="")

        def tell(title: str, seconds: float, events: int, size: int) -> None:
            if not size:
                bar.reset(task, description=title, total=None, came="")
            bar.update(task, came=f"{events} events, {size:,} bytes")

        yield tell


def _stream(number: int, stream: Stream, width: int) -> Any:
    from rich import box
    from rich.panel import Panel
    from rich.text import Text

    room = max(20, min(100, width - 22))
    rows = [(name, harmless(value)) for name, value in facts(stream)]
    rows += strips(stream, width=room)
    style = "green" if stream.whole else "red"
    title = Text(harmless(f"stream {number}, {stream.title}: {came_to(stream)}"))
    return Panel(_grid(rows, style), title=title, title_align="left", border_style=style, box=box.ROUNDED)


def _grid(rows: list[tuple[str, str]], style: str) -> Any:
    """Names on the left, and what belongs to them."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value, style=style if name in ("reads", "events") else ""))
    return table


def _indented(text: str) -> Any:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(harmless(text)), (0, 0, 0, 2))

"""The report as one HTML page: no script, nothing loaded from elsewhere, everything that a server sent escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from typing import Final

from ..terminal import printable
from .analysis import Stream
from .chart import chart
from .findings import Finding
from .report import Report, facts, outcome, place

_LEGEND: Final = (
    ("event", "an event; those of one read are stacked"),
    ("read", "a read; higher means more bytes"),
    ("empty", "a read that completes no event"),
    ("gap", "a long time without a byte"),
    ("headers", "the headers arrived"),
    ("repair", "damaged framing, repaired"),
    ("whole", "the end of a whole answer"),
    ("broken", "where an answer broke"),
)


def page(report: Report) -> str:
    """Return the whole document."""
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    findings = "".join(_finding(finding, report.streams) for finding in report.findings)
    streams = "".join(_stream(number, stream) for number, stream in enumerate(report.streams, 1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{_text(report.health)}: {_text(report.subject)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="badge {report.health}">{report.health}</p>
<h1>{_text(report.summary[0].upper() + report.summary[1:])}.</h1>
{_definitions(report.details())}
</header>
<main>
<section aria-labelledby="findings">
<h2 id="findings">Findings</h2>
{findings or "<p>Nothing was found.</p>"}
</section>
{_legend()}
{streams}
</main>
<footer><p>Written by openai-stream-guard doctor. It holds no text of any answer.</p></footer>
</body>
</html>
"""


def _finding(finding: Finding, streams: tuple[Stream, ...]) -> str:
    lines = f'<div class="lines">{_definitions(finding.lines.items(), code=True)}</div>' if finding.lines else ""
    where = _text(place(finding, streams))
    severity = finding.severity
    return f"""<article class="finding {severity}">
<h3><span class="severity">{severity}</span> <code>{_text(finding.name)}</code><small>{where}</small></h3>
<p>{_prose(finding.what)}.</p>
<p><strong>Remedy:</strong> {_prose(finding.remedy)}.</p>
{lines}</article>
"""


def _stream(number: int, stream: Stream) -> str:
    ended = outcome(stream)
    state = "whole" if stream.whole else "broken"
    counts = f"{stream.evidence.events} events in {stream.evidence.reads} reads"
    label = printable(f"stream {number}, {stream.title}: {counts}, {ended}")
    figure = f"<figure>{chart(stream, label)}</figure>" if stream.answered else ""
    return f"""<section class="stream" aria-labelledby="stream-{number}">
<h2 id="stream-{number}">Stream {number}, {_text(stream.title)} <span class="state {state}">{_text(ended)}</span></h2>
{figure}
{_definitions(facts(stream))}
{_table("Headers", ("name", "value"), stream.recording.head.headers.items())}
{_table("Reads", ("seconds", "bytes", "events", "repaired"), _rows(stream))}
</section>
"""


def _rows(stream: Stream) -> list[tuple[str, ...]]:
    return [
        (f"{at:.6f}", f"{step.size}", f"{len(step.payloads)}", ", ".join(step.repairs))
        for at, step in stream.timed_steps()
    ]


def _table(title: str, names: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    listed = list(rows)
    if not listed:
        return ""
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in names)
    body = "\n".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in listed)
    return f"""<details class="{title.lower()}">
<summary>{title} ({len(listed)})</summary>
<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table></div>
</details>"""


def _definitions(pairs: Iterable[tuple[str, str]], *, code: bool = False) -> str:
    items = []
    for name, value in pairs:
        shown = f"<code>{_text(value)}</code>" if code and "`" not in value else _prose(value)
        items.append(f"<div><dt>{_text(name)}</dt><dd>{shown}</dd></div>")
    return f"<dl>{''.join(items)}</dl>"


def _legend() -> str:
    items = "".join(f'<li><i class="mark {name}"></i>{_text(meaning)}</li>' for name, meaning in _LEGEND)
    return f'<section aria-labelledby="legend"><h2 id="legend">Legend</h2><ul class="legend">{items}</ul></section>'


def _text(value: str) -> str:
    return escape(printable(value))


def _prose(text: str) -> str:
    """Return text in which parts between backticks are code."""
    parts = _text(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))

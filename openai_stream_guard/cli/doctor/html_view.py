"""The report as one page of HTML: no script, nothing from elsewhere, and everything that a server said escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from ..terminal import harmless
from .analysis import Stream
from .chart import chart
from .findings import Finding
from .report import Report, came_to, facts, where

_LEGEND = (
    ("event", "an event; those of one read stand on each other"),
    ("read", "a read, the higher the more bytes"),
    ("empty", "a read that completes no event"),
    ("gap", "a long time without a byte"),
    ("headers", "the headers came"),
    ("repair", "framing that was repaired"),
    ("whole", "the end of a whole answer"),
    ("broken", "where an answer broke"),
)


def page(report: Report) -> str:
    """The whole document."""
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    findings = "".join(_finding(one, report.streams) for one in report.found)
    streams = "".join(_stream(number, one) for number, one in enumerate(report.streams, 1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{_text(report.verdict)}: {_text(report.subject)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="badge {report.verdict}">{report.verdict}</p>
<h1>{_text(report.sentence[0].upper() + report.sentence[1:])}.</h1>
{_pairs(_about(report))}
</header>
<main>
<section aria-labelledby="findings">
<h2 id="findings">Findings</h2>
{findings or "<p>Nothing was found.</p>"}
</section>
{streams}{_legend()}
</main>
<footer><p>Written by openai-stream-guard doctor. It holds no text of any answer.</p></footer>
</body>
</html>
"""


def _about(report: Report) -> list[tuple[str, str]]:
    asked = [("asked", f"{report.requests} requests")] if report.requests else []
    return [
        ("server", report.subject),
        ("API", report.api),
        ("model", report.model),
        *asked,
        *([("items", report.items)] if report.items else []),
        ("written", report.written or "at an unknown time"),
        ("by", report.made_by or "an unknown release"),
    ]


def _finding(one: Finding, streams: tuple[Stream, ...]) -> str:
    lines = f'<div class="lines">{_pairs(one.lines.items(), code=True)}</div>' if one.lines else ""
    place = where(one, streams)
    return f"""<article class="finding {one.severity}">
<h3><span class="severity">{one.severity}</span> <code>{_text(one.name)}</code><small>{_text(place)}</small></h3>
<p>{_prose(one.what)}.</p>
<p><strong>Remedy:</strong> {_prose(one.remedy)}.</p>
{lines}</article>
"""


def _stream(number: int, one: Stream) -> str:
    ended = came_to(one)
    state = "whole" if one.whole else "broken"
    summary = f"stream {number}, {one.title}: {one.evidence.events} events in {one.evidence.reads} reads, {ended}"
    drawing = f"<figure>{chart(one, harmless(summary))}</figure>" if one.answered else ""
    return f"""<section class="stream" aria-labelledby="stream-{number}">
<h2 id="stream-{number}">Stream {number}, {_text(one.title)} <span class="state {state}">{_text(ended)}</span></h2>
{drawing}
{_pairs(facts(one))}
{_table("Headers", ("name", "value"), one.recording.head.headers.items())}
{_table("Reads", ("seconds", "bytes", "events", "repaired"), _rows(one))}
</section>
"""


def _rows(one: Stream) -> list[tuple[str, ...]]:
    return [
        (f"{one.headers_at + step.at:.6f}", f"{step.size}", f"{len(step.payloads)}", ", ".join(step.repairs))
        for step in one.steps
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


def _pairs(pairs: Iterable[tuple[str, str]], *, code: bool = False) -> str:
    rows = []
    for name, value in pairs:
        shown = f"<code>{_text(value)}</code>" if code and "`" not in value else _prose(value)
        rows.append(f"<div><dt>{_text(name)}</dt><dd>{shown}</dd></div>")
    return f"<dl>{''.join(rows)}</dl>"


def _legend() -> str:
    items = "".join(f'<li><i class="mark {name}"></i>{_text(said)}</li>' for name, said in _LEGEND)
    return f'<section><h2>Legend</h2><ul class="legend">{items}</ul></section>'


def _text(value: str) -> str:
    return escape(harmless(value))


def _prose(text: str) -> str:
    """Text with what stands in backticks as code."""
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(_text(text).split("`")))

"""From the analysis of streams to what is wrong with their path: the doctor's own table, beside that of `diagnosis`.

A stream that broke, or that something held back, is explained by `diagnosis.causes`. What is odd besides, or could
break another stream, is in `CHECKS`. A finding claims no more than its stream shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from ...diagnosis.causes import likely_causes
from ...diagnosis.evidence import COLLECTING, Cut
from .analysis import Stream
from .proxy_settings import Product, Topic, lines_for

Severity: TypeAlias = Literal["problem", "warning", "note"]
Health: TypeAlias = Literal["healthy", "doubtful", "unhealthy"]
LONG_SILENCE: Final = 15.0
"""Seconds without a byte after which some proxies give up."""

SEVERITIES: Final[dict[Severity, str]] = {
    "problem": "streams do not come through as they should",
    "warning": "they do, but could break, or break unnoticed",
    "note": "good to know",
}
SUMMARIES: Final[dict[Health, str]] = {
    "healthy": "nothing on the path was seen to hold back, cut or change the stream",
    "doubtful": "the stream came through, but see the warnings",
    "unhealthy": "the stream did not come through as it should",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found, and its remedy."""

    name: str
    severity: Severity
    what: str
    remedy: str
    lines: dict[Product, str]
    """What to write into the configuration of a proxy, by product."""
    streams: tuple[int, ...]
    """The numbers of the streams in which it was found, from 1."""


@dataclass(frozen=True)
class Check:
    """One check of the doctor's own. `what` is a format string for the stream `s`."""

    name: str
    severity: Severity
    applies: Callable[[Stream], bool]
    what: str
    remedy: str
    topic: Topic | None = None


def _has_header(s: Stream, name: str) -> bool:
    return name in s.recording.head.headers


def _is_http1(s: Stream, version: str) -> bool:
    return s.answered and s.recording.head.http_version == f"HTTP/1.{version}"


def _repaired(s: Stream) -> bool:
    verdict = s.recording.verdict
    return verdict is not None and bool(verdict.repairs) and verdict.fault != "not_a_stream"


CHECKS: Final[tuple[Check, ...]] = (
    Check(
        "no_answer", "problem", lambda s: not s.answered and s.recording.head.status is None,
        "No answer came: {s.refused}",
        "check that the server is running and that the URL has the right scheme and port; if a proxy waits for the "
        "whole answer, switch its buffering off, or wait longer",
    ),
    Check(
        "http_error", "problem", lambda s: not s.answered and s.recording.head.status is not None,
        "The answer was an error with status {s.recording.head.status}",
        "look at the log of whatever answered, and of the server behind it",
    ),
    Check(
        "not_ended", "problem", lambda s: s.answered and s.recording.verdict is None,
        "The stream had not ended after {s.seconds:.1f} s and {s.evidence.bytes} bytes, when reading was stopped",
        "check whether the server respects the limit on tokens",
    ),
    Check(
        "collected_whole", "problem",
        lambda s: s.whole and _has_header(s, "content-length") and s.evidence.clues.media == "events"
        and not s.evidence.bursts,
        "The stream has a `content-length`, so something had all of it before it sent the first byte",
        "switch buffering and caching off for text/event-stream",
        "buffering",
    ),
    Check(
        "broke_after_end", "warning", lambda s: s.whole and s.recording.ending is not None
        and s.recording.ending.by == "transport",
        "The answer was whole, but then {s.recording.ending.reason}, which the SDK alone raises as an error",
        "look for what ends connections too early, such as a timeout or a worker that dies",
    ),
    Check(
        "content_type", "warning",
        lambda s: s.whole and s.evidence.events > 0
        and (s.evidence.clues.media != "events" or not _has_header(s, "content-type")),
        "The stream is not declared as text/event-stream, which tells proxies not to buffer it",
        "let the server send `content-type: text/event-stream`",
    ),
    Check(
        "http_1_0", "warning", lambda s: _is_http1(s, "0"),
        "The answer came over HTTP/1.0, in which a broken connection looks like the end of the stream",
        "let every server and proxy on the path use HTTP/1.1",
        "framing",
    ),
    Check(
        "close_delimited", "warning",
        lambda s: _is_http1(s, "1") and not _has_header(s, "content-length")
        and not _has_header(s, "transfer-encoding"),
        "The stream ends where its connection ends, so a broken connection looks like the end of the stream",
        "let the server send chunks (`transfer-encoding: chunked`)",
        "framing",
    ),
    Check(
        "no_finish_reason", "warning", lambda s: s.whole and s.has_finish_reason and not s.finished,
        "The stream ended with [DONE] but without a `finish_reason`, so an answer that was cut may look whole",
        "look for what drops the last events, or use a newer release of the server",
    ),
    Check(
        "repaired", "warning", _repaired,
        "The framing of the events is damaged; without the guard, the SDK may lose some or fail",
        "look for a gateway that splits, joins or re-wraps events; the guard repairs it",
    ),
    Check(
        "long_silence", "warning", lambda s: s.whole and s.longest_silence >= LONG_SILENCE,
        "No byte came for {s.longest_silence:.0f} s, and proxies cut silent connections, some after 30 s",
        "let the server send keep-alive comments, and raise the idle timeouts on the path",
        "idle",
    ),
    Check(
        "no_done", "note", lambda s: s.whole and s.has_finish_reason and s.finished and not s.evidence.done,
        "The stream ended without [DONE], as that of some servers does",
        "nothing to do: the `finish_reason` marks the end",
    ),
    Check(
        "keep_alives", "note", lambda s: s.comments > 0,
        "The server sends comments as keep-alives, which keep connections open",
        "set `idle_timeout`: comments restart the client's read timeout even if the server hangs",
    ),
)  # fmt: skip
"""What is looked for in every stream, besides the causes in `diagnosis.causes`."""

TOO_LITTLE: Final = Check(
    "too_little_to_tell", "note", lambda s: s.whole and not _shows_buffering(s),
    "Too little came, or too fast, to tell whether something on the path buffers events",
    "request an answer that takes the model some seconds",
)  # fmt: skip
"""Applies if no stream of the server is long enough to tell."""

_TOPICS: Final[tuple[tuple[str, Topic], ...]] = (
    ("buffered", "buffering"),
    ("compressed", "compression"),
    ("damaged_compression", "compression"),
    ("idle_cut", "idle"),
    ("old_cut", "age"),
    ("empty_stream_nginx", "buffering"),
    ("stalled_at_once_nginx", "buffering"),
    ("clean_end", "hidden_end"),
    ("cut_inside_event", "hidden_end"),
    ("no_terminal_event", "hidden_end"),
    ("ended_early", "hidden_end"),
    ("truncated", "hidden_end"),
    ("short_body", "buffering"),
)
"""What causes are about, by the beginning of their names."""


def _shows_buffering(s: Stream) -> bool:
    """Return whether the stream is long and slow enough that buffering would show."""
    evidence = s.evidence
    slow = max(evidence.first_event_seconds, evidence.worst_gap) >= COLLECTING
    return evidence.events >= 10 and (slow or not evidence.collected)


_NEXT = 3600.0
"""Seconds between two streams, for comparison: each begins after the one before it, so that none are cut together."""


def findings_from(streams: Sequence[Stream]) -> tuple[Finding, ...]:
    """Return everything that is found in streams of one server, the worst first, each finding once."""
    streams = [replace(s, evidence=replace(s.evidence, at=_NEXT * number)) for number, s in enumerate(streams)]
    broken = [s.evidence for s in streams if s.answered and s.evidence.fault]
    cuts = tuple(Cut(evidence.seconds, evidence.silence, evidence.at) for evidence in broken)
    found: dict[str, Finding] = {}
    for number, stream in enumerate(streams, 1):
        compared = replace(stream, evidence=replace(stream.evidence, cuts=cuts if stream.evidence.fault else ()))
        for finding in [*_causes(compared, number), *_checked(compared, number, CHECKS)]:
            known = found.get(finding.name)
            found[finding.name] = finding if known is None else replace(known, streams=(*known.streams, number))
    buffering = any(name.startswith(("buffered", "collected")) for name in found)
    if not buffering and not any(map(_shows_buffering, streams)):
        for number, stream in enumerate(streams, 1):
            for finding in _checked(stream, number, [TOO_LITTLE]):
                found.setdefault(finding.name, finding)
    order = list(SEVERITIES)
    return tuple(sorted(found.values(), key=lambda finding: order.index(finding.severity)))


def health_from(findings: Sequence[Finding]) -> Health:
    """Return the overall result: the worst severity decides."""
    severities = {finding.severity for finding in findings}
    if "problem" in severities:
        return "unhealthy"
    return "doubtful" if "warning" in severities else "healthy"


def _causes(s: Stream, number: int) -> list[Finding]:
    """Return the likeliest cause of a fault or a wait. Compression is reported beside buffering by nginx."""
    if not s.answered or s.recording.verdict is None:
        return []
    causes = likely_causes(s.evidence)
    first = causes[0].name if causes else ""
    chosen = [c for c in causes if c.name == first or (c.name == "compressed" and first == "buffered_nginx")]
    return [
        Finding(
            name=cause.name,
            severity="warning" if cause.name == "compressed" else "problem",
            what=cause.claim_about(s.evidence),
            remedy=cause.remedy_for(s.evidence),
            lines=_cause_lines(cause.name, s),
            streams=(number,),
        )
        for cause in chosen
    ]


def _cause_lines(name: str, s: Stream) -> dict[Product, str]:
    topic = next((topic for start, topic in _TOPICS if name.startswith(start)), None)
    excluded: Product | None = "nginx" if name == "buffered_not_by_nginx" else None
    return lines_for(topic, s.evidence.clues.parties, excluded=excluded)


def _checked(s: Stream, number: int, checks: Sequence[Check]) -> list[Finding]:
    return [
        Finding(
            name=check.name,
            severity=check.severity,
            what=check.what.format(s=s),
            remedy=check.remedy,
            lines=lines_for(check.topic, s.evidence.clues.parties),
            streams=(number,),
        )
        for check in checks
        if check.applies(s)
    ]

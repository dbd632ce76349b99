"""From what was examined to what is wrong with it: the doctor's table, after that of `hints`.

A stream that broke, or that something holds back, is explained by `hints`. What is odd besides, or could break another
stream, is in `CHECKS`. A row claims no more than its stream shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ...diagnosis.causes import likely_causes
from ...diagnosis.evidence import COLLECTING, Cut
from .analysis import Stream
from .proxy_settings import Product, Topic, lines

Severity: TypeAlias = Literal["problem", "warning", "note"]
Verdict: TypeAlias = Literal["healthy", "doubtful", "unhealthy"]
LONG_SILENCE = 15.0
"""Seconds without a byte that some proxies do not wait for."""

SEVERITIES: dict[Severity, str] = {
    "problem": "streams do not come through as they should",
    "warning": "they do, but could break, or break unnoticed",
    "note": "good to know",
}
VERDICTS: dict[Verdict, str] = {
    "healthy": "nothing on the way was seen to hold back, cut or change the stream",
    "doubtful": "the stream came through, but see the warnings",
    "unhealthy": "the stream did not come through as it should",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found, and what helps."""

    name: str
    severity: Severity
    what: str
    remedy: str
    lines: dict[Product, str]
    """What to write into the configuration of a proxy, by product."""
    streams: tuple[int, ...]
    """In which it was found, from 1."""


@dataclass(frozen=True)
class Check:
    """A row of the doctor's own. Its texts may name figures of the stream `s`."""

    name: str
    severity: Severity
    applies: Callable[[Stream], bool]
    what: str
    remedy: str
    topic: Topic | None = None


def _has(s: Stream, name: str) -> bool:
    return name in s.recording.head.headers


def _http1(s: Stream, version: str) -> bool:
    return s.answered and s.recording.head.http_version == f"HTTP/1.{version}"


def _repaired(s: Stream) -> bool:
    judgement = s.recording.judgement
    return judgement is not None and bool(judgement.repairs) and judgement.fault != "not_a_stream"


CHECKS: tuple[Check, ...] = (
    Check(
        "no_answer", "problem", lambda s: not s.answered and s.recording.head.status is None,
        "No answer came: {s.refused}",
        "look whether the server is up, and whether the URL has its port and its scheme; where something on the way "
        "waits for the whole answer, switch its buffering off, or wait longer",
    ),
    Check(
        "http_error", "problem", lambda s: not s.answered and s.recording.head.status is not None,
        "The answer was an error, with status {s.recording.head.status}",
        "look into the log of what answered, and of the server behind it",
    ),
    Check(
        "not_ended", "problem", lambda s: s.answered and s.recording.judgement is None,
        "The stream had not ended after {s.seconds:.1f} s and {s.evidence.bytes} bytes, where its reading was left off",
        "look whether the server heeds the limit on tokens",
    ),
    Check(
        "collected_whole", "problem",
        lambda s: s.whole and _has(s, "content-length") and s.evidence.clues.media == "events"
        and not s.evidence.bursts,
        "The stream came with a `content-length`, so something had all of it before it sent the first byte",
        "switch buffering and caching off for text/event-stream",
        "buffering",
    ),
    Check(
        "broke_after_end", "warning", lambda s: s.whole and s.recording.ending is not None
        and s.recording.ending.by == "transport",
        "The answer was whole, but then {s.recording.ending.reason}, which the SDK alone raises as an error",
        "look for what ends connections before the stream has ended, such as a timeout or a worker that dies",
    ),
    Check(
        "content_type", "warning",
        lambda s: s.whole and s.evidence.events > 0
        and (s.evidence.clues.media != "events" or not _has(s, "content-type")),
        "The stream is not declared as text/event-stream, by which proxies know not to buffer it",
        "let the server send `content-type: text/event-stream`",
    ),
    Check(
        "http_1_0", "warning", lambda s: _http1(s, "0"),
        "The answer came by HTTP/1.0, in which a connection that is cut looks like the end of the stream",
        "let every server and proxy on the way speak HTTP/1.1",
        "framing",
    ),
    Check(
        "close_delimited", "warning",
        lambda s: _http1(s, "1") and not _has(s, "content-length") and not _has(s, "transfer-encoding"),
        "The stream ends where the connection does, so a connection that is cut looks like the end of the stream",
        "let the server send chunks (`transfer-encoding: chunked`)",
        "framing",
    ),
    Check(
        "no_finish_reason", "warning", lambda s: s.whole and s.wants_finish and not s.finished,
        "The stream ended by [DONE] alone, without a `finish_reason`, so an answer that was cut may look whole",
        "look for what drops the last events, or for a newer release of the server",
    ),
    Check(
        "repaired", "warning", _repaired,
        "The framing of the events is damaged, and the SDK alone may lose some or fail",
        "look for a gateway that splits, joins or re-wraps events; the guard repairs it",
    ),
    Check(
        "long_silence", "warning", lambda s: s.whole and s.longest_silence >= LONG_SILENCE,
        "For {s.longest_silence:.0f} s not one byte came, and proxies cut what is silent for long, some after 30 s",
        "let the server send keep-alive comments, and raise the idle timeouts on the way",
        "idle",
    ),
    Check(
        "no_done", "note", lambda s: s.whole and s.wants_finish and s.finished and not s.evidence.done,
        "The stream ended without [DONE], as some servers do",
        "nothing has to be done: its `finish_reason` is end enough",
    ),
    Check(
        "keep_alives", "note", lambda s: s.comments > 0,
        "The server sends comments as keep-alives, which idle timeouts on the way heed",
        "set `idle_timeout`, since they start the client's read timeout anew even where the server hangs",
    ),
)  # fmt: skip
"""What is looked for in every stream, besides the causes in `hints`."""

TOO_LITTLE = Check(
    "too_little_to_tell", "note", lambda s: s.whole and not _tells(s),
    "Too little came, or too fast, to tell whether something on the way collects events",
    "ask a model that takes some seconds to answer",
)  # fmt: skip
"""Of all streams together: where one tells, the others need not."""

_TOPICS: tuple[tuple[str, Topic], ...] = (
    ("buffered", "buffering"),
    ("compressed", "compression"),
    ("damaged_compression", "compression"),
    ("idle_cut", "idle"),
    ("old_cut", "age"),
    ("clean_end_nginx", "hidden_end"),
    ("cut_inside_event", "hidden_end"),
    ("truncated", "hidden_end"),
    ("short_body", "buffering"),
)
"""Where the name of a hint's row begins so, it is about this."""


def _tells(s: Stream) -> bool:
    """Whether buffering would have shown."""
    e = s.evidence
    slow = max(e.first_event_seconds, e.worst_gap) >= COLLECTING
    return e.events >= 10 and (slow or not e.collected)


def findings(streams: Sequence[Stream]) -> tuple[Finding, ...]:
    """All that is found in some streams of one server, the worst first, each thing once."""
    cuts = tuple(Cut(s.evidence.seconds, s.evidence.silence) for s in streams if s.answered and s.evidence.fault)
    found: dict[str, Finding] = {}
    for number, stream in enumerate(streams, 1):
        told = replace(stream, evidence=replace(stream.evidence, cuts=cuts if stream.evidence.fault else ()))
        for one in [*_explained(told, number), *_checked(told, number, CHECKS)]:
            before = found.get(one.name)
            found[one.name] = one if before is None else replace(before, streams=(*before.streams, number))
    if not any(name.startswith(("buffered", "collected")) for name in found) and not any(map(_tells, streams)):
        for number, stream in enumerate(streams, 1):
            for one in _checked(stream, number, [TOO_LITTLE]):
                found.setdefault(one.name, one)
    order = list(SEVERITIES)
    return tuple(sorted(found.values(), key=lambda one: order.index(one.severity)))


def verdict(found: Sequence[Finding]) -> Verdict:
    """What it comes to."""
    severities = {one.severity for one in found}
    if "problem" in severities:
        return "unhealthy"
    return "doubtful" if "warning" in severities else "healthy"


def _explained(s: Stream, number: int) -> list[Finding]:
    """The likeliest cause of a fault, or of a wait; and compression, which may be there beside it."""
    if not s.answered or s.recording.judgement is None:
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
            lines=_lines(cause.name, s),
            streams=(number,),
        )
        for cause in chosen
    ]


def _lines(name: str, s: Stream) -> dict[Product, str]:
    topic = next((topic for start, topic in _TOPICS if name.startswith(start)), None)
    return lines(topic, s.evidence.clues.parties, innocent="nginx" if name == "buffered_not_by_nginx" else None)


def _checked(s: Stream, number: int, checks: Sequence[Check]) -> list[Finding]:
    values: dict[str, Any] = {"s": s}
    return [
        Finding(
            name=check.name,
            severity=check.severity,
            what=check.what.format(**values),
            remedy=check.remedy,
            lines=lines(check.topic, s.evidence.clues.parties),
            streams=(number,),
        )
        for check in checks
        if check.applies(s)
    ]

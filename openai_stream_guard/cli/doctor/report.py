"""Everything that the doctor reports, as one value, and its words. The text, HTML and JSON views only lay it out."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ...capture.folder import versions
from ...decoding.payload import REPAIRS
from .analysis import Stream
from .findings import SUMMARIES, Finding, Health, findings_from, health_from

VERSION: Final = 1
"""Version of the JSON. Fields may be added within a version."""


@dataclass(frozen=True)
class Report:
    """What was requested, what came, and what was found in it."""

    subject: str
    """The URL, or the file."""
    api: str
    model: str
    requests: int
    """How many were sent; 0 for a capture."""
    streams: tuple[Stream, ...]
    written: str = ""
    """ISO 8601."""
    made_by: str = ""
    """Packages and their versions."""
    items: str = ""
    """How the SDK's items were built; nothing for a capture."""
    proxy: str | None = None
    """The HTTP proxy of the environment that the requests went through."""
    findings: tuple[Finding, ...] = field(init=False)
    """The worst first."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", findings_from(self.streams))

    @property
    def health(self) -> Health:
        """The overall result."""
        return health_from(self.findings)

    @property
    def summary(self) -> str:
        """The overall result in one sentence."""
        return SUMMARIES[self.health]

    @property
    def about(self) -> str:
        """What was requested from which server, on one line."""
        sent = f", {_counted(self.requests, 'request')}" if self.requests else ""
        proxy = f", through the proxy {self.proxy} of the environment" if self.proxy else ""
        return f"{self.subject}, {self.api}, model {self.model}{sent}{proxy}"

    def details(self) -> list[tuple[str, str]]:
        """Return the same and more, as named values."""
        sent = [("requests", str(self.requests))] if self.requests else []
        proxy = [("proxy of the environment", self.proxy)] if self.proxy else []
        return [
            ("server", self.subject),
            *proxy,
            ("API", self.api),
            ("model", self.model),
            *sent,
            *([("items", self.items)] if self.items else []),
            ("written", self.written or "at an unknown time"),
            ("by", self.made_by or "an unknown release"),
        ]

    def as_json(self) -> dict[str, object]:
        """Return the report for programs."""
        return {
            "version": VERSION,
            "verdict": self.health,
            "subject": self.subject,
            "api": self.api,
            "model": self.model,
            "requests": self.requests,
            "proxy": self.proxy,
            "written": self.written,
            "items": self.items,
            "findings": [{**vars(finding), "streams": list(finding.streams)} for finding in self.findings],
            "streams": [_stream_json(stream) for stream in self.streams],
        }


def own_versions() -> str:
    """Return the versions of the guard, the SDK and Python that run the doctor."""
    known = versions()
    packages = [f"{name} {known[name]}" for name in ("openai-stream-guard", "openai") if name in known]
    return ", ".join([*packages, f"Python {platform.python_version()}"])


def outcome(stream: Stream) -> str:
    """Return how a stream ended, in a few words."""
    verdict = stream.recording.verdict
    if stream.refused is not None:
        return f"no stream: {stream.refused}"
    if verdict is None:
        return "reading was stopped before its end"
    return "whole" if verdict.fault is None else f"{verdict.fault}: {verdict.reason}"


def place(finding: Finding, streams: Sequence[Stream]) -> str:
    """Return in which streams something was found, if it is not all of them."""
    if len(streams) == 1 or len(finding.streams) == len(streams):
        return ""
    return f" (stream {', '.join(map(str, finding.streams))})"


def facts(stream: Stream) -> list[tuple[str, str]]:
    """Return what was measured of a stream, as named values."""
    evidence, recording, head = stream.evidence, stream.recording, stream.recording.head
    version = f"{head.http_version or 'HTTP'}, status {head.status}" if head.status else "no response"
    facts = [("answered by", f"{stream.parties or 'unidentified server'} ({version})")]
    if not stream.answered:
        return [*facts, ("ended after", _seconds(stream.seconds))]
    first = "never" if stream.first_event is None else f"after {_seconds(stream.first_event)}"
    headers = f", headers after {_seconds(stream.headers_at)}" if stream.headers_at else ""
    facts.append(("first event", first + headers))
    rate = f" ({evidence.events / evidence.reads:.1f} events a read)" if evidence.reads else ""
    counts = f"{_counted(evidence.events, 'event')} in {_counted(evidence.reads, 'read')}"
    facts.append(("received", f"{counts}{rate}, {evidence.bytes:,} bytes"))
    facts.append(("ended after", _seconds(stream.seconds)))
    waits = f"{_seconds(stream.worst_gap)} between events, {_seconds(stream.longest_silence)} without a byte"
    facts.append(("longest wait", waits))
    compression = f"compressed with {evidence.clues.encoding}, " if evidence.clues.encoding else ""
    facts.append(("body", compression + _framing(stream)))
    if stream.error:
        facts.append(("API error", stream.error))
    if stream.comments:
        facts.append(("keep-alives", _counted(stream.comments, "comment")))
    if recording.verdict is not None and recording.verdict.repairs:
        repairs = recording.verdict.repairs.items()
        facts.append(("repaired", "; ".join(f"{name} {count}×: {REPAIRS.get(name, '')}" for name, count in repairs)))
    return facts


def _framing(stream: Stream) -> str:
    """Return how HTTP delimits the body."""
    headers = stream.recording.head.headers
    if stream.recording.head.http_version.startswith("HTTP/2"):
        return "in HTTP/2 frames"
    if "transfer-encoding" in headers:
        return "in chunks"
    return "with a content-length" if "content-length" in headers else "up to the end of the connection"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.1f} s"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _stream_json(stream: Stream) -> dict[str, object]:
    recording = stream.recording
    verdict = recording.verdict
    return {
        "title": stream.title,
        "status": recording.head.status,
        "http_version": recording.head.http_version,
        "request_id": recording.head.request_id,
        "headers": dict(recording.head.headers),
        "named": sorted(stream.evidence.clues.parties),
        "fault": None if verdict is None else verdict.fault,
        "reason": stream.refused if verdict is None else verdict.reason,
        "error": stream.error,
        "repairs": {} if verdict is None else dict(verdict.repairs),
        "figures": stream.figures(),
        "reads": [
            {"at": round(at, 6), "bytes": step.size, "events": len(step.payloads), "repairs": list(step.repairs)}
            for at, step in stream.timed_steps()
        ],
    }

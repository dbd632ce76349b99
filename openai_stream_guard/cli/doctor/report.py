"""All that the doctor has to tell, as one value, and the words for it; how it is laid out is for those who show it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ...decoding.payload import REPAIRS
from .analysis import Stream
from .findings import VERDICTS, Finding, Verdict, findings, verdict

VERSION: Final = 1
"""Of the JSON; fields may be added within a version."""


@dataclass(frozen=True)
class Report:
    """What was asked, what came, what is to be said about it."""

    subject: str
    """The URL, or the file."""
    api: str
    model: str
    requests: int
    """How many were sent; 0 for what comes from a capture."""
    streams: tuple[Stream, ...]
    written: str = ""
    made_by: str = ""
    items: str = ""
    """How the SDK's items were built; nothing for what comes from a capture."""
    found: tuple[Finding, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "found", findings(self.streams))

    @property
    def verdict(self) -> Verdict:
        return verdict(self.found)

    @property
    def sentence(self) -> str:
        """The verdict in a few words."""
        return VERDICTS[self.verdict]

    @property
    def asked(self) -> str:
        """What was asked of whom."""
        sent = {0: "", 1: ", 1 request"}.get(self.requests, f", {self.requests} requests")
        return f"{self.subject}, {self.api}, model {self.model}{sent}"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "version": VERSION,
            "verdict": self.verdict,
            "subject": self.subject,
            "api": self.api,
            "model": self.model,
            "requests": self.requests,
            "written": self.written,
            "items": self.items,
            "findings": [_finding(one) for one in self.found],
            "streams": [_stream(one) for one in self.streams],
        }


def made_by() -> str:
    """What this is run by."""
    from ...capture.folder import versions

    names = {"openai-stream-guard": "openai-stream-guard", "openai": "openai"}
    known = versions()
    return ", ".join(
        [f"{name} {known[name]}" for name in names if name in known] + [f"Python {platform.python_version()}"]
    )


def came_to(stream: Stream) -> str:
    """How a stream ended, in a few words."""
    recording = stream.recording
    judgement = recording.judgement
    if stream.refused is not None:
        return f"no stream: {stream.refused}"
    if judgement is None:
        return "left off before its end"
    return "whole" if judgement.fault is None else f"{judgement.fault}: {judgement.reason}"


def facts(stream: Stream) -> list[tuple[str, str]]:
    """The figures of a stream, each with its name."""
    e, recording, head = stream.evidence, stream.recording, stream.recording.head
    version = f"{head.http_version or 'HTTP'}, status {head.status}" if head.status else "none"
    said = [("answered by", f"{stream.by or 'a server that names itself nowhere'} ({version})")]
    if not stream.answered:
        return [*said, ("ended after", _seconds(stream.seconds))]
    first = "never" if stream.first_event is None else f"after {_seconds(stream.first_event)}"
    headers = f", headers after {_seconds(stream.headers_at)}" if stream.headers_at else ""
    said.append(("first event", first + headers))
    each = f" ({e.events / e.reads:.1f} events a read)" if e.reads else ""
    said.append(("came", f"{_many(e.events, 'event')} in {_many(e.reads, 'read')}{each}, {e.bytes:,} bytes"))
    said.append(("ended after", _seconds(stream.seconds)))
    gaps = f"{_seconds(stream.worst_gap)} between events, {_seconds(stream.longest_silence)} without a byte"
    said.append(("longest wait", gaps))
    framing = " by ".join(filter(None, (e.clues.encoding and f"compressed {e.clues.encoding}", _framing(stream))))
    said.append(("body", framing))
    if stream.error:
        said.append(("the API says", stream.error))
    if stream.comments:
        said.append(("keep-alives", _many(stream.comments, "comment")))
    if recording.judgement is not None and recording.judgement.repairs:
        repairs = recording.judgement.repairs.items()
        said.append(("repaired", "; ".join(f"{kind} {count}×: {REPAIRS.get(kind, '')}" for kind, count in repairs)))
    return said


def where(finding: Finding, streams: Sequence[Stream]) -> str:
    """In which of several streams something was found."""
    if len(streams) == 1 or len(finding.streams) == len(streams):
        return ""
    return f" (stream {', '.join(map(str, finding.streams))})"


def _framing(stream: Stream) -> str:
    headers = stream.recording.head.headers
    if stream.recording.head.http_version.startswith("HTTP/2"):
        return "HTTP/2 frames"
    if "transfer-encoding" in headers:
        return "chunks"
    return "its length" if "content-length" in headers else "the end of its connection"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.1f} s"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "name": one.name,
        "severity": one.severity,
        "what": one.what,
        "remedy": one.remedy,
        "lines": dict(one.lines),
        "streams": list(one.streams),
    }


def _stream(one: Stream) -> dict[str, Any]:
    recording = one.recording
    judgement = recording.judgement
    return {
        "title": one.title,
        "status": recording.head.status,
        "http_version": recording.head.http_version,
        "request_id": recording.head.request_id,
        "headers": dict(recording.head.headers),
        "named": sorted(one.evidence.clues.parties),
        "fault": None if judgement is None else judgement.fault,
        "reason": one.refused if judgement is None else judgement.reason,
        "error": one.error,
        "repairs": {} if judgement is None else dict(judgement.repairs),
        "figures": one.figures(),
        "reads": [
            {
                "at": round(one.headers_at + step.at, 6),
                "bytes": step.size,
                "events": len(step.payloads),
                "repairs": list(step.repairs),
            }
            for step in one.steps
        ],
    }

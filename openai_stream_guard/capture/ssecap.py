"""The `.ssecap` format: a capture as lines of JSON, and back.

    {"type": "capture", "version": 1, …}      the request, the policy, who wrote it
    {"type": "attempt", …}                    status, headers, what was lost
    {"type": "read", "at": 0.01, "text": …}   `base64` in place of `text` where the bytes are not UTF-8;
                                              `waiting_since` where the program took its time for what came before
    {"type": "end", …}                        how the reading ended, with the same
    {"type": "verdict", …}                    what the guard made of it
    {"type": "end_of_capture"}

A file may come from another machine, be cut, or be made to harm: `load` gives a capture, or raises `NotACapture` with
one sentence. The law its tests keep: what was dumped is loaded again as it was.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from ..apis.request import EndRule, StreamRequest
from ..config.policy import Policy
from ..diagnosis.evidence import Ending as How
from ..diagnosis.evidence import ResponseHead
from ..engine.decisions import Timeouts
from ..notices import FaultKind, RecoveryMethod
from .json_line import Line, NotACapture
from .recording import MAX_ATTEMPTS, MAX_READS, Capture, Ending, Judgement, Read, Recording, went_on

VERSION: Final = 1
MAX_FILE_BYTES: Final = 16 << 20
"""No capture is larger: its attempts and their reads are bounded."""
_POLICY = ("recovery", "delivery", "max_held_bytes", "max_event_bytes", "max_elapsed", "repair", "lenient_hosts")
_Kind: TypeAlias = Literal["attempt", "read", "end", "verdict", "end_of_capture"]


def dump(capture: Capture) -> bytes:
    """The contents of a file."""
    lines = [json.dumps(line, ensure_ascii=False, separators=(", ", ": "), allow_nan=False) for line in _lines(capture)]
    return "\n".join([*lines, ""]).encode("utf-8", "backslashreplace")  # a lone surrogate is no text


def _lines(capture: Capture) -> Iterator[Mapping[str, object]]:
    asked, policy, clocks = capture.asked, capture.policy, capture.clocks
    yield {
        "type": "capture",
        "version": VERSION,
        "written": capture.written,
        "made_by": dict(capture.made_by),
        "request": {
            "method": asked.method,
            "path": asked.path,
            "host": asked.host,
            "body": asked.body,
            "resendable": asked.resendable,
            "starting_after": asked.starting_after,
            "one_identity": asked.one_identity,
            "errors_are_values": asked.errors_are_values,
        },
        "policy": {
            **{name: getattr(policy, name) for name in _POLICY},
            "continuation": policy.continuation is not None,
        },
        "origin": capture.origin,
        "clocks": {"first_event": _finite(clocks.first_event), "idle": _finite(clocks.idle)},
    }
    for recording in capture.attempts:
        yield from _attempt_lines(recording)
    if capture.whole:
        yield {"type": "end_of_capture"}


def _attempt_lines(recording: Recording) -> Iterator[Mapping[str, object]]:
    yield {
        "type": "attempt",
        "opened": recording.opened,
        "way": recording.way,
        "polled": recording.polled,
        "rule": recording.rule,
        "status": recording.head.status,
        "request_id": recording.head.request_id,
        "http_version": recording.head.http_version,
        "headers": dict(recording.head.headers),
        "lost_reads": recording.lost_reads,
        "lost_bytes": recording.lost_bytes,
    }
    for at, data, since in recording.reads:
        yield {"type": "read", "at": at, **({"waiting_since": since} if since else {}), **_written(data)}
    if (ending := recording.ending) is not None:
        yield {"type": "end", **vars(ending)}
    if (judgement := recording.judgement) is not None:
        yield {"type": "verdict", **vars(judgement), "repairs": dict(judgement.repairs)}


def _written(data: bytes) -> dict[str, str]:
    """Bytes as text where that can be read and is not much longer; it is the same line by line as on the wire."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and sum(map(text.count, _LONG_ESCAPES)) * 16 <= len(data):
        return {"text": text}
    return {"base64": base64.b64encode(data).decode()}


_LONG_ESCAPES = [chr(code) for code in range(32) if chr(code) not in "\b\f\n\r\t"]


def _finite(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def load(data: bytes) -> Capture:
    """The capture in the contents of a file. One that breaks off is loaded as far as it goes, and is not `whole`.

    Raises:
        NotACapture: for anything else, naming the line.
    """
    if len(data) > MAX_FILE_BYTES:
        raise NotACapture(f"the file has {len(data)} bytes; a capture has at most {MAX_FILE_BYTES}")
    loader: _Loader | None = None
    for number, line in enumerate(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")), 1):
        try:
            members = Line(line, number)
        except NotACapture:
            if loader is None or line.endswith(b"\n"):
                raise
            break  # the file was cut inside this line
        if loader is None:
            loader = _Loader(members)
        else:
            loader.take(members)
    if loader is None:
        raise NotACapture("the file is empty")
    return loader.capture()


class _Loader:
    """The lines of a capture, put together again."""

    def __init__(self, head: Line) -> None:
        if head.plain().get("type") != "capture":
            raise NotACapture("the file is no capture")
        version = head.count("version")
        if version != VERSION:
            raise NotACapture(f"it is in version {version} of the format, and this release reads version {VERSION}")
        self.whole = False
        self._head = _capture(head)
        self._attempts: list[Recording] = []
        self._reads: list[Read] = []

    def take(self, line: Line) -> None:
        """The next line."""
        if self.whole:
            raise line.wrong("comes after the end of the capture")
        kind = line.word("type", _Kind)
        last = self._attempts[-1] if self._attempts else None
        if kind == "attempt":
            self._close()
            if len(self._attempts) == MAX_ATTEMPTS:
                raise line.wrong(f"begins an attempt more than the {MAX_ATTEMPTS} that a capture can have")
            self._attempts.append(_attempt(line))
        elif kind == "end_of_capture":
            self.whole = True
        elif last is None or last.judgement is not None or (last.ending is not None) != (kind == "verdict"):
            raise line.wrong(f"is of type {kind!r}, which cannot stand here")
        elif kind == "read":
            self._read(line)
        elif kind == "end":
            self._attempts[-1] = replace(last, ending=_ending(line))
        else:
            self._attempts[-1] = replace(last, judgement=_judgement(line))

    def _read(self, line: Line) -> None:
        read = Read(line.seconds("at"), line.data(), _waiting_since(line))
        if self._reads and read.at < self._reads[-1].at:
            raise line.wrong("has an 'at' before that of the read before it")
        if len(self._reads) == MAX_READS:
            raise line.wrong(f"is a read more than the {MAX_READS} that an attempt can have")
        self._reads.append(read)

    def _close(self) -> None:
        if self._attempts:
            self._attempts[-1] = replace(self._attempts[-1], reads=tuple(self._reads))
            self._reads = []

    def capture(self) -> Capture:
        """All of it."""
        self._close()
        return replace(self._head, attempts=tuple(self._attempts), whole=self.whole)


def _capture(line: Line) -> Capture:
    request, policy, clocks = line.inner("request"), line.inner("policy"), line.inner("clocks")
    asked = StreamRequest(
        method=request.text("method"),
        path=request.text("path"),
        host=request.text("host"),
        body=request.inner("body").plain(),
        resendable=request.flag("resendable"),
        starting_after=request.count("starting_after") if request.has("starting_after") else None,
        one_identity=request.flag("one_identity"),
        errors_are_values=request.flag("errors_are_values"),
    )
    continuation = went_on if policy.flag("continuation") else None
    fields = policy.plain()
    try:
        kept = Policy(**{name: fields[name] for name in _POLICY if name in fields}, continuation=continuation)
    except ValueError as error:
        raise line.wrong(f"has a policy that is none: {error}") from None
    return Capture(
        asked,
        kept,
        Timeouts(_or_never(clocks, "first_event"), _or_never(clocks, "idle")),
        line.seconds("origin"),
        written=line.text("written"),
        made_by=line.texts("made_by"),
    )


def _or_never(clocks: Line, name: str) -> float:
    return clocks.seconds(name) if clocks.has(name) else math.inf


def _attempt(line: Line) -> Recording:
    return Recording(
        opened=line.seconds("opened"),
        way=line.word("way", RecoveryMethod) if line.has("way") else None,
        polled=line.flag("polled"),
        rule=line.word("rule", EndRule),
        head=ResponseHead(
            status=line.count("status") if line.has("status") else None,
            request_id=line.text("request_id") if line.has("request_id") else None,
            headers=line.texts("headers"),
            http_version=line.text("http_version"),
        ),
        lost_reads=line.count("lost_reads"),
        lost_bytes=line.count("lost_bytes"),
    )


def _ending(line: Line) -> Ending:
    by = line.word("by", Literal["body", "transport", "guard"])
    fault = line.word("fault", FaultKind) if line.has("fault") or by == "transport" else None
    error = line.text("error") if line.has("error") else None
    how: How = line.word("how", How) if line.has("how") else "open"
    return Ending(line.seconds("at"), by, fault, line.text("reason"), error, how, _waiting_since(line))


def _waiting_since(line: Line) -> float:
    since = line.seconds("waiting_since") if line.has("waiting_since") else 0.0
    if since > line.seconds("at"):
        raise line.wrong("has a 'waiting_since' after its 'at'")
    return since


def _judgement(line: Line) -> Judgement:
    repairs = line.inner("repairs")
    return Judgement(
        fault=line.word("fault", FaultKind) if line.has("fault") else None,
        reason=line.text("reason"),
        events=line.count("events"),
        bytes=line.count("bytes"),
        repairs={name: repairs.count(name) for name in repairs.plain()},
    )

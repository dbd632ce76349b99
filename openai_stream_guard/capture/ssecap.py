"""The `.ssecap` file format: a capture as lines of JSON, and back.

    {"type": "capture", "version": 1, …}      the request, the policy, the packages that wrote it
    {"type": "attempt", …}                    status, headers, how much was dropped
    {"type": "read", "at": 0.01, "text": …}   `base64` instead of `text` if the bytes are not UTF-8;
                                              `waiting_since` if the program was busy with the previous events
    {"type": "end", …}                        when and why the reading ended
    {"type": "verdict", …}                    the guard's verdict
    {"type": "end_of_capture"}

Members have the names of the fields of `capture.recording`, except for those named here. A file may come from another
machine, be cut off, or be made to harm: `load` returns a capture or raises `NotACapture` with one sentence. The law
that its tests keep: what `dump` wrote, `load` returns unchanged.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from ..apis.request import StreamRequest
from ..config.policy import Policy
from ..diagnosis.evidence import ResponseHead
from ..engine.decisions import Timeouts
from .json_line import JsonLine, NotACapture
from .recording import MAX_ATTEMPTS, MAX_READS, Capture, Ending, Read, Recording, Verdict, stand_in_continuation

VERSION: Final = 1
MAX_FILE_BYTES: Final = 16 << 20
"""No capture is larger, because attempts and reads are limited."""
_POLICY_FIELDS = ("recovery", "delivery", "max_held_bytes", "max_event_bytes", "max_elapsed", "repair", "lenient_hosts")
_LineType: TypeAlias = Literal["attempt", "read", "end", "verdict", "end_of_capture"]
_LONG_ESCAPES = [chr(code) for code in range(32) if chr(code) not in "\b\f\n\r\t"]
"""Characters that JSON writes in six bytes."""


def dump(capture: Capture) -> bytes:
    """Return the contents of a file."""
    lines = [
        json.dumps(line, ensure_ascii=False, separators=(", ", ": "), allow_nan=False, default=_as_object)
        for line in _lines(capture)
    ]
    return "\n".join([*lines, ""]).encode("utf-8", "backslashreplace")  # a lone surrogate has no UTF-8


def _as_object(value: Any) -> dict[str, object]:
    """Return the members of what is an object in JSON, though not a `dict`."""
    return vars(value) if is_dataclass(value) else dict(value)


def _lines(capture: Capture) -> Iterator[Mapping[str, object]]:
    policy, timeouts = capture.policy, capture.timeouts
    kept = {name: getattr(policy, name) for name in _POLICY_FIELDS}
    yield {
        "type": "capture",
        "version": VERSION,
        "written": capture.written,
        "made_by": capture.made_by,
        "request": {name: value for name, value in vars(capture.request).items() if name != "sent"},
        "policy": {**kept, "continuation": policy.continuation is not None},
        "origin": capture.origin,
        "clocks": {"first_event": _finite(timeouts.first_event), "idle": _finite(timeouts.idle)},
    }
    for recording in capture.attempts:
        members = {**vars(recording), **vars(recording.head)}
        for name in ("head", "reads", "ending", "verdict"):
            del members[name]
        if recording.anchor is None:
            del members["anchor"]
        yield {"type": "attempt", **members}
        for at, data, since in recording.reads:
            yield {"type": "read", "at": at, **({"waiting_since": since} if since else {}), **_encoded(data)}
        if recording.ending is not None:
            yield {"type": "end", **vars(recording.ending)}
        if recording.verdict is not None:
            yield {"type": "verdict", **vars(recording.verdict)}
    if capture.whole:
        yield {"type": "end_of_capture"}


def _encoded(data: bytes) -> dict[str, str]:
    """Return bytes as text if they are UTF-8 and JSON does not make them much longer, so that people can read them."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and sum(map(text.count, _LONG_ESCAPES)) * 16 <= len(data):
        return {"text": text}
    return {"base64": base64.b64encode(data).decode()}


def _finite(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def load(data: bytes) -> Capture:
    """Return the capture in the contents of a file. A file that is cut off gives a capture that is not `whole`.

    Raises:
        NotACapture: for anything else; the message names the line.
    """
    if len(data) > MAX_FILE_BYTES:
        raise NotACapture(f"the file has {len(data)} bytes; a capture has at most {MAX_FILE_BYTES}")
    lines = _parsed_lines(data)
    head = next(lines, None)
    if head is None:
        raise NotACapture("the file is empty")
    capture, whole = _head(head), False
    attempts: list[Recording] = []
    reads: list[list[Read]] = []  # of each attempt
    for line in lines:
        line_type = line.get("type", _LineType)
        last = attempts[-1] if attempts else None
        if whole:
            raise line.error("nothing may follow the end of the capture")
        if line_type == "end_of_capture":
            whole = True
        elif line_type == "attempt":
            if len(attempts) == MAX_ATTEMPTS:
                raise line.error(f"more than {MAX_ATTEMPTS} attempts")
            attempts.append(line.build(Recording, head=line.build(ResponseHead), reads=(), ending=None, verdict=None))
            reads.append([])
        elif last is None or last.verdict is not None or (last.ending is not None) != (line_type == "verdict"):
            raise line.error(f"a line of type {line_type!r} is not allowed here")
        elif line_type == "read":
            _append_read(reads[-1], line)
        elif line_type == "end":
            ending = line.build(Ending)
            attempts[-1] = replace(last, ending=replace(ending, waiting_since=_waiting_since(line, ending.at)))
        else:
            attempts[-1] = replace(last, verdict=line.build(Verdict))
    recordings = (replace(recording, reads=tuple(kept)) for recording, kept in zip(attempts, reads, strict=True))
    return replace(capture, attempts=tuple(recordings), whole=whole)


def _parsed_lines(data: bytes) -> Iterator[JsonLine]:
    """Parse the lines; a last one that is cut off is left out."""
    for number, line in enumerate(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")), 1):
        try:
            parsed = JsonLine(line, number)
        except NotACapture:
            if number == 1 or line.endswith(b"\n"):
                raise
            return
        yield parsed


def _head(line: JsonLine) -> Capture:
    """Return the capture that the first line describes, without its attempts."""
    if line.members.get("type") != "capture":
        raise NotACapture("not a capture file")
    version = line.get("version", int)
    if version != VERSION:
        raise NotACapture(f"the file has version {version} of the format, and this release reads version {VERSION}")
    policy, timeouts = line.inner("policy"), line.inner("clocks")
    kept = {name: policy.members[name] for name in _POLICY_FIELDS if name in policy.members}
    continuation = stand_in_continuation if policy.get("continuation", bool) else None
    try:
        kept_policy = Policy(**kept, continuation=continuation)
    except ValueError as error:
        raise line.error(f"the policy is not valid: {error}") from None
    limits = {name: timeouts.get(name, float | None) for name in ("first_event", "idle")}
    return line.build(
        Capture,
        request=line.inner("request").build(StreamRequest),
        policy=kept_policy,
        timeouts=Timeouts(**{name: math.inf if seconds is None else seconds for name, seconds in limits.items()}),
        attempts=(),
        whole=False,
    )


def _append_read(reads: list[Read], line: JsonLine) -> None:
    at = line.get("at", float)
    if reads and at < reads[-1].at:
        raise line.error("'at' is before that of the previous read")
    if len(reads) == MAX_READS:
        raise line.error(f"more than {MAX_READS} reads in one attempt")
    reads.append(Read(at, line.data(), _waiting_since(line, at)))


def _waiting_since(line: JsonLine, at: float) -> float:
    since = line.get("waiting_since", float | None) or 0.0
    if since > at:
        raise line.error("'waiting_since' is after 'at'")
    return float(since)

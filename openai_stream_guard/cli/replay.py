"""`replay`: show what the guard sees in a capture, read by read, and whether its verdict is still the recorded one.

This module decides how a rerun is presented. How it is judged is decided in `capture.rerun`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator

from ..capture.recording import Capture, Recording, Verdict
from ..capture.rerun import Rerun, Step, rerun
from ..decoding.payload import Payload
from .terminal import printable, read_capture

SUMMARY = "run a captured stream again, and show what the guard sees in it, read by read"
_COMPARISONS = {
    "same": "the same as recorded",
    "different": "NOT as recorded",
    "unknown": "not known whether this is as recorded",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `replay`."""
    parser.add_argument("file", help="a .ssecap file, as the setting `capture` writes them")
    parser.add_argument("--repair", choices=("safe", "off"), help="use this setting (default: as recorded)")
    parser.add_argument(
        "--end-rule", choices=("auto", "strict", "lenient"), help="use this setting (default: as recorded)"
    )
    parser.add_argument("--text", action="store_true", help="show the events' data, which is answer text")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the rerun; return 0 if every attempt has the recorded verdict, else 1."""
    capture = read_capture(arguments.file)
    reruns = rerun(capture, repair=arguments.repair, end_rule=arguments.end_rule)
    complete = capture.whole and len(reruns) == len(capture.attempts) > 0
    same = complete and all(attempt.comparison == "same" for attempt in reruns)
    if arguments.json:
        print(json.dumps(_as_json(capture, reruns, same=same, text=arguments.text), indent=2))
    else:
        for line in _lines(capture, reruns, text=arguments.text):
            print(printable(line))
    return 0 if same else 1


def _lines(capture: Capture, reruns: tuple[Rerun, ...], *, text: bool) -> Iterator[str]:
    request = capture.request
    yield f"{request.method.upper()} {request.path} at {request.host}, model {request.model}"
    yield f"captured {capture.written or 'at an unknown time'} by {capture.makers}"
    for number, attempt in enumerate(reruns, 1):
        yield ""
        yield from _attempt_lines(number, attempt, text=text)
    if len(reruns) < len(capture.attempts):
        yield f"Attempt {len(reruns)} did not break, so the later ones would not have been requested."
    if not capture.whole:
        yield "The file is cut off here; this is what is left of it."
    elif not capture.attempts:
        yield "There is no attempt in this capture."


def _attempt_lines(number: int, attempt: Rerun, *, text: bool) -> Iterator[str]:
    recording, head = attempt.recording, attempt.recording.head
    opened = f", by {recording.way}, opened after {recording.opened:.3f} s" if recording.way else ""
    yield f"attempt {number}{opened}: {head.http_version} {head.status}, request id {head.request_id}"
    for name, value in head.headers.items():
        yield f"  {name}: {value}"
    if recording.lost_bytes:
        yield f"  The first {recording.lost_bytes} bytes were not kept: what they held is not known."
        yield f"  Judged from the first complete event, at byte {attempt.judged_from}."
    if attempt.isolated:
        yield "  Judged by itself: what was delivered before it is not fully known."
    yield f"  {'seconds':>11} {'offset':>9} {'bytes':>7} {'events':>6}"
    for step in attempt.steps:
        yield f"  {step.at:>11.6f} {step.offset:>9} {step.size:>7} {len(step.payloads):>6}{_remarks(step)}"
        if text:
            yield from (f"  {payload.event or ''}> {payload.data}" for payload in step.payloads)
    yield f"  {_ending(recording)}"
    yield from _verdict_lines(attempt)


def _remarks(step: Step) -> str:
    """Return the named events of a read, and what was repaired."""
    names = Counter(payload.event for payload in step.payloads if payload.event)
    remarks = [name if count == 1 else f"{count} {name}" for name, count in names.items()]
    remarks += [f"repaired: {name}" for name in step.repairs]
    return f"  {', '.join(remarks)}" if remarks else ""


def _ending(recording: Recording) -> str:
    match recording.ending:
        case None:
            return "the recording is cut off"
        case ending if ending.by == "body":
            return f"{ending.at:>11.6f} the body ended"
        case ending if ending.by == "transport":
            return f"{ending.at:>11.6f} {ending.reason} ({ending.error or 'no exception'})"
        case ending:
            return f"{ending.at:>11.6f} the guard stopped reading"


def _verdict_lines(attempt: Rerun) -> Iterator[str]:
    yield f"  verdict:  {_described(attempt.verdict)}"
    if attempt.fault_offset is not None:
        yield f"            the fault begins at byte {attempt.fault_offset}"
    if attempt.comparison != "same":
        yield f"  recorded: {_described(attempt.recording.verdict)}"
    limit = ", as far as it was kept" if attempt.partial and attempt.comparison == "same" else ""
    yield f"  {_COMPARISONS[attempt.comparison]}{limit}"


def _described(verdict: Verdict | None) -> str:
    if verdict is None:
        return "none: the reads are not enough for one"
    repairs = "".join(f", {count} {name}" for name, count in verdict.repairs.items())
    counts = f"{verdict.events} events, {verdict.bytes} bytes{repairs}"
    return f"{verdict.fault or 'whole'}: {verdict.reason}; {counts}"


def _as_json(capture: Capture, reruns: tuple[Rerun, ...], *, same: bool, text: bool) -> dict[str, object]:
    request = capture.request
    return {
        "request": {"method": request.method, "path": request.path, "host": request.host, "model": request.model},
        "written": capture.written,
        "made_by": dict(capture.made_by),
        "whole": capture.whole,
        "same": same,
        "attempts": [_attempt_json(attempt, text=text) for attempt in reruns],
        "attempts_recorded": len(capture.attempts),
    }


def _attempt_json(attempt: Rerun, *, text: bool) -> dict[str, object]:
    recording = attempt.recording
    return {
        "way": recording.way,
        "opened": recording.opened,
        "status": recording.head.status,
        "request_id": recording.head.request_id,
        "http_version": recording.head.http_version,
        "headers": dict(recording.head.headers),
        "lost_bytes": recording.lost_bytes,
        "judged_from": attempt.judged_from,
        "alone": attempt.isolated,
        "reads": [_step_json(step, text=text) for step in attempt.steps],
        "ending": None if recording.ending is None else vars(recording.ending),
        "verdict": _verdict_json(attempt.verdict),
        "recorded": _verdict_json(recording.verdict),
        "fault_offset": attempt.fault_offset,
        "answer": attempt.comparison,
    }


def _step_json(step: Step, *, text: bool) -> dict[str, object]:
    events = [_event_json(payload, text=text) for payload in step.payloads]
    return {"at": step.at, "offset": step.offset, "bytes": step.size, "events": events, "repairs": list(step.repairs)}


def _event_json(payload: Payload, *, text: bool) -> dict[str, object]:
    data = {"data": payload.data} if text else {}
    return {"event": payload.event, "bytes": len(payload.raw), **data}


def _verdict_json(verdict: Verdict | None) -> dict[str, object] | None:
    return None if verdict is None else {**vars(verdict), "repairs": dict(verdict.repairs)}

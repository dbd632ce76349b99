"""`replay`: what the guard sees in a capture, read by read, and whether it judges as it did then.

Decides how a re-run is told. What is judged, and how, is `rerun`'s; what a file may hold `ssecap`'s.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..capture.recording import Capture, Judgement, Recording
from ..capture.rerun import Rerun, Step, rerun
from ..decoding.payload import Payload
from .terminal import harmless, read_capture

SUMMARY = "run a captured stream again, and show what the guard sees in it, read by read"
_ANSWERS = {
    "same": "the same as recorded",
    "different": "NOT as recorded",
    "unknown": "whether that is as recorded cannot be known",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `replay` takes."""
    parser.add_argument("file", help="a .ssecap file, as the setting `capture` writes them")
    parser.add_argument("--repair", choices=("safe", "off"), help="judge by this setting (default: as then)")
    parser.add_argument(
        "--end-rule", choices=("auto", "strict", "lenient"), help="judge by this setting (default: as then)"
    )
    parser.add_argument("--text", action="store_true", help="show the events' data, which is answer text")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the re-run; 0 where every attempt is judged as it was recorded, else 1."""
    capture = read_capture(arguments.file)
    runs = rerun(capture, repair=arguments.repair, end_rule=arguments.end_rule)
    same = capture.whole and len(runs) == len(capture.attempts) > 0 and all(one.answer == "same" for one in runs)
    if arguments.json:
        print(json.dumps(_as_json(capture, runs, same=same, text=arguments.text), indent=2))
    else:
        for line in _lines(capture, runs, text=arguments.text):
            print(harmless(line))
    return 0 if same else 1


def _lines(capture: Capture, runs: tuple[Rerun, ...], *, text: bool) -> Iterator[str]:
    asked = capture.asked
    yield f"{asked.method.upper()} {asked.path} at {asked.host}, model {asked.model}"
    makers = ", ".join(f"{name} {version}" for name, version in sorted(capture.made_by.items()))
    yield f"captured {capture.written or 'at an unknown time'} by {makers or 'an unknown release'}"
    for number, one in enumerate(runs, 1):
        yield ""
        yield from _attempt_lines(number, one, text=text)
    if len(runs) < len(capture.attempts):
        yield f"Attempt {len(runs)} did not break, so that what came after it would not have been asked for."
    if not capture.whole:
        yield "The file breaks off here: it is not whole, and this is what is left of it."
    elif not capture.attempts:
        yield "There is no attempt in this capture."


def _attempt_lines(number: int, one: Rerun, *, text: bool) -> Iterator[str]:
    recording, head = one.recording, one.recording.head
    opened = f", by {recording.way}, opened after {recording.opened:.3f} s" if recording.way else ""
    yield f"attempt {number}{opened}: {head.http_version} {head.status}, request id {head.request_id}"
    for name, value in head.headers.items():
        yield f"  {name}: {value}"
    if recording.lost_bytes:
        yield f"  The first {recording.lost_bytes} bytes are not kept: what they held is not known."
        yield f"  Judged from the first whole event on, at byte {one.judged_from}."
    if one.alone:
        yield "  Judged by itself: not all is known of what was delivered before it."
    yield f"  {'seconds':>11} {'offset':>9} {'bytes':>7} {'events':>6}"
    for step in one.steps:
        yield f"  {step.at:>11.6f} {step.offset:>9} {step.size:>7} {len(step.payloads):>6}{_remarks(step)}"
        if text:
            yield from (f"  {payload.event or ''}> {payload.data}" for payload in step.payloads)
    yield f"  {_ending(recording)}"
    yield from _verdict_lines(one)


def _remarks(step: Step) -> str:
    """The named events of a read, and what was repaired."""
    names = Counter(payload.event for payload in step.payloads if payload.event)
    remarks = [name if count == 1 else f"{count} {name}" for name, count in names.items()]
    remarks += [f"repaired: {kind}" for kind in step.repairs]
    return f"  {', '.join(remarks)}" if remarks else ""


def _ending(recording: Recording) -> str:
    match recording.ending:
        case None:
            return "the recording breaks off"
        case ending if ending.by == "body":
            return f"{ending.at:>11.6f} the body ended"
        case ending if ending.by == "transport":
            return f"{ending.at:>11.6f} {ending.reason} ({ending.error or 'no exception'})"
        case ending:
            return f"{ending.at:>11.6f} the guard had seen enough"


def _verdict_lines(one: Rerun) -> Iterator[str]:
    recorded = one.recording.judgement
    yield f"  verdict:  {_said(one.judgement)}"
    if one.fault_offset is not None:
        yield f"            the fault begins at byte {one.fault_offset}"
    if one.answer != "same":
        yield f"  recorded: {_said(recorded)}"
    yield f"  {_ANSWERS[one.answer]}{', as far as it is kept' if one.partial and one.answer == 'same' else ''}"


def _said(judgement: Judgement | None) -> str:
    if judgement is None:
        return "none: what was read is not enough for one"
    repairs = "".join(f", {count} {kind}" for kind, count in judgement.repairs.items())
    counts = f"{judgement.events} events, {judgement.bytes} bytes{repairs}"
    return f"{judgement.fault or 'whole'}: {judgement.reason}; {counts}"


def _as_json(capture: Capture, runs: tuple[Rerun, ...], *, same: bool, text: bool) -> dict[str, Any]:
    asked = capture.asked
    return {
        "request": {"method": asked.method, "path": asked.path, "host": asked.host, "model": asked.model},
        "written": capture.written,
        "made_by": dict(capture.made_by),
        "whole": capture.whole,
        "same": same,
        "attempts": [_attempt_json(one, text=text) for one in runs],
        "attempts_recorded": len(capture.attempts),
    }


def _attempt_json(one: Rerun, *, text: bool) -> dict[str, Any]:
    recording = one.recording
    return {
        "way": recording.way,
        "opened": recording.opened,
        "status": recording.head.status,
        "request_id": recording.head.request_id,
        "http_version": recording.head.http_version,
        "headers": dict(recording.head.headers),
        "lost_bytes": recording.lost_bytes,
        "judged_from": one.judged_from,
        "alone": one.alone,
        "reads": [_step_json(step, text=text) for step in one.steps],
        "ending": None if recording.ending is None else vars(recording.ending),
        "verdict": _judgement_json(one.judgement),
        "recorded": _judgement_json(recording.judgement),
        "fault_offset": one.fault_offset,
        "answer": one.answer,
    }


def _step_json(step: Step, *, text: bool) -> dict[str, Any]:
    events = [_event_json(payload, text=text) for payload in step.payloads]
    return {"at": step.at, "offset": step.offset, "bytes": step.size, "events": events, "repairs": list(step.repairs)}


def _event_json(payload: Payload, *, text: bool) -> dict[str, Any]:
    shown = {"data": payload.data} if text else {}
    return {"event": payload.event, "bytes": len(payload.raw), **shown}


def _judgement_json(judgement: Judgement | None) -> dict[str, Any] | None:
    return None if judgement is None else {**vars(judgement), "repairs": dict(judgement.repairs)}

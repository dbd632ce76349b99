"""What happened, in words: for failing assertions and for the report of a failing test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..notices import attempt_lines, counted

if TYPE_CHECKING:
    from ..notices import Ended
    from .harness import Harness
    from .sent_requests import SentRequest

MAX_SHOWN: Final = 60
_MODES: Final = {"on": "", "off": ", not guarded", "observe": ", only observed"}


def account(rehearsal: Harness) -> str:
    """Every request and every stream that has ended, a line each, and the faults that never struck."""
    lines = [f"request {number}: {_request(sent)}" for number, sent in enumerate(rehearsal.requests, 1)]
    for number, ended in enumerate(rehearsal.endings, 1):
        lines.append(f"stream {number}: {_ending(ended)}")
        lines += [f"  {line}" for line in (*attempt_lines(ended.report.attempts), *ended.report.notes)]
    lines += [f"planned, but no response came for it: {injection}" for injection in rehearsal.faults.pending]
    if rehearsal.clock is not None and rehearsal.clock.sleeps:
        lines.append(f"would have slept: {', '.join(f'{seconds:g} s' for seconds in rehearsal.clock.sleeps)}")
    return "\n".join(lines) if lines else "no stream was requested"


def difference(received: str, expected: str) -> str:
    """Where two texts part, and what each says from there on."""
    shared = next(
        (place for place, (one, other) in enumerate(zip(received, expected, strict=False)) if one != other),
        min(len(received), len(expected)),
    )
    rest, missing = received[shared:], expected[shared:]
    if not received:
        return f"nothing was received, and {_begin(expected)} was expected"
    if not rest:
        ends = f"the last {counted(len(missing), 'character')} of {len(expected):,} are missing"
        return f"{ends}: after {_end(received)} comes no {_begin(missing)}"
    if not missing:
        return f"after all that was expected, {counted(len(expected), 'character')}, there is more: {_begin(rest)}"
    return f"from character {shared:,} on it says {_begin(rest)} where {_begin(missing)} was expected"


def _request(sent: SentRequest) -> str:
    words = f"{sent.method} {sent.url}{_MODES[sent.mode]}"
    if sent.way is not None:
        words += f", sent again to {sent.way}"
    elif sent.attempt > 1:
        words += f", the SDK's own retry {sent.attempt - 1}"
    words += f": {'no answer' if sent.status is None else f'status {sent.status}'}"
    for fault in sent.faults:
        words += f", {fault}"
    if sent.faults and not sent.struck:
        words += " (the stream was over before all of it struck)"
    return words


def _ending(ended: Ended) -> str:
    """How one stream ended."""
    report = ended.report
    led = "by" if report.outcome == "recovered" else "after"
    by = f" {led} {', '.join(report.recoveries)}" if report.recoveries else ""
    stopped = f", stopped by: {ended.stopped_by}" if ended.stopped_by else ""
    repaired = "".join(f"; repaired: {kind} × {count}" for kind, count in report.repairs.items())
    counts = f"{counted(len(report.attempts), 'attempt')}, {counted(report.events, 'event')} delivered"
    return f"{report.outcome}{by}{stopped}; {counts}{repaired}"


def _begin(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…")


def _end(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else "…" + text[1 - MAX_SHOWN :])

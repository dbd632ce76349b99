"""What happened, in words: for failing assertions and for pytest's report of a failing test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..notices import attempt_lines, counted

if TYPE_CHECKING:
    from ..notices import Ended
    from .harness import Harness
    from .sent_requests import SentRequest

MAX_SHOWN: Final = 60
"""Characters of a text that are quoted."""
_MODES: Final = {"on": "", "off": ", not guarded", "observe": ", only observed"}


def failure_report(harness: Harness) -> str:
    """Describe every request, every stream that has ended, and the faults that never took effect, a line each."""
    lines = [f"request {number}: {_describe_request(sent)}" for number, sent in enumerate(harness.requests, 1)]
    for number, ended in enumerate(harness.endings, 1):
        lines.append(f"stream {number}: {_describe_ending(ended)}")
        lines += [f"  {line}" for line in (*attempt_lines(ended.report.attempts), *ended.report.notes)]
    lines += [f"planned, but no response came for it: {injection}" for injection in harness.faults.pending]
    if harness.clock is not None and harness.clock.sleeps:
        lines.append(f"would have slept: {', '.join(f'{seconds:g} s' for seconds in harness.clock.sleeps)}")
    return "\n".join(lines) if lines else "no stream was requested"


def difference(received: str, expected: str) -> str:
    """Describe where two texts part, and what each says from there on."""
    shared = next(
        (place for place, (one, other) in enumerate(zip(received, expected, strict=False)) if one != other),
        min(len(received), len(expected)),
    )
    rest, missing = received[shared:], expected[shared:]
    if not received:
        return f"nothing was received, and {_beginning(expected)} was expected"
    if not rest:
        ends = f"the last {counted(len(missing), 'character')} of {len(expected):,} are missing"
        return f"{ends}: after {_end(received)} comes no {_beginning(missing)}"
    if not missing:
        return f"after all that was expected, {counted(len(expected), 'character')}, there is more: {_beginning(rest)}"
    return f"from character {shared:,} on it says {_beginning(rest)} where {_beginning(missing)} was expected"


def _describe_request(sent: SentRequest) -> str:
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


def _describe_ending(ended: Ended) -> str:
    report = ended.report
    led = "by" if report.outcome == "recovered" else "after"
    by = f" {led} {', '.join(report.recoveries)}" if report.recoveries else ""
    stopped = f", stopped by: {ended.stopped_by}" if ended.stopped_by else ""
    repaired = "".join(f"; repaired: {kind} × {count}" for kind, count in report.repairs.items())
    counts = f"{counted(len(report.attempts), 'attempt')}, {counted(report.events, 'event')} delivered"
    return f"{report.outcome}{by}{stopped}; {counts}{repaired}"


def _beginning(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…")


def _end(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else "…" + text[1 - MAX_SHOWN :])

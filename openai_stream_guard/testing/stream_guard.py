"""The object behind the pytest fixture `stream_guard`: faults, test clock, records, and assertions that explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, get_args

from ..notices import FaultKind, Outcome, RecoveryMethod, counted
from .clock import Clock
from .failure_report import difference, failure_report
from .faults import Faults
from .harness import Harness
from .leaks import close, still_open
from .sent_requests import SentRequest

if TYPE_CHECKING:
    from ..config.policy import Policy
    from ..notices import StreamReport

_DESCRIPTIONS: Final[dict[Outcome, str]] = {
    "open": "has not ended",
    "complete": "came out whole in one attempt",
    "recovered": "recovered",
    "failed": "failed",
    "abandoned": "was left before its end",
}


class StreamGuard:
    """
    The guard, switched on for one test: with a real policy, a test clock, and no retry budget.

    Everything that the test switches, configures or plans is undone after it, also when it fails.
    """

    def __init__(self, harness: Harness, clock: Clock) -> None:
        self._harness = harness
        self.clock: Clock = clock
        """The test clock; `clock.advance(seconds)` lets time pass."""

    @property
    def faults(self) -> Faults:
        """Plans faults for the streams to come: `faults.cut(after_events=3)`."""
        return self._harness.faults

    @property
    def reports(self) -> list[StreamReport]:
        """A `StreamReport` for each stream that has ended, in order. Streams are reported while guarded or observed."""
        return self._harness.reports

    @property
    def requests(self) -> list[SentRequest]:
        """Every request for a stream, re-issues included, in order and without credentials."""
        return self._harness.requests

    @property
    def sleeps(self) -> list[float]:
        """The waits before requests were sent again, in seconds and in order; the test clock skips them."""
        return self.clock.sleeps

    def configure(self, **fields: Any) -> Policy:
        """Change fields of the policy for the rest of the test, and return it. Raises `StreamGuardConfigError`."""
        from .. import configure

        return configure(**fields)

    def switch(self, mode: Literal["on", "off", "observe"]) -> None:
        """Switch the guard for the rest of the test. Faults take effect in every mode, to show what the guard does."""
        from .. import activation

        switches = {"on": activation.enable, "off": activation.disable, "observe": activation.observe}
        if mode not in switches:
            raise ValueError(f"switch() was given {mode!r}; it must be 'on', 'off' or 'observe'")
        switches[mode]()

    def forget(self) -> None:
        """Forget what was learnt about servers so far, as a new process has. Reports tell in `notes` what is learnt."""
        from ..sdk import RUNTIME

        RUNTIME.hosts.forget()

    def assert_recovered(self, *, by: RecoveryMethod | None = None, stream: int = -1) -> None:
        """
        Fail unless the stream broke, and was recovered.

        Args:
            by: a recovery method that was used, such as `"replay"`. Raises `ValueError` if there is none of that name.
            stream: which of the streams that have ended, as an index into `reports`; the last one by default.
        """
        __tracebackhide__ = True
        _check("assert_recovered", "by", by, RecoveryMethod)
        report = self._report("recovered", stream)
        if by is not None and by not in report.recoveries:
            self._fail(f"{_named(stream)} was recovered by {', '.join(report.recoveries)}, not by {by}")

    def assert_failed(self, *, fault: FaultKind | None = None, stream: int = -1) -> None:
        """
        Fail unless the stream broke and was not recovered.

        Args:
            fault: its first fault, such as `"truncated"`. Raises `ValueError` if there is none of that name.
            stream: which of the streams that have ended, as an index into `reports`; the last one by default.
        """
        __tracebackhide__ = True
        _check("assert_failed", "fault", fault, FaultKind)
        report = self._report("failed", stream)
        first = next(attempt.fault for attempt in report.attempts if attempt.fault is not None)
        if fault is not None and first != fault:
            self._fail(f"the first failure of {_named(stream)} is {first}, not {fault}")

    def assert_all_faults_struck(self) -> None:
        """
        Fail unless every planned fault has taken effect on some stream. Pytest calls this after a test that passed.

        A fault that never takes effect tests nothing: the stream that it was planned for was never requested, or was
        over before the place where the fault strikes.
        """
        __tracebackhide__ = True
        never = [f"{fault}: there was no request for it" for fault in self.faults.unused]
        struck = {sent.faults for sent in self.requests if sent.struck}
        for number, sent in enumerate(self.requests, 1):
            if sent.faults and sent.faults not in struck:
                never.append(f"{', '.join(sent.faults)}: the stream of request {number} was over, or left, before that")
        if never:
            self._fail(f"a planned fault never struck: {'; '.join(never)}")

    def assert_whole(self, received: str, expected: str) -> None:
        """Fail unless the text that the application received is the expected one: nothing missing, nothing twice."""
        __tracebackhide__ = True
        if received != expected:
            self._fail(f"the text is not whole: {difference(received, expected)}")

    def explain(self) -> str:
        """Describe what has happened so far: every request, stream, attempt and fault."""
        return failure_report(self._harness)

    def _report(self, expected: Literal["recovered", "failed"], stream: int) -> StreamReport:
        __tracebackhide__ = True
        if not self.reports:
            self._fail(f"{_named(stream)} should have {expected}, but {self._why_none()}")
        if not -len(self.reports) <= stream < len(self.reports):
            self._fail(f"{_named(stream)} should have {expected}, but only {len(self.reports)} have ended")
        found = self.reports[stream].outcome
        if found != expected:
            self._fail(f"{_named(stream)} should have {expected}, but it {_DESCRIPTIONS[found]}")
        return self.reports[stream]

    def _why_none(self) -> str:
        if not self.requests:
            return "none was requested"
        if all(sent.mode == "off" for sent in self.requests):
            return "the guard was off, and reported none"
        return "none has ended: read it to its end, or close it"

    def _fail(self, what: str) -> NoReturn:
        __tracebackhide__ = True
        raise AssertionError(f"{what}\n{self.explain()}")

    def close_left_open(self) -> list[str]:
        """Close the responses that are still open, and return where each was requested, as `file:line`."""
        left = still_open(self._harness.responses)
        for tracked in left:
            close(tracked)
        return [tracked.requested_at for tracked in left]

    def __repr__(self) -> str:
        requests, streams = counted(len(self.requests), "request"), counted(len(self.reports), "ended stream")
        return f"<stream_guard: {requests}, {streams}>"


def _named(stream: int) -> str:
    return "the last stream" if stream == -1 else f"stream {stream}"


def _check(method: str, argument: str, value: object, literal: Any) -> None:
    if value is not None and value not in get_args(literal):
        allowed = ", ".join(map(repr, get_args(literal)))
        raise ValueError(f"{method}() was given {argument}={value!r}; it must be one of {allowed}")

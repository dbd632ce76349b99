"""What the pytest fixture `stream_guard` gives: faults, clock, records, and assertions that explain themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, get_args

from ..notices import FaultKind, Outcome, RecoveryMethod, counted
from .clock import Clock
from .failure_report import account, difference
from .faults import Faults
from .harness import Harness
from .leaks import close, still_open
from .sent_requests import SentRequest

if TYPE_CHECKING:
    from ..config.policy import Policy
    from ..notices import StreamReport

_DID: Final[dict[Outcome, str]] = {
    "open": "has not ended",
    "complete": "came out whole in one attempt",
    "recovered": "recovered",
    "failed": "failed",
    "abandoned": "was left before its end",
}


class StreamGuard:
    """
    The guard, switched on for one test: real policy, no real waiting, no budget.

    Everything that the test switches, sets or plans is undone after it, also when it fails.
    """

    def __init__(self, rehearsal: Harness, clock: Clock) -> None:
        self._rehearsal = rehearsal
        self.clock: Clock = clock
        """The test clock; `clock.advance(seconds)` lets time pass."""

    @property
    def faults(self) -> Faults:
        """Faults for the streams to come, such as `faults.cut(after_events=3)`."""
        return self._rehearsal.faults

    @property
    def reports(self) -> list[StreamReport]:
        """A `StreamReport` for each stream that has ended, in order. Streams are reported while guarded or observed."""
        return self._rehearsal.reports

    @property
    def requests(self) -> list[SentRequest]:
        """Every request for a stream that was sent, and sent again, without credentials."""
        return self._rehearsal.requests

    @property
    def sleeps(self) -> list[float]:
        """The seconds that would have been slept before requests were sent again, in order."""
        return self.clock.sleeps

    def configure(self, **fields: Any) -> Policy:
        """Change fields of the policy for the rest of the test; return it. Raises `StreamGuardConfigError`."""
        from .. import configure

        return configure(**fields)

    def switch(self, mode: Literal["on", "off", "observe"]) -> None:
        """Switch the guard for the rest of the test. Faults strike all the same: so one sees what it does."""
        from .. import activation as switch

        switches = {"on": switch.enable, "off": switch.disable, "observe": switch.observe}
        if mode not in switches:
            raise ValueError(f"switch() was given {mode!r}; allowed are 'on', 'off', 'observe'")
        switches[mode]()

    def assert_recovered(self, *, by: RecoveryMethod | None = None) -> None:
        """
        Fail unless the last stream broke, and came out whole.

        Args:
            by: the way that has to have led on, such as `"replay"`. Raises `ValueError` for what is none.
        """
        __tracebackhide__ = True
        _check("assert_recovered", "by", by, RecoveryMethod)
        report = self._last("recovered")
        if by is not None and by not in report.recoveries:
            self._fail(f"the last stream was recovered by {', '.join(report.recoveries)}, not by {by}")

    def assert_failed(self, *, fault: FaultKind | None = None) -> None:
        """
        Fail unless the last stream broke for good.

        Args:
            fault: what its first failure has to be, such as `"truncated"`. Raises `ValueError` for what is none.
        """
        __tracebackhide__ = True
        _check("assert_failed", "fault", fault, FaultKind)
        report = self._last("failed")
        first = next(attempt.fault for attempt in report.attempts if attempt.fault is not None)
        if fault is not None and first != fault:
            self._fail(f"the first failure of the last stream is {first}, not {fault}")

    def assert_whole(self, received: str, expected: str) -> None:
        """Fail unless what the application made of a stream is what was expected: nothing missing, nothing twice."""
        __tracebackhide__ = True
        if received != expected:
            self._fail(f"the text is not whole: {difference(received, expected)}")

    def explain(self) -> str:
        """What happened so far: every request, stream, attempt and fault in words."""
        return account(self._rehearsal)

    def _last(self, expected: Literal["recovered", "failed"]) -> StreamReport:
        __tracebackhide__ = True
        if not self.reports:
            self._fail(f"the last stream should have {expected}, but {self._why_none()}")
        found = self.reports[-1].outcome
        if found != expected:
            self._fail(f"the last stream should have {expected}, but it {_DID[found]}")
        return self.reports[-1]

    def _why_none(self) -> str:
        if not self.requests:
            return "none was requested"
        if all(sent.mode == "off" for sent in self.requests):
            return "the guard was off, and has judged none"
        return "none has ended: read it to its end, or close it"

    def _fail(self, what: str) -> NoReturn:
        __tracebackhide__ = True
        raise AssertionError(f"{what}\n{self.explain()}")

    def close_left_open(self) -> list[str]:
        """Close the responses that are still open; say where their streams were requested."""
        left = still_open(self._rehearsal.responses)
        for one in left:
            close(one)
        return [one.place for one in left]

    def __repr__(self) -> str:
        requests, streams = counted(len(self.requests), "request"), counted(len(self.reports), "ended stream")
        return f"<stream_guard: {requests}, {streams}>"


def _check(method: str, argument: str, value: object, kinds: Any) -> None:
    if value is not None and value not in get_args(kinds):
        allowed = ", ".join(map(repr, get_args(kinds)))
        raise ValueError(f"{method}() was given {argument}={value!r}; allowed are {allowed}")

"""One rehearsal: the faults, the clock, and the record of what happened, from beginning to end of a `with` block.

    with faults(cut(after_events=3)) as planned:    # alone, or by the pytest fixture

It needs no server that misbehaves, and no guard: with the guard off, the SDK meets the same faults alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ..notices import Ended
from .clock import Clock, SkippedTime
from .faults import Faults, Injection
from .faults.response_patch import library_from, strike
from .faults.transforms import Chain
from .leaks import Made, made
from .sent_requests import SentRequest, sent_request

if TYPE_CHECKING:
    from ..notices import Notice, StreamReport
    from ..sdk.test_hooks import Sending


class Harness:
    """What the tests do about the streams of a `with` block, and what became of these."""

    def __init__(self, clock: Clock | None) -> None:
        self.clock = clock
        self.faults = Faults()
        self.requests: list[SentRequest] = []
        self.reports: list[StreamReport] = []
        self.endings: list[Ended] = []
        self.responses: list[Made] = []
        self._records: dict[int, SentRequest] = {}

    # What happens, see `sdk.test_hooks.TestHook`.

    def sending(self, sending: Sending) -> None:
        """Record the request."""
        from .. import activation as switch

        record = sent_request(sending.request, sending.way, switch.current_mode())
        self._records[id(sending)] = record
        self.requests.append(record)

    def answer(self, sending: Sending) -> Any:
        """Refuse the request, if that is planned."""
        injection = self.faults.refusal()
        if injection is None or injection.refusal is None:
            return None
        self._records[id(sending)].faults = (str(injection),)
        refusal = injection.refusal
        headers = {} if refusal.retry_after is None else {"retry-after": f"{refusal.retry_after:g}"}
        body = {"error": {"message": f"refused by {injection}", "type": "server_error", "param": None, "code": None}}
        response = library_from(sending.request).Response
        return response(refusal.status, headers=headers, json=body, request=sending.request)

    def arrived(self, sending: Sending, response: Any) -> None:
        """Let the faults that are planned strike the response."""
        record = self._records.pop(id(sending))
        record.status = response.status_code
        self.responses.append(made(response))
        if response.status_code < 400:
            self._strike(record, response, self.strikes(sending, response))

    def strikes(self, sending: Sending, response: Any) -> list[Injection]:
        """The faults for this response."""
        return self.faults.strikes()

    def _strike(self, record: SentRequest, response: Any, injections: list[Injection]) -> None:
        if not injections:
            return
        from ..transport import clock as timing

        record.faults = tuple(map(str, injections))
        record.chain = Chain([stage() for injection in injections for stage in injection.stages])
        for injection in injections:
            if injection.content_type is not None:
                response.headers["content-type"] = injection.content_type
        current = timing.current
        strike(response, record.chain, current.for_faults if isinstance(current, SkippedTime) else current)

    @property
    def skips_time(self) -> bool:
        """Whether there is a test clock."""
        return self.clock is not None

    def skips(self, seconds: float) -> bool:
        """Count what the SDK would sleep between two requests of its own."""
        if self.clock is not None:
            self.clock.slept(seconds)
        return self.clock is not None

    def hear(self, notice: Notice) -> None:
        """Keep the reports of streams that have ended."""
        if isinstance(notice, Ended):
            self.reports.append(notice.report)
            self.endings.append(notice)


@contextmanager
def staged(rehearsal: Harness) -> Iterator[None]:
    """Let a rehearsal act inside the `with` block, beside those around it."""
    from ..observability import publish as logs
    from ..sdk import RUNTIME, test_hooks
    from ..transport import clock as timing

    test_hooks.install()
    with ExitStack() as undo:
        if rehearsal.clock is not None:
            undo.callback(setattr, timing, "current", timing.current)
            timing.current = SkippedTime(rehearsal.clock)
        RUNTIME.test_hooks.append(rehearsal)
        undo.callback(_remove, RUNTIME.test_hooks, rehearsal)
        logs.attached.append(rehearsal.hear)
        undo.callback(_remove, logs.attached, rehearsal.hear)
        yield


@contextmanager
def faults(*planned: Injection, real_time: bool = False) -> Iterator[Faults]:
    """
    Break the streams requested inside the `with` block, guarded or not, whatever serves them.

    Give the faults here or plan them on the `Faults` that the block is given; they strike the responses to come in
    that order. Blocks may be nested: then a response suffers the inner one's faults first. Waits are skipped, the
    guard's and those of faults alike, unless `real_time`. Raises `ValueError` for what is no fault.
    """
    rehearsal = Harness(None if real_time else Clock())
    for injection in planned:
        rehearsal.faults.add(injection)
    with staged(rehearsal):
        yield rehearsal.faults


def _remove(of: list[Any], one: Any) -> None:
    of.remove(one)

"""The test harness: faults, the test clock, and a record of what happens to streams inside a `with` block.

    with faults(cut(after_events=3)) as planned:    # alone, or by the pytest fixture

It needs no server that misbehaves, and no guard: with the guard off, the SDK alone meets the same faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ..notices import Ended
from .clock import Clock, SkippedTime
from .faults import Faults, Injection
from .faults.injections import refuse
from .faults.response_patch import inject, library_from
from .faults.transforms import TransformChain
from .leaks import TrackedResponse, track
from .sent_requests import SentRequest, sent_request

if TYPE_CHECKING:
    from ..notices import Notice, StreamReport
    from ..sdk.test_hooks import Sending
    from ..transport.http import HttpResponse


class Harness:
    """
    What tests do to the streams of a `with` block, and what became of these streams.

    `sdk/test_hooks.py` calls it for every request for a stream and every response.
    """

    def __init__(self, clock: Clock | None) -> None:
        self.clock = clock
        self.faults = Faults()
        self.requests: list[SentRequest] = []
        self.reports: list[StreamReport] = []
        self.endings: list[Ended] = []
        self.responses: list[TrackedResponse] = []
        self._records: dict[int, SentRequest] = {}

    def sending(self, sending: Sending) -> None:
        """Record the request."""
        from .. import activation

        record = sent_request(sending.request, sending.way, activation.current_mode())
        self._records[id(sending)] = record
        self.requests.append(record)

    def answer(self, sending: Sending) -> HttpResponse | None:
        """Refuse the request, if that is planned."""
        refusal = self.faults.for_request()
        if not isinstance(refusal, refuse):
            return None
        self._records[id(sending)].faults = (str(refusal),)
        headers = {} if refusal.retry_after is None else {"retry-after": f"{refusal.retry_after:g}"}
        body = {"error": {"message": f"refused by {refusal}", "type": "server_error", "param": None, "code": None}}
        create: Callable[..., HttpResponse] = library_from(sending.request).Response
        return create(refusal.status, headers=headers, json=body, request=sending.request)

    def arrived(self, sending: Sending, response: HttpResponse) -> None:
        """Inject the faults that are planned for the response."""
        record = self._records.pop(id(sending))
        record.status = response.status_code
        self.responses.append(track(response))
        if response.status_code < 400 and (injections := self.faults_for(sending, response)):
            self._inject(record, response, injections)

    def faults_for(self, sending: Sending, response: HttpResponse) -> list[Injection]:
        """Choose the faults for this response."""
        return self.faults.for_response()

    def _inject(self, record: SentRequest, response: HttpResponse, injections: list[Injection]) -> None:
        from ..transport import clock

        record.faults = tuple(map(str, injections))
        record.chain = TransformChain([one for injection in injections for one in injection.new_transforms()])
        for transform in record.chain.transforms:
            if transform.content_type is not None:
                response.headers["content-type"] = transform.content_type
        current = clock.current
        inject(response, record.chain, current.for_faults if isinstance(current, SkippedTime) else current)

    @property
    def skips_time(self) -> bool:
        """Whether there is a test clock."""
        return self.clock is not None

    def skips(self, seconds: float) -> bool:
        """Let pass on the test clock, if there is one, what the SDK would sleep between two requests of its own."""
        if self.clock is not None:
            self.clock.slept(seconds)
        return self.clock is not None

    def hear(self, notice: Notice) -> None:
        """Keep the reports of streams that have ended."""
        if isinstance(notice, Ended):
            self.reports.append(notice.report)
            self.endings.append(notice)


@contextmanager
def installed(harness: Harness) -> Iterator[None]:
    """Install a harness for the `with` block, in addition to those around it."""
    from ..observability import publish
    from ..sdk import RUNTIME, test_hooks
    from ..transport import clock

    test_hooks.install()
    with ExitStack() as undo:
        if harness.clock is not None:
            undo.callback(setattr, clock, "current", clock.current)
            clock.current = SkippedTime(harness.clock)
        RUNTIME.test_hooks.append(harness)
        undo.callback(RUNTIME.test_hooks.remove, harness)
        publish.attached.append(harness.hear)
        undo.callback(publish.attached.remove, harness.hear)
        yield


@contextmanager
def faults(*planned: Injection, real_time: bool = False) -> Iterator[Faults]:
    """
    Break the streams requested inside the `with` block, guarded or not, whatever serves them.

    The faults given here, and those planned on the `Faults` that the block gets, take effect on the next responses in
    that order. Blocks may be nested: then a response meets the faults of the inner block first. Waits, those of the
    guard and those of faults, are skipped unless `real_time`. Raises `ValueError` for anything that is not a fault.
    """
    harness = Harness(None if real_time else Clock())
    for injection in planned:
        harness.faults.add(injection)
    with installed(harness):
        yield harness.faults

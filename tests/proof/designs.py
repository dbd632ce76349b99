"""Retry budgets of other libraries, by their formulas, behind the interface of the guard's own.

None of them waits: a request is sent again at once, or its stream fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from openai_stream_guard.engine.host_queue import Ticket
from openai_stream_guard.notices import WaitReason


class Design:
    """What the designs have in common. Time is that of the request that was last told of."""

    def __init__(self) -> None:
        self.open = 0
        """Streams and re-issues that are under way."""
        self.retrying: set[Ticket] = set()

    def may_retry(self, now: float) -> bool:
        """Whether a request may be sent again; if so it is paid for."""
        raise NotImplementedError

    def started(self) -> None:
        """A stream starts."""

    def succeeded(self, *, retried: bool) -> None:
        """A stream came out whole."""

    def failed(self) -> None:
        """An attempt broke, or a request was refused."""

    # As the guard's own.

    def stream_started(self, host: str, ratio: float) -> None:
        self.open += 1
        self.started()

    def request(self, ticket: Ticket, now: float, *, outage_timeout: float) -> WaitReason | None:
        self.failed()
        if not self.may_retry(now):
            self.open -= 1
            return "budget"
        self.retrying.add(ticket)
        return None

    def completed(self, host: str, ticket: Ticket | None) -> None:
        self.open -= 1
        self.retrying.discard(ticket)  # type: ignore[arg-type] # any token will do
        self.succeeded(retried=ticket is not None)

    def broke(self, ticket: Ticket, now: float) -> None:
        self.retrying.discard(ticket)

    def refused(self, ticket: Ticket, now: float, delay: object, **how: bool) -> None:
        self.retrying.discard(ticket)

    def leave(self, ticket: Ticket) -> None:
        self.retrying.discard(ticket)

    def answered(self, ticket: Ticket, now: float) -> None: ...
    def first_event(self, ticket: Ticket, now: float) -> None: ...
    def advanced(self, ticket: Ticket) -> None: ...


class Bucket(Design):
    """The guard's own until 0.1: ten tokens, a tenth for each stream, one for each re-issue."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens = 10.0

    def started(self) -> None:
        self._tokens = min(10.0, self._tokens + 0.1)

    def may_retry(self, now: float) -> bool:
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Finagle(Design):
    """`RetryBudget`: in ten seconds a fifth of the requests, and ten a second."""

    def __init__(self) -> None:
        super().__init__()
        self._requests: deque[float] = deque()
        self._retries: deque[float] = deque()
        self._new = 0

    def started(self) -> None:
        self._new += 1  # counted with the next request that tells the time

    def may_retry(self, now: float) -> bool:
        self._requests.extend([now] * self._new)
        self._new = 0
        for times in (self._requests, self._retries):
            while times and times[0] < now - 10:
                times.popleft()
        if len(self._retries) >= 100 + 0.2 * len(self._requests):
            return False
        self._retries.append(now)
        return True


class Envoy(Design):
    """`retry_budget`: retries under way are at most a fifth of what is under way, or three."""

    def may_retry(self, now: float) -> bool:
        return len(self.retrying) < max(3, 0.2 * self.open)


class Botocore(Design):
    """Retry mode `standard`: 500 tokens; five for a retry, which come back if it succeeds; one for other successes."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens = 500

    def may_retry(self, now: float) -> bool:
        if self._tokens < 5:
            return False
        self._tokens -= 5
        return True

    def succeeded(self, *, retried: bool) -> None:
        self._tokens = min(500, self._tokens + (5 if retried else 1))


class Grpc(Design):
    """`retryThrottling` of gRFC A6: ten tokens, one for each failure, a tenth for each success; stops at the half."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens = 10.0

    def failed(self) -> None:
        self._tokens = max(0.0, self._tokens - 1)

    def succeeded(self, *, retried: bool) -> None:
        self._tokens = min(10.0, self._tokens + 0.1)

    def may_retry(self, now: float) -> bool:
        return self._tokens > 5


DESIGNS: dict[str, Callable[[], Design]] = {
    "bucket": Bucket,
    "Finagle": Finagle,
    "Envoy": Envoy,
    "botocore": Botocore,
    "gRPC": Grpc,
}

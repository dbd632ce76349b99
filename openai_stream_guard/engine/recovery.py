"""Chooses how a broken stream is recovered, and counts what recovery may still cost: requests, time and budget.

The README's safety table describes `choose_recovery`; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..apis.continuation import Continuation, continued_body
from ..apis.request import Resume
from ..notices import RecoveryMethod, StoppedBy
from .decisions import Reissue, StreamFault
from .retry_rules import backoff

if TYPE_CHECKING:
    from ..apis.adapter import ApiAdapter
    from ..apis.request import StreamRequest
    from ..apis.transcript import Transcript
    from ..config.policy import Policy
    from .host_memory import HostMemory


MIN_POLL = 0.5
"""Shortest pause in seconds between two polls for an unfinished response, whatever the backoff: polls cost no retry."""


@dataclass(frozen=True)
class RecoveryPlan:
    """The recovery method to use."""

    way: RecoveryMethod
    resume: Resume | None = None


def choose_recovery(
    policy: Policy, request: StreamRequest, adapter: ApiAdapter, transcript: Transcript, *, recently_diverged: bool
) -> RecoveryPlan | StoppedBy:
    """Return the first method that the policy allows and that is safe, or why there is none. The order is tested.

    Args:
        recently_diverged: the model did not repeat itself within the last ten minutes, so that a replay would
            probably cost a request for nothing.
    """
    if request.background or request.stored_id is not None:  # a restart would start a second job
        if adapter.response_id is None or adapter.resume_after is None:
            if request.background:
                return "unsafe"
            return RecoveryPlan("restart") if "restart" in policy.recovery else "policy"
        resume = Resume(adapter.response_id, adapter.resume_after)
        return RecoveryPlan("resume", resume) if "resume" in policy.recovery else "policy"
    if not (adapter.reissuable and request.resendable):
        return "unsafe"
    if request.stateful and "stateful" not in policy.recovery:
        return "unsafe"
    if not transcript.visible:
        return RecoveryPlan("restart") if "restart" in policy.recovery else "policy"
    if transcript.overflowed:  # what was delivered is not all kept, and so cannot be told again
        return "unsafe"
    if "continue" in policy.recovery and policy.continuation is not None and adapter.may_continue(transcript):
        return RecoveryPlan("continue")
    if "replay" not in policy.recovery:
        return "policy"
    if not adapter.may_replay(transcript):
        return "unsafe"
    return "diverged" if recently_diverged else RecoveryPlan("replay")


def deserves_retry(fault: StreamFault) -> bool:
    """Return whether the same request may do better: an oversized answer stays so, and a refused request too."""
    if fault.kind == "upstream_error":
        return fault.verdict.retryable
    return fault.kind != "oversized"


class Recovery:
    """What one logical stream has spent on recovery, and what it may still spend."""

    def __init__(
        self,
        policy: Policy,
        request: StreamRequest,
        hosts: HostMemory,
        *,
        max_retries: int,
        requests: int,
        jitter: Callable[[], float],
        note: Callable[[str], None],
    ) -> None:
        self.continuation: Continuation | None = None
        """For `continue`: how the next answer is joined to what was delivered."""
        self._policy = policy
        self._request = request
        self._hosts = hosts
        self._max_retries = max_retries
        self._requests = requests
        self._jitter = jitter
        self._note = note
        self._reissues = 0
        self._polls = 0
        self._fault_at: float | None = None
        if policy.retry_budget is not None:
            hosts.budget.deposit(request.host, policy.retry_budget)

    def failed(self, now: float) -> None:
        """Record a fault. `max_elapsed` counts from the first one."""
        if self._fault_at is None:
            self._fault_at = now

    def succeeded(self) -> None:
        """Record that something new was delivered, which stops the clock of `max_elapsed`."""
        self._fault_at = None

    @property
    def deadline(self) -> float:
        """When something new has to be delivered; infinite without a fault."""
        return math.inf if self._fault_at is None else self._fault_at + self._policy.max_elapsed

    def plan(
        self, adapter: ApiAdapter, transcript: Transcript, now: float, retry_after: float | None
    ) -> Reissue | StoppedBy:
        """Return how to send the request again, or what prevents it: no safe method, no retry, time or budget left.

        Args:
            retry_after: seconds that a refusing server asks to wait.
        """
        policy, request = self._policy, self._request
        recently_diverged = self._hosts.diverged_recently(request.host, request.model, now)
        plan = choose_recovery(policy, request, adapter, transcript, recently_diverged=recently_diverged)
        if not isinstance(plan, RecoveryPlan):
            return plan
        delay = backoff(policy, self._reissues, jitter=self._jitter(), retry_after=retry_after)
        if self._requests > self._max_retries:
            return "retries"
        if now + delay > self.deadline:
            return "time"
        body = self._continued(adapter, transcript) if plan.way == "continue" else None
        if plan.way == "continue" and body is None:
            others = policy.replace(recovery=tuple(other for other in policy.recovery if other != "continue"))
            plan = choose_recovery(others, request, adapter, transcript, recently_diverged=recently_diverged)
            if not isinstance(plan, RecoveryPlan):
                return plan
        if policy.retry_budget is not None and not self._hosts.budget.withdraw(request.host):
            return "budget"
        self._requests += 1
        self._reissues += 1
        return Reissue(delay, plan.way, self._reissues, plan.resume, body, self.deadline - now - delay)

    def poll(self, resume: Resume, now: float) -> Reissue | StoppedBy:
        """Return when to poll again for a response that is not finished: that generates nothing and costs no retry."""
        delay = max(backoff(self._policy, self._polls, jitter=self._jitter(), retry_after=None), MIN_POLL)
        self._polls += 1
        if now + delay > self.deadline:
            return "time"
        return Reissue(delay, "resume", self._reissues, resume, within=self.deadline - now - delay)

    def _continued(self, adapter: ApiAdapter, transcript: Transcript) -> Mapping[str, object] | None:
        """Return the JSON that asks for the rest of the answer; None if that cannot be made."""
        key, how = adapter.may_continue(transcript), self._policy.continuation
        if key is None or how is None:
            return None
        spent = transcript.deltas  # a delta is a token or more
        self.continuation = Continuation(transcript, key, spent)
        try:
            body = continued_body(how, self._request.body, transcript.text(key), spent)
        except Exception as error:
            # The user's callable failed. That must not hide the fault of the stream, which is about to be raised.
            self._note(f"the continuation raised {type(error).__name__}")
            return None
        if body is None:
            self._note("no continuation could be made of the request")
        return body

"""Chooses how a broken stream is recovered, and counts what recovery may still cost: requests, time and budget.

The table in README.md beside this file describes `choose_recovery`; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..apis.request import Resume
from ..notices import RecoveryMethod, StoppedBy
from ..records import Record
from .decisions import Refusal, Reissue, StreamFault, Wait
from .host_queue import Hold, Ticket
from .retry_budget import MAX_PROBE_DELAY
from .retry_rules import MAX_RETRY_AFTER, backoff

if TYPE_CHECKING:
    from ..apis.adapter import ApiAdapter
    from ..apis.continuation import Continuation
    from ..apis.request import StreamRequest
    from ..apis.transcript import Transcript
    from ..config.policy import Policy
    from .host_memory import HostMemory


MIN_POLL = 0.5
"""Shortest pause in seconds between two polls for an unfinished response, whatever the backoff: polls cost no retry."""

MIN_PAUSE = 0.25
"""The same between two requests that are refused at no cost of a retry."""

_BODY_REFUSED = (400, 413, 422)
"""Statuses by which a server refuses what a request says, and not who asks or when."""


class RecoveryPlan(Record):
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
    if adapter.is_stored:
        if adapter.response_id is None or adapter.resume_after is None:
            if request.stored_id is None:  # a restart would start a second job
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
    """What one logical stream has spent on recovery, and what it may still spend: retries, time, its host's budget."""

    __slots__ = (
        "_being_made_since", "_fault_at", "_first_event_due", "_fruitless", "_hosts", "_idle", "_jitter",
        "_max_retries", "_may_continue", "_no_progress_since", "_note", "_planned", "_policy", "_polls", "_reissues",
        "_request", "_resuming", "_retries", "_ticket", "continuation", "repeating",
    )  # fmt: skip

    def __init__(
        self,
        policy: Policy,
        request: StreamRequest,
        hosts: HostMemory,
        *,
        max_retries: int,
        jitter: Callable[[], float],
        note: Callable[[str], None],
        idle: float = math.inf,
    ) -> None:
        self.continuation: Continuation | None = None
        """For `continue`: how the next answer is joined to what was delivered."""
        self._may_continue = True
        """The server has not refused to."""
        self._policy = policy
        self._request = request
        self._hosts = hosts
        self._max_retries = max_retries
        self._idle = idle
        self._jitter = jitter
        self._note = note
        self._planned: Reissue | None = None
        self._retries = 0
        """Re-issues that may have generated an answer."""
        self._reissues = 0
        """All re-issues, with those that were refused."""
        self._fruitless = 0
        """The same since the rest of a stored response brought the stream forward."""
        self._polls = 0
        self._resuming = False
        """The open attempt is the rest of a stored response, and has brought nothing new yet."""
        self._being_made_since: float | None = None
        """Since when the clock of `max_elapsed` stands still: the API makes the answer. The idle timeout watches it."""
        self.repeating = False
        """The open attempt repeats what was delivered. The idle timeout watches it."""
        self._no_progress_since: float | None = None
        self._fault_at = 0.0
        self._ticket: Ticket | None = None
        """Of the attempt that is open or waits to be."""
        self._first_event_due = False
        if policy.retry_budget is not None:
            hosts.budget.stream_started(request.host, policy.retry_budget)

    # What the session tells.

    def failed(self, now: float) -> None:
        """Record a fault. `max_elapsed` counts from the first one without progress after it."""
        self.repeating = False
        self._count_no_time(now)
        if self._no_progress_since is None:
            self._no_progress_since = now
        self._fault_at = now
        if self._ticket is not None:
            if self._first_event_due:  # an answer without an event is none: the host is not back
                self._hosts.budget.refused(self._ticket, now, self._probe_delay(None), spent=True)
            else:
                self._hosts.budget.broke(self._ticket, now)
            self._ticket, self._first_event_due = None, False

    def answered(self, reissue: Reissue, now: float) -> None:
        """Record that a re-issue was answered with a stream."""
        if reissue.is_poll:
            return
        if reissue.way == "continue" and self.continuation is not None and self.continuation.anchor is None:
            self._note("the seam of a continuation is not verified")
        self._count_reissue()
        self._retries += 1
        self._resuming = reissue.resume is not None
        self._being_made_since = now if self._resuming else None
        if self._ticket is not None:
            self._first_event_due = True
            self._hosts.budget.answered(self._ticket, now)

    def received(self, now: float) -> None:
        """Record that events came."""
        if self._first_event_due and self._ticket is not None:
            self._first_event_due = False
            self._hosts.budget.first_event(self._ticket, now)

    def succeeded(self) -> None:
        """Record that something new was delivered, which stops the clock of `max_elapsed`."""
        self.repeating = False
        if self._resuming:  # it generated nothing, and an answer may be cut any number of times
            self._retries, self._fruitless, self._resuming = self._retries - 1, 0, False
        self._being_made_since = None
        if self._no_progress_since is not None:
            self._no_progress_since = None
            if self._ticket is not None:
                self._hosts.budget.advanced(self._ticket)

    def ended(self, *, complete: bool) -> None:
        """Record that the stream is over."""
        ticket, self._ticket = self._ticket, None
        if complete and self._policy.retry_budget:
            self._hosts.budget.completed(self._request.host, ticket)
        elif ticket is not None:
            self._hosts.budget.leave(ticket)

    def consumer_resumed(self, now: float) -> None:
        """Record that the program asks for more: what it did with the last events before a fault is its own time."""
        if self._no_progress_since is not None and self._no_progress_since == self._fault_at < now:
            self._no_progress_since = self._fault_at = now

    def repeated(self, seconds: float | None) -> None:
        """Record that a second answer has repeated more of what was delivered, for so long; that time does not count.

        None: events came, and repeated nothing, so that the clock of `max_elapsed` runs.
        """
        self.repeating = seconds is not None
        if self._no_progress_since is not None and seconds is not None:
            self._no_progress_since += seconds

    def _count_reissue(self) -> None:
        self._reissues += 1
        self._fruitless += 1

    def _count_no_time(self, now: float) -> None:
        """Leave the time until now out of `max_elapsed`, if the API was making the answer."""
        if self._being_made_since is not None and self._no_progress_since is not None:
            self._no_progress_since += now - self._being_made_since
        self._being_made_since = None

    @property
    def deadline(self) -> float:
        """When something new has to be delivered; infinite without a fault, and while its clock stands still."""
        if self._no_progress_since is None or self.repeating or self._being_made_since is not None:
            return math.inf
        return self._no_progress_since + self._policy.max_elapsed

    # What to do next.

    def plan(
        self, adapter: ApiAdapter, transcript: Transcript, now: float, *, may_continue: bool = True
    ) -> Reissue | StoppedBy:
        """Return how and when to send the request again, or what prevents it: no safe method, no retry or time left."""
        policy, request = self._policy, self._request
        if not (may_continue and self._may_continue):
            policy = policy.replace(recovery=tuple(method for method in policy.recovery if method != "continue"))
        recently_diverged = self._diverged_recently(now)
        plan = choose_recovery(policy, request, adapter, transcript, recently_diverged=recently_diverged)
        if not isinstance(plan, RecoveryPlan):
            return plan
        delay = backoff(policy, self._fruitless, jitter=self._jitter())
        if self._retries >= self._max_retries:
            return "retries"
        if now + delay > self.deadline:
            return "time"
        body = self._continued(adapter, transcript) if plan.way == "continue" else None
        if plan.way == "continue" and body is None:
            return self.plan(adapter, transcript, now, may_continue=False)
        if request.background_added and plan.way == "restart":
            self._note("nothing had come of a background response, which may be left behind")
        self._planned = Reissue(delay, plan.way, self._reissues + 1, plan.resume, body, self.deadline - now - delay)
        return self._planned

    def refused_for_good(
        self, refusal: Refusal, adapter: ApiAdapter, transcript: Transcript, now: float
    ) -> Reissue | StoppedBy:
        """Return what follows a refusal that will not pass: the next method, if what was refused is a continuation."""
        assert self._planned is not None
        if self._planned.way != "continue" or refusal.status not in _BODY_REFUSED:
            return "not_retryable"
        self._return_token(now)
        self._count_reissue()
        self._may_continue = False
        answer = self.plan(adapter, transcript, now)
        return answer if isinstance(answer, Reissue) else "not_retryable"

    def _return_token(self, now: float) -> None:
        """Give back what was borrowed for a re-issue that was refused for a reason of this stream alone."""
        if self._ticket is not None:
            self._hosts.budget.refused(self._ticket, now, None)
            self._ticket = None

    def _diverged_recently(self, now: float) -> bool:
        request = self._request
        return self._hosts.diverged_recently(request.host, request.model, request.deterministic, now)

    def proceed(self, now: float) -> Reissue | Wait | StoppedBy:
        """Return whether what was planned may be sent now, or what it waits for. Called when its delay has passed."""
        planned, policy, request = self._planned, self._policy, self._request
        assert planned is not None
        if planned.is_poll:
            return planned
        if planned.way == "replay" and self._diverged_recently(now):
            return "diverged"  # which others may have found out while this stream waited
        if self._ticket is None:
            needs_token = policy.retry_budget is not None and planned.resume is None
            self._ticket = Ticket(request.host, needs_token=needs_token, lends=policy.retry_budget != 0)
        self._ticket.since = self._fault_at
        hold = self._hosts.budget.request(self._ticket, now, outage_timeout=policy.outage_timeout)
        if hold is None:
            return replace(planned, within=self.deadline - now)
        if isinstance(hold, Hold):
            left = self.deadline - now
            if left > 0 and not (hold.probes and hold.seconds > left):
                return Wait(min(hold.seconds, left), self._ticket, hold.reason, min(hold.limit, left), hold.probes)
            hold = hold.reason
        return "budget" if hold == "budget" else "time"

    def refused(self, refusal: Refusal, now: float) -> Reissue | Wait | StoppedBy:
        """Return what follows a refusal that may pass. It costs no retry, unless an answer may have been generated."""
        policy, ticket, planned = self._policy, self._ticket, self._planned
        assert planned is not None
        if not planned.is_poll:
            self._count_reissue()
        scope = "stream" if planned.is_poll and refusal.scope == "host" else refusal.scope
        if ticket is not None:
            delays = None if scope == "stream" else self._probe_delay(refusal.retry_after)
            promised = refusal.retry_after is not None and refusal.retry_after <= MAX_RETRY_AFTER
            self._hosts.budget.refused(ticket, now, delays, promised=promised, spent=scope == "generation")
        if scope == "host" and policy.outage_timeout > 0:
            return self.proceed(now)
        delay = backoff(policy, self._fruitless + self._polls, jitter=self._jitter(), retry_after=refusal.retry_after)
        if scope == "generation" or policy.outage_timeout == 0:
            self._retries += 1
            if self._retries >= self._max_retries:
                return "retries"
        elif delay != refusal.retry_after:
            delay = max(delay, MIN_PAUSE)
            if now + delay > max(self._fault_at, self._being_made_since or 0.0) + policy.outage_timeout:
                return "time"
        if now + delay > self.deadline:
            return "time"
        within = min(self.deadline - now - delay, policy.max_elapsed)
        self._planned = replace(planned, delay=delay, retry=self._reissues + 1, within=within)
        return self._planned

    def _probe_delay(self, retry_after: float | None) -> Callable[[int], float] | None:
        """Return what tells when a host that refuses is probed next; None where nobody waits for it."""
        policy = self._policy
        if policy.outage_timeout == 0:
            return None

        def delay_after(refusals: int) -> float:
            delay = backoff(policy, refusals + 1, jitter=self._jitter(), retry_after=retry_after)
            return delay if delay == retry_after else max(MIN_PAUSE, min(delay, MAX_PROBE_DELAY))

        return delay_after

    def poll(self, resume: Resume, now: float) -> Reissue | StoppedBy:
        """Return when to poll again for a response that is not finished: that generates nothing and costs no retry."""
        self._count_no_time(now)
        self._return_token(now)  # of a resume that was refused, since the response can no longer be streamed
        delay = max(backoff(self._policy, self._polls, jitter=self._jitter(), retry_after=None), MIN_POLL)
        self._polls += 1
        if now + delay > min(self.deadline, self._fault_at + self._idle):
            return "time"
        within = min(self.deadline - now - delay, self._policy.max_elapsed)
        self._planned = Reissue(delay, "resume", self._reissues, resume, within=within)
        self._being_made_since = now
        return self._planned

    def _continued(self, adapter: ApiAdapter, transcript: Transcript) -> Mapping[str, object] | None:
        """Return the JSON that asks for the rest of the answer; None if that cannot be made."""
        key, how = adapter.may_continue(transcript), self._policy.continuation
        if key is None or how is None:
            return None
        from ..apis.continuation import continuation_from, continued_request  # opt-in

        last, planned = self.continuation, self._planned
        before = last.spent if last is not None and planned is not None and planned.way == "continue" else 0
        spent = max(transcript.deltas, before + adapter.tokens)  # a delta is a token or more
        body = self._request.sent() or self._request.body
        try:
            request = continued_request(how, body, transcript.text(key), spent)
        except Exception as error:
            # The user's callable failed. That must not hide the fault of the stream, which is about to be raised.
            self._note(f"the continuation raised {type(error).__name__}")
            return None
        if request is None:
            self._note("no continuation could be made of the request")
            return None
        self.continuation = continuation_from(request, transcript, key, spent)
        return request.body

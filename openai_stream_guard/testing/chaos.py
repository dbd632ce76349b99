"""A random fault for every test: the same for the same seed and test, in whatever order and process it runs.

Only faults are chosen from which the guard recovers under the current policy, so that a correct test passes:

- reads in pieces, pauses, and lost blank lines, which need no second request;
- before any text is visible: all faults that a second request heals, if the guard would send one;
- in the middle of an answer: the same, if the second answer is certain to be the first one again, or nothing is
  delivered before it is complete. It is certain if the first answer came from memory, as those of mock transports and
  cassettes do: that answer then serves the second request too, so that a mock that answers once is enough.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from .clock import Clock
from .faults import INJECTIONS, Injection, injections
from .faults.response_patch import library_from
from .harness import Harness, installed

if TYPE_CHECKING:
    from ..config.policy import Policy
    from ..sdk.test_hooks import Sending
    from ..transport.http import HttpResponse

MAX_EVENTS: Final = 6
"""A fault takes effect before one of so many events."""

_STORED_ON_THE_SERVER: Final = ("previous_response_id", "conversation", "background")
_TOOLS_OF_THE_CLIENT: Final = ("function", "custom")


class Chaos(Harness):
    """Breaks the first stream of a test that plans no faults of its own."""

    def __init__(self, seed: str, test: str, clock: Clock | None) -> None:
        super().__init__(clock)
        self._random = random.Random(f"{seed} {test}")  # seeded by a string: alike in every process, unlike its hash
        self._recorded: tuple[bytes, bytes] | None = None
        self.description: str | None = None
        """Which fault was injected where, in words; None if there was none yet."""

    def answer(self, sending: Sending) -> HttpResponse | None:
        """Answer a re-issue as the first request was answered, if that answer came from memory."""
        if self._recorded is None or sending.way is None or sending.request.content != self._recorded[0]:
            return None
        headers = {"content-type": "text/event-stream"}
        create: Callable[..., HttpResponse] = library_from(sending.request).Response
        return create(200, headers=headers, content=self._recorded[1], request=sending.request)

    def faults_for(self, sending: Sending, response: HttpResponse) -> list[Injection]:
        """Choose one fault, once, while the guard is on."""
        from .. import activation

        if (
            self.description is not None
            or sending.way is not None
            or activation.current_mode() != "on"
            or _planned_elsewhere(self)
        ):
            return []
        content, policy = _body_in_memory(response), activation.current_policy()
        chosen = _choose(self._random, sending, policy, anywhere=content is not None or policy.delivery == "atomic")
        if content is not None:
            self._recorded = sending.request.content, content
        self.description = f"{chosen} on {sending.request.method} {sending.request.url.path}"
        return [chosen]


def _planned_elsewhere(chaos: Chaos) -> bool:
    """Whether the test plans faults of its own, and so expects no others."""
    from ..sdk import RUNTIME

    return any(isinstance(hook, Harness) and hook.faults.planned for hook in RUNTIME.test_hooks if hook is not chaos)


def _body_in_memory(response: Any) -> bytes | None:
    """Return the body if it is there without any reading; None if a socket may be behind it."""
    if response.is_closed:
        return bytes(response.content)
    body, stored = response.stream, library_from(response).ByteStream
    while not isinstance(body, stored) and hasattr(body, "_stream"):  # httpx wraps what a transport returns
        body = body._stream
    return b"".join(body) if isinstance(body, stored) and "content-encoding" not in response.headers else None


def _choose(chance: random.Random, sending: Sending, policy: Policy, *, anywhere: bool) -> Injection:
    """
    Return the first fault, in a random order, from which the guard recovers here.

    Args:
        anywhere: whether a second request brings the same answer, or nothing is delivered before it is complete.
    """
    events, size, seed = chance.randrange(MAX_EVENTS), chance.choice((1, 2, 7, 64)), chance.randrange(1000)
    order = sorted(INJECTIONS)
    chance.shuffle(order)
    after = events if anywhere else 0
    possible = {"split": injections.split(size=size), "slow": injections.slow(seconds=0.01)}
    if not sending.raw and policy.repair != "off":
        possible["glue"] = injections.glue(after_events=events)
    if _would_reissue(sending, policy, after):
        possible |= {
            "cut": injections.cut(after_events=after),
            "disconnect": injections.disconnect(after_events=after),
            "garble": injections.garble(after_events=after, seed=seed),
            "error": injections.error(after_events=after),
            "html": injections.html(),
        }
        if _stall_is_survivable(sending, policy, after):
            possible["stall"] = injections.stall(after_events=after)
    return next(possible[name] for name in order if name in possible)


def _would_reissue(sending: Sending, policy: Policy, after: int) -> bool:
    """Whether the guard would send this request again after so many events."""
    retries = sending.max_retries if policy.max_retries is None else policy.max_retries
    held = policy.delivery == "atomic"
    methods = ("restart",) if not after or held else ("restart", "replay")
    in_time = policy.max_elapsed > max(policy.backoff_initial, 1.0)
    if sending.raw or retries < 1 or not in_time or not set(methods) <= set(policy.recovery):
        return False
    path = sending.request.url.path
    try:
        body = json.loads(sending.request.content)
    except ValueError:
        return False
    if path.endswith("/completions"):
        return not after or held or not body.get("store")
    if not path.endswith("/responses") or any(body.get(name) for name in _STORED_ON_THE_SERVER):
        return False
    hosted = any(tool.get("type") not in _TOOLS_OF_THE_CLIENT for tool in body.get("tools") or ())
    return body.get("store") is False or (not hosted and (not after or held))


def _stall_is_survivable(sending: Sending, policy: Policy, after: int) -> bool:
    """Whether a silence ends, and, before the first event, early enough for the guard to send the request again."""
    from ..transport.timeouts import request_timeouts

    limits = (
        request_timeouts(sending.request).get("read"),
        policy.idle_timeout if after else policy.first_event_timeout,
    )
    shortest = min((seconds for seconds in limits if seconds is not None), default=None)
    return shortest is not None and (after > 0 or shortest < policy.max_elapsed)


@contextmanager
def chaos(seed: str, test: str, *, guarded: bool) -> Iterator[Chaos]:
    """
    Inject a random fault inside the `with` block.

    Args:
        guarded: whether the guard and the test clock are set up already.
    """
    from .. import activation

    harness = Chaos(seed, test, None if guarded else Clock())
    with activation.restored(), installed(harness):
        if activation.current_mode() == "off" and not guarded:
            activation.enable()
        yield harness

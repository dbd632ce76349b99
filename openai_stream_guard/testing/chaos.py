"""A fault for every test, by chance: the same for the same seed and test, in whatever order and process it runs.

Only faults are chosen from which the guard recovers under the policy at hand, so that what is healthy passes:

- reads in pieces, pauses, lost blank lines, which need no second request;
- before anything shows: all faults that a second request heals, where the guard would send one;
- in the middle of an answer: the same, where the second answer is sure to be the first one again, or is not shown
  before it is whole. It is the same where the first came from memory, as those of mock transports and cassettes do:
  that then answers the second request too, so that a mock that answers once is enough.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from .clock import Clock
from .faults import Injection, kinds
from .faults.response_patch import library_from
from .harness import Harness, staged

if TYPE_CHECKING:
    from ..config.policy import Policy
    from ..sdk.test_hooks import Sending

MAX_EVENTS: Final = 6
"""A fault strikes before one of so many events."""

_ON_THE_SERVER: Final = ("previous_response_id", "conversation", "background")
_OF_THE_CLIENT: Final = ("function", "custom")


class Chaos(Harness):
    """Strikes the first stream of a test that plans no faults of its own."""

    def __init__(self, seed: str, test: str, clock: Clock | None) -> None:
        super().__init__(clock)
        self._chance = random.Random(f"{seed} {test}")  # of a string, which every process reads alike
        self._recorded: tuple[bytes, bytes] | None = None
        self.told: str | None = None
        """What was done to the test; None while nothing was."""

    def answer(self, sending: Sending) -> Any:
        """What answered the first request, where it came from memory."""
        if self._recorded is None or sending.way is None or sending.request.content != self._recorded[0]:
            return None
        headers = {"content-type": "text/event-stream"}
        response = library_from(sending.request).Response
        return response(200, headers=headers, content=self._recorded[1], request=sending.request)

    def strikes(self, sending: Sending, response: Any) -> list[Injection]:
        """One fault, once, while the guard is on."""
        from .. import activation as switch

        if (
            self.told is not None
            or sending.way is not None
            or switch.current_mode() != "on"
            or _planned_elsewhere(self)
        ):
            return []
        content, policy = _in_memory(response), switch.current_policy()
        chosen = _choose(self._chance, sending, policy, anywhere=content is not None or policy.delivery == "atomic")
        if content is not None:
            self._recorded = sending.request.content, content
        self.told = f"{chosen} on {sending.request.method} {sending.request.url.path}"
        return [chosen]


def _planned_elsewhere(chaos: Chaos) -> bool:
    """Whether the test has faults of its own, which it expects to be the only ones."""
    from ..sdk import RUNTIME

    return any(isinstance(hook, Harness) and hook.faults.planned for hook in RUNTIME.test_hooks if hook is not chaos)


def _in_memory(response: Any) -> bytes | None:
    """The body, if it is there without any reading; None where a socket may stand behind it."""
    if response.is_closed:
        return bytes(response.content)
    body, stored = response.stream, library_from(response).ByteStream
    while not isinstance(body, stored) and hasattr(body, "_stream"):  # httpx wraps what a transport has returned
        body = body._stream
    return b"".join(body) if isinstance(body, stored) and "content-encoding" not in response.headers else None


def _choose(chance: random.Random, sending: Sending, policy: Policy, *, anywhere: bool) -> Injection:
    """The first of the faults, in an order by chance, from which the guard recovers here.

    Args:
        anywhere: whether a second request brings the same answer, or the first is not shown before it is whole.
    """
    events, size, seed = chance.randrange(MAX_EVENTS), chance.choice((1, 2, 7, 64)), chance.randrange(1000)
    order = sorted(kinds.KINDS)
    chance.shuffle(order)
    after = events if anywhere else 0
    may = {"split": kinds.split(size=size), "slow": kinds.slow(seconds=0.01)}
    if not sending.raw and policy.repair != "off":
        may["glue"] = kinds.glue(after_events=events)
    if _asks_again(sending, policy, after):
        may |= {
            "cut": kinds.cut(after_events=after),
            "disconnect": kinds.disconnect(after_events=after),
            "garble": kinds.garble(after_events=after, seed=seed),
            "error": kinds.error(after_events=after),
            "html": kinds.html(),
        }
        if _has_clock(sending, policy):
            may["stall"] = kinds.stall(after_events=after)
    return next(may[name] for name in order if name in may)


def _asks_again(sending: Sending, policy: Policy, after: int) -> bool:
    """Whether the guard would send this request again after so many events."""
    retries = sending.max_retries if policy.max_retries is None else policy.max_retries
    held = policy.delivery == "atomic"
    ways = ("restart",) if not after or held else ("restart", "replay")
    in_time = policy.max_elapsed > max(policy.backoff_initial, 1.0)
    if sending.raw or retries < 1 or not in_time or not set(ways) <= set(policy.recovery):
        return False
    path = sending.request.url.path
    try:
        body = json.loads(sending.request.content)
    except ValueError:
        return False
    if path.endswith("/completions"):
        return not after or held or not body.get("store")
    if not path.endswith("/responses") or any(body.get(name) for name in _ON_THE_SERVER):
        return False
    hosted = any(tool.get("type") not in _OF_THE_CLIENT for tool in body.get("tools") or ())
    return body.get("store") is False or (not hosted and (not after or held))


def _has_clock(sending: Sending, policy: Policy) -> bool:
    """Whether a silence would ever end."""
    from ..transport.timeouts import request_timeouts

    return request_timeouts(sending.request).get("read") is not None or policy.idle_timeout is not None


@contextmanager
def chaos(seed: str, test: str, *, guarded: bool) -> Iterator[Chaos]:
    """Let chance strike inside the `with` block.

    Args:
        guarded: whether guard and clock are seen to already.
    """
    from .. import activation as switch

    striking = Chaos(seed, test, None if guarded else Clock())
    with switch.restored(), staged(striking):
        if switch.current_mode() == "off" and not guarded:
            switch.enable()
        yield striking

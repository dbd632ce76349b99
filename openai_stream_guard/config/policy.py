"""What the guard may do about a fault: one stream's settings, what deserves another try, and after how long.

Knows no clock, no randomness and no SDK: the caller brings the time, the jitter and the headers.
The law: a `Policy` that exists is valid, and judging what a server sent never raises.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from . import fields
from .fields import Kind, StreamGuardConfigError, checked, optional, suggestion

ENVIRONMENT_PREFIX = "OPENAI_STREAM_GUARD_"
LONGEST_RETRY_AFTER = 120.0
"""Seconds; asked to wait longer, openai 3.x does not retry at all (before: it used its own backoff)."""

# How servers name a fault that may pass: letters only, without a final "error", so that `server_error`,
# `InternalServerError` and `rate-limit-error` each need one spelling here.
_PASSING = re.compile(
    "server|internal(server)?|((engine|server|serveris)?overloaded)|slowdown|(service)?unavailable|badgateway"
    "|(api|gateway|request)?timeout|timedout|deadlineexceeded|ratelimit(ed|exceeded)?|toomanyrequests"
    "|resourceexhausted|(api)?connection"
)
# Parts of names that no retry cures, whatever status stands beside them: a spent quota comes as 429.
_LASTING = re.compile("quota|billing|usagelimit|invalidrequest|invalidapikey|authentication|contextlength")
_STATUS = re.compile(r"\s*([45][0-9]{2})(?!\S)")


@dataclass(frozen=True)
class Policy:
    """
    How one stream is guarded. Read once, when its request starts, and unchanged while the stream lives.

    Raises `StreamGuardConfigError` for a value that a field does not allow.
    """

    max_retries: int | None = None
    """Re-issues after the first failure; `none` follows the client's `max_retries`, 0 repairs and detects."""

    backoff_initial: float = 0.5
    """Seconds before the first re-issue; doubled for each further one, jittered as the SDK does."""

    backoff_max: float = 8.0
    """Seconds that a wait never exceeds, unless the server itself asked for more (at most 120 s)."""

    max_elapsed: float = 120.0
    """Seconds from a fault to the next newly delivered item; a wait that would pass it is not begun."""

    recovery: tuple[str, ...] = ("resume", "restart", "replay")
    """Ways to go on after a fault; `continue` and `stateful` are opt-in, `none` only raises."""

    continuation: Literal["vllm", "prefill"] | Callable[..., object] | None = None
    """How `continue` asks for the rest of an answer: the dialect of the server, or a callable."""

    delivery: Literal["live", "atomic", "tool_calls"] = "live"
    """`atomic` hands over when the stream is complete, `tool_calls` hands a tool call over when whole."""

    max_held_bytes: int = 16 << 20
    """Bytes that `atomic` or `tool_calls` may hold; beyond them the fault is `oversized`."""

    idle_timeout: float | None = None
    """Seconds waited without an event (comments are none); `none` is the read timeout, at least 300 s."""

    first_event_timeout: float | None = None
    """Seconds until the first event; `none` is `idle_timeout`."""

    repair: Literal["safe", "lenient", "off"] = "safe"
    """`safe` moves framing only, `lenient` adds likely but unsure repairs, `off` only detects."""

    end_rule: Literal["auto", "strict", "lenient"] = "auto"
    """Marks that end a chat stream: `strict` wants every `finish_reason`, `lenient` that or `[DONE]`."""

    lenient_hosts: tuple[str, ...] = ()
    """Hosts whose streams may end without any mark."""

    retry_budget: float | None = 0.1
    """Tokens a started stream adds to its host's bucket of 10; a re-issue costs 1; `none` is no budget."""

    max_event_bytes: int = 256 << 20
    """Bytes of one event or unfinished line; beyond them the fault is `oversized`."""

    on_event: Callable[..., object] | None = None
    """Called with each notice; what it raises is logged, never propagated."""

    log_raw: bool = False
    """Log the raw tail of a faulty attempt at DEBUG, secrets masked."""

    capture: str | os.PathLike[str] | None = None
    """Folder for captures of faulty attempts; they hold answer text."""

    def __post_init__(self) -> None:
        for name, kind in KINDS.items():
            accepted = checked(kind.accept, getattr(self, name), name, kind.allowed)
            object.__setattr__(self, name, accepted)

    def replace(self, **changes: Any) -> Policy:
        """A policy with these fields changed; an unknown or bad one raises `StreamGuardConfigError`."""
        for name in changes:
            if name not in KINDS:
                raise StreamGuardConfigError(f"Unknown setting {name!r}{suggestion(name, KINDS)}")
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Policy:
        """The policy that the `OPENAI_STREAM_GUARD_<FIELD>` variables describe; see `read_environment`."""
        return cls(**read_environment(environ))


KINDS: Mapping[str, Kind] = {
    "max_retries": optional(fields.COUNT),
    "backoff_initial": fields.SECONDS,
    "backoff_max": fields.SECONDS,
    "max_elapsed": fields.SECONDS,
    "recovery": fields.any_of(("resume", "restart", "continue", "replay", "stateful")),
    "continuation": optional(fields.word_or_callable("vllm", "prefill")),
    "delivery": fields.one_of("live", "atomic", "tool_calls"),
    "max_held_bytes": fields.SIZE,
    "idle_timeout": optional(fields.TIMEOUT),
    "first_event_timeout": optional(fields.TIMEOUT),
    "repair": fields.one_of("safe", "lenient", "off"),
    "end_rule": fields.one_of("auto", "strict", "lenient"),
    "lenient_hosts": fields.HOSTS,
    "retry_budget": optional(fields.RATIO),
    "max_event_bytes": fields.SIZE,
    "on_event": optional(fields.CALLABLE),
    "log_raw": fields.FLAG,
    "capture": optional(fields.PATH),
}


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """
    The fields that `OPENAI_STREAM_GUARD_<FIELD>` variables set, an empty variable counting as none.

    A bad value raises `StreamGuardConfigError`, naming the variable.
    """
    given = {}
    for name, kind in KINDS.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if text := environ.get(variable, "").strip():
            given[name] = checked(kind.parse, text, variable, kind.allowed)
    return given


def backoff(policy: Policy, retry: int, *, jitter: float, retry_after: float | None = None) -> float:
    """
    Seconds to wait before re-issue number `retry`, counted from 0.

    The rule is the SDK's (`_base_client._calculate_retry_timeout`): doubled each time up to a limit, then
    less up to a quarter, by `jitter` from 0 to 1. What the server asked for goes first, up to 120 s.
    """
    if retry_after is not None and 0 < retry_after <= LONGEST_RETRY_AFTER:
        return retry_after
    doubled = policy.backoff_initial * 2.0 ** min(retry, 1000)
    return min(doubled, policy.backoff_max) * (1 - 0.25 * jitter)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """
    Seconds that the header `retry-after-ms` or `retry-after` (RFC 9110 10.2.3) asks to wait.

    `now` is in seconds since the epoch. None where neither is readable; more than `LONGEST_RETRY_AFTER` means
    that no further try is wanted.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        delay = _decimal(_header(headers, name))
        if delay is not None:
            return max(0.0, delay * unit)
    date = _epoch(_header(headers, "retry-after"))
    return None if date is None else max(0.0, date - now)


def refusal_is_retryable(status: int, headers: Mapping[str, str], now: float | None = None) -> bool:
    """
    Whether a request refused with this status may be sent again; the order of the rules is the SDK's.

    Without `now` a `Retry-After` that is a date does not count: `retry_after` tells the caller the same.
    """
    wait = retry_after(headers, math.inf if now is None else now)
    if wait is not None and wait > LONGEST_RETRY_AFTER:
        return False
    match _header(headers, "x-should-retry").strip().lower():
        case "true":
            return True
        case "false":
            return False
    return _passes(status)


def error_is_retryable(body: object) -> bool:
    """
    Whether an error that came inside a stream says of itself that it may pass.

    A status in `code` or `status` decides, else the words of `type`, `code` and `status`. The message is not
    read: rate limits speak of quotas there too.
    """
    said = list(_said(body))
    words = [_letters(value) for value in said if isinstance(value, str)]
    if any(map(_LASTING.search, words)):
        return False
    statuses = [status for value in said if (status := _status(value)) is not None]
    return any(map(_passes, statuses)) if statuses else any(map(_PASSING.fullmatch, words))


def _passes(status: int) -> bool:
    return status in (408, 409, 429) or status >= 500


def _said(body: object) -> Iterator[object]:
    """What an error object calls itself, at the depths at which servers are known to wrap it."""
    for _ in range(4):
        if isinstance(body, list) and body:
            body = body[0]
        if not isinstance(body, dict):
            yield body
            return
        yield from (body.get(key) for key in ("code", "status", "status_code", "type"))
        body = body.get("error")


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower()).removesuffix("error")


def _status(value: object) -> int | None:
    if isinstance(value, str) and (match := _STATUS.match(value)):
        return int(match[1])
    return int(value) if isinstance(value, int | float) and 400 <= value <= 599 else None


def _header(headers: Mapping[str, str], name: str) -> str:
    """The header, whether or not the mapping minds case."""
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _decimal(text: str) -> float | None:
    """A number in digits; one too large for a float is infinite, the words `inf` and `nan` are no numbers."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if any(map(str.isdigit, text)) else None


def _epoch(text: str) -> float | None:
    """The seconds since the epoch that an HTTP date means."""
    from email.utils import mktime_tz, parsedate_tz  # imports socket and random: only where a date is read

    try:
        date = parsedate_tz(text)
        return None if date is None else float(mktime_tz(date))
    except (TypeError, ValueError, OverflowError, OSError, IndexError):
        return None

"""What deserves a retry, and after how long."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from ..config.policy import Policy

MAX_RETRY_AFTER = 120.0
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


def backoff(policy: Policy, retry: int, *, jitter: float, retry_after: float | None = None) -> float:
    """
    Seconds to wait before re-issue number `retry`, counted from 0.

    The rule is the SDK's (`_base_client._calculate_retry_timeout`): doubled each time up to a limit, then
    less up to a quarter, by `jitter` from 0 to 1. What the server asked for goes first, up to 120 s.
    """
    if retry_after is not None and 0 < retry_after <= MAX_RETRY_AFTER:
        return retry_after
    doubled = policy.backoff_initial * 2.0 ** min(retry, 1000)
    return min(doubled, policy.backoff_max) * (1 - 0.25 * jitter)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """
    Seconds that the header `retry-after-ms` or `retry-after` (RFC 9110 10.2.3) asks to wait.

    `now` is in seconds since the epoch. None where neither is readable; more than `MAX_RETRY_AFTER` means
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
    if wait is not None and wait > MAX_RETRY_AFTER:
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

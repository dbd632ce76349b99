"""Which refusals and errors deserve a retry, and how long to wait before it.

The caller passes the time, the jitter and the headers. Whatever a server sent, nothing here raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from ..config.policy import Policy

MAX_RETRY_AFTER = 120.0
"""Seconds. Asked to wait longer, openai 3.x does not retry at all; older releases used their own backoff."""

# How servers name an error that may pass. Compared as letters only, without a final "error", so that `server_error`,
# `InternalServerError` and `rate-limit-error` need one spelling each.
_PASSING = re.compile(
    "server|internal(server)?|((engine|server|serveris)?overloaded)|slowdown|(service)?unavailable|badgateway"
    "|(api|gateway|request)?timeout|timedout|deadlineexceeded|ratelimit(ed|exceeded)?|toomanyrequests"
    "|resourceexhausted|(api)?connection"
)
# Parts of names of errors that no retry cures, whatever status stands beside them: a spent quota comes as 429.
_LASTING = re.compile("quota|billing|usagelimit|invalidrequest|invalidapikey|authentication|contextlength")
_STATUS = re.compile(r"\s*([45][0-9]{2})(?!\S)")


def backoff(policy: Policy, retry: int, *, jitter: float, retry_after: float | None = None) -> float:
    """
    Return the seconds to wait before re-issue number `retry`, counted from 0.

    The rule is the SDK's (`_base_client._calculate_retry_timeout`): doubled each time up to a limit, then reduced by up
    to a quarter, by `jitter` from 0 to 1. What the server asked for takes precedence, up to `MAX_RETRY_AFTER`.
    """
    if retry_after is not None and 0 < retry_after <= MAX_RETRY_AFTER:
        return retry_after
    doubled = policy.backoff_initial * 2.0 ** min(retry, 1000)
    return min(doubled, policy.backoff_max) * (1 - 0.25 * jitter)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """
    Return the seconds that the header `retry-after-ms` or `retry-after` (RFC 9110 10.2.3) asks to wait.

    `now` is in seconds since the epoch. None where neither is readable. More than `MAX_RETRY_AFTER` means that the
    server wants no retry.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        delay = _decimal(_header(headers, name))
        if delay is not None:
            return max(0.0, delay * unit)
    date = _epoch(_header(headers, "retry-after"))
    return None if date is None else max(0.0, date - now)


def refusal_is_retryable(status: int, headers: Mapping[str, str], now: float | None = None) -> bool:
    """
    Return whether a request that was refused with this status may be sent again. The order of the rules is the SDK's.

    Without `now` a `Retry-After` that is a date does not count.
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
    Return whether an error that came inside a stream says of itself that it may pass.

    A status in `code` or `status` decides, else the words of `type`, `code` and `status`. The message is not read: rate
    limits speak of quotas there too.
    """
    given = list(_names_in(body))
    words = [_letters(value) for value in given if isinstance(value, str)]
    if any(map(_LASTING.search, words)):
        return False
    statuses = [status for value in given if (status := _status(value)) is not None]
    return any(map(_passes, statuses)) if statuses else any(map(_PASSING.fullmatch, words))


def _passes(status: int) -> bool:
    return status in (408, 409, 429) or status >= 500


def _names_in(body: object) -> Iterator[object]:
    """Yield what an error object calls itself, at the depths at which servers are known to wrap it."""
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
    """Return the header's value, also from a mapping that distinguishes upper and lower case; empty where absent."""
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _decimal(text: str) -> float | None:
    """Return a number in digits: infinity where a float cannot hold it, None for the words `inf` and `nan`."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if any(map(str.isdigit, text)) else None


def _epoch(text: str) -> float | None:
    """Return an HTTP date as seconds since the epoch, or None."""
    from email.utils import mktime_tz, parsedate_tz  # imports socket and random: only where a date is read

    try:
        date = parsedate_tz(text)
        return None if date is None else float(mktime_tz(date))
    except (TypeError, ValueError, OverflowError, OSError, IndexError):
        return None

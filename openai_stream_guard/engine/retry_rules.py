"""Which refusals and errors deserve a retry, and how long to wait before it.

The caller passes the time, the jitter and the headers. Whatever a server sent, nothing here raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from ..config.policy import Policy
from ..diagnosis.evidence import Complaint
from ..records import Record

MAX_RETRY_AFTER = 120.0
"""Seconds. Where a server names a longer wait, openai 3.x does not retry at all; older ones used their own backoff."""

Effect: TypeAlias = Literal["passing", "lasting", "refused"]
"""What an error means for the same request: `passing`, it may be answered the next time; `lasting`, it will not;
`refused`, it is not accepted as it is, which gateways also say of errors that pass: any better evidence beats it."""


class Meaning(Record):
    """What an error means whose code or type has one of these parts."""

    effect: Effect
    complaint: Complaint | None
    """What it is about, for the hint."""
    parts: str
    """A pattern for the lower-case letters alone: `rate_limit_error` and `RateLimitError` are the same."""


def _meaning(effect: Effect, complaint: Complaint | None, *parts: str) -> Meaning:
    return Meaning(effect, complaint, "|".join(" ".join(parts).split()))


_MEANINGS = (
    _meaning(
        "lasting", "context",
        "contextlength contextwindow contextsize contextlimit contextoverflow toolarge toolong",
    ),
    _meaning(
        "passing", "rate",
        "throttl ratelimit toomanyrequest toomanytoken slowdown resourceexhausted concurrencylimit",
    ),
    _meaning(
        "lasting", "quota",
        "quota billing usagelimit hardlimit spendlimit spendinglimit credit payment arrear insufficientbalance",
        "insufficientfund budgetexceeded exceededbudget subscription",
    ),
    _meaning(
        "lasting", None,
        "authentic authoriz autherror apikey credential permission forbidden accessdenied deactivated suspended",  # who
        "notfound notexist nosuch unknownmodel unsupported notsupported",  # what
        "contentfilter contentpolicy policyviolation moderation inspection sensitive guardrail unsafe prohibited",
    ),
    _meaning(
        "refused", None,
        "invalid badrequest validation malformed missingparam missingrequired unprocessable notallowed",
    ),
    _meaning(
        "passing", "overloaded",
        "overload unavailable capacity busy notready warmingup modelloading loadingmodel",
    ),
    _meaning(
        "passing", None,
        "timeout timedout tooktoolong deadlineexceeded internal servererror systemerror serviceerror backenderror",
        "badgateway temporar disconnect nohealthyupstream networkerror streamerror readerror connecterror",
        "upstreamconnect connectionerror connectionreset connectionrefused connectionclosed connectionlost",
        "streamclosed brokenpipe sockethangup unexpectedeof",
        "^apierror$ ^apiconnection ^server$",
    ),
)  # fmt: skip
"""In order: of one word the first meaning counts, so that throttling beats the quota in `Throttling.RateQuota`."""

_MINIMAX_CODES = {
    "1000": "internal",
    "1001": "timeout",
    "1002": "ratelimit",
    "1008": "insufficientbalance",
    "1024": "internal",
}
"""What the numbers in MiniMax's `base_resp` stand for, in words of `_MEANINGS`; no number that is not here may pass.
https://platform.minimax.io/docs/api-reference/errorcode"""

_TOO_LARGE = (
    r"(?i)context[ _]?(?:length|window|size|limit)|maximum context|(?:input|prompt|sequence) length|kv cache|n_ctx"
    r"|max_model_len|(?:maximum|max) (?:input|prompt|model|sequence|length|number of (?:input )?tokens)"
    r"|number of input tokens|size limit|tokens.{0,40}must be <=|must have less than"
    r"|reduce (?:the |your )?(?:length|prompt|input|size)"
    r"|(?<!took )(?<!takes )(?<!taking )(?<!waited )(?<!waiting )(?<!running )(?<!been )too (?:long|large|big)"
)
"""The only words of a message that are looked at. Rate limits speak of billing, quotas and plans there."""
_RATE = r"(?i)\bper (?:second|min(?:ute)?|hour|day)\b|rate limit"
"""A limit in time: then `reduce the prompt` is advice on how to stay below it."""
_OUT_OF_MEMORY = "(?i)out of memory|outofmemory|failed to allocate"
_STATUS = r"(?i)\s*(?:HTTP[ _/-]?)?([45][0-9]{2})(?!\S)"
_LONG_STATUS = r"([45][0-9]{2})[0-9]{2,3}"
"""Codes that begin with an HTTP status, as FastChat's 50004 does."""
_STATUS_COMPLAINTS: dict[int, Complaint] = {402: "quota", 429: "rate", 503: "overloaded", 529: "overloaded"}
_CODES = {"code", "status", "statuscode", "errorcode", "errcode", "reason"}
_TYPES = {"type", "errortype", "errtype"}
_MESSAGES = {"message", "msg", "errormessage", "errormsg", "errmsg", "statusmsg", "detail", "title", "error"}
_WRAPPERS = ("error", "errors", "baseresp", "detail", "fault", "innererror", "response", "lasterror")
_MAX_DEPTH = 4


class ErrorVerdict(NamedTuple):
    """What an error of the API comes to."""

    retryable: bool
    complaint: Complaint | None


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


def judge_error(body: object, http_status: int | None = None) -> ErrorVerdict:
    """
    Return whether an error that came inside a stream may pass, and what it is about, by what it says of itself.

    What says more beats what says less:

    1. A message that the request is too large: no retry, whatever stands beside it. Gateways report it as a 500.
    2. A lasting word, in a code or a type: a spent quota comes as 429, `content_policy_violation` as `server_error`.
    3. A word for a rate limit.
    4. A passing status besides 500: a gateway reports its own timeout as 408 with `invalid_request_error`.
    5. Any other status from 400 to 499: no retry.
    6. A code, then a type; 500 stands between them, since gateways report whatever they do not know as 500.

    An error that says nothing of the kind is not retried. `http_status` is a status that stood beside the error.
    """
    words = _ErrorWords()
    words.read(body, 0)
    if http_status is not None and 400 <= http_status <= 599:
        words.statuses.append(http_status)
    if any(map(_is_too_large, words.messages)):
        return ErrorVerdict(False, "context")
    verdict = words.verdict()
    is_memory = any(re.search(_OUT_OF_MEMORY, text) for text in words.messages)
    return verdict._replace(complaint="memory") if is_memory else verdict


class _ErrorWords:
    """The words of an error, as deep as servers are known to wrap them: codes, types, statuses and messages."""

    def __init__(self) -> None:
        self.codes: list[Meaning] = []
        self.types: list[Meaning] = []
        self.statuses: list[int] = []
        self.messages: list[str] = []

    def read(self, body: object, depth: int) -> None:
        if isinstance(body, list) and body:
            body = body[0]
        if isinstance(body, str):
            self._read_text(body)
        if not isinstance(body, dict) or depth >= _MAX_DEPTH:
            return
        wrapped = []
        for name, value in body.items():
            plain = _letters(str(name))
            if plain in _CODES:
                self._read_code(value)
            elif plain in _TYPES and isinstance(value, str):
                self.types += _meanings_of(value)
            elif plain.endswith("exception"):  # the name of the member is the type: Bedrock
                self.types += _meanings_of(plain)
            if plain == "baseresp" and isinstance(value, dict):
                self.codes += _meanings_of(_MINIMAX_CODES.get(str(value.get("status_code")), ""))
            if plain in _WRAPPERS or plain.endswith("exception"):
                wrapped.append(value)
            if plain in _MESSAGES and isinstance(value, str):
                self.messages.append(value)
        has_words = bool(self.codes or self.types or self.statuses)
        for value in wrapped:
            if not isinstance(value, str):
                self.read(value, depth + 1)
            elif not has_words:  # beside a code or a type it is only a message
                self._read_text(value)

    def _read_text(self, text: str) -> None:
        """An error that is nothing but a text: its words are read as a code's are."""
        self.messages.append(text)
        if not _is_too_large(text):
            self._read_code(text)

    def _read_code(self, value: object) -> None:
        status = _status(value)
        if status is not None:
            self.statuses.append(status)
        if isinstance(value, str):
            self.codes += _meanings_of(value)

    def verdict(self) -> ErrorVerdict:
        """Return what codes, types and statuses come to, by rules 2 to 6 of `judge_error`."""
        meanings = [*self.codes, *self.types]
        for meaning in meanings:
            if meaning.effect == "lasting":
                return ErrorVerdict(False, meaning.complaint)
        for meaning in meanings:
            if meaning.complaint == "rate":
                return ErrorVerdict(True, meaning.complaint)
        complaint = next((meaning.complaint for meaning in meanings if meaning.complaint), None)
        for status in self.statuses:
            complaint = complaint or _STATUS_COMPLAINTS.get(status)
        passing = [status for status in self.statuses if _passes(status)]
        if any(status != 500 for status in passing):
            return ErrorVerdict(True, complaint)
        if len(passing) < len(self.statuses):
            return ErrorVerdict(False, complaint)
        refused = any(meaning.effect == "refused" for meaning in self.codes)
        if not refused and self.codes:
            return ErrorVerdict(True, complaint)
        refused = refused or (bool(self.types) and self.types[0].effect == "refused")
        return ErrorVerdict(bool(passing or self.types) and not refused, complaint)


def _meanings_of(word: str) -> list[Meaning]:
    """Return the meaning of a code, a type or a sentence: one, or none. A sentence was held against `_TOO_LARGE`."""
    letters, known = _letters(word), _MEANINGS[1:] if " " in word else _MEANINGS
    return next(([meaning] for meaning in known if re.search(meaning.parts, letters)), [])


def _is_too_large(message: str) -> bool:
    return re.search(_TOO_LARGE, message) is not None and re.search(_RATE, message) is None


def _passes(status: int) -> bool:
    return status in (408, 409, 429) or status >= 500


def _letters(name: str) -> str:
    return re.sub("[^a-z]", "", name.lower())


def _status(value: object) -> int | None:
    """Return the HTTP status that a code is, or begins with."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        if not 400 <= value <= 599999 or value != int(value):
            return None
        value = str(int(value))
    if not isinstance(value, str):
        return None
    match = re.match(_STATUS, value) or re.fullmatch(_LONG_STATUS, value.strip())
    return int(match[1]) if match else None


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

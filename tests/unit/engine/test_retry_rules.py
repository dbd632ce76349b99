"""The law: what is asked again, and after which wait, is decided by what the server said; judging it never raises."""

from __future__ import annotations

import email.utils
import json
import math
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import _base_client

from openai_stream_guard.config.policy import Policy
from openai_stream_guard.engine.retry_rules import (
    MAX_RETRY_AFTER,
    backoff,
    judge_error,
    refusal_is_retryable,
    retry_after,
)
from tests.vectors import rows_of

NOW = 1_700_000_000.0


@given(st.integers(0, 2000), st.floats(0, 1, exclude_max=True), st.none() | st.floats())
def test_backoff_is_bounded(retry: int, jitter: float, asked: float | None) -> None:
    """A wait is never negative, and longer than the policy's longest only where the server asked for it."""
    wait = backoff(Policy(backoff_initial=1e300, backoff_max=6), retry, jitter=jitter, retry_after=asked)
    if asked is not None and 0 < asked <= MAX_RETRY_AFTER:
        assert wait == asked
    else:
        assert 4.5 <= wait <= 6


@pytest.mark.parametrize("jitter", [0.0, 0.4, 0.999])
def test_backoff_is_the_sdks(monkeypatch: pytest.MonkeyPatch, jitter: float) -> None:
    """Given the same jitter the guard waits as long as the SDK would."""
    monkeypatch.setattr(_base_client, "random", lambda: jitter)
    options = _base_client.FinalRequestOptions(method="post", url="/", max_retries=8)
    with openai.OpenAI(api_key="none") as client:
        sdk = [client._calculate_retry_timeout(8 - retry, options) for retry in range(8)]
    assert [backoff(Policy(), retry, jitter=jitter) for retry in range(8)] == sdk


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "9e999"}, math.inf),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "3, 4"}, None),
        ({"retry-after": email.utils.formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": email.utils.formatdate(NOW - 30, usegmt=True)}, 0.0),
        ({"retry-after": "Wed, 99 Foo 99999 99:99:99 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 10000 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds first, then seconds, then a date; what is none of them is no answer."""
    read = retry_after(headers, NOW)
    assert read == (seconds if seconds is None else pytest.approx(seconds, rel=1e-12))


@given(st.text() | st.from_regex(r"[0-9eE+.,-]{1,9}") | st.datetimes().map(str), st.text())
def test_any_retry_after_is_a_wait_or_none(seconds: str, milliseconds: str) -> None:
    """No header raises, and a wait is never negative nor NaN."""
    wait = retry_after({"retry-after": seconds, "retry-after-ms": milliseconds}, NOW)
    assert wait is None or wait >= 0


REFUSALS = [
    *[(status, {}) for status in (400, 401, 403, 404, 408, 409, 410, 413, 422, 429, 499, 500, 502, 503, 529)],
    (503, {"x-should-retry": "false"}),
    (400, {"x-should-retry": "true"}),
    (429, {"x-should-retry": "perhaps"}),
    (429, {"retry-after": "120"}),
    (429, {"retry-after": "soon"}),
]
LONG_WAITS = [
    (429, {"retry-after": "121"}),
    (503, {"retry-after-ms": "120001", "x-should-retry": "true"}),
    (503, {"retry-after": "1e999"}),
]


@pytest.mark.parametrize(("status", "headers"), REFUSALS)
def test_refusals_are_judged_as_the_sdk_does(status: int, headers: dict[str, str]) -> None:
    """A re-issue is tried again exactly where the SDK would try a first request again."""
    response: Any = SimpleNamespace(status_code=status, headers=headers)
    with openai.OpenAI(api_key="none") as client:
        assert refusal_is_retryable(status, headers) is client._should_retry(response)


@pytest.mark.parametrize(("status", "headers"), LONG_WAITS)
def test_too_long_a_wait_is_a_no(status: int, headers: dict[str, str]) -> None:
    """A server that wants more than two minutes does not want another try now."""
    assert not refusal_is_retryable(status, headers)


def test_too_late_a_date_is_a_no_where_the_time_is_known() -> None:
    """A date counts as a wait once there is a now to count from."""
    headers = {"retry-after": email.utils.formatdate(NOW + 600, usegmt=True)}
    assert not refusal_is_retryable(503, headers, NOW)
    assert refusal_is_retryable(503, headers, NOW + 500)
    assert refusal_is_retryable(503, headers)


@pytest.mark.parametrize("row", rows_of("errors"), ids=lambda row: json.dumps(row["body"]))
def test_an_error_is_retried_if_it_says_that_it_may_pass(row: dict[str, Any]) -> None:
    """Whoever writes it; one that does not say so costs no further request."""
    assert judge_error(row["body"]).retryable is row["may_pass"]


@pytest.mark.parametrize("code", [10**400, math.nan, "9" * 10_000], ids=["huge", "nan", "long"])
def test_a_code_beyond_reason_is_none(code: object) -> None:
    """And raises nothing."""
    assert not judge_error({"error": {"code": code}}).retryable


@given(
    st.sampled_from(["Rate_Limit_{}", "{}Throttling", "too-many-requests.{}"]), st.sampled_from(["Quota", "billing"])
)
def test_in_one_word_throttling_beats_quota(word: str, other: str) -> None:
    """Whatever the spelling."""
    assert judge_error({"code": word.format(other), "message": "x"}).retryable
    assert not judge_error({"code": other, "type": word.format("x"), "message": "x"}).retryable


@given(st.sampled_from(["passing", "lasting"]), st.integers(400, 599))
def test_a_message_without_a_size_is_not_looked_at(kind: str, status: int) -> None:
    """Whatever it speaks of, the status decides as it does without it."""
    text = "rate limit, overloaded, timeout" if kind == "passing" else "quota, billing, api key, not found"
    assert judge_error({"code": status, "message": text}).retryable == judge_error({"code": status}).retryable


def test_the_request_took_too_long_is_no_complaint_of_size() -> None:
    """The words stand in both."""
    assert judge_error("The request took too long to process").retryable
    assert not judge_error("The request is too long to process").retryable


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "The input token count (9000) exceeds the maximum number of tokens allowed (8000).",
        "`inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 `inputs` tokens",
        "Input validation error: `inputs` must have less than 8193 tokens.",
        "the max length of current question is 2000",
        "<400> InternalError.Algo: Range of input length should be [1, 30720]",
        "Failed to find free space in the KV cache, retry with a smaller n_batch",
        "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "Input is too long for requested model.",
        "Please reduce the length of the messages or completion.",
        "ContextWindowExceededError: x",
    ],
)
def test_a_complaint_of_size_is_known_whoever_writes_it(message: str) -> None:
    """And is never retried, whatever status or type it is wrapped in; the hint speaks of the context."""
    for error in ({"message": message, "code": 500, "type": "server_error"}, {"message": message, "code": 503}):
        assert judge_error({"error": error}) == (False, "context")
    assert judge_error(message) == (False, "context")

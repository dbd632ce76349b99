"""error_shapes and retry_rules: the errors of real gateways are found, judged by their words, and nothing else is.

The shapes here are those of servers that `error_shapes.py` beside this file does not name: each as it was reported.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.apis.adapter import ApiAdapter, DataEvent, FaultEvent, KeepAlive
from openai_stream_guard.apis.error_shapes import find_error
from openai_stream_guard.apis.registry import adapter_for
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.decoding.payload import IrregularPayload, Payload
from openai_stream_guard.diagnosis.evidence import Complaint
from openai_stream_guard.engine.faults import fault_from
from openai_stream_guard.engine.retry_rules import judge_error

GATEWAYS: dict[str, tuple[object, bool, Complaint | None]] = {
    "OpenRouter": (
        {"id": "g", "choices": [], "error": {"code": 502, "message": "Provider returned error"}},
        True,
        None,
    ),
    "Groq": (
        {"error": {"message": "over capacity", "type": "internal_server_error", "code": "503"}},
        True,
        "overloaded",
    ),
    "Together": (
        {"choices": [], "error": {"message": "x", "type": "model_unavailable", "code": None}},
        True,
        "overloaded",
    ),
    "vLLM": (
        {"object": "error", "message": "x", "type": "InternalServerError", "param": None, "code": 500},
        True,
        None,
    ),
    "vLLM, too long": (
        {
            "object": "error",
            "message": "The prompt (total length 9000) is too long",
            "type": "BadRequestError",
            "code": 400,
        },
        False,
        "context",
    ),
    "SGLang": ({"error": {"object": "error", "message": "x", "type": "BadRequestError", "code": 400}}, False, None),
    "llama.cpp": (
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        True,
        "overloaded",
    ),
    "Ollama": ({"error": "server busy, please try again.  maximum pending requests exceeded"}, True, "overloaded"),
    "TGI": ({"error": "Request failed during generation", "error_type": "generation"}, False, None),
    "Bedrock": ({"throttlingException": {"message": "Too many tokens, please wait"}}, True, "rate"),
    "Bedrock, model timeout": ({"modelTimeoutException": {"message": "x"}}, True, None),
    "Bedrock, validation": ({"validationException": {"message": "x"}}, False, None),
    "AWS JSON": (
        {"__type": "com.amazon.coral#AccessDeniedException", "message": "x", "code": "AccessDenied"},
        False,
        None,
    ),
    "DashScope": (
        {"code": "Throttling.AllocationQuota", "message": "Allocated quota exceeded", "request_id": "r"},
        True,
        "rate",
    ),
    "DashScope, arrears": ({"code": "Arrearage", "message": "Access denied, account in arrears"}, False, "quota"),
    "DashScope, parameter": ({"code": "InternalError.Algo.InvalidParameter", "message": "x"}, False, None),
    "Azure": (
        {"error": {"code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        False,
        None,
    ),
    "Azure, busy": (
        {"error": {"code": "NoCapacity", "message": "The system is currently experiencing high demand"}},
        True,
        "overloaded",
    ),
    "Gemini": ([{"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}}], True, "rate"),
    "Anthropic": (
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        True,
        "overloaded",
    ),
    "DeepSeek": (
        {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "insufficient_balance"}},
        False,
        "quota",
    ),
    "Moonshot": ({"error": {"type": "engine_overloaded_error", "message": "try later"}}, True, "overloaded"),
    "Moonshot, quota": ({"error": {"type": "exceeded_current_quota_error", "message": "x"}}, False, "quota"),
    "Cohere": ({"message": "x", "status_code": 429}, True, "rate"),
    "Mistral": ({"object": "error", "message": "x", "type": "service_unavailable", "code": 3505}, True, "overloaded"),
    "Cloudflare Workers AI": (
        {"errors": [{"message": "AiError: capacity exceeded", "code": 3040}], "success": False},
        False,
        None,
    ),
    "Cloudflare, 1xxx": (
        {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}], "result": None},
        False,
        None,
    ),
    "Kong": ({"message": "API rate limit exceeded", "status": 429}, True, "rate"),
    "Envoy AI Gateway": (
        {"type": "error", "error": {"type": "BackendTimeout", "code": "504", "message": "x"}},
        True,
        None,
    ),
    "Apigee": (
        {"fault": {"faultstring": "x", "detail": {"errorcode": "policies.ratelimit.QuotaViolation"}}},
        True,
        "rate",
    ),
    "RFC 9457": (
        {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "x"},
        True,
        "overloaded",
    ),
    "nginx JSON page": ({"statusCode": 502, "message": "Bad Gateway"}, True, None),
    "Baidu": (
        {"error_code": 336003, "error_msg": "the max length of current question is 2000", "id": "as"},
        False,
        "context",
    ),
    "FastChat": ({"text": "**NETWORK ERROR**", "error_code": 50001, "usage": {}}, True, None),
    "FastChat, context": ({"text": "x", "error_code": 40303}, False, None),
    "MiniMax": ({"base_resp": {"status_code": 2013, "status_msg": "invalid params"}}, False, None),
    "MiniMax, rate": (
        {"id": "0", "choices": None, "base_resp": {"status_code": 1002, "status_msg": "x"}},
        True,
        "rate",
    ),
    "MiniMax, timeout": ({"base_resp": {"status_code": 1001, "status_msg": "x"}}, True, None),
    "MiniMax, unknown": ({"base_resp": {"status_code": "1000", "status_msg": "x"}}, True, None),
    "MiniMax, balance": ({"base_resp": {"status_code": 1008, "status_msg": "x"}}, False, "quota"),
    "MiniMax's number elsewhere": ({"code": 1002, "message": "x"}, False, None),
    "ctyun": ({"error": {"code": "500001", "type": "INVOKE_MODEL_ERROR", "message": "x"}}, True, None),
    "LiteLLM, 408": ({"error": {"message": "Timed out", "type": "invalid_request_error", "code": "408"}}, True, None),
    "LiteLLM, context": (
        {"error": {"message": "ContextWindowExceededError: x", "type": None, "code": "500"}},
        False,
        "context",
    ),
    "hebo": ({"error": {"message": "x", "type": "invalid_request_error", "code": "upstream_bad_request"}}, False, None),
    "rate limit that advises": (
        {
            "error": {
                "type": "rate_limit_error",
                "message": "over 40,000 input tokens per minute; reduce the prompt length",
            }
        },
        True,
        "rate",
    ),
    "code beats type": ({"error": {"type": "server_error", "code": "model_not_found", "message": "x"}}, False, None),
    "quota under 503": ({"error": {"type": "insufficient_credits", "code": 503, "message": "x"}}, False, "quota"),
}
"""By server: what it writes, whether it may pass, and what it complains of."""


def payload(value: object, event: str | None = None) -> Payload:
    """A payload on the wire."""
    return Payload(event, json.dumps(value).encode(), value, None, None)


def bare(value: object) -> Payload:
    """A JSON text outside any field."""
    return IrregularPayload(None, json.dumps(value).encode(), value, None, None, outside_field=True)


def chat() -> ApiAdapter:
    """An attempt at a chat completion."""
    return adapter_for(StreamRequest("post", "/chat/completions", "host"))


def adapter(path: str) -> ApiAdapter:
    """An attempt at an API."""
    return adapter_for(StreamRequest("post", path, "host"))


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateways_error_is_found_and_judged(name: str) -> None:
    """In a chat, wherever it stands, with a message where it has one; its words alone decide."""
    value, may_pass, complaint = GATEWAYS[name]
    reading = chat().read(payload(value))
    assert isinstance(reading, FaultEvent)
    assert reading.fault == "upstream_error"
    assert reading.reported is not None
    assert reading.reported.message is not None or "message" not in json.dumps(value)
    assert judge_error(reading.reported.payload) == (may_pass, complaint)


SUCCESSES = [
    {"code": 0, "message": "the rate limit was not reached"},
    {"code": "200", "msg": "ok", "data": None},
    {"base_resp": {"status_code": 0, "status_msg": "success"}},
    {"error_code": 0, "error_msg": "anything at all"},
    {"error": None, "errors": [], "detail": ""},
    {"errno": "0", "errmsg": "ok"},
    {"success": True, "message": "done"},
    {"status": "in_progress", "message": "thinking"},
    {"status": 200, "message": "OK"},
    {"message": "a note"},
    {"usage": {"total_tokens": 3}},
    {"choices": [], "prompt_filter_results": [{"content_filter_results": {"error": {"code": "x"}}}]},
]


@pytest.mark.parametrize("value", SUCCESSES, ids=json.dumps)
def test_what_says_success_is_an_item(value: dict[str, Any]) -> None:
    """Whatever text stands beside it, by itself and in a chunk of the answer."""
    assert isinstance(chat().read(payload(value)), DataEvent)
    chunk = {"id": "c", **value, "choices": [{"index": 0, "delta": {"content": "a"}}]}
    assert isinstance(chat().read(payload(chunk)), DataEvent)


def test_a_chunk_with_choices_is_no_error_but_by_the_sdks_own_word() -> None:
    """The shapes are looked for where there are no choices; `error` is an error to the SDK everywhere."""
    choices = [{"index": 0, "delta": {"content": "a"}}]
    assert isinstance(chat().read(payload({"choices": choices, "error_code": 5, "detail": "x"})), DataEvent)
    assert isinstance(chat().read(payload({"choices": choices, "error": {"code": 5}})), FaultEvent)


@pytest.mark.parametrize(
    ("path", "value", "event"),
    [
        ("/responses", {"type": "response.created", "response": {}, "code": 5, "message": "x"}, None),
        ("/responses", {"type": "response.failed", "response": {"error": {"code": "server_error"}}}, None),
        ("/images/generations", {"type": "image_generation.partial_image", "detail": "high"}, None),
        ("/audio/transcriptions", {"type": "transcript.text.delta", "delta": "a", "error_rate": 0.5}, None),
        ("/audio/transcriptions", {"text": "a segment"}, None),
        ("/threads/t/runs", {"object": "thread.run", "last_error": {"code": "server_error"}}, "thread.run.failed"),
        ("/agents/x", {"code": 5, "message": "x"}, None),
    ],
)
def test_what_another_api_calls_an_item_is_one(path: str, value: object, event: str | None) -> None:
    """Whatever its members are called; and the errors of an API without rules of its own are the SDK's matter."""
    assert isinstance(adapter(path).read(payload(value, event)), DataEvent)


@pytest.mark.parametrize("path", ["/responses", "/images/generations", "/audio/speech", "/threads/t/runs"])
@pytest.mark.parametrize("name", ["DashScope", "Bedrock", "Cloudflare, 1xxx", "RFC 9457", "Anthropic", "FastChat"])
def test_other_apis_know_the_shapes_too(path: str, name: str) -> None:
    """Where the payload does not look like an item of theirs."""
    reading = adapter(path).read(payload(GATEWAYS[name][0]))
    assert isinstance(reading, FaultEvent)
    assert reading.fault == "upstream_error"


PAGES: list[object] = [
    {"detail": "Not Found"},
    {"message": "Unauthorized"},
    {"message": "no Route matched with those values", "request_id": "5"},
    {"status": "busy"},
    {"object": "list", "data": []},
    [],
    [{"choices": []}],
    None,
    "pong",
]


@pytest.mark.parametrize("page", PAGES, ids=json.dumps)
@pytest.mark.parametrize(
    "path", ["/chat/completions", "/completions", "/responses", "/images/edits", "/threads/t/runs"]
)
def test_a_page_is_no_item_of_any_api(path: str, page: object) -> None:
    """No stream before the answer, damage in the middle of it, nothing behind it."""
    reading = adapter(path).read(bare(page))
    assert isinstance(reading, FaultEvent)
    before = fault_from(reading, begun=False, complete=False)
    amid = fault_from(reading, begun=True, complete=False)
    assert before is not None
    assert amid is not None
    assert (before.kind, before.body) == ("not_a_stream", page)
    is_error = isinstance(page, dict) and "detail" in page  # a shape of 1.12, after items came
    assert amid.kind == ("upstream_error" if is_error else "malformed")
    assert (fault_from(reading, begun=True, complete=True) is None) != is_error


@pytest.mark.parametrize(
    "value", [{"error": {"code": 5}}, {"error": "busy"}, [{"error": {"code": 429}}]], ids=json.dumps
)
def test_a_bare_object_with_an_error_is_the_apis_word(value: object) -> None:
    """Before the first item too."""
    reading = chat().read(bare(value))
    assert isinstance(reading, FaultEvent)
    assert reading.fault == "upstream_error"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/chat/completions", {"choices": [{"index": 0, "delta": {"content": "a"}}]}),
        ("/chat/completions", {"choices": [], "usage": {"total_tokens": 3}}),
        ("/responses", {"type": "response.output_text.delta", "delta": "a"}),
        ("/images/generations", {"type": "image_generation.completed", "b64_json": "QQ=="}),
        ("/threads/t/runs", {"object": "thread.message.delta", "delta": {}}),
        ("/agents/x", {"type": "session.created"}),
    ],
)
def test_a_bare_item_is_an_item(path: str, value: object) -> None:
    """A server that forgets `data:` is repaired as before."""
    assert isinstance(adapter(path).read(bare(value)), DataEvent)


def test_a_bare_keep_alive_is_one() -> None:
    """And no page."""
    assert isinstance(chat().read(bare({"type": "ping"})), KeepAlive)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "errors", "code", "type", "status", "message", "detail", "base_resp", "success"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything, st.sampled_from([None, "error", "message"]), st.none() | st.integers(100, 700))
def test_whatever_comes_nothing_is_raised(value: object, event: str | None, status: int | None) -> None:
    """Finding and judging an error takes any JSON; what is not found is not judged."""
    for found in (find_error(payload(value, event)), find_error(bare(value))):
        if found is not None:
            assert judge_error(found.payload, status).retryable in (True, False)
            assert found.message is None or found.message
    assert judge_error(value, status).complaint in (None, "context", "memory", "quota", "rate", "overloaded")


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

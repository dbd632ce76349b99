"""The law: the errors of real gateways are found, in whatever shape, and nothing else is taken for one.

The shapes of `vectors/gateway_errors.jsonl` are those that servers were reported to send.
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
from openai_stream_guard.engine.faults import fault_from
from openai_stream_guard.engine.retry_rules import judge_error
from tests.support.any_json import any_json
from tests.support.chunks import chat, payload
from tests.vectors import rows_of

GATEWAYS: dict[str, dict[str, Any]] = {row["server"]: row for row in rows_of("gateway_errors")}
"""By server: what it writes, whether it may pass, and what it complains of."""


def bare(value: object) -> Payload:
    """A JSON text outside any field."""
    return IrregularPayload(None, json.dumps(value).encode(), value, None, None, outside_field=True)


def adapter(path: str) -> ApiAdapter:
    """An attempt at an API."""
    return adapter_for(StreamRequest("post", path, "host"))


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateways_error_is_found_and_judged(name: str) -> None:
    """In a chat, wherever it stands, with a message where it has one; its words alone decide."""
    row = GATEWAYS[name]
    value = row["body"]
    reading = chat().read(payload(value))
    assert isinstance(reading, FaultEvent)
    assert reading.fault == "upstream_error"
    assert reading.reported is not None
    assert reading.reported.message is not None or "message" not in json.dumps(value)
    assert judge_error(reading.reported.payload) == (row["may_pass"], row["complaint"])


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
    reading = adapter(path).read(payload(GATEWAYS[name]["body"]))
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


anything = any_json("error", "errors", "code", "type", "status", "message", "detail", "base_resp", "success")


@given(anything, st.sampled_from([None, "error", "message"]), st.none() | st.integers(100, 700))
def test_whatever_comes_nothing_is_raised(value: object, event: str | None, status: int | None) -> None:
    """Finding and judging an error takes any JSON; what is not found is not judged."""
    for found in (find_error(payload(value, event)), find_error(bare(value))):
        if found is not None:
            assert judge_error(found.payload, status).retryable in (True, False)
            assert found.message is None or found.message
    assert judge_error(value, status).complaint in (None, "context", "memory", "quota", "rate", "overloaded")

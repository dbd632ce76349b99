"""The law: the error is caught as what it was made of, survives copies, and a refusal means what its cause does."""

from __future__ import annotations

import copy
import json
import pickle
import re
import ssl
from collections.abc import Callable
from typing import Any, get_args

import openai
import pytest

import openai_stream_guard
from openai_stream_guard import Attempt, OpenAIStreamParseError, errors
from openai_stream_guard.diagnosis.evidence import Evidence
from openai_stream_guard.engine.decisions import FirstFailure, StreamFault
from openai_stream_guard.errors import stream_error
from openai_stream_guard.notices import FaultKind
from openai_stream_guard.sdk.requests import refusal_from
from tests.support.ported import HTTP

ATTEMPT = Attempt("malformed", None, 1, 2, 300, 0.5, "req_1", "chatcmpl-1", 200)


def made(error: Exception | None = None, fault: Any = "malformed", **fields: Any) -> OpenAIStreamParseError:
    """An error for a failure, without any server."""
    fault = StreamFault(fault, "for a reason", error, fields.pop("body", None))
    failure = FirstFailure(fault, ATTEMPT, fields.pop("raw_tail", b"tail"), Evidence(fault))
    defaults = {
        "attempts": (ATTEMPT,),
        "partial_text": "Hi",
        "partial": None,
        "request": HTTP.Request("POST", "http://x"),
    }
    return stream_error(failure, "retries", **{**defaults, **fields})


def json_error() -> json.JSONDecodeError:
    return json.JSONDecodeError("Expecting value", '{"a":\n x}', 7)


CAUSES: dict[str, Callable[[], Exception | None]] = {
    "none": lambda: None,
    "RemoteProtocolError": lambda: HTTP.RemoteProtocolError("peer closed", request=HTTP.Request("POST", "http://x")),
    "ReadError": lambda: HTTP.ReadError("reset"),
    "ReadTimeout": lambda: HTTP.ReadTimeout("slow"),
    "DecodingError": lambda: HTTP.DecodingError("bad gzip"),
    "JSONDecodeError": json_error,
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid start byte"),
    "SSLError": lambda: ssl.SSLError(1, "bad record mac"),
    "OSError": lambda: ConnectionResetError(104, "reset by peer"),
    "TimeoutError": lambda: TimeoutError("too long"),
    "RuntimeError": lambda: RuntimeError("odd"),
}
FIELDS = (
    "message", "fault", "attempts", "stopped_by", "partial_text", "raw_tail", "request_id", "hint", "body", "code",
    "stream_id", "type", "param", "args",
)  # fmt: skip
OWN = {
    "JSONDecodeError": ("msg", "doc", "pos", "lineno", "colno"),
    "UnicodeDecodeError": ("encoding", "object", "start", "end", "reason"),
    "SSLError": ("errno", "strerror"),
    "OSError": ("errno", "strerror"),
}


@pytest.mark.parametrize("name", CAUSES)
@pytest.mark.parametrize("fault", ["disconnected", "stalled"])
def test_every_joined_class_has_the_fields_of_its_bases(name: str, fault: str) -> None:
    """Whatever broke, the error is an instance of its class, and has that class's own fields."""
    cause = CAUSES[name]()
    error = made(cause, fault)
    assert type(error).__name__ == "OpenAIStreamParseError"
    assert isinstance(error, OpenAIStreamParseError)
    assert cause is None or isinstance(error, type(cause))
    assert isinstance(error, openai.APITimeoutError) is (fault == "stalled")
    for own in OWN.get(name, ()):
        assert getattr(error, own) == getattr(cause, own)
    assert str(error) == error.message


COPIES: dict[str, Callable[[Any], Any]] = {
    "oldest pickle": lambda error: pickle.loads(pickle.dumps(error, 2)),
    "newest pickle": lambda error: pickle.loads(pickle.dumps(error, pickle.HIGHEST_PROTOCOL)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}  # fmt: skip


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", CAUSES)
def test_a_copy_says_all_that_the_original_said(name: str, how: str) -> None:
    """Pickled or copied it keeps class and fields, without its request and cause."""
    error = made(CAUSES[name](), attempts=(ATTEMPT, ATTEMPT), body={"code": 7, "type": "t", "param": "p"})
    error.partial = {"answer": 1}
    again = COPIES[how](error)
    assert type(again) is type(error)
    for field in (*FIELDS, "partial", "__notes__", *OWN.get(name, ())):
        assert getattr(again, field) == getattr(error, field), field
    assert str(again) == str(error)
    assert again.request is None
    assert again.__cause__ is None


def test_a_class_that_is_gone_does_not_stop_unpickling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the other process lacks the transport's class, the typed error is left."""

    class Mine(OSError):
        pass

    Mine.__qualname__ = "Mine"
    monkeypatch.setattr(openai_stream_guard, "Mine", Mine, raising=False)
    Mine.__module__ = "openai_stream_guard"
    dumped = pickle.dumps(made(Mine("x")))
    monkeypatch.delattr(openai_stream_guard, "Mine")
    again = pickle.loads(dumped)
    assert isinstance(again, OpenAIStreamParseError)
    assert isinstance(again, openai.APIConnectionError)
    assert not isinstance(again, OSError)
    assert again.partial_text == "Hi"


def test_the_class_is_one_for_all_failures_alike() -> None:
    """`type(error)` can be compared, and joining leaks no class per error."""
    assert type(made(HTTP.ReadError("a"))) is type(made(HTTP.ReadError("b")))
    assert openai.OpenAIStreamParseError is OpenAIStreamParseError


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(408, True), (409, True), (429, True), (500, True), (503, True), (400, False), (404, False)],
)
def test_a_refusal_is_judged_by_its_status(status: int, retryable: bool) -> None:
    """The SDK's own list of statuses that may pass."""
    headers = {"x-request-id": "r", "retry-after": "2"}
    response = HTTP.Response(status, request=HTTP.Request("POST", "http://x"), headers=headers, content=b"")
    refusal = refusal_from(openai.APIStatusError("no", response=response, body=None))
    assert (refusal.retryable, refusal.status, refusal.request_id, refusal.retry_after) == (
        retryable,
        status,
        "r",
        2.0,
    )


def test_a_refusal_without_a_response_may_pass() -> None:
    """A connection that could not be made may be made next time; a mistake of the program may not."""
    assert refusal_from(openai.APIConnectionError(request=HTTP.Request("POST", "http://x"))).retryable
    assert refusal_from(ValueError("mine")) is None


def test_the_table_of_classes_is_what_is_joined() -> None:
    """Row by row: which of openai's classes an error of each fault is, and that it is also the transport's."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", errors.__doc__ or "", re.MULTILINE)
    assert sorted(fault for fault, _ in rows) == sorted(get_args(FaultKind))
    ours = {openai.APIError, openai.OpenAIError, OpenAIStreamParseError}
    for fault, classes in rows:
        error = made(HTTP.ReadError("x"), fault)
        joined = {kind for kind in type(error).__mro__ if kind.__module__ == "openai"} - ours
        named = {getattr(openai, name) for name in re.findall(r"`openai\.(\w+)`", classes)}
        assert joined == {kind for name in named for kind in name.__mro__ if kind.__module__ == "openai"} - ours
        assert isinstance(error, HTTP.ReadError) is (fault != "upstream_error")


@pytest.mark.parametrize("fault", get_args(FaultKind))
def test_what_the_api_says_is_no_connection_error(fault: str) -> None:
    """Retries for connections do not catch it; they do catch what the transport or the framing did."""
    assert isinstance(made(None, fault), openai.APIConnectionError) is (fault != "upstream_error")

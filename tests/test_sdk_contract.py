"""Every private name of the SDK that the guard leans on: where a release breaks one, this says which."""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Any

import openai
import pytest
from openai import _base_client, _models, _streaming

from openai_stream_guard import sdk
from openai_stream_guard.payload import Payload
from openai_stream_guard.sdk import calls
from openai_stream_guard.testing import Server
from tests.streams import chat, client_for


def broken(what: str) -> str:
    """What a failing test of this file says."""
    return f"openai {openai.__version__} breaks the guard: {what}"


def test_no_seam_is_missing() -> None:
    """The guard's own check at import finds all it needs."""
    assert sdk.missing_seams() == [], broken("seams are missing")


@pytest.mark.parametrize(("module", "owner", "method", "parameters"), sdk.SEAMS)
def test_each_seam_is_defined_by_its_class(module: str, owner: str, method: str, parameters: tuple[str, ...]) -> None:
    """The method is the class's own, no subclass of the SDK overrides it, and it has the parameters that are used."""
    kind = getattr(importlib.import_module(module), owner)
    assert method in vars(kind), broken(f"{owner}.{method} is inherited")
    known = inspect.signature(inspect.unwrap(vars(kind)[method])).parameters
    assert set(parameters) <= set(known), broken(f"{owner}.{method} takes {list(known)}")
    for child in kind.__subclasses__():
        if child.__module__.startswith("openai."):
            assert method not in vars(child), broken(f"{child.__name__} overrides {method}")


@pytest.mark.parametrize("owner", [_base_client.SyncAPIClient, _base_client.AsyncAPIClient])
def test_the_arguments_come_the_way_they_are_read(owner: type) -> None:
    """`request` takes cast_to and options by position, stream by keyword; `_process_response` all by keyword."""
    request = inspect.signature(inspect.unwrap(vars(owner)["request"])).parameters
    assert list(request)[:3] == ["self", "cast_to", "options"], broken("request takes other arguments first")
    assert request["stream"].kind is inspect.Parameter.KEYWORD_ONLY, broken("request takes stream by position")
    process = inspect.signature(inspect.unwrap(vars(owner)["_process_response"])).parameters
    for name in ("response", "stream"):
        assert process[name].kind is inspect.Parameter.KEYWORD_ONLY, broken(
            f"_process_response takes {name} by position"
        )


@pytest.mark.parametrize(
    "name", ["method", "url", "headers", "max_retries", "files", "post_parser", "json_data", "extra_json"]
)
def test_the_options_have_the_fields_that_are_used(name: str) -> None:
    """What a re-issue reads or changes is on FinalRequestOptions."""
    options = _models.FinalRequestOptions.construct(method="post", url="/x")
    assert hasattr(options, name), broken(f"FinalRequestOptions has no {name}")


def test_the_options_can_be_copied_and_tell_their_retries() -> None:
    """A copy may be changed without changing the first, and `get_max_retries` falls back to the client's."""
    options = _models.FinalRequestOptions.construct(method="post", url="/x", json_data={"stream": True})
    again = calls.copy_of(options)
    again.max_retries = 0
    assert options.get_max_retries(3) == 3, broken("get_max_retries, or the copy is not one")
    assert again.get_max_retries(3) == 0, broken("get_max_retries ignores what was set")
    assert again.json_data == options.json_data


def test_a_stream_holds_what_is_looked_at(server: Server) -> None:
    """`response`, `_decoder`, and on the response its request, extensions and iterators."""
    with client_for(server) as client:
        stream = chat(client)
        assert type(stream._decoder) is _streaming.SSEDecoder, broken("a stream's decoder is another one")
        response = stream.response
        assert isinstance(response.extensions, dict), broken("a response's extensions are no dict")
        assert "timeout" in response.request.extensions, broken("a request does not tell its timeouts")
        assert "network_stream" in response.extensions, broken("a response does not show its socket")
        stream.close()


def test_a_payload_passes_for_an_event_of_the_sdk() -> None:
    """All that `__stream__` asks an event for, a payload of ours answers alike."""
    raw = json.dumps({"a": 1})
    theirs = _streaming.ServerSentEvent(event="e", data=raw, id="7", retry=3)
    ours: Any = Payload("e", raw.encode(), {"a": 1}, "7", 3)
    for name in ("event", "data", "id", "retry"):
        assert getattr(ours, name) == getattr(theirs, name), broken(f"an event's {name}")
    assert ours.json() == theirs.json()
    done: Any = Payload(None, b"[DONE]", None, None, None)
    assert done.data.startswith("[DONE]")
    source = inspect.getsource(_streaming.Stream.__stream__)
    asked = {name for name in ("data", "event", "json", "id", "retry", "raw") if f"sse.{name}" in source}
    assert asked <= {"data", "event", "json"}, broken(f"__stream__ asks events for {asked}")


@pytest.mark.parametrize("name", calls._RAW_HEADERS)
def test_the_headers_of_raw_responses_are_still_called_so(name: str) -> None:
    """With these a re-issue would come back as something else than a stream."""
    from openai import _constants

    known = [value for value in vars(_constants).values() if isinstance(value, str)]
    assert name in known, broken(f"the header {name} has another name")


def test_a_re_issue_by_request_gives_a_stream(server: Server) -> None:
    """`client.request(cast_to, options, stream=True, stream_cls=…)` is how a request is sent again."""
    kind = openai.types.chat.ChatCompletionChunk
    options = _models.FinalRequestOptions.construct(
        method="post", url="/chat/completions", json_data={"model": "m", "messages": [], "stream": True}
    )
    with client_for(server) as client:
        stream = client.request(kind, options, stream=True, stream_cls=openai.Stream[kind])
        assert type(stream) is openai.Stream, broken("request returns no Stream")
        assert len(list(stream)) == 15


def test_the_errors_take_what_they_are_given() -> None:
    """The constructor and attributes of APIError, and the parents of the typed error."""
    error = openai.APIError("m", request=None, body={"code": "c", "param": "p", "type": "t"})  # type: ignore[arg-type]
    assert (error.code, error.param, error.type) == ("c", "p", "t"), broken("APIError reads its body otherwise")
    assert issubclass(openai.APITimeoutError, openai.APIConnectionError), broken("APITimeoutError has other parents")
    assert issubclass(openai.APIConnectionError, openai.APIError), broken("APIConnectionError has other parents")

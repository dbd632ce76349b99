"""Every private name of the SDK that the guard leans on: where a release breaks one, this says which."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import _base_client, _models, _streaming

from openai_stream_guard import sdk
from openai_stream_guard.decoding.payload import Payload
from openai_stream_guard.sdk import requests as calls
from openai_stream_guard.sdk.known_functions import FUNCTIONS
from openai_stream_guard.testing import Server
from tests.support.streams import chat, client_for, helpers_of

PACKAGE = Path(sdk.__file__).parent.parent

PRIVATE = {
    "_base_client": "the module of both API clients",
    "_process_response": "their method that makes of a response what is handed out",
    "_streaming": "the module of streams and their decoder",
    "_iter_events": "a stream's events",
    "_decoder": "what decodes them: the SDK's own, or one that somebody put there",
    "_responses": "the module of the `responses.stream()` helper",
    "_response": "a helper stream's response",
    "_raw_stream": "the stream that a helper reads",
    "_calculate_retry_timeout": "how long a client waits before a request of its own, which tests skip",
}
"""Every private name of the SDK's that the package cannot do without, and what it is."""
FOR_PLANS = {part for known in FUNCTIONS for part in known.name.split(".") if part.startswith("_")}
FOR_PLANS |= {"_strict_response_validation", "_completions", "_state"}
"""Those that plans for items need. Where a release breaks one, items are left to the SDK, and `status` says so."""

OPTIONS = (
    "extra_json", "files", "get_max_retries", "headers", "json_data", "max_retries", "method", "params", "post_parser",
    "timeout", "url",
)  # fmt: skip
"""What is read from or set on a request's options, which are the SDK's own affair."""
OPTIONAL = ("content", "stream_mode", "model_copy", "copy")
"""The same, done without where a release lacks it."""


def broken(what: str) -> str:
    """What a failing test of this file says."""
    return f"openai {openai.__version__} breaks the guard: {what}"


def walk(folder: Path) -> Iterator[ast.AST]:
    """All that is written in the modules of a folder."""
    for path in sorted(folder.rglob("*.py")):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_no_private_name_is_used_that_is_not_in_the_table() -> None:
    """In `sdk/` none is named, even as text, and elsewhere none is reached for, but those of the tables above."""
    named, reached, ours = set(), set(), set()
    for node in walk(PACKAGE / "sdk"):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+", node.value):
            named |= {part for part in node.value.split(".") if is_private(part)}
    for node in walk(PACKAGE):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Load()) if is_private(name):
                reached.add(name)
            case ast.Attribute(attr=name) | ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name):
                ours.add(name)
            case ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                ours.add(name)
    reached -= ours | {"_asdict", "_replace", "_getframe", "_get_running_loop"}  # Python's own
    assert named - FOR_PLANS == set(PRIVATE) - FOR_PLANS
    assert reached <= set(PRIVATE) | FOR_PLANS


def test_no_option_is_used_that_is_not_in_the_table() -> None:
    """What `sdk/` reads from or sets on a request's options is named above."""
    used = set()
    for node in walk(PACKAGE / "sdk"):
        match node:
            case ast.Attribute(value=ast.Name(id="options") | ast.Attribute(attr="options"), attr=name):
                used.add(name)
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr"), args=[ast.Name(id="options"), ast.Constant(name), *_]
            ):
                used.add(str(name))
    assert used == {*OPTIONS, *OPTIONAL}


def test_a_helper_stream_shows_what_it_reads(server: Server) -> None:
    """`report()` finds the response of a `chat.completions.stream()` by `_response` or `_raw_stream`."""
    with client_for(server) as client, helpers_of(client).stream(model="m", messages=[]) as stream:
        held = [getattr(stream, name, None) for name in ("_response", "_raw_stream")]
        assert any(one is not None for one in held), broken("a helper stream hides its response")


@pytest.mark.skipif(importlib.util.find_spec("openai.lib.streaming.responses") is None, reason="a release without it")
@pytest.mark.parametrize("helper", ["ResponseStream", "AsyncResponseStream"])
def test_the_responses_helper_is_given_its_stream_by_name(helper: str) -> None:
    """The class is where it is looked for, and takes `raw_stream`."""
    kind = getattr(importlib.import_module(sdk.RESPONSES_HELPERS), helper)
    assert "raw_stream" in inspect.signature(inspect.unwrap(vars(kind)["__init__"])).parameters, broken(helper)


def test_no_seam_is_missing() -> None:
    """The guard's own check at import finds all it needs."""
    assert sdk.missing_patch_points() == [], broken("patch points are missing")


@pytest.mark.parametrize(("module", "owner", "method", "parameters"), sdk.PATCH_POINTS)
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
def test_what_tests_skip_is_there(owner: type) -> None:
    """The test clock lets no time pass where a client waits before it sends a request again by itself."""
    assert hasattr(owner, "_calculate_retry_timeout"), broken(f"{owner.__name__} waits by another method")


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


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_have_the_fields_that_are_used(name: str) -> None:
    """What a re-issue reads or changes is on FinalRequestOptions."""
    options = _models.FinalRequestOptions.construct(method="post", url="/x")
    assert hasattr(options, name), broken(f"FinalRequestOptions has no {name}")


def test_the_options_can_be_copied_and_tell_their_retries() -> None:
    """A copy may be changed without changing the first, and `get_max_retries` falls back to the client's."""
    options = _models.FinalRequestOptions.construct(method="post", url="/x", json_data={"stream": True})
    again = calls.copy_options(options)
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
    error = openai.APIError("m", request=None, body={"code": "c", "param": "p", "type": "t"})
    assert (error.code, error.param, error.type) == ("c", "p", "t"), broken("APIError reads its body otherwise")
    assert issubclass(openai.APITimeoutError, openai.APIConnectionError), broken("APITimeoutError has other parents")
    assert issubclass(openai.APIConnectionError, openai.APIError), broken("APIConnectionError has other parents")

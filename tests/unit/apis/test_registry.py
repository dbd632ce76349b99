"""The laws: what a request asked for is read from its path and body alone; an API without a row is never repeated."""

from __future__ import annotations

import pytest

from openai_stream_guard.apis.adapter import DataEvent
from openai_stream_guard.apis.chat import ChatAdapter
from openai_stream_guard.apis.detect_only import DetectOnlyAdapter, MediaAdapter, RunAdapter
from openai_stream_guard.apis.registry import adapter_for
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.second_answer import ReplayChecker
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.decoding.payload import Payload


def asked(host: str = "host:1", **body: object) -> StreamRequest:
    """A chat request."""
    return StreamRequest("post", "/chat/completions", host, body)


@pytest.mark.parametrize(
    ("method", "path", "adapter"),
    [
        ("post", "/chat/completions", ChatAdapter),
        ("post", "/completions", ChatAdapter),
        ("get", "/chat/completions", DetectOnlyAdapter),
        ("get", "/chat/completions/chatcmpl-1", DetectOnlyAdapter),
        ("post", "/threads/t/runs", RunAdapter),
        ("post", "/images/generations", MediaAdapter),
    ],
)
def test_the_path_names_the_adapter(method: str, path: str, adapter: type) -> None:
    """Only a request that makes a completion is read as one."""
    assert type(adapter_for(StreamRequest(method, path, "host"))) is adapter


@pytest.mark.parametrize(
    ("host", "official"),
    [
        ("api.openai.com", True),
        ("eu.api.openai.com:443", True),
        ("mine.openai.azure.com", True),
        ("mine.services.ai.azure.com", False),
        ("notapi.openai.com", False),
        ("api.openai.com.evil.example", False),
        ("localhost:8000", False),
        ("[::1]:8000", False),
        ("", False),
    ],
)
def test_only_exact_hosts_are_official(host: str, official: bool) -> None:
    """A host is what its name ends with, label by label, whatever its port."""
    assert asked(host).official is official


@pytest.mark.parametrize("host", ["name:8000", "[::1]:8000"])
def test_a_host_is_named_with_or_without_its_port(host: str) -> None:
    """With another port it is another; an IPv6 address stands in brackets."""
    name = host.removesuffix(":8000")
    assert asked(host).host_in((host,))
    assert asked(host).host_in(("else", name))
    assert asked(name).host_in((name,))
    assert not asked(host).host_in((f"{name}:1", "else"))
    assert not asked(name).host_in((host,))


@pytest.mark.parametrize(("model", "known"), [("m", "m"), (None, None), (5, None)])
def test_the_model_is_a_name(model: object, known: str | None) -> None:
    """Whatever else stands in the body is none."""
    assert asked(model=model).model == known


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"n": None}, 1),
        ({"n": 0}, 1),
        ({"n": True}, 1),
        ({"n": "2"}, 1),
        ({"prompt": "a"}, 1),
        ({"prompt": []}, 1),
        ({"prompt": ["a", "b"], "n": 2}, 4),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
    ],
)
def test_the_number_of_answers_asked_for(body: dict[str, object], choices: int) -> None:
    """Every prompt is answered `n` times; a list of integers is one prompt."""
    assert asked(**body).choices == choices


def test_an_api_without_a_row_is_passed_on_and_never_repeated() -> None:
    """Its payloads are items without a text, its end is whole, and its effects are unknown."""
    other = DetectOnlyAdapter(StreamRequest("post", "/threads/t/runs", "host"))
    payload = Payload("error", b"{}", {}, None, None)
    assert other.read(payload) == DataEvent()
    assert other.is_complete("strict", done=False)
    assert other.trim_repeated(payload, ReplayChecker(Transcript())) is payload
    assert not other.may_replay(Transcript())
    assert (other.reissuable, other.finishes, other.tool_call_open, other.answer_complete) == (
        False,
        None,
        False,
        False,
    )
    assert (other.partial_text(Transcript()), other.partial(Transcript())) == ("", None)

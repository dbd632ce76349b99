"""What a user writes, as their type checker sees it: checked by mypy --strict and pyright, never run.

`assert_type` states what an editor should complete and show; a name that has become `Any` fails here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import openai
from openai import OpenAI
from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from typing_extensions import assert_type

import openai_stream_guard
from openai_stream_guard import (
    Attempt,
    OpenAIStreamParseError,
    Policy,
    StreamGuardConfigError,
    StreamReport,
    configure,
    disable,
    enable,
    guarding,
    is_enabled,
    observe,
    report,
)
from openai_stream_guard.sse import Decoder, Event
from openai_stream_guard.testing import Injection, StreamGuard, cut, faults, slow

client = OpenAI()


def switching() -> None:
    enable()
    enable(Policy(max_retries=4, delivery="atomic", recovery=("restart", "replay")))
    enable(max_retries=4, delivery="atomic")
    observe(Policy(), idle_timeout=None)
    assert_type(is_enabled(), bool)
    assert_type(configure(idle_timeout=30.0), Policy)
    with guarding(delivery="tool_calls") as policy:
        assert_type(policy, Policy)
    assert_type(Policy.from_env().replace(max_retries=None), Policy)
    try:
        configure(max_retries=-1)
    except StreamGuardConfigError as error:
        assert_type(error, StreamGuardConfigError)
    disable()


def streaming() -> str:
    stream = client.chat.completions.create(
        model="gpt-4.1", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    text = ""
    try:
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    except OpenAIStreamParseError as error:
        assert_type(error.partial_text, str)
        assert_type(error.partial, ChatCompletion | Completion | Response | None)
        assert_type(error.attempts, tuple[Attempt, ...])
        assert_type(error.hint, str)
        assert_type(error.raw_tail, bytes)
        assert_type(error.request_id, str | None)
        return error.partial_text
    except openai.APIConnectionError:
        raise
    told = report(stream)
    assert_type(told, StreamReport | None)
    if told is not None:
        ways: Sequence[str] = told.recoveries
        assert_type(told.repairs, Mapping[str, int])
        print(told.outcome, ways, told.first_event_seconds)
    return text


def test_summary(stream_guard: StreamGuard) -> None:
    assert_type(stream_guard.faults.cut(after_events=3, times=None), Injection)
    assert_type(cut(after_events=3) & slow(seconds=2), Injection)
    with faults(cut(on="tool_call")) as planned:
        planned.add(slow())
    stream_guard.assert_recovered(by="replay")


def decoding(data: bytes) -> None:
    decoder = Decoder()
    events = decoder.feed(data) + decoder.finish()
    assert_type(events, list[Event])
    for event in events:
        assert_type(event.data, str)
        assert_type(event.retry, int | None)


print(openai_stream_guard.__version__)

"""The law: the tokens of an attempt are what the API told with its whole answer, under its own names, or unknown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_stream_guard.apis.usage import usage_in
from openai_stream_guard.config.policy import Policy
from tests.support.simulated import Response, answer_variant, body, play

TOLD = {"prompt_tokens": 19, "completion_tokens": 14, "total_tokens": 33}


@pytest.mark.parametrize(
    ("event", "usage"),
    [
        ({"choices": [], "usage": TOLD}, TOLD),
        ({"type": "response.completed", "response": {"usage": {"input_tokens": 3}}}, {"input_tokens": 3}),
        ({"event": "thread.run.completed", "data": {"usage": TOLD}}, TOLD),
        ({"type": "image_generation.completed", "usage": {"a": {"b": 1, "words": "x"}}}, {"a": {"b": 1}}),
        ({"usage": None}, None),
        ({"usage": 3}, None),
        ({"response": None}, None),
        ([], None),
        (None, None),
    ],
)
def test_where_an_event_tells_it(event: Any, usage: object) -> None:
    """In the event or in the object that it is about; numbers only."""
    assert usage_in(event) == usage


def test_an_attempt_that_broke_is_unknown() -> None:
    """And the one that came to the end says what it took, and no more: nothing is summed."""
    whole = body(answer_variant("usage", 1))
    report = play([Response([body(answer_variant("usage", 0))[:1500]], "reset"), Response([whole])]).session.report()
    assert report.outcome == "recovered"
    first, second = report.attempts
    assert first.usage is None
    assert second.usage is not None
    assert second.usage["total_tokens"] == 33
    with pytest.raises(TypeError):
        second.usage["total_tokens"] = 0  # type: ignore[index] # it is read-only
    assert len({first, second}) == 2, "it is no part of the hash"


def test_tokens_so_far_are_not_told() -> None:
    """Some servers count in each chunk, what came before a cut is not what the attempt took."""
    data = b""
    for number, text in enumerate(("Trams", " are", " blue")):
        delta = {"role": "assistant", "content": text}
        chunk = {"id": "c", "choices": [{"index": 0, "delta": delta}], "usage": {"total_tokens": number}}
        data += b"data: %s\n\n" % json.dumps(chunk).encode()
    (attempt,) = play([Response([data], "reset")], Policy(max_retries=0, retry_budget=None)).session.report().attempts
    assert attempt.fault == "disconnected"
    assert attempt.usage is None


def test_an_answer_that_tells_none_has_none() -> None:
    """Never 0."""
    (attempt,) = play([Response([body(answer_variant("text", 0))])]).session.report().attempts
    assert attempt.usage is None

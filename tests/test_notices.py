"""The law: a notice cannot be changed, and holds nothing of the answer, the request or its keys."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_args

import pytest

from openai_stream_guard.dialects import Asked
from openai_stream_guard.notices import Attempt, Notice, StreamReport
from openai_stream_guard.policy import Policy

from .simulated import CHAT, Response, body, play, take


def story() -> list[Notice]:
    """What is told of a stream that broke, was refused, came back, and did not repeat itself."""
    first, second = body(take("text", 0, sampled=True))[:1500], body(take("text", 1, sampled=True))
    asked = Asked("post", CHAT.path, CHAT.host, {"model": "m", "messages": [{"content": "my question"}]})
    responses = [Response([first], "reset"), Response([], "refused"), Response([second])]
    return play(responses, Policy(retry_budget=None), asked=asked).notices


@pytest.mark.parametrize("record", [*get_args(Notice), Attempt, StreamReport])
def test_records_are_frozen(record: Any) -> None:
    """A hook that is given one cannot change what the next is given."""
    assert record.__dataclass_params__.frozen
    made = object.__new__(record)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(record)[0].name, None)


def test_every_kind_of_notice_is_told_without_a_word_of_the_answer() -> None:
    """Not in any field, however deep: each may be logged as it is."""
    notices = story()
    assert {type(notice) for notice in notices} == set(get_args(Notice))
    words = set(re.findall(r"\w{4,}", " ".join(str(choice) for choice in take("text", 0).plain["choices"])))
    words -= {"finish_reason", "index", "message", "content", "assistant", "role", "stop", "None", "logprobs", "data"}
    assert len(words) > 8
    told = repr(notices)
    assert not [word for word in words | {"question"} if word in told]


ATTEMPT = Attempt("truncated", None, 1, 2, 300, 0.5, "req_1", "chatcmpl-1", 200)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "truncated after 2 events and 300 bytes"),
        ({"events": 1, "bytes": 1}, "truncated after 1 event and 1 byte"),
        ({"fault": None, "events": 2000, "bytes": 0}, "no fault in 2,000 events and 0 bytes"),
        ({"fault": None, "status": None}, "no fault in 2 events and 300 bytes"),
        ({"fault": None, "refused": True, "status": 503}, "refused with status 503"),
        ({"fault": None, "refused": True, "status": None}, "refused without a response"),
    ],
)
def test_an_attempt_as_text(changes: dict[str, Any], text: str) -> None:
    """How it ended; a refused re-issue is one by its field, whatever its status."""
    assert str(dataclasses.replace(ATTEMPT, **changes)) == text

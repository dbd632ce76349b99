"""The laws: the first request stays as it was; what is asked for is the rest, within what is left of the limits; a
repeated prefix is dropped and nothing else, however it is cut into deltas.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.apis.continuation import Continuation, Continuing, continued_body
from openai_stream_guard.apis.transcript import Transcript
from tests.support.chunks import FINISH, chat, chunk, payload

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
KEY = (0, "content")
SAID = "Blue, since "


def continuation(said: str = SAID, spent: int = 3) -> tuple[Continuation, Transcript]:
    """What takes the second answer, behind this text."""
    transcript = Transcript()
    transcript.add([(KEY, said)], [((0, "role"), "assistant"), (("id",), "chatcmpl-1")])
    return Continuation(transcript, KEY, spent), transcript


# What is asked for.


def test_vllm_is_asked_to_continue_the_final_message() -> None:
    """With the two flags of its API, the partial answer as the assistant's last message."""
    body = continued_body("vllm", ASKED, SAID, 3)
    assert body == {
        **ASKED,
        "messages": [*ASKED["messages"], {"role": "assistant", "content": SAID}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_prefill_marks_the_message_as_a_prefix() -> None:
    """As DeepSeek and Mistral want it; others do not mind the mark."""
    body = continued_body("prefill", ASKED, SAID, 3)
    assert body == {**ASKED, "messages": [*ASKED["messages"], {"role": "assistant", "content": SAID, "prefix": True}]}


def test_a_callable_makes_the_request_itself() -> None:
    """It is given the lowered limits and the text; what it does to its copy does not reach the first request."""
    before = copy.deepcopy({**ASKED, "max_tokens": 10})

    def made(body: dict[str, Any], text: str) -> dict[str, Any]:
        body["messages"].append({"role": "assistant", "content": text, "partial": True})
        return body

    asked = copy.deepcopy(before)
    body = continued_body(made, asked, SAID, 3)
    assert body is not None
    assert body["max_tokens"] == 7
    assert body["messages"][-1] == {"role": "assistant", "content": SAID, "partial": True}
    assert asked == before
    for nothing in (None, "x", [1]):
        assert continued_body(lambda *_, nothing=nothing: nothing, asked, SAID, 3) is None


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("limit", "left"), [(10, 7), (4, 1), (3, 1), (2, 1), (None, None), (True, True), ("9", "9")])
@pytest.mark.parametrize("how", ["vllm", "prefill"])
def test_limits_are_lowered_by_what_was_spent(how: Continuing, name: str, limit: object, left: object) -> None:
    """Never below one token; what is no number is left to the server."""
    body = continued_body(how, {**ASKED, name: limit}, SAID, 3)
    assert body is not None
    assert body[name] == left


@pytest.mark.parametrize("messages", [None, "x", {}, [*ASKED["messages"], {"role": "assistant", "content": "Well"}]])
@pytest.mark.parametrize("how", ["vllm", "prefill"])
def test_what_cannot_be_continued_is_not(how: Continuing, messages: object) -> None:
    """A body without messages, and one with a beginning of its own, which the server may have repeated or not."""
    assert continued_body(how, {**ASKED, "messages": messages}, SAID, 3) is None


# What may be asked for.


def test_only_plain_text_of_one_choice_is_continued() -> None:
    """No tools in flight, no schema, no logprobs, no second choice, nothing but content."""
    text = continuation()[1]
    assert chat().may_continue(text) == KEY
    assert chat(response_format={"type": "text"}, tools=[{}], n=1).may_continue(text) == KEY
    for veto in (
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"response_format": "x"},
    ):
        assert chat(**veto).may_continue(text) is None
    called = chat()
    called.read(payload(chunk({"tool_calls": [{"index": 0, "function": {"name": "f"}}]})))
    assert called.may_continue(text) is None
    for key in ((0, "refusal"), (0, "reasoning_content"), (1, "content"), (0, "finish_reason")):
        more = continuation()[1]
        more.add([(key, "x")])
        assert chat().may_continue(more) is None
    assert chat().may_continue(Transcript()) is None


# What comes.


@given(
    st.sampled_from(["Blue, since ", "東京 🚋 ", "aa", "x"]),
    st.text("ab 東\n", max_size=8),
    st.lists(st.integers(1, 6)),
    st.booleans(),
)
def test_a_repeated_prefix_is_dropped_and_nothing_else(said: str, rest: str, sizes: list[int], echoed: bool) -> None:
    """Whatever the deltas: the seam's white space is kept, and so is a rest that only begins like the prefix."""
    if not echoed and rest.startswith(said):
        rest = "!" + rest
    taking, _ = continuation(said)
    answer, taken = said + rest if echoed else rest, ""
    while answer:
        size = sizes.pop() if sizes else 3
        taken += taking.take(KEY, answer[:size])
        answer = answer[size:]
    assert taken + taking.flush(KEY) == rest
    assert taking.flush(KEY) == ""
    assert "".join(text for _, text in taking.news().text_deltas) == rest


def test_what_only_began_like_the_prefix_is_there_at_the_end() -> None:
    """A short rest that could have been the prefix repeated comes with the finish_reason."""
    taking, _ = continuation("aaa")
    adapter = chat()
    assert adapter.trim_repeated(payload(chunk({"content": "aa"})), taking) is None
    last = adapter.trim_repeated(payload(FINISH), taking)
    assert last is not None
    assert last.value["choices"][0]["delta"] == {"content": "aa"}
    assert last.value["choices"][0]["finish_reason"] == "stop"


def test_the_first_answers_names_stay_and_its_tokens_count() -> None:
    """The chunk id is the first one's, the role is not said twice, the usage is that of both generations."""
    taking, _ = continuation(spent=3)
    adapter = chat()
    assert (
        adapter.trim_repeated(payload({**chunk({"role": "assistant", "content": ""}), "id": "chatcmpl-2"}), taking)
        is None
    )
    said = adapter.trim_repeated(payload({**chunk({"content": "air."}), "id": "chatcmpl-2"}), taking)
    assert said is not None
    assert said.value["id"] == "chatcmpl-1"
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "completion_tokens_details": None}
    counted = adapter.trim_repeated(payload({"id": "chatcmpl-2", "choices": [], "usage": usage}), taking)
    assert counted is not None
    assert counted.value["usage"] == {**usage, "completion_tokens": 7, "total_tokens": 16}


def test_another_channel_is_not_held() -> None:
    """Only the text that is gone on with can be a repetition of itself."""
    taking, _ = continuation()
    assert taking.take((0, "reasoning_content"), "Blue") == "Blue"
    assert taking.flush((0, "reasoning_content")) == ""
    assert (taking.caught_up, taking.number(3), taking.repeats("usage")) == (True, 3, False)

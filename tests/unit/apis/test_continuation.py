"""The laws: the first request stays as it was; what is asked for is the rest, within what is left of the limits; a
repeated prefix is dropped and nothing else, however it is cut into deltas; behind an anchor nothing is delivered that
the anchor does not verify.
"""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard import Policy
from openai_stream_guard.apis.continuation import (
    AnchoredContinuation,
    ContinuedRequest,
    Continuing,
    UnverifiedContinuation,
    anchor_from,
    continued_request,
)
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.apis.second_answer import Diverged
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.chunks import FINISH, chat, chunk, payload
from tests.support.simulated import Outcome, Response, play

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
KEY = (0, "content")
SAID = "Blue, since "
HAN = "".join(map(chr, range(0x4E00, 0x4E5A)))
"""Ninety characters of a script without spaces."""
STYLES: list[Continuing] = ["vllm", "prefill", "anchored"]


def delivered(said: str) -> Transcript:
    """What was delivered of an answer that said so."""
    transcript = Transcript()
    transcript.add([(KEY, said)], [((0, "role"), "assistant"), (("id",), "chatcmpl-1")])
    return transcript


def continuation(said: str = SAID, spent: int = 3) -> UnverifiedContinuation:
    """What takes a second answer that cannot be verified, behind this text."""
    return UnverifiedContinuation(delivered(said), KEY, spent)


def anchored(said: str) -> AnchoredContinuation:
    """What takes a second answer that has to begin with an anchor, behind this text."""
    anchor = anchor_from(said)
    assert anchor is not None
    return AnchoredContinuation(delivered(said), KEY, 3, anchor)


def continued(how: Continuing, body: dict[str, Any], text: str = SAID, spent: int = 3) -> dict[str, Any] | None:
    """The JSON that asks for the rest."""
    request = continued_request(how, body, text, spent)
    return None if request is None else request.body


def takes(taking: UnverifiedContinuation | AnchoredContinuation, answer: str, sizes: list[int]) -> str:
    """What is new of an answer that comes in deltas of these sizes."""
    taken, rest = "", list(sizes)
    while answer:
        size = rest.pop() if rest else 3
        taken += taking.take(KEY, answer[:size])
        answer = answer[size:]
    return taken + taking.flush(KEY)


# What is asked for.


def test_vllm_is_asked_to_continue_the_final_message() -> None:
    """With the two flags of its API, the partial answer as the assistant's last message."""
    body = continued("vllm", ASKED)
    assert body == {
        **ASKED,
        "messages": [*ASKED["messages"], {"role": "assistant", "content": SAID}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_prefill_marks_the_message_as_a_prefix() -> None:
    """As DeepSeek and Mistral want it; others do not mind the mark."""
    body = continued("prefill", ASKED)
    assert body == {**ASKED, "messages": [*ASKED["messages"], {"role": "assistant", "content": SAID, "prefix": True}]}


def test_a_callable_makes_the_request_itself() -> None:
    """It is given the lowered limits and the text; what it does to its copy does not reach the first request."""
    before = copy.deepcopy({**ASKED, "max_tokens": 10})

    def made(body: dict[str, Any], text: str) -> dict[str, Any]:
        body["messages"].append({"role": "assistant", "content": text, "partial": True})
        return body

    asked = copy.deepcopy(before)
    body = continued(made, asked)
    assert body is not None
    assert body["max_tokens"] == 7
    assert body["messages"][-1] == {"role": "assistant", "content": SAID, "partial": True}
    assert asked == before
    for nothing in (None, "x", [1], ("x", SAID), ({}, None), ({}, SAID, 1)):
        assert continued(lambda *_, nothing=nothing: nothing, asked) is None


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("limit", "left"), [(10, 7), (4, 1), (3, 1), (2, 1), (None, None), (True, True), ("9", "9")])
@pytest.mark.parametrize("how", ["vllm", "prefill"])
def test_limits_are_lowered_by_what_was_spent(how: Continuing, name: str, limit: object, left: object) -> None:
    """Never below one token; what is no number is left to the server."""
    body = continued(how, {**ASKED, name: limit})
    assert body is not None
    assert body[name] == left


@pytest.mark.parametrize("messages", [None, "x", {}, [*ASKED["messages"], {"role": "assistant", "content": "Well"}]])
@pytest.mark.parametrize("how", STYLES)
def test_what_cannot_be_continued_is_not(how: Continuing, messages: object) -> None:
    """A body without messages, and one with a beginning of its own, which the server may have repeated or not."""
    assert continued(how, {**ASKED, "messages": messages}, TEXT) is None


# What may be asked for.


def test_only_plain_text_of_one_choice_is_continued() -> None:
    """No tools, no schema, no audio, no logprobs, no second choice, no stored answer, nothing but content."""
    text = delivered(SAID)
    assert chat().may_continue(text) == KEY
    assert chat(response_format={"type": "text"}, tools=[], n=1, store=False).may_continue(text) == KEY
    for veto in (
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"response_format": "x"},
        {"tools": [{}]},
        {"functions": [{}]},
        {"audio": {"voice": "alloy"}},
        {"store": True},
    ):
        assert chat(**veto).may_continue(text) is None
    called = chat()
    called.read(payload(chunk({"tool_calls": [{"index": 0, "function": {"name": "f"}}]})))
    assert called.may_continue(text) is None
    for key in ((0, "refusal"), (0, "reasoning_content"), (1, "content"), (0, "finish_reason")):
        more = delivered(SAID)
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
    """Whatever the deltas: white space where both meet is kept, and so is a rest that only begins like the prefix."""
    if not echoed and rest.startswith(said):
        rest = "!" + rest
    taking = continuation(said)
    assert takes(taking, said + rest if echoed else rest, sizes) == rest
    assert taking.flush(KEY) == ""
    assert "".join(text for _, text in taking.news().text_deltas) == rest


def test_what_only_began_like_the_prefix_is_there_at_the_end() -> None:
    """A short rest that could have been the prefix repeated comes with the finish_reason."""
    taking = continuation("aaa")
    adapter = chat()
    assert adapter.trim_repeated(payload(chunk({"content": "aa"})), taking) is None
    last = adapter.trim_repeated(payload(FINISH), taking)
    assert last is not None
    assert last.value["choices"][0]["delta"] == {"content": "aa"}
    assert last.value["choices"][0]["finish_reason"] == "stop"


def test_the_first_answers_names_stay_and_its_tokens_count() -> None:
    """The chunk id is the first one's, the role is not said twice, the usage is that of both generations."""
    taking = continuation(spent=3)
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
    taking = continuation()
    assert taking.take((0, "reasoning_content"), "Blue") == "Blue"
    assert taking.flush((0, "reasoning_content")) == ""
    assert (taking.caught_up, taking.number(3), taking.repeats("usage")) == (True, 3, False)


# What comes, and is visibly no rest.


@given(st.lists(st.integers(1, 30)))
def test_an_answer_that_starts_anew_is_refused(sizes: list[int]) -> None:
    """Twenty characters as at the beginning and then others, or none, or twenty as at the end."""
    for answer in (TEXT[:20] + "!", TEXT[:25] + "and so on", TEXT[:20], TEXT[20:40] + " climb", TEXT[20:40]):
        with pytest.raises(Diverged):
            takes(continuation(TEXT[:40]), answer, sizes)
    for answer in (TEXT[:19] + "!", TEXT[:19], TEXT[20:39] + "!", TEXT[20:39], TEXT[40:]):
        assert takes(continuation(TEXT[:40]), answer, sizes) == answer
    assert takes(continuation(TEXT[:40]), TEXT, sizes) == TEXT[40:]


# The anchor.


def test_an_anchor_is_the_last_words_once() -> None:
    """At least forty characters, whole words, as many as it takes to be unique; none of a text that is too short."""
    for said, anchor in {
        TEXT[:56]: "trams 🚋 climb past cafés, 東京 postcards and",
        TEXT[:31]: TEXT[:31],
        f"{TEXT[:56]}  \n": "trams 🚋 climb past cafés, 東京 postcards and  \n",
        f"\n {TEXT[:30]}": TEXT[:30],
        HAN: HAN[-40:],
        "a" * 200: None,
        TEXT[:19]: None,
        "word" + " " * 60 + "x": "word" + " " * 60 + "x",
        "": None,
        " ": None,
        "ja nein " * 5 + "vielleicht " + "ja nein " * 5: "vielleicht " + "ja nein " * 5,
        "ja nein " * 80: None,
    }.items():
        assert anchor_from(said) == anchor, said


@given(st.text("ab 東🚋\n", max_size=400))
def test_an_anchor_is_an_end_that_occurs_nowhere_else(said: str) -> None:
    """And it is long enough, begins with a word, and is not much longer than the bound."""
    anchor = anchor_from(said)
    if anchor is not None:
        words = anchor.rstrip()
        assert said.endswith(anchor)
        assert 20 <= len(words) <= 200
        assert not words[0].isspace()
        assert said.find(words) == len(said) - len(anchor)


def test_the_user_asks_for_the_rest() -> None:
    """What was said as the assistant's message, then the user's: a dropped connection, and last the anchor."""
    said = f"{TEXT[:56]} "
    request = continued_request("anchored", ASKED, said, 10)
    assert request is not None
    assert request.anchor == "trams 🚋 climb past cafés, 東京 postcards and "
    *before, partial, asks = request.body["messages"]  # type: ignore[misc] # a list, in what is sent
    assert before == ASKED["messages"]
    assert partial == {"role": "assistant", "content": said}
    assert asks["role"] == "user"
    assert asks["content"].startswith("My connection dropped")
    assert asks["content"].endswith("\n\ntrams 🚋 climb past cafés, 東京 postcards and")
    assert {**request.body, "messages": ASKED["messages"]} == ASKED


def test_the_limit_leaves_room_for_the_anchor() -> None:
    """The share of what was spent that the anchor had; never more than was asked for."""
    for limit, left in ((100, 60 + 30), (40, 1 + 30), (20, 20)):
        body = continued("anchored", {**ASKED, "max_tokens": limit}, TEXT[:56], 40)
        assert body is not None
        assert body["max_tokens"] == left


def test_half_of_a_character_is_not_gone_on_with() -> None:
    """A text that ends with half of a surrogate pair cannot be sent."""
    for how in (*STYLES, lambda body, text: body):
        assert continued(how, ASKED, TEXT + "\ud83d") is None


@pytest.mark.parametrize("how", [*STYLES, lambda body, text: body])
def test_reasoning_is_left_out_where_the_request_says_how(how: Continuing) -> None:
    """No parameter is added that another server might refuse, and the first request stays as it was."""
    asked = {
        **ASKED,
        "enable_thinking": True,
        "chat_template_kwargs": {"enable_thinking": True, "other": 1},
        "thinking": {"type": "enabled", "budget_tokens": 9},
        "reasoning_effort": "high",
    }
    before = copy.deepcopy(asked)
    body = continued(how, asked, TEXT)
    assert body is not None
    assert body["chat_template_kwargs"] == {"enable_thinking": False, "other": 1}
    assert (body["enable_thinking"], body["thinking"], body["reasoning_effort"]) == (False, {"type": "disabled"}, "low")
    assert asked == before
    for untouched in ({}, {"reasoning_effort": "minimal", "thinking": {"type": "disabled"}, "enable_thinking": False}):
        body = continued(how, {**ASKED, **untouched}, TEXT)
        assert body is not None
        assert {name: body.get(name) for name in untouched} == untouched
        assert "enable_thinking" in untouched or "enable_thinking" not in body


@pytest.mark.parametrize(
    ("named", "anchor"),
    [(SAID, SAID), ("since", "since "), (" since \n", "since "), ("e", "e "), (" ", None), ("", None), ("Blue", None)],
)
def test_a_callable_may_name_an_anchor(named: str, anchor: str | None) -> None:
    """The end of the text; white space around it does not count, as what is verified is the text itself."""
    made = continued_request(lambda body, text: ({"mine": 1}, named), ASKED, SAID, 3)
    assert made == (None if anchor is None else ContinuedRequest({"mine": 1}, anchor))


SAYINGS = st.text("ab 東\n", min_size=0, max_size=30).map(lambda more: TEXT[:56] + more)


@given(SAYINGS, st.text("ab 東\n", max_size=8), st.sampled_from(["", " ", "\n\n"]), st.lists(st.integers(1, 60)))
def test_behind_an_anchor_comes_the_rest(said: str, rest: str, before: str, sizes: list[int]) -> None:
    """White space in front of the anchor does not count, however it is cut into deltas; that behind it is kept."""
    taking = anchored(said)
    assert takes(taking, before + taking.anchor + rest, sizes) == rest
    assert taking.caught_up
    assert "".join(text for _, text in taking.news().text_deltas) == rest


@given(SAYINGS, st.data())
def test_without_the_anchor_nothing_is_taken(said: str, data: st.DataObject) -> None:
    """Less than it, or with anything else in front, in it or instead."""
    taking = anchored(said)
    anchor = taking.anchor
    place = data.draw(st.integers(0, len(anchor.rstrip()) - 1))
    wrong = data.draw(st.sampled_from([anchor[:place], anchor[:place] + "x" + anchor[place + 1 :], "x" + anchor, TEXT]))
    taken = ""
    with suppress(Diverged):
        taken = takes(taking, wrong, data.draw(st.lists(st.integers(1, 60))))
    assert (taken, taking.caught_up, taking.news().text_deltas) == ("", False, [])


def test_reasoning_before_the_anchor_is_preparation() -> None:
    """It is not delivered, under no name; behind the anchor nothing but the text and its end may come."""
    taking, adapter = anchored(TEXT[:56]), chat()
    for delta in (
        {"role": "assistant", "reasoning_content": "I was cut off"},
        {"reasoning_details": [{"index": 0, "type": "reasoning.text", "text": "Repeat", "id": "r1"}]},
        {"content": taking.anchor[:5], "reasoning": "so"},
    ):
        assert adapter.trim_repeated(payload(chunk(delta)), taking) is None
    assert taking.news().identities == []
    said = adapter.trim_repeated(payload(chunk({"content": taking.anchor[5:] + " more"})), taking)
    assert said is not None
    assert said.value["choices"][0]["delta"] == {"content": " more"}
    with pytest.raises(Diverged):
        adapter.trim_repeated(payload(chunk({"refusal": "No"})), taking)
    end = adapter.trim_repeated(payload(FINISH), taking)
    assert end is not None


# The whole stream.

ANCHORED = StreamRequest("post", "/chat/completions", "host:1", ASKED)


def sent(pieces: list[str], *, whole: bool) -> Response:
    """A response that says these pieces, to its end or to a cut."""
    values = [chunk({"role": "assistant"}), *(chunk({"content": piece}) for piece in pieces), *([FINISH] * whole)]
    frames = [f"data: {json.dumps(value)}\n\n".encode() for value in values]
    return Response([*frames, b"data: [DONE]\n\n"] if whole else frames)


def pieces_of(text: str, sizes: list[int]) -> list[str]:
    """A text in pieces of these sizes."""
    pieces, start = [], 0
    for size in [*sizes, len(text)]:
        pieces += [text[start : start + size]] * (start < len(text))
        start += size
    return pieces


def told(outcome: Outcome) -> str:
    """All text that was delivered."""
    deltas = (value["choices"][0]["delta"] for value in outcome.values)
    return "".join(delta.get("content") or "" for delta in deltas)


PREFACES = st.sampled_from(["", " ", "\n\n", "Sure, ", "```\n", "“", "My connection dropped. "])


@given(
    st.text("ab 東\n", min_size=20, max_size=90),
    st.text("ab 東\n", max_size=9),
    st.data(),
)
def test_nothing_unverified_is_delivered(said: str, rest: str, data: st.DataObject) -> None:
    """Whatever the second answer says: it begins with the anchor and goes on, or costs one request and adds nothing."""
    sizes = st.lists(st.integers(1, 40))
    named = anchor_from(said)
    anchor = said[-20:] if named is None else named
    begun = data.draw(st.sampled_from([anchor, anchor[1:], anchor[:-1], said, "", anchor[:9] + "x" + anchor[9:]]))
    answer = data.draw(PREFACES) + begun + rest
    whole = data.draw(st.booleans())
    policy = Policy(retry_budget=None, recovery=("continue",), continuation="anchored", max_retries=1)
    responses = [
        sent(pieces_of(said, data.draw(sizes)), whole=False),
        sent(pieces_of(answer, data.draw(sizes)), whole=whole),
    ]
    outcome = play(responses, policy, asked=ANCHORED)
    verified = named is not None and answer.lstrip().startswith(anchor)
    assert told(outcome) == said + (answer.lstrip()[len(anchor) :] if verified else "")
    assert (outcome.gave_up is None) == (verified and whole)
    if outcome.gave_up is not None:
        assert outcome.gave_up.first_failure.fault.kind == "truncated"
        assert outcome.gave_up.first_failure.attempt.way is None
    attempts = outcome.session.report().attempts
    assert len(attempts) == 1 + (named is not None)

"""A chat answer goes on behind the beginning that the request brings along, and ends at its token limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from openai_stream_guard.testing import ANSWERS, Server, ServerBehaviour
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.streams import client_for

VLLM = {"extra_body": {"continue_final_message": True, "add_generation_prompt": False}}
CUTS = (1, 9, 10, 24, 25, 31, len(TEXT) - 1, len(TEXT))
LIMITS = ("max_tokens", "max_completion_tokens")


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """An unguarded client of the server."""
    with client_for(server) as made:
        yield made


def messages(prefix: Any, /, **more: Any) -> list[Any]:
    """A conversation whose last message begins the answer."""
    return [{"role": "user", "content": "hi"}, {"role": "assistant", "content": prefix, **more}]


def ask(client: Any, asked: list[Any], **body: Any) -> list[Any]:
    """The chunks of one answer."""
    return list(client.chat.completions.create(model="m", messages=asked, stream=True, **body))


def said(chunks: list[Any]) -> str:
    """What the first choice says."""
    deltas = (one.delta for chunk in chunks for one in chunk.choices if one.index == 0)
    return "".join(delta.content or "" for delta in deltas if delta)  # a choice of Azure's may have none


def finished(chunks: list[Any]) -> list[str]:
    """The reasons to finish, in order."""
    return [one.finish_reason for chunk in chunks for one in chunk.choices if one.finish_reason]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(
    ("marks", "body"), [({}, VLLM), ({"prefix": True}, {}), ({}, {})], ids=["vllm", "prefix", "bare"]
)
def test_a_beginning_and_its_rest_are_the_answer(client: Any, marks: Any, body: Any, cut: int) -> None:
    """Wherever the beginning ends, in a word or between two, the rest follows it without a gap."""
    chunks = ask(client, messages(TEXT[:cut], **marks), **body)
    assert said(chunks) == TEXT[cut:]
    assert finished(chunks) == ["stop"]
    assert chunks[0].choices[0].delta.role == "assistant"


@pytest.mark.parametrize("name", [name for name in ANSWERS["chat"] if name not in {"tool_calls", "huge"}])
def test_every_answer_of_text_can_be_continued(name: str) -> None:
    """Whatever chunks the text comes in, the rest is the rest, and the reason to finish is still said once."""
    with Server(answer=name) as server, client_for(server) as client:
        whole = ask(client, [])
        rest = ask(client, messages(said(whole)[:9]))
    assert said(rest) == said(whole)[9:]
    assert finished(rest) == finished(whole)
    assert not any(getattr(one.delta, "reasoning_content", None) for chunk in rest for one in chunk.choices)


def test_a_beginning_in_parts_is_joined(client: Any) -> None:
    """Content given as a list of text parts begins the answer like a string."""
    parts = [{"type": "text", "text": TEXT[:5]}, {"type": "text", "text": TEXT[5:20]}]
    assert said(ask(client, messages(parts))) == TEXT[20:]


@pytest.mark.parametrize("asked", [[], [{"role": "user", "content": "hi"}], messages("")])
def test_without_a_beginning_the_answer_is_whole(client: Any, asked: list[Any]) -> None:
    """A conversation that does not end in words of the assistant's is answered from the start."""
    assert said(ask(client, asked)) == TEXT


def test_a_server_told_not_to_continue_answers_anew(client: Any) -> None:
    """`continue_final_message: false` makes the last message history."""
    assert said(ask(client, messages(TEXT[:9]), extra_body={"continue_final_message": False})) == TEXT


def test_a_sampled_server_goes_on_in_words_of_its_own() -> None:
    """Behind a beginning of its own a sampling model says something else each time, but never begins anew."""
    with Server(sampled=True) as server, client_for(server) as client:
        rests = [said(ask(client, messages(TEXT[:20]))) for _ in range(5)]
    assert len(set(rests)) == 5
    assert all(rest and not TEXT.endswith(rest) for rest in rests)


@pytest.mark.parametrize("cut", CUTS)
def test_a_server_may_echo_the_beginning(server: Server, client: Any, cut: int) -> None:
    """An echoing server says the beginning again, and what it says is the whole answer."""
    server.behaviour = ServerBehaviour(prefill="echoed")
    chunks = ask(client, messages(TEXT[:cut]))
    assert said(chunks) == TEXT
    assert finished(chunks) == ["stop"]


@pytest.mark.parametrize("cut", CUTS)
def test_a_server_may_drop_leading_white_space(server: Server, client: Any, cut: int) -> None:
    """A stripping server loses the space where they meet, and no other."""
    server.behaviour = ServerBehaviour(prefill="stripped")
    assert said(ask(client, messages(TEXT[:cut]))) == TEXT[cut:].lstrip()


def test_a_server_may_refuse_a_beginning(server: Server, client: Any) -> None:
    """A refusing server answers status 400 to a beginning, and the answer to everything else."""
    server.behaviour = ServerBehaviour(prefill="refused")
    with pytest.raises(openai.BadRequestError, match="does not support assistant message prefill"):
        ask(client, messages(TEXT[:9]))
    assert said(ask(client, [])) == TEXT


@pytest.mark.parametrize("more", [{}, {"add_generation_prompt": True}])
def test_a_generation_prompt_and_a_continuation_exclude_each_other(client: Any, more: Any) -> None:
    """As with vLLM, where the prompt is the default: status 400."""
    with pytest.raises(openai.BadRequestError, match="Cannot set both"):
        ask(client, messages(TEXT[:9]), extra_body={"continue_final_message": True, **more})


@pytest.mark.parametrize("prefill", ["continued", "echoed"])
def test_usage_counts_the_tokens_of_the_rest(prefill: Any) -> None:
    """A beginning is part of the prompt: only what the server adds counts as completion, an echo not."""
    with Server(answer="usage", behaviour=ServerBehaviour(prefill=prefill)) as server, client_for(server) as client:
        prefix = " ".join(TEXT.split(" ")[:4])
        usage = ask(client, messages(prefix))[-1].usage
        plain = client.chat.completions.create(model="m", messages=messages(prefix)).usage
    assert usage == plain
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (23, 9, 32)


@pytest.mark.parametrize("field", LIMITS)
def test_a_limit_ends_the_answer_with_length(client: Any, field: str) -> None:
    """As many deltas come as tokens are allowed; a limit that suffices changes nothing."""
    words = TEXT.split(" ")
    for limit in range(1, len(words) + 2):
        chunks = ask(client, [], extra_body={field: limit})  # openai 1.40 knows only one of them by name
        assert said(chunks) == " ".join(words[:limit])
        assert finished(chunks) == ["length" if limit < len(words) else "stop"]


def test_a_limit_counts_only_what_is_added(server: Server, client: Any) -> None:
    """A beginning with so many tokens, and a limit lowered by as many, end where the unbroken answer ends."""
    whole = said(ask(client, [], max_tokens=7))
    prefix = " ".join(TEXT.split(" ")[:3])
    for prefill, expected in (("continued", whole[len(prefix) :]), ("echoed", whole)):
        server.behaviour = ServerBehaviour(prefill=prefill)
        chunks = ask(client, messages(prefix), max_tokens=4)
        assert said(chunks) == expected
        assert finished(chunks) == ["length"]


@pytest.mark.parametrize("name", ["tool_calls", "n2", "merged_finish", "refusal", "logprobs"])
def test_a_limit_cuts_every_kind_of_answer(name: str) -> None:
    """Each choice is cut by itself, and finishes once, with `length`."""
    with Server(answer=name) as server, client_for(server) as client:
        whole, cut = ask(client, []), ask(client, [], max_tokens=2)
    assert finished(cut) == ["length"] * len(finished(whole))
    assert said(cut) == said(whole)[: len(said(cut))]
    assert len(cut) < len(whole)


# A user who asks for the rest.

SAID = f"{TEXT[:56]} "
ANCHOR = TEXT[30:56].strip()
PLAYED = {
    "compliant": ANCHOR + TEXT[56:],
    "forgetful": TEXT[56:],
    "restarting": TEXT,
    "chatty": f"Sure, here is the rest of my answer: {ANCHOR}{TEXT[56:]}",
    "fenced": f"```\n{ANCHOR}{TEXT[56:]}",
    "refusing": "",
}


def rest_wanted(said: str = SAID, anchor: str = ANCHOR) -> list[Any]:
    """A conversation in which the user has received the beginning of an answer, and repeats its last words."""
    return [*messages(said), {"role": "user", "content": f"My connection dropped. Go on from here:\n\n{anchor}"}]


@pytest.mark.parametrize("anchored", PLAYED)
def test_a_model_asked_for_the_rest_plays_its_part(server: Server, client: Any, anchored: Any) -> None:
    """It repeats the last words and goes on, or does what chat models do instead; each answer is a whole one."""
    server.behaviour = ServerBehaviour(anchored=anchored)
    chunks = ask(client, rest_wanted())
    assert said(chunks) == PLAYED[anchored]
    assert any(one.delta.refusal for chunk in chunks for one in chunk.choices) == (anchored == "refusing")
    assert finished(chunks) == ["stop"]


def test_what_repeats_no_end_of_the_answer_asks_for_nothing(client: Any) -> None:
    """Nor does a word or two of it: the conversation goes on."""
    for anchor in ("and", TEXT[3:40], "something else altogether"):
        assert said(ask(client, rest_wanted(anchor=anchor))) == TEXT


def test_the_anchor_counts_against_the_limit(server: Server, client: Any) -> None:
    """It is said anew, and paid for."""
    assert said(ask(client, rest_wanted(), max_tokens=len(ANCHOR.split()))) == ANCHOR
    server.reset(answer="usage")
    usage = ask(client, rest_wanted())[-1].usage
    assert usage.completion_tokens == len(ANCHOR.split()) + len(TEXT[56:].split())

"""The law: for any two groupings of the same answer, what was delivered and what is left of its repetition are the
answer once, under the ids the consumer knows.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.apis.second_answer import Diverged
from tests.support.chunks import FILTER, FINISH, TEXT, called, chunk, transcript_of, trim
from tests.support.simulated import ANSWERS, answer_variant, ids, said


def values_of(name: str, serial: int, *, regroup: bool = False) -> list[Any]:
    """The payloads of a recorded answer."""
    return [
        json.loads(frame.data)
        for frame in answer_variant(name, serial, regroup=regroup).frames
        if frame.data != "[DONE]"
    ]


@settings(deadline=None)
@given(
    name=st.sampled_from([*ANSWERS, "azure", "compatible", "merged_finish"]),
    serials=st.tuples(*[st.integers(0, 7)] * 2),
    data=st.data(),
)
def test_what_was_delivered_and_what_is_left_are_the_answer(
    name: str, serials: tuple[int, int], data: st.DataObject
) -> None:
    """For any two groupings of the same answer and any break: each text once, and every id that of the first."""
    regroup = name != "logprobs"
    first, second = (values_of(name, serial, regroup=regroup) for serial in serials)
    point = data.draw(st.integers(0, len(first)))
    left = trim(transcript_of(*first[:point]), *second)
    whole, both = said(first), [*first[:point], *left]
    usage = whole.pop(("usage",), None)
    assert {place: text for place, text in said(both).items() if place != ("usage",)} == whole
    assert usage is None or name == "compatible" or said(both)["usage",] == usage
    chunk_ids, call_ids = ids(value for value in both if value["choices"] and "delta" in value["choices"][0])
    assert chunk_ids == {(first if point else second)[0]["id"]}
    assert all(len(names) == 1 for names in call_ids.values())


text_deltas = st.lists(st.text(st.sampled_from("ab é東🚋"), max_size=4), max_size=6)


@given(st.data(), text_deltas, st.sampled_from(["content", "reasoning", "refusal"]))
def test_random_splits_with_finish_in_any_chunk(data: st.DataObject, texts: list[str], name: str) -> None:
    """The same text in deltas of any size, the finish in the last of them or alone: it comes once."""
    whole = "".join(texts)

    def split() -> list[Any]:
        places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
        parts = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
        chunks = [chunk({name: part}) for part in parts]
        if data.draw(st.booleans()):
            chunks[-1]["choices"][0]["finish_reason"] = "stop"
            return chunks
        return [*chunks, FINISH]

    first, second = split(), split()
    point = data.draw(st.integers(0, len(first)))
    both = [*first[:point], *trim(transcript_of(*first[:point]), *second)]
    assert said(both).get((0, name), "") == whole
    assert said(both)[0, "finish_reason"] == "stop"


def test_ids_are_rewritten_to_those_the_consumer_knows() -> None:
    """Of the chunk and of every call, and `created` with them; all else is the second answer's own."""
    second = called("{}") | {"id": "chatcmpl-2", "created": 6, "system_fingerprint": "fp_2"}
    second["choices"][0]["delta"]["tool_calls"][0]["id"] = "call_2"
    (left,) = trim(transcript_of(called("")), second)
    assert (left["id"], left["created"], left["system_fingerprint"]) == ("chatcmpl-1", 5, "fp_2")
    assert left["choices"][0]["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    early = transcript_of(FILTER | {"id": "chatcmpl-0"})
    assert trim(early, TEXT)[0]["id"] == "chatcmpl-0"
    assert trim(transcript_of(), TEXT) == [TEXT]


def test_items_without_text_are_not_repeated() -> None:
    """Filter results that were delivered are dropped once for each time; usage that was not comes through."""
    usage = {"id": "chatcmpl-1", "choices": [], "usage": {"total_tokens": 3}}
    assert trim(transcript_of(FILTER, TEXT), FILTER, TEXT, FINISH, usage) == [FINISH, usage]
    assert trim(transcript_of(FILTER, TEXT), FILTER, TEXT, FILTER) == [FILTER]


def test_what_is_no_object_or_no_choice_comes_through_only_once_caught_up() -> None:
    """Before that it may be a repetition."""
    odd = {"choices": ["no choice", 5]}
    assert trim(transcript_of(TEXT), 7, odd, TEXT, 8, odd) == [8, odd]


def test_a_live_choice_without_text_stays() -> None:
    """Once all is repeated, what has no text is new: Azure's late filter results."""
    late = {"id": "chatcmpl-1", "choices": [{"index": 0, "finish_reason": None, "content_filter_results": {}}]}
    assert trim(transcript_of(TEXT), late, TEXT, late) == [late]


def test_another_answer_diverges() -> None:
    """In any channel, the finish_reason among them."""
    with pytest.raises(Diverged):
        trim(transcript_of(TEXT), chunk({"content": "b"}))
    with pytest.raises(Diverged):
        trim(transcript_of(called("{")), called("["))
    with pytest.raises(Diverged):
        trim(transcript_of(FINISH), chunk({}, "length"))


def test_lists_without_index_gain_whole_entries() -> None:
    """Annotations and images: an entry is repeated whole or is new whole, however they are spread over the deltas."""
    one, two, three = ({"type": "url_citation", "url": f"https://{name}"} for name in "abc")
    first = [chunk({"annotations": [one]}), chunk({"annotations": [two]})]
    (left,) = trim(transcript_of(*first), chunk({"annotations": [one, two, three]}))
    assert left["choices"][0]["delta"] == {"annotations": [three]}
    with pytest.raises(Diverged):
        trim(transcript_of(*first), chunk({"annotations": [one, three]}))
    numbers = transcript_of(chunk({"x": [1]}), chunk({"x": [2]}))
    with pytest.raises(Diverged):
        trim(numbers, chunk({"x": [12]}))


def test_members_that_are_no_text_stay_as_they_are() -> None:
    """Numbers, nulls and what is empty go with the text that is left, and alone they are nothing new."""
    first = transcript_of(chunk({"audio": {"id": "audio_1", "transcript": "Bl", "expires_at": 5}}))
    second = {
        "audio": {"id": "audio_2", "transcript": "Blue", "expires_at": 9},
        "x": {},
        "y": [],
        "z": None,
        "content": "",
    }
    (left,) = trim(first, chunk(second))
    assert left["choices"][0]["delta"] == second | {"audio": {"transcript": "ue", "expires_at": 9}}
    assert trim(first, chunk({"audio": {"transcript": "Bl", "expires_at": 9}})) == []


def test_members_of_which_nothing_is_left_are_gone() -> None:
    """A call or an object that was repeated whole leaves no empty shell beside the text that is new."""
    old = called("{}")["choices"][0]["delta"] | {"audio": {"transcript": "Bl"}}
    (left,) = trim(transcript_of(chunk(old)), chunk(old | {"content": "new"}))
    assert left["choices"][0]["delta"] == {"content": "new"}


def test_a_role_is_not_announced_twice() -> None:
    """A restart leaves out the chunk that only names the role, if the consumer has had it."""
    role = chunk({"role": "assistant", "content": "", "refusal": None})
    assert trim(transcript_of(role), role, TEXT) == [TEXT]
    assert trim(transcript_of(), role, TEXT) == [role, TEXT]


def test_a_finish_that_was_told_is_not_told_again() -> None:
    """The other choice goes on alone."""
    first = transcript_of(chunk({"content": "a"}, "stop"), chunk({"content": "b"}, index=1))
    again = [chunk({"content": "a"}, "stop"), chunk({"content": "bc"}, index=1)]
    (left,) = trim(first, *again)
    assert left["choices"] == [{"index": 1, "delta": {"content": "c"}, "finish_reason": None}]


def completion(text: str, tokens: list[str] | None = None, **more: object) -> dict[str, Any]:
    """A chunk of the legacy completions."""
    logprobs = None
    if tokens is not None:
        logprobs = {"tokens": tokens, "token_logprobs": [0.5] * len(tokens), "text_offset": [7] * len(tokens), "x": 1}
    return {
        "id": "cmpl-1",
        "choices": [{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": None} | more],
    }


def test_legacy_completions_are_trimmed_like_deltas() -> None:
    """Their text, with the rows of their log probabilities that belong to it."""
    first = transcript_of(completion("Blue"))
    (left,) = trim(first, completion("Blue trams", ["Blue", " tr", "ams"]))
    assert left == completion(" trams", [" tr", "ams"])
    assert trim(first, completion("Bl", ["Bl"]), completion("ue", ["ue"]), completion("", []), completion("")) == [
        completion("", []),
        completion(""),
    ]
    (left,) = trim(first, completion("Blue", ["Blue"], finish_reason="stop"))
    assert left == completion("", [], finish_reason="stop")
    with pytest.raises(Diverged):
        trim(first, completion("Blue trams", ["Blu", "e trams"]))


def token(text: str, raw: object = None) -> dict[str, object]:
    """A token of a chat's log probabilities."""
    return {"token": text, "bytes": raw, "logprob": -0.5}


def with_logprobs(text: str, *tokens: object, name: str = "content") -> dict[str, Any]:
    """A chunk with a text and its tokens."""
    value = chunk({name: text})
    value["choices"][0]["logprobs"] = {name: [*tokens], "other": None}
    return value


@pytest.mark.parametrize("name", ["content", "refusal"])
@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        ([token("Blue"), token(" trams")], 1),
        ([token("Bl"), token("ue"), token(""), token(" trams")], 2),
        ([token("Blue", list(b"Blue")), token("\\xe2", list(b" trams"))], 1),
        ([token("Bl", [300]), token("ue", ["x"]), token(" trams", 5)], 1),
        (["Blue", " trams"], 1),
    ],
)
def test_logprobs_are_cut_where_a_token_ends(name: str, tokens: list[object], kept: int) -> None:
    """A straddling delta keeps the tokens of the text that is left; bytes tell more than an escaped token."""
    (left,) = trim(transcript_of(chunk({name: "Blue"})), with_logprobs("Blue trams", *tokens, name=name))
    assert left == with_logprobs(" trams", *tokens[-kept:] if kept < 2 else tokens[2:], name=name)


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [token("Blu"), token("e trams")],
        [token("Blue trams")],
        [token("Blew"), token(" trams")],
        [token("bl")],
        [None, 5, {}],
        [token("\\xf0\\x9f", list(b"Blu")), token(" trams")],
    ],
)
def test_logprobs_that_cannot_be_cut_diverge(tokens: list[object]) -> None:
    """A token that lies on both sides of the cut, or tokens that do not make up the text."""
    with pytest.raises(Diverged):
        trim(transcript_of(chunk({"content": "Blue"})), with_logprobs("Blue trams", *tokens))


def test_a_character_of_several_tokens_is_counted_in_bytes() -> None:
    """The API escapes a part of a character in `token`; its `bytes` say how much of the text it is."""
    tokens = [token("\\xf0\\x9f", [0xF0, 0x9F]), token("\\x9a\\x8b", [0x9A, 0x8B]), token(" go", list(b" go"))]
    (left,) = trim(transcript_of(chunk({"content": "🚋"})), with_logprobs("🚋 go", *tokens))
    assert left == with_logprobs(" go", tokens[2])


def test_logprobs_of_what_is_not_cut_stay() -> None:
    """A live delta without text may carry a token that is a part of a character yet to come."""
    first, part = transcript_of(chunk({"content": "Blue"})), with_logprobs("", token("\\xf0", [0xF0]))
    assert trim(first, chunk({"content": "Blue"}), part) == [part]
    live = with_logprobs(" trams", token("anything"))
    assert trim(first, chunk({"content": "Blue"}), live) == [live]
    repeated = with_logprobs("Blue", token("Blue"))
    repeated["choices"][0]["finish_reason"] = "stop"
    (left,) = trim(first, repeated)
    assert left["choices"][0] == {
        "index": 0, "delta": {}, "finish_reason": "stop", "logprobs": {"content": [], "other": None}
    }  # fmt: skip

"""The law: whatever a replay lets through continues the delivered text of every channel exactly, and nothing is let
through before every channel has repeated all that was delivered.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.apis.second_answer import Diverged, ReplayChecker
from openai_stream_guard.apis.transcript import Key, TextDelta, Transcript

TEXT: Key = (0, "content")
TOOL: Key = (0, "tool_calls", 0, "function", "arguments")
# Lone surrogates too; few characters, so that differences come late and repetitions often.
texts = st.text(st.sampled_from("aaab é東🚋\ud83d\ude8b\x00"), max_size=20)


@st.composite
def cuts(draw: st.DrawFn, text: str) -> list[str]:
    """The text in pieces, empty ones among them."""
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def delivered(*text_deltas: TextDelta) -> Transcript:
    """A transcript of these pieces."""
    transcript = Transcript()
    transcript.add([piece for piece in text_deltas if piece[1]])
    return transcript


@given(data=st.data(), answer=texts)
def test_any_cut_of_the_same_text_lets_exactly_the_continuation_through(data: st.DataObject, answer: str) -> None:
    """However both attempts cut the answer: delivered + let through == the answer, and not a character sooner."""
    point = data.draw(st.integers(0, len(answer)))
    transcript = delivered(*((TEXT, piece) for piece in data.draw(cuts(answer[:point]))))
    replay = ReplayChecker(transcript)
    repeated, surplus = 0, ""
    for piece in data.draw(cuts(answer)):
        surplus += replay.take(TEXT, piece)
        repeated += len(piece)
        assert surplus == answer[point : max(point, repeated)]
        assert replay.caught_up == (repeated >= point)
    assert transcript.text(TEXT) + surplus == answer
    assert transcript.text(TEXT) == answer[:point], "a replay changes no transcript"


@given(data=st.data(), answer=texts.filter(bool), other=texts)
def test_any_difference_is_a_divergence_no_later_than_its_piece(data: st.DataObject, answer: str, other: str) -> None:
    """The piece that holds the first differing character raises, and so does an end that came too soon show."""
    replay = ReplayChecker(delivered((TEXT, answer)))
    same = next((i for i, (a, b) in enumerate(zip(answer, other, strict=False)) if a != b), None)
    seen = 0
    try:
        for piece in data.draw(cuts(other)):
            replay.take(TEXT, piece)
            seen += len(piece)
            assert same is None or seen <= same
    except Diverged:
        assert same is not None
        assert seen <= same
    assert replay.caught_up == other.startswith(answer)


@given(data=st.data(), first=texts, second=texts)
def test_every_channel_must_catch_up(data: st.DataObject, first: str, second: str) -> None:
    """Channels are followed one by one, in whatever order they come, and one that is behind holds up all."""
    replay = ReplayChecker(delivered((TEXT, first), (TOOL, second)))
    behind = {TEXT: data.draw(cuts(first)), TOOL: data.draw(cuts(second))}
    while behind:
        assert not replay.caught_up or not any(any(text_deltas) for text_deltas in behind.values())
        key = data.draw(st.sampled_from(sorted(behind, key=len)))
        assert replay.take(key, behind[key].pop(0)) == ""
        if not behind[key]:
            del behind[key]
    assert replay.caught_up
    assert replay.take(TEXT, "more") == "more"


def test_a_character_is_not_its_two_halves() -> None:
    """A consumer was handed two lone surrogates; the one character they would make is another text."""
    replay = ReplayChecker(delivered((TEXT, "\ud83d"), (TEXT, "\ude8b")))
    with pytest.raises(Diverged):
        replay.take(TEXT, "🚋!")
    replay = ReplayChecker(delivered((TEXT, "🚋")))
    with pytest.raises(Diverged):
        replay.take(TEXT, "\ud83d")


@given(st.lists(st.tuples(st.sampled_from([TEXT, TOOL]), texts)))
def test_a_transcript_gives_back_what_it_was_given(text_deltas: Sequence[TextDelta]) -> None:
    """Each channel is the text of its pieces in a row, to the last lone surrogate."""
    transcript = delivered(*text_deltas)
    for key in (TEXT, TOOL):
        assert transcript.text(key) == "".join(text for channel, text in text_deltas if channel == key)
    assert transcript.visible == any(text for _, text in text_deltas)


def test_names_are_said_once_and_are_not_visible() -> None:
    """The first name stays, and a role or an id is nothing anyone would have to take back."""
    transcript = Transcript()
    transcript.add((), [((0, "role"), "assistant")], "usage")
    transcript.add((), [((0, "role"), "tool"), (("id",), "chatcmpl-2")])
    assert transcript.identities == {(0, "role"): "assistant", ("id",): "chatcmpl-2"}
    assert transcript.text(TEXT) == ""
    assert not transcript.visible


def test_a_replay_answers_with_the_names_the_consumer_knows() -> None:
    """A known name is given back, whatever the second answer says; an unknown one is news."""
    transcript = Transcript()
    transcript.add((), [(("id",), "chatcmpl-1")])
    replay = ReplayChecker(transcript)
    assert replay.identify(("id",), "chatcmpl-2") == "chatcmpl-1"
    assert replay.identify((0, "role"), "assistant") is None
    news = replay.news()
    assert not news.text_deltas
    assert news.identities == [((0, "role"), "assistant")]


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_items_without_text_are_counted_by_kind(first: list[str], second: list[str]) -> None:
    """Of each kind, as many are repetitions as were delivered; what comes on top is news."""
    transcript = Transcript()
    for kind in first:
        transcript.add((), (), kind)
    replay = ReplayChecker(transcript)
    for place, kind in enumerate(second):
        repeated = replay.repeats(kind)
        assert repeated == (second[:place].count(kind) < first.count(kind))
        assert replay.news().kind == (None if repeated else kind)


def test_news_are_those_since_the_last_call_and_only_what_is_new() -> None:
    """What a payload adds is told once, without the part that the consumer has."""
    replay = ReplayChecker(delivered((TEXT, "Blue")))
    replay.take(TEXT, "Blue trams")
    replay.take(TOOL, "{")
    assert replay.news().text_deltas == [(TEXT, " trams"), (TOOL, "{")]
    assert not replay.news().text_deltas

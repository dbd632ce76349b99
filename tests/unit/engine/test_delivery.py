"""The law: the transcript holds exactly what was handed over; what is held can be dropped without trace."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.apis.adapter import DataEvent
from openai_stream_guard.apis.chat import ChatAdapter
from openai_stream_guard.apis.second_answer import Diverged
from openai_stream_guard.apis.transcript import Transcript
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.decoding.payload import Payload
from openai_stream_guard.engine.delivery import HELD_COST, Delivery, Oversized
from tests.support.simulated import ANSWERS, answer_variant, request_for, said

TWO = request_for("n2")
"""Two choices: the recorded answers have one or two."""
MODES = ("live", "tool_calls", "atomic")


def payloads(name: str, serial: int, *, regroup: bool = False, sampled: bool = False) -> list[Payload]:
    """The events of a recorded answer but its `[DONE]`."""
    frames = answer_variant(name, serial, regroup=regroup, sampled=sampled).frames
    return [Payload(None, frame.data.encode(), json.loads(frame.data), None, None) for frame in frames[:-1]]


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> Payload:
    """A chunk with one choice."""
    value = {"id": "chatcmpl-1", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
    return Payload(None, json.dumps(value).encode(), value, None, None)


def accept(delivery: Delivery, adapter: ChatAdapter, payload: Payload) -> list[Payload]:
    """One payload, read and delivered as a session does it."""
    item = adapter.read(payload)
    assert isinstance(item, DataEvent)
    return list(delivery.accept(payload, item, adapter))


def deliver(delivery: Delivery, given: Iterable[Payload]) -> list[Payload]:
    """The payloads of one attempt."""
    adapter = ChatAdapter(TWO)
    return [out for payload in given for out in accept(delivery, adapter, payload)]


def texts(transcript: Transcript) -> dict[tuple[object, ...], str]:
    """What a transcript holds, by where it stands; a reason to finish is held as a line."""
    held = {key: transcript.text(key) for key in transcript.text_channels}
    return {key: text.removesuffix("\n") if key[-1] == "finish_reason" else text for key, text in held.items()}


def told(handed: Iterable[Payload]) -> dict[tuple[object, ...], str]:
    """What was handed over, by where it stands: `said` without what a transcript does not keep."""
    return {
        key: text for key, text in said(payload.value for payload in handed).items() if text and "logprobs" not in key
        and key != ("usage",)
    }  # fmt: skip


def test_a_healthy_live_stream_passes_through() -> None:
    """Each payload is handed over at once, and is the very object that came."""
    delivery, adapter = Delivery(Policy()), ChatAdapter(TWO)
    for payload in payloads("text", 0):
        (out,) = accept(delivery, adapter, payload)
        assert out is payload
    assert delivery.caught_up
    assert delivery.release() == []


@settings(deadline=None)
@given(data=st.data(), name=st.sampled_from(ANSWERS), mode=st.sampled_from(MODES))
def test_the_transcript_holds_what_was_handed_over(data: st.DataObject, name: str, mode: str) -> None:
    """After every payload of up to three attempts, wherever each broke off: no more, no less."""
    delivery = Delivery(Policy(delivery=mode))
    handed: list[Payload] = []
    for serial in range(3):
        adapter = ChatAdapter(TWO)
        attempt = payloads(name, serial, regroup=name != "logprobs")
        for payload in attempt[: data.draw(st.integers(0, len(attempt)))]:
            handed += accept(delivery, adapter, payload)
            assert texts(delivery.transcript) == told(handed)
        delivery.begin_again()
    attempt = payloads(name, 3, regroup=name != "logprobs")
    handed += deliver(delivery, attempt)
    assert delivery.caught_up
    handed += delivery.release()
    assert texts(delivery.transcript) == told(handed) == told(payloads(name, 9))
    ids = {payload.value["id"] for payload in handed}
    assert len(ids) == 1


def test_atomic_holds_all_until_release() -> None:
    """Nothing before, everything then, in order, and nothing a second time."""
    delivery = Delivery(Policy(delivery="atomic"))
    given = payloads("tool_calls", 0)
    assert deliver(delivery, given) == []
    assert not delivery.transcript.visible
    assert delivery.release() == given
    assert texts(delivery.transcript) == told(given)
    assert delivery.release() == []


def test_tool_calls_lets_text_flow_and_holds_a_call_until_the_end() -> None:
    """What comes after it waits with it, so that the order stays. A finish hands nothing over: it can be taken back."""
    delivery, adapter = Delivery(Policy(delivery="tool_calls")), ChatAdapter(TWO)
    text = chunk({"role": "assistant", "content": "Let me look."})
    call = chunk({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": ""}}]})
    more = chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})
    other = chunk({"content": "Second choice."}, index=1)
    finish = chunk({}, "tool_calls")
    after = chunk({"content": " Goes on."}, index=1)
    assert accept(delivery, adapter, text) == [text]
    held = [call, more, other, finish, after]
    assert [accept(delivery, adapter, value) for value in held] == [[]] * 5
    assert list(delivery.release()) == held


@pytest.mark.parametrize("mode", ["atomic", "tool_calls"])
def test_what_is_held_is_dropped_without_trace(mode: str) -> None:
    """A new attempt starts from what was handed over, not from what came."""
    delivery = Delivery(Policy(delivery=mode))
    deliver(delivery, payloads("tool_calls", 0)[:6])
    assert not any("arguments" in key for key in delivery.transcript.text_channels)
    delivery.begin_again()
    assert delivery.caught_up
    other = payloads("tool_calls", 1, sampled=True)
    handed = deliver(delivery, other)
    handed += delivery.release()
    assert told(handed) == told(other), "another answer is none, as nobody has seen the first"


def test_a_repeated_answer_waits_until_every_channel_has_caught_up() -> None:
    """New text of one choice is held while the other repeats, and then comes in order."""
    delivery = Delivery(Policy())
    deliver(delivery, [chunk({"content": "Blue"}), chunk({"content": "Red"}, index=1)])
    delivery.begin_again()
    assert not delivery.caught_up
    adapter = ChatAdapter(TWO)
    assert accept(delivery, adapter, chunk({"content": "Blue trams"})) == []
    assert accept(delivery, adapter, chunk({"content": " climb"})) == []
    handed = accept(delivery, adapter, chunk({"content": "Red"}, index=1))
    assert delivery.caught_up
    assert [payload.value["choices"][0]["delta"]["content"] for payload in handed] == [" trams", " climb"]
    live = chunk({"content": " cafés"})
    assert accept(delivery, adapter, live) == [live]


def test_another_answer_is_refused() -> None:
    """The difference is raised, and nothing of the payload is handed over or noted."""
    delivery = Delivery(Policy())
    deliver(delivery, [chunk({"content": "Blue"})])
    delivery.begin_again()
    with pytest.raises(Diverged):
        deliver(delivery, [chunk({"content": "Bl"}), chunk({"content": "ack"})])
    assert texts(delivery.transcript) == {(0, "content"): "Blue"}
    assert delivery.release() == []


@pytest.mark.parametrize("mode", ["atomic", "tool_calls"])
def test_what_may_be_held_is_bounded(mode: str) -> None:
    """At the limit is allowed, a byte more is not; a new attempt and a release start from nothing."""
    call = chunk({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "x" * 50}}]})
    delivery = Delivery(Policy(delivery=mode, max_held_bytes=2 * (len(call.raw) + HELD_COST)))
    assert deliver(delivery, [call, call]) == []
    delivery.begin_again()
    assert deliver(delivery, [call, call]) == []
    with pytest.raises(Oversized):
        deliver(delivery, [call])
    delivery.begin_again()
    deliver(delivery, [call, call])
    assert len(delivery.release()) == 2
    delivery.begin_again()


def test_many_small_items_are_bounded_by_what_they_take() -> None:
    """Beside its text each item takes memory."""
    delivery = Delivery(Policy(delivery="atomic", max_held_bytes=100 * HELD_COST))
    with pytest.raises(Oversized):
        deliver(delivery, [chunk({"content": "a"})] * 100)


def test_what_is_let_go_at_once_is_not_held() -> None:
    """A payload larger than all that may be held passes where it need not wait."""
    delivery = Delivery(Policy(delivery="tool_calls", max_held_bytes=10))
    large = chunk({"content": "x" * 100})
    assert deliver(delivery, [large]) == [large]
    delivery.begin_again()
    assert deliver(delivery, [large]) == []
    more = chunk({"content": "y" * 100})
    assert deliver(delivery, [more, more]) == [more, more]


def test_new_text_held_back_in_a_live_replay_is_bounded_too() -> None:
    """One channel that never catches up must not make the others pile up without end."""
    delivery = Delivery(Policy(max_held_bytes=5000))
    deliver(delivery, [chunk({"content": "Blue"}), chunk({"content": "Red"}, index=1)])
    delivery.begin_again()
    with pytest.raises(Oversized):
        deliver(delivery, [chunk({"content": "Blue"}), *[chunk({"content": " trams"})] * 50])

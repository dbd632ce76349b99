"""The laws that real servers' cases are examples of, by Hypothesis; the cases are in `test_real_servers.py`.

A healthy stream with oddities in it gives the SDK's own items in one request and no WARNING; what is a fault is raised,
or asked for again, as its rule says. The oracle is the SDK alone on the same bytes, and the model the bytes came from.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import openai_stream_guard
from openai_stream_guard import OpenAIStreamParseError, Policy
from openai_stream_guard.testing import faults, slow, stall
from tests.support.error_shapes import MIND, PLAIN, SHAPES, UNCHANGING, Words
from tests.support.healthy_oddities import (
    DONE,
    ODDITIES,
    call_chunk,
    chunk,
    counted,
    encode,
    finish_chunk,
    lifecycle,
    names,
    said_in_parts,
    text_chunk,
    texts,
    words,
)
from tests.support.logs import logged
from tests.support.mock_servers import POLICY, Body, MockServer, by_the_sdk_alone
from tests.support.real_servers import ATTEMPTS_AT_MOST, Heard
from tests.support.streams import VERSION

pytestmark = pytest.mark.skipif(VERSION < (1, 109), reason="this SDK does not stream images and transcriptions")

QUICK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking: an example is two streams of the SDK's, and hundreds of them would be tried for one failure."""
few = settings(max_examples=8, phases=QUICK)
some = settings(max_examples=15, phases=QUICK)
SETTINGS = [known.name for known in dataclasses.fields(Policy)]
syncs = st.booleans()


@pytest.fixture(autouse=True)
def guarded_by_default() -> Iterator[None]:
    """The default policy, without waiting and without a budget."""
    openai_stream_guard.enable(POLICY)
    yield
    openai_stream_guard.disable()


def wire(events: list[Any], *, named: bool = False) -> tuple[bytes, ...]:
    """These events, a read each; bytes are left as they are."""
    return tuple(event if isinstance(event, bytes) else encode(event, named=named) for event in events)


def assert_whole(heard: Heard, alone: Heard) -> None:
    """Every item of the SDK's, and nothing else."""
    assert alone.error is None
    assert (repr(heard.error), heard.items) == ("None", alone.items)


def assert_raised(heard: Heard, before: Heard, *kinds: str) -> None:
    """The typed error, after what the SDK made of the whole events before it."""
    assert isinstance(heard.error, OpenAIStreamParseError), repr(heard.error)
    assert heard.error.fault in kinds
    assert heard.items == before.items
    assert heard.report.outcome == "failed"


# What is healthy.


@pytest.mark.parametrize("name", ODDITIES)
@some
@given(data=st.data())
def test_an_oddity_is_healthy(name: str, data: st.DataObject) -> None:
    """Rules 1.1, 1.2, 1.4 to 1.7, 1.10 to 1.12 and 1.15: as the SDK alone, in one request, without a WARNING."""
    stream = data.draw(ODDITIES[name]())
    body = Body((b"".join(stream.reads),) if data.draw(st.booleans()) else stream.reads)
    server = MockServer([body])
    with logged() as warnings:
        heard = server.ask(stream.api, stream.request, sync=data.draw(syncs))
    assert_whole(heard, by_the_sdk_alone(stream.api, body, stream.request))
    assert heard.report.outcome == "complete"
    assert (server.requests, [line.getMessage() for line in warnings]) == (1, [])


@few
@given(data=st.data(), name=st.sampled_from(sorted(ODDITIES)), delivery=st.sampled_from(("atomic", "tool_calls")))
def test_an_oddity_is_healthy_when_it_is_held(data: st.DataObject, name: str, delivery: str) -> None:
    """The same items, whenever they are handed over. A mark hands over nothing, since it can be taken back."""
    stream = data.draw(ODDITIES[name]())
    server = MockServer([Body(stream.reads)])
    with openai_stream_guard.guarding(delivery=delivery), logged() as warnings:
        heard = server.ask(stream.api, stream.request, sync=data.draw(syncs))
    alone = by_the_sdk_alone(stream.api, Body(stream.reads), stream.request)
    assert heard.error is None
    assert sorted(map(repr, heard.items)) == sorted(map(repr, alone.items))
    assert delivery == "tool_calls" or heard.items == alone.items
    assert (server.requests, list(warnings)) == (1, [])


@few
@given(data=st.data())
def test_finishes_on_any_index_are_enough_for_strict(data: st.DataObject) -> None:
    """1.10 and 1.2: under `strict` too, the last reason that stands is a mark."""
    kind = data.draw(st.sampled_from(("chat_finishes_on_one_index", "chat_finished_again", "chat_index_counts")))
    stream = data.draw(ODDITIES[kind]())
    server = MockServer([Body(stream.reads)])
    with openai_stream_guard.guarding(end_rule="strict"):
        heard = server.ask("chat", stream.request)
    assert_whole(heard, by_the_sdk_alone("chat", Body(stream.reads), stream.request))
    assert server.requests == 1


@few
@given(data=st.data())
def test_an_event_that_comes_twice_is_handed_on_once(data: st.DataObject) -> None:
    """1.5: the same number and the same payload."""
    events = wire(data.draw(counted(lifecycle(data.draw(said_in_parts)))), named=True)
    twice = data.draw(st.integers(1, len(events) - 2))
    later = data.draw(st.integers(twice + 1, len(events) - 1))
    server = MockServer([Body((*events[:later], events[twice], *events[later:]))])
    with logged() as warnings:
        heard = server.ask("responses", sync=data.draw(syncs))
    assert_whole(heard, by_the_sdk_alone("responses", Body(events)))
    assert (server.requests, list(warnings)) == (1, [])


# 1.1 Silence behind the marks, on the test clock: each read is waited for.

FINISHED = wire([text_chunk("a"), finish_chunk()])
GOES_ON = wire([text_chunk("b"), finish_chunk()])


@few
@given(seconds=st.floats(4.0, 28.0), sync=syncs)
def test_silence_that_ends_loses_nothing(seconds: float, sync: bool) -> None:
    """Whatever comes within 30 s of silence behind a finish is handed on."""
    body = Body((b"".join(FINISHED), b"".join(GOES_ON), DONE))
    alone = by_the_sdk_alone("chat", body)
    server = MockServer([body])
    with faults(slow(seconds=seconds, times=None)), logged() as warnings:
        heard = server.ask("chat", sync=sync, timeout=600.0)
    assert_whole(heard, alone)
    assert (server.requests, list(warnings)) == (1, [])


@few
@given(seconds=st.floats(5.0, 28.0), comments=st.integers(2, 6), sync=syncs)
def test_comments_behind_a_mark_are_life(seconds: float, comments: int, sync: bool) -> None:
    """They keep a settled stream open, for longer than any silence would."""
    body = Body((b"".join(FINISHED), *[b": busy\n\n"] * comments, GOES_ON[0], GOES_ON[1], DONE))
    alone = by_the_sdk_alone("chat", body)
    server = MockServer([body])
    with faults(slow(seconds=seconds, times=None)), logged() as warnings:
        heard = server.ask("chat", sync=sync, timeout=600.0)
    assert_whole(heard, alone)
    assert (server.requests, list(warnings)) == (1, [])


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "asyncio"])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_silence_for_good_ends_a_settled_stream(api: str, sync: bool) -> None:
    """After `linger_timeout`, complete, with a WARNING and a note, and never asked for again."""
    reads = FINISHED if api == "chat" else wire(lifecycle(["a"]), named=True)
    alone = by_the_sdk_alone(api, Body(reads))
    server = MockServer([Body((*reads, b": end\n\n"))])
    with faults(stall(after_bytes=len(b"".join(reads)), times=None)), logged() as warnings:
        heard = server.ask(api, sync=sync, timeout=600.0)
    assert_whole(heard, alone)
    assert (heard.report.outcome, server.requests) == ("complete", 1)
    assert heard.report.notes
    (line,) = [record.getMessage() for record in warnings]
    assert "linger_timeout" in line


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "asyncio"])
def test_a_host_that_went_on_is_waited_for(sync: bool) -> None:
    """Once it was seen to go on after its mark, only the idle timeout ends its streams."""
    reads = (b"".join(FINISHED), b"".join(GOES_ON), DONE)
    alone = by_the_sdk_alone("chat", Body(reads))
    server = MockServer([Body(reads)])
    assert_whole(server.ask("chat", sync=sync), alone)
    with faults(slow(seconds=100.0, times=None)), logged() as warnings:
        assert_whole(server.ask("chat", sync=sync, timeout=600.0), alone)
    assert (server.requests, list(warnings)) == (2, [])


@few
@given(seconds=st.floats(31.0, 200.0), sync=syncs)
def test_pictures_that_are_still_to_come_are_waited_for(seconds: float, sync: bool) -> None:
    """1.7: `linger_timeout` does not count before all of them have come."""
    pictures = wire([{"type": "image_generation.completed", "b64_json": text} for text in ("QQ==", "Qg==")], named=True)
    alone = by_the_sdk_alone("images", Body(pictures), {"n": 2})
    server = MockServer([Body(pictures)])
    with faults(slow(seconds=seconds, times=None)), logged() as warnings:
        heard = server.ask("images", {"n": 2}, sync=sync, timeout=600.0)
    assert_whole(heard, alone)
    assert (server.requests, list(warnings)) == (1, [])


# 1.2 to 1.4, 1.6, 1.7, 1.11: marks that do not stand, and what lacks one.


@st.composite
def unfinished(draw: Any) -> tuple[str, dict[str, Any], list[Any]]:
    """An API, a request, and whole events that are no whole answer, and that no `[DONE]` follows."""
    kind = draw(st.sampled_from(("revoked", "always finishing", "message", "output after the end", "not terminal")))
    if kind == "revoked":
        return "chat", {}, [*draw(texts()), finish_chunk(), *draw(texts())]
    if kind == "always finishing":
        said = draw(st.lists(words, min_size=2, max_size=4))
        return "chat", {}, [text_chunk(text, "stop") for text in said]
    if kind == "message":
        said = draw(st.lists(words, min_size=1, max_size=3))
        return "chat", {}, [chunk([{"index": 0, "message": {"content": text}}]) for text in said]
    events = lifecycle(draw(said_in_parts))
    if kind == "output after the end":
        early = draw(st.integers(4, len(events) - 2))
        interim = {**events[-1], "response": {**events[-1]["response"], "output": []}}
        return "responses", {}, [*events[:early], interim, *events[early:-1]]
    mark = draw(st.sampled_from(("response.created", "response.queued", "response.in_progress")))
    status = draw(st.sampled_from(("completed", "incomplete", "failed")))
    odd = {"type": mark, "response": {**events[0]["response"], "status": status}}
    return "responses", {}, [odd, *events[2 : draw(st.integers(2, len(events) - 2))]]


@some
@given(data=st.data(), end=st.sampled_from(("clean", "reset")))
def test_a_mark_that_does_not_stand_is_none(data: st.DataObject, end: Any) -> None:
    """1.2, 1.4, 1.11: text after the last finish, output after the last terminal event, or none that is one."""
    api, request, events = data.draw(unfinished())
    reads = wire(events, named=api == "responses")
    server = MockServer([Body(reads, end)])
    heard = server.ask(api, request, sync=data.draw(syncs))
    assert_raised(heard, by_the_sdk_alone(api, Body(reads), request), "truncated" if end == "clean" else "disconnected")
    assert server.requests <= ATTEMPTS_AT_MOST


@some
@given(data=st.data(), end=st.sampled_from(("clean", "reset")))
def test_what_was_finished_too_early_is_recovered(data: st.DataObject, end: Any) -> None:
    """1.2: the first response breaks in the text that followed its finish; the second one repeats it, and goes on."""
    events = wire([*data.draw(texts()), finish_chunk(), *data.draw(texts(least=2)), finish_chunk()])
    first = next(place for place, event in enumerate(events) if b'"finish_reason": "stop"' in event)
    spoken = next(place for place, event in enumerate(events) if place > first and b'"content": ""' not in event)
    cut = data.draw(st.integers(spoken + 1, len(events) - 1))
    server = MockServer([Body(events[:cut], end), Body((*events, DONE))])
    heard = server.ask("chat", sync=data.draw(syncs))
    assert_whole(heard, by_the_sdk_alone("chat", Body((*events, DONE))))
    assert (server.requests, heard.report.outcome) == (2, "recovered")


@few
@given(data=st.data(), marked=st.booleans())
def test_a_connection_that_breaks_behind_a_standing_mark_has_lost_nothing(data: st.DataObject, marked: bool) -> None:
    """Reported, never asked for again."""
    api = data.draw(st.sampled_from(("chat", "responses")))
    chat = [*data.draw(texts()), finish_chunk()]
    reads = wire(chat if api == "chat" else lifecycle(data.draw(said_in_parts)), named=api == "responses")
    reads = (*reads, DONE) if marked else reads
    server = MockServer([Body(reads, "reset")])
    heard = server.ask(api, sync=data.draw(syncs))
    assert_whole(heard, by_the_sdk_alone(api, Body(reads)))
    assert (server.requests, heard.report.outcome) == (1, "complete")


@few
@given(data=st.data())
def test_done_ends_no_item_that_is_open(data: st.DataObject) -> None:
    """1.6: `[DONE]` without any lifecycle event, while something that was opened is not closed."""
    events = lifecycle(data.draw(said_in_parts))[2:-1]
    reads = wire(events[: data.draw(st.integers(1, len(events) - 3))], named=True)
    server = MockServer([Body((*reads, DONE))])
    heard = server.ask("responses", sync=data.draw(syncs))
    assert_raised(heard, by_the_sdk_alone("responses", Body(reads)), "truncated")


@few
@given(data=st.data(), end=st.sampled_from(("clean", "reset")))
def test_fewer_pictures_than_were_asked_for(data: st.DataObject, end: Any) -> None:
    """1.7: the typed error, after those that came."""
    count = data.draw(st.integers(2, 4))
    came = data.draw(st.integers(1, count - 1))
    pictures = [{"type": "image_generation.completed", "b64_json": f"{number}Q=="} for number in range(came)]
    reads = wire(pictures, named=True)
    server = MockServer([Body(reads, end)])
    heard = server.ask("images", {"n": count}, sync=data.draw(syncs))
    assert_raised(
        heard,
        by_the_sdk_alone("images", Body(reads), {"n": count}),
        "truncated" if end == "clean" else "disconnected",
    )
    assert server.requests == 1, "what makes pictures is asked for once"


@few
@given(said=st.lists(words, min_size=1, max_size=3), sync=syncs)
def test_segments_without_types_end_with_the_body_only(said: list[str], sync: bool) -> None:
    """1.7: a connection that breaks is no end."""
    reads = wire([{"text": text} for text in said])
    heard = MockServer([Body(reads, "reset")]).ask("transcriptions", sync=sync)
    assert_raised(heard, by_the_sdk_alone("transcriptions", Body(reads)), "disconnected")


@few
@given(data=st.data(), name=names)
def test_done_ends_no_half_call_without_index(data: st.DataObject, name: str) -> None:
    """1.11: its arguments are looked into, and are no JSON yet."""
    arguments = json.dumps({"to": data.draw(words)})
    half = arguments[: data.draw(st.integers(1, len(arguments) - 1))]
    reads = wire([call_chunk(None, name, half, "call_1")])
    heard = MockServer([Body((*reads, DONE))]).ask("chat", sync=data.draw(syncs))
    assert_raised(heard, by_the_sdk_alone("chat", Body(reads)), "truncated")


# 1.5 and 1.9: holes in the numbers, and habits.


@some
@given(data=st.data())
def test_a_hole_in_the_numbers_is_a_gap(data: st.DataObject) -> None:
    """An event that got lost comes with the second response."""
    events = data.draw(counted(lifecycle(data.draw(said_in_parts))))
    lost = data.draw(st.integers(1, len(events) - 2))
    whole = Body(wire(events, named=True))
    server = MockServer([Body(wire([*events[:lost], *events[lost + 1 :]], named=True)), whole])
    heard = server.ask("responses", {"store": False}, sync=data.draw(syncs))
    assert_whole(heard, by_the_sdk_alone("responses", whole))
    assert (server.requests, heard.report.attempts[0].fault) == (2, "gap")


@few
@given(data=st.data())
def test_a_hole_at_another_place_is_no_habit(data: st.DataObject) -> None:
    """1.9: two events that got lost are two losses, and the third response has both."""
    events = data.draw(counted(lifecycle(data.draw(said_in_parts))))
    places = data.draw(st.lists(st.integers(1, len(events) - 2), min_size=2, max_size=2, unique=True))
    holes = [Body(wire([*events[:lost], *events[lost + 1 :]], named=True)) for lost in places]
    whole = Body(wire(events, named=True))
    server = MockServer([*holes, whole])
    heard = server.ask("responses", {"store": False}, sync=data.draw(syncs))
    assert_whole(heard, by_the_sdk_alone("responses", whole))
    assert [attempt.fault for attempt in heard.report.attempts] == ["gap", "gap", None]


@st.composite
def habits(draw: Any) -> tuple[str, tuple[bytes, ...]]:
    """An API, and a whole answer with an oddity that comes every time."""
    said = draw(said_in_parts)
    if draw(st.booleans()):  # a gateway merges events, and the numbers jump
        events = lifecycle(said)
        holes = draw(st.sets(st.integers(1, len(events) - 1), min_size=1, max_size=3))
        number, result = draw(st.integers(0, 2)), []
        for place, event in enumerate(events):
            number += 1 + (place in holes) * draw(st.integers(1, 9))
            result.append({**event, "sequence_number": number})
        return "responses", wire(result, named=True)
    return "responses", (*wire(lifecycle(said)[:-1], named=True), DONE)  # no terminal event after all items are done


def assert_habit(server: MockServer, heard: Heard, warnings: list[logging.LogRecord], before: int) -> None:
    """Two requests, a note, and one WARNING that names the setting."""
    assert server.requests == before + 2
    assert heard.report.notes
    lines = [record.getMessage() for record in warnings]
    assert [line for line in lines if any(name in line for name in SETTINGS)], lines


@some
@given(data=st.data())
def test_a_fault_that_repeats_itself_is_a_habit(data: st.DataObject) -> None:
    """1.9: complete the first time, after a second request; from then on like any other stream."""
    api, reads = data.draw(habits())
    alone, server, sync = by_the_sdk_alone(api, Body(reads)), MockServer([Body(reads)]), data.draw(syncs)
    with logged() as warnings:
        heard = server.ask(api, {"store": False}, sync=sync)
    assert_whole(heard, alone)
    assert_habit(server, heard, warnings, 0)
    with logged() as warnings:
        heard = server.ask(api, {"store": False}, sync=sync)
    assert_whole(heard, alone)
    assert (server.requests, list(warnings), heard.report.outcome) == (3, [], "complete")


@some
@given(data=st.data())
def test_no_habit_excuses_a_bare_end(data: st.DataObject) -> None:
    """1.9: an end without any mark, inside an event, or in an open call, is a fault however often it comes."""
    kind = data.draw(st.sampled_from(("bare", "inside an event", "open call")))
    whole, tail = wire(data.draw(texts())), b""
    if kind == "inside an event":
        event = encode(finish_chunk())
        tail = event[: data.draw(st.integers(7, len(event) - 3))]
    elif kind == "open call":
        whole, tail = wire([call_chunk(0, "pay", '{"to": "B', "call_1")]), DONE
    server = MockServer([Body((*whole, tail) if tail else whole)])
    for _ in range(3):
        heard = server.ask("chat", sync=data.draw(syncs))
        assert_raised(heard, by_the_sdk_alone("chat", Body(whole)), "truncated")


# 1.8: what is learnt.


@st.composite
def chat_kind(draw: Any, *, finished: bool) -> tuple[bytes, ...]:
    """An answer that ends by `[DONE]`, with a finish or without."""
    return wire([*draw(texts()), *([finish_chunk()] if finished else []), DONE])


@few
@given(data=st.data(), runs=st.lists(st.integers(0, 4), min_size=2, max_size=3), sync=syncs)
def test_fewer_than_five_finishes_prove_nothing(data: st.DataObject, runs: list[int], sync: bool) -> None:
    """Up to four in a row, then a stream that has none: all are whole, in one request each."""
    reads = [data.draw(chat_kind(finished=finished)) for length in runs for finished in (*[True] * length, False)]
    server = MockServer([Body(each) for each in reads])
    with logged() as warnings:
        heard = [server.ask("chat", sync=sync) for _ in reads]
    for one, each in zip(heard, reads, strict=True):
        assert_whole(one, by_the_sdk_alone("chat", Body(each)))
    assert (server.requests, list(warnings)) == (len(reads), [])


def taught(server: MockServer) -> list[int]:
    """How many lines at INFO each of five streams that finish costs."""
    told = []
    for _ in range(5):
        with logged(logging.INFO) as lines:
            assert server.ask("chat").error is None
        told.append(len(lines))
    return told


FINISHES = Body(wire([text_chunk("a"), finish_chunk(), DONE]))
UNFINISHED = Body(wire([text_chunk("a"), DONE]))


def test_five_finishes_in_a_row_are_a_rule_and_told_once() -> None:
    """Then `[DONE]` alone is no end: it is asked again. A stream with a tool call is another kind of answer."""
    server = MockServer([*[FINISHES] * 5, UNFINISHED, FINISHES])
    assert taught(server) == [0, 0, 0, 0, 1]
    heard = server.ask("chat")
    assert_whole(heard, by_the_sdk_alone("chat", FINISHES))
    assert (server.requests, heard.report.attempts[0].fault) == (7, "truncated")
    call = Body(wire([call_chunk(0, "now", "{}", "call_1"), DONE]))
    server.bodies, server.requests = [call], 0
    assert server.ask("chat").error is None
    assert server.requests == 1


def test_a_miss_that_comes_again_is_unlearnt() -> None:
    """1.8 and 1.9: the re-issue has no finish either. Complete, and so is the next, in one request."""
    server = MockServer([*[FINISHES] * 5, UNFINISHED])
    taught(server)
    with logged() as warnings:
        heard = server.ask("chat")
    alone = by_the_sdk_alone("chat", UNFINISHED)
    assert_whole(heard, alone)
    assert_habit(server, heard, warnings, 5)
    with logged() as warnings:
        assert_whole(server.ask("chat"), alone)
    assert (server.requests, list(warnings)) == (8, [])


# 1.3, 1.12, 1.13: the API's own word.

spoken = st.sampled_from(["first", "after text"])


@pytest.mark.parametrize("shape", SHAPES)
@some
@given(data=st.data(), told=st.sampled_from([*MIND, *UNCHANGING]), where=spoken)
def test_an_error_is_raised_and_asked_again_as_it_says(
    shape: str, data: st.DataObject, told: Words, where: str
) -> None:
    """In every shape, with and without `[DONE]` behind it: not an item, and retried by its words alone."""
    before = wire(data.draw(texts())) if where == "after text" else ()
    after = (DONE,) if data.draw(st.booleans()) else ()
    server = MockServer([Body((*before, SHAPES[shape](told), *after))])
    heard = server.ask("chat", sync=data.draw(syncs))
    assert_raised(heard, by_the_sdk_alone("chat", Body(before)), "upstream_error")
    assert (server.requests > 1, server.requests <= ATTEMPTS_AT_MOST) == (told in MIND, True)


@pytest.mark.parametrize("shape", SHAPES)
@few
@given(data=st.data(), told=st.sampled_from([*MIND, *UNCHANGING]))
def test_an_error_behind_a_finish_is_raised_at_once(shape: str, data: st.DataObject, told: Words) -> None:
    """1.3: never lost, and never asked for again."""
    before = wire([*data.draw(texts()), finish_chunk()])
    server = MockServer([Body((*before, SHAPES[shape](told)))])
    heard = server.ask("chat", sync=data.draw(syncs))
    assert_raised(heard, by_the_sdk_alone("chat", Body(before)), "upstream_error")
    assert server.requests == 1


@few
@given(data=st.data(), told=st.sampled_from(MIND), shape=st.sampled_from(sorted(SHAPES)))
def test_an_error_that_passes_is_healed(data: st.DataObject, told: Words, shape: str) -> None:
    """The second request is answered."""
    whole = wire([*data.draw(texts()), finish_chunk(), DONE])
    cut = data.draw(st.integers(0, len(whole) - 3))
    server = MockServer([Body((*whole[:cut], SHAPES[shape](told))), Body(whole)])
    heard = server.ask("chat", sync=data.draw(syncs))
    assert_whole(heard, by_the_sdk_alone("chat", Body(whole)))
    assert server.requests == 2


@pytest.mark.parametrize(("text", "again"), PLAIN.items())
def test_plain_text_under_event_error(text: str, again: bool) -> None:
    """1.12 and 1.13: its words decide, and are the message."""
    for sync in (True, False):
        server = MockServer([Body((f"event: error\ndata: {text}\n\n".encode(),))])
        heard = server.ask("chat", sync=sync)
        assert_raised(heard, Heard(), "upstream_error")
        assert text in str(heard.error)
        assert (server.requests > 1) == again


@pytest.mark.parametrize(("status", "again"), [(429, True), (503, True), (500, True), (400, False), (401, False)])
def test_a_status_in_a_comment(status: int, again: bool) -> None:
    """1.13: `:HTTP_STATUS/429` before an error whose code says nothing."""
    body = json.dumps({"code": "Model.Odd", "message": "see the status", "request_id": "r"})
    server = MockServer([Body((f"id:1\nevent:error\n:HTTP_STATUS/{status}\ndata:{body}\n\n".encode(),))])
    heard = server.ask("chat")
    assert_raised(heard, Heard(), "upstream_error")
    assert (server.requests > 1) == again


@few
@given(data=st.data(), told=st.sampled_from([*MIND, *UNCHANGING]), flat=st.booleans())
def test_an_error_of_the_responses_api(data: st.DataObject, told: Words, flat: bool) -> None:
    """As an event of its own, flat or not, before anything visible."""
    error = {key: value for key, value in (("type", told.type), ("code", told.code)) if value is not None}
    error["message"] = told.message
    if flat:
        error = {"type": "error", "code": told.code or told.type, "message": told.message, "param": None}
    else:
        error = {"type": "error", "error": error}
    before = wire(lifecycle(["a"])[: data.draw(st.integers(0, 2))], named=True)
    server = MockServer([Body((*before, encode(error, named=True)))])
    heard = server.ask("responses", {"store": False}, sync=data.draw(syncs))
    assert_raised(heard, by_the_sdk_alone("responses", Body(before)), "upstream_error")
    if told.type is None or told.code is None or not flat:
        assert (server.requests > 1) == (told in MIND)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "asyncio"])
def test_a_failed_response_may_be_asked_for_again(sync: bool) -> None:
    """1.13: with `server_error`, before anything visible; and it is handed on where nothing is left to try."""
    events = lifecycle(["a"])
    failed = {**events[0]["response"], "status": "failed", "error": {"code": "server_error", "message": "sorry"}}
    body = Body(wire([*events[:2], {"type": "response.failed", "response": failed}], named=True))
    whole = Body(wire(events, named=True))
    server = MockServer([body, whole])
    heard = server.ask("responses", {"store": False}, sync=sync)
    assert_whole(heard, by_the_sdk_alone("responses", whole))
    assert server.requests == 2
    server = MockServer([body])
    heard = server.ask("responses", {"store": False}, sync=sync)
    assert_whole(heard, by_the_sdk_alone("responses", body))
    assert 1 < server.requests <= ATTEMPTS_AT_MOST


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "asyncio"])
def test_a_failed_response_is_the_models_word_once_something_is_visible(sync: bool) -> None:
    """Or where its code says that it will not change: handed on, in one request, without a WARNING."""
    events = lifecycle(["a"])
    for shown, code in ((5, "server_error"), (2, "invalid_prompt")):
        failed = {**events[0]["response"], "status": "failed", "error": {"code": code, "message": "sorry"}}
        body = Body(wire([*events[:shown], {"type": "response.failed", "response": failed}], named=True))
        server = MockServer([body])
        with logged() as warnings:
            heard = server.ask("responses", {"store": False}, sync=sync)
        assert_whole(heard, by_the_sdk_alone("responses", body))
        assert (server.requests, list(warnings)) == (1, [])


# 1.14 and 1.15: pages, and bytes that belong to nothing.

COMPLETION = {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "a"}}]}
RESPONSE = {"id": "r", "object": "response", "status": "completed", "output": []}
UNREADABLE = [{"message": "Unauthorized"}, {"message": "no Route matched", "request_id": "5"}, {"status": "busy"}]


@st.composite
def pages(draw: Any, api: str, *, whole: bool) -> tuple[Any, bytes]:
    """A JSON text that is none of this API's items, and how it is written down."""
    others = [{"detail": "Not Found"}, {"detail": [{"loc": ["body"], "msg": "field required"}]}, [], None]
    page = draw(st.sampled_from([*UNREADABLE, *(others if whole else []), RESPONSE if api == "chat" else COMPLETION]))
    text = json.dumps(page, indent=2 if whole and draw(st.booleans()) else None)
    return page, text.encode()


@some
@given(data=st.data(), api=st.sampled_from(("chat", "responses")), typed=st.booleans())
def test_a_page_is_no_stream(data: st.DataObject, api: str, typed: bool) -> None:
    """1.14: nothing is delivered, the parsed page is on the error, and it is asked for again."""
    page, text = data.draw(pages(api, whole=True))
    text += data.draw(st.sampled_from((b"", b"\n", b"\n\n")))
    kind = "application/json" if typed else "text/event-stream"
    server = MockServer([Body((text,), content_type=kind)])
    heard = server.ask(api, {"store": False}, sync=data.draw(syncs))
    assert_raised(heard, Heard(), "not_a_stream")
    assert heard.error.body == page
    assert 1 < server.requests <= ATTEMPTS_AT_MOST


NO_EVENT = [
    b"Service Unavailable",
    b"upstream connect error\n",
    b'"' + b"x" * 5_000 + b'"',
    b"{oops: <>",
    b'{"id":"c","choices":[{"mess',
]


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "text/plain", "text/html"])
@few
@given(text=st.sampled_from(NO_EVENT), sync=syncs)
def test_a_body_that_claims_to_be_no_stream_and_has_no_event_is_none(kind: str, text: bytes, sync: bool) -> None:
    """1.14: asked again like any page; where an event stream is claimed, the same body has lost its events."""
    for content_type, fault in ((kind, "not_a_stream"), ("text/event-stream", "truncated")):
        server = MockServer([Body((text,), content_type=content_type)])
        heard = server.ask("chat", sync=sync)
        assert_raised(heard, Heard(), fault)
        assert text.startswith(b"{") or "one JSON document" not in str(heard.error.hint)
        assert 1 < server.requests <= ATTEMPTS_AT_MOST


@few
@given(data=st.data(), again=st.booleans())
def test_a_page_with_an_error_is_the_apis_word(data: st.DataObject, again: bool) -> None:
    """1.14: an object with `error`, outside of any field."""
    error = {"type": "overloaded_error" if again else "authentication_error", "message": data.draw(words)}
    server = MockServer([Body((json.dumps({"error": error}).encode(),), content_type="application/json")])
    heard = server.ask("chat", sync=data.draw(syncs))
    assert_raised(heard, Heard(), "upstream_error")
    assert (server.requests > 1) == again


@few
@given(data=st.data(), api=st.sampled_from(("chat", "responses")))
def test_a_page_in_the_middle_of_an_answer(data: st.DataObject, api: str) -> None:
    """1.14: malformed, whatever follows."""
    chat = [*data.draw(texts()), finish_chunk()]
    whole = wire(chat if api == "chat" else lifecycle(data.draw(said_in_parts)), named=api == "responses")
    place = data.draw(st.integers(1, len(whole) - 1))
    _, text = data.draw(pages(api, whole=False))
    server = MockServer([Body((*whole[:place], text + b"\n\n", *whole[place:]))])
    heard = server.ask(api, {"store": False}, sync=data.draw(syncs))
    assert_raised(heard, by_the_sdk_alone(api, Body(whole[:place])), "malformed")


@few
@given(data=st.data(), api=st.sampled_from(("chat", "responses")))
def test_a_page_behind_a_whole_answer_is_dropped(data: st.DataObject, api: str) -> None:
    """1.14: with a note."""
    chat = [*data.draw(texts()), finish_chunk()]
    whole = wire(chat if api == "chat" else lifecycle(data.draw(said_in_parts)), named=api == "responses")
    _, text = data.draw(pages(api, whole=False))
    server = MockServer([Body((*whole, text + b"\n\n"))])
    with logged() as warnings:
        heard = server.ask(api, {"store": False}, sync=data.draw(syncs))
    assert_whole(heard, by_the_sdk_alone(api, Body(whole)))
    assert heard.report.notes
    assert (server.requests, list(warnings)) == (1, [])


@some
@given(data=st.data(), api=st.sampled_from(("chat", "responses")))
def test_the_rest_of_an_event_is_a_loss(data: st.DataObject, api: str) -> None:
    """1.15: its beginning is gone, in the middle of an answer or at the start of the body."""
    chat = [*data.draw(texts(least=2)), finish_chunk()]
    whole = wire(chat if api == "chat" else lifecycle(data.draw(said_in_parts)))
    hurt = data.draw(st.integers(0, len(whole) - 2))
    line = whole[hurt]
    rest = line[data.draw(st.integers(len(b"data: {") + 1, len(line) - 4)) :]
    server = MockServer([Body((*whole[:hurt], rest, *whole[hurt + 1 :], DONE))])
    heard = server.ask(api, {"store": False}, sync=data.draw(syncs))
    document = rest.startswith((b"[", b"{"))  # it may look as a JSON document does
    kinds = ("malformed", "not_a_stream") if document else ("malformed",)
    assert_raised(heard, by_the_sdk_alone(api, Body(whole[:hurt])), *kinds)


# 1.16: waiting for the first event, on the test clock.

HEALTHY = Body(wire([text_chunk("a"), finish_chunk(), DONE]))


@few
@given(seconds=st.floats(20.0, 250.0), comments=st.integers(4, 6), sync=syncs)
def test_comments_before_the_first_event_are_life(seconds: float, comments: int, sync: bool) -> None:
    """A queue that says so is waited for, up to 1,800 s."""
    body = Body((*[b": keep-alive\n\n"] * comments, b"".join(HEALTHY.reads)))
    server = MockServer([body])
    with faults(slow(seconds=seconds, times=None)), logged() as warnings:
        heard = server.ask("chat", sync=sync, timeout=600.0)
    assert_whole(heard, by_the_sdk_alone("chat", HEALTHY))
    assert (server.requests, list(warnings)) == (1, [])


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "asyncio"])
def test_comments_are_not_waited_for_without_end(sync: bool) -> None:
    """More than 1,800 s of them are a stall."""
    server = MockServer([Body((*[b": keep-alive\n\n"] * 12, *HEALTHY.reads))])
    with faults(slow(seconds=200.0, times=None)):
        heard = server.ask("chat", sync=sync, timeout=600.0)
    assert_raised(heard, Heard(), "stalled")
    assert server.requests == 1


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "asyncio"])
@pytest.mark.parametrize("kind", ["comments", "response.keep_alive", "keepalive"])
def test_after_the_first_event_only_events_are_progress(kind: str, sync: bool) -> None:
    """Comments and keep-alives do not put the idle timeout off."""
    events = wire(lifecycle(["a"]), named=True)
    sign = b": busy\n\n" if kind == "comments" else encode({"type": kind}, named=True)
    server = MockServer([Body((b"".join(events[:5]), *[sign] * 12, *events[5:]))])
    with faults(slow(seconds=40.0, times=None)), openai_stream_guard.guarding(idle_timeout=150.0):
        heard = server.ask("responses", {"store": False}, sync=sync, timeout=600.0)
    assert isinstance(heard.error, OpenAIStreamParseError), repr(heard.error)
    assert heard.error.fault == "stalled"
    assert "idle_timeout" in f"{heard.error} {heard.error.hint}"


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "asyncio"])
@pytest.mark.parametrize(("limit", "again"), [(30.0, True), (90.0, False)])
def test_a_stall_before_the_first_event_is_asked_again_where_time_is_left(
    limit: float, again: bool, sync: bool
) -> None:
    """Not where less is left of `max_elapsed`, 120 s, than it had waited: it would queue anew. Whose limit is told."""
    server = MockServer([HEALTHY])
    with (
        faults(stall(after_events=0, times=None)),
        openai_stream_guard.guarding(first_event_timeout=limit, max_elapsed=120.0 if again else 80.0),
    ):
        heard = server.ask("chat", sync=sync, timeout=600.0)
    assert_raised(heard, Heard(), "stalled")
    assert (server.requests > 1) == again
    assert "first_event_timeout" in str(heard.error)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "asyncio"])
def test_a_stall_in_mid_answer_is_asked_again(sync: bool) -> None:
    """However long it was waited for."""
    server = MockServer([HEALTHY])
    with faults(stall(after_events=1)), openai_stream_guard.guarding(idle_timeout=90.0, max_elapsed=80.0):
        heard = server.ask("chat", sync=sync, timeout=600.0)
    assert_whole(heard, by_the_sdk_alone("chat", HEALTHY))
    assert server.requests == 2

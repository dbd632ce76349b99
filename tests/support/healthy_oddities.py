"""Healthy streams as real servers send them: a small model of an answer, and oddities put in at any place.

Each oddity is a strategy for a `HealthyStream`. It knows the wire only, and nothing of the package. What it makes is
healthy by the rule it is named after, so the SDK alone reads it whole in one request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Event = dict[str, Any]
DONE = b"data: [DONE]\n\n"
REASONS = ("stop", "length", "content_filter")
words = st.text("abcde fghé☃\"'{}[]:,.\\", min_size=1, max_size=8)
"""Text of an answer; it may look like JSON, and like the end of an event."""
names = st.text("abcdefgh_", min_size=1, max_size=8)


@dataclass(frozen=True)
class HealthyStream:
    """The bytes of a healthy response, one read an event, and the request that it answers."""

    api: str
    reads: tuple[bytes, ...]
    request: dict[str, Any] = field(default_factory=dict)


def encode(event: Event, *, named: bool = False) -> bytes:
    """An event on the wire. `named` gives it its type as the name, too."""
    name = f"event: {event['type']}\n" if named else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def on_the_wire(api: str, events: Sequence[Event | bytes], done: bool, **request: Any) -> HealthyStream:
    """A stream of these events, some of which may be bytes already."""
    named = api not in ("chat", "completions")
    reads = [event if isinstance(event, bytes) else encode(event, named=named) for event in events]
    return HealthyStream(api, (*reads, *([DONE] if done else [])), request)


def put_in(
    draw: Any, events: Sequence[Any], extra: st.SearchStrategy[Any], *, first: int = 0, most: int = 3
) -> list[Any]:
    """The events with some more between them, or behind them all; none before place `first`."""
    result = list(events)
    for _ in range(draw(st.integers(1, most))):
        result.insert(draw(st.integers(min(first, len(result)), len(result))), draw(extra))
    return result


# Chat.


def chunk(choices: list[Any], **more: Any) -> Event:
    """A chunk."""
    return {"id": "chat-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": choices, **more}


def choice(delta: Event, finish: str | None = None, index: int = 0) -> Event:
    """A choice in a chunk."""
    return {"index": index, "delta": delta, "finish_reason": finish}


def text_chunk(text: str, finish: str | None = None, index: int = 0) -> Event:
    """Some text, and the finish of its choice where it comes along."""
    return chunk([choice({"content": text}, finish, index)])


def finish_chunk(reason: str = "stop", index: int = 0) -> Event:
    """A finish without text."""
    return chunk([choice({}, reason, index)])


@st.composite
def texts(draw: Any, index: int = 0, least: int = 1) -> list[Event]:
    """Some text, in chunks; a role may come before it."""
    role = [chunk([choice({"role": "assistant", "content": ""}, index=index)])] if draw(st.booleans()) else []
    return role + [text_chunk(one, index=index) for one in draw(st.lists(words, min_size=least, max_size=4))]


def call_chunk(index: int | None, name: str | None, arguments: Any, id: str | None = None) -> Event:
    """A part of a tool call."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    call: Event = {"function": function}
    if index is not None:
        call["index"] = index
    if id is not None:
        call |= {"id": id, "type": "function"}
    return chunk([choice({"tool_calls": [call]})])


@st.composite
def a_call(draw: Any, index: int | None, *, numbered: int = 0) -> list[Event]:
    """One whole tool call, its arguments in pieces."""
    arguments = json.dumps(draw(st.dictionaries(names, words, min_size=1, max_size=2)))
    cut = draw(st.integers(0, len(arguments))) if index is not None else len(arguments)
    first = call_chunk(index, draw(names), arguments[:cut], f"call_{numbered}")
    return [first, *([call_chunk(index, None, arguments[cut:])] if cut < len(arguments) else [])]


LATE = st.sampled_from(
    [
        chunk([], usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
        chunk([choice({})]),
        chunk([choice({"content": ""})]),
        chunk([{**choice({}), "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}]),
        chunk([], prompt_filter_results=[{"prompt_index": 0}]),
        b": still here\n\n",
        b": PROCESSING\n",
    ]
)
"""What comes after a finish and says nothing for the choice."""


@st.composite
def chat_late_payloads(draw: Any) -> HealthyStream:
    """1.1: chunks without text, and comments, behind the finish."""
    events = [*draw(texts()), finish_chunk(draw(st.sampled_from(REASONS)))]
    return on_the_wire("chat", put_in(draw, events, LATE, first=len(events)), draw(st.booleans()))


@st.composite
def chat_finished_again(draw: Any) -> HealthyStream:
    """1.1 and 1.2: text behind a finish, which another finish ends. A tool ran meanwhile."""
    events: list[Any] = []
    for _ in range(draw(st.integers(2, 3))):
        events += [*draw(texts()), finish_chunk(draw(st.sampled_from((*REASONS, "tool_calls"))))]
        events += draw(st.lists(LATE, max_size=1))
    return on_the_wire("chat", events, draw(st.booleans()))


@st.composite
def chat_every_chunk_finishes(draw: Any) -> HealthyStream:
    """1.2: every chunk of text, or several of them, carry a finish; `[DONE]` is the end."""
    said = draw(st.lists(words, min_size=3, max_size=6))
    carrying = draw(st.sets(st.integers(0, len(said) - 1), min_size=2))
    reason = draw(st.sampled_from(("stop", "length")))
    events = [text_chunk(text, reason if place in carrying else None) for place, text in enumerate(said)]
    return on_the_wire("chat", events, done=True)


@st.composite
def chat_each_call_finishes(draw: Any) -> HealthyStream:
    """1.1: `tool_calls` finishes after each of the parallel calls."""
    events: list[Any] = []
    for number in range(draw(st.integers(2, 3))):
        events += [*draw(a_call(number, numbered=number)), finish_chunk("tool_calls")]
    return on_the_wire("chat", events, draw(st.booleans()))


@st.composite
def chat_index_counts(draw: Any) -> HealthyStream:
    """1.10: with one choice asked for, its index is anything."""
    events = draw(texts(least=2))
    for event in events:
        event["choices"][0]["index"] = draw(st.integers(0, 9))
    last = events[-1]["choices"][0]
    if draw(st.booleans()):
        last["finish_reason"] = "stop"
    else:
        events.append(finish_chunk(index=draw(st.integers(0, 9))))
    return on_the_wire("chat", events, draw(st.booleans()))


@st.composite
def chat_finishes_on_one_index(draw: Any) -> HealthyStream:
    """1.10: `n` choices, and `n` finishes on any of their indexes, then `[DONE]`."""
    count = draw(st.integers(2, 4))
    events = [event for index in range(count) for event in draw(texts(index))]
    events = draw(st.permutations(events))
    events += [finish_chunk(index=draw(st.integers(0, count - 1))) for _ in range(count)]
    return on_the_wire("chat", events, True, n=count)


@st.composite
def chat_message_for_delta(draw: Any) -> HealthyStream:
    """1.11: `message` in place of `delta`, in every chunk."""
    said = draw(st.lists(words, min_size=1, max_size=4))
    events = [chunk([{"index": 0, "message": {"content": text}, "finish_reason": None}]) for text in said]
    ends = draw(st.sampled_from(("with the last", "by itself", "by [DONE]")))
    if ends == "with the last":
        events[-1]["choices"][0]["finish_reason"] = "stop"
    elif ends == "by itself":
        events.append(chunk([{"index": 0, "message": {"content": ""}, "finish_reason": "stop"}]))
    return on_the_wire("chat", events, ends == "by [DONE]" or draw(st.booleans()))


@st.composite
def chat_summary(draw: Any) -> HealthyStream:
    """1.11: after the deltas a `message` with the whole text, beside the finish or behind it."""
    events = draw(texts())
    whole = "".join(event["choices"][0]["delta"]["content"] for event in events)
    message = {"role": "assistant", "content": whole}
    if draw(st.booleans()):
        events.append(chunk([{"index": 0, "message": message, "finish_reason": "stop"}]))
    else:
        summary = chunk([{"index": 0, "message": message}])
        if draw(st.booleans()):
            summary["choices"][0]["finish_reason"] = "stop"
        events += [finish_chunk(), summary]
    return on_the_wire("chat", events, draw(st.booleans()))


@st.composite
def chat_calls_without_index(draw: Any) -> HealthyStream:
    """1.11: whole tool calls that have no `index`; an end by either mark."""
    events = draw(texts()) if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 3))):
        events += draw(a_call(None, numbered=number))
    finished = draw(st.booleans())
    return on_the_wire("chat", [*events, *([finish_chunk("tool_calls")] if finished else [])], not finished)


@st.composite
def chat_whole_arguments(draw: Any) -> HealthyStream:
    """1.11: arguments that are empty, missing, or an object; `[DONE]` without a finish."""
    arguments = st.one_of(st.just(""), st.none(), st.dictionaries(names, words, max_size=2))
    events = draw(texts()) if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 2))):
        events.append(call_chunk(number, draw(names), draw(arguments), f"call_{number}"))
    finished = draw(st.booleans())
    return on_the_wire("chat", [*events, *([finish_chunk("tool_calls")] if finished else [])], True)


SUCCESS = st.sampled_from(
    [
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"base_resp": {"status_code": 0, "status_msg": "all good, rate limit not reached"}},
        {"error": None},
        {"error": ""},
        {"error_code": 0},
        {"error_code": None, "error_msg": ""},
        {"errors": []},
        {"errors": None, "success": True},
        {"success": True},
        {"code": 200, "message": "OK"},
        {"code": 0, "message": "generated in 3 ms"},
        {"code": "success", "message": "done"},
    ]
)
"""1.12: values that say success, whatever stands beside."""


@st.composite
def chat_says_success(draw: Any) -> HealthyStream:
    """1.12: fields of error shapes that say success, in chunks of the answer and in payloads of their own."""
    events = [*draw(texts()), finish_chunk()]
    for event in events:
        if draw(st.booleans()):
            event.update(draw(SUCCESS))
    if draw(st.booleans()):
        events.append({"id": "chat-1", "object": "chat.completion.chunk", **draw(SUCCESS)})
    return on_the_wire("chat", events, draw(st.booleans()))


@st.composite
def chat_words_between(draw: Any) -> HealthyStream:
    """1.15: lines of plain words, which WHATWG ignores, between the events of an answer."""
    lines = st.sampled_from([b"keep calm\n\n", b"upstream is slow\n", b"retrying\n\n", b"x-note: all is well\n\n"])
    return on_the_wire("chat", put_in(draw, [*draw(texts()), finish_chunk()], lines), True)


@st.composite
def completions_finished_again(draw: Any) -> HealthyStream:
    """1.1 and 1.2 for the legacy completions: text behind a finish, and a finish with every text."""

    def part(text: str, finish: str | None) -> Event:
        one = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        return {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m", "choices": [one]}

    events: list[Event] = []
    for _ in range(draw(st.integers(1, 3))):
        events += [part(text, None) for text in draw(st.lists(words, min_size=1, max_size=3))]
        events.append(part("", draw(st.sampled_from(REASONS[:2]))))
    return on_the_wire("completions", events, draw(st.booleans()))


# Responses.


def lifecycle(said: Sequence[str], id: str = "resp_1", kind: str = "response.completed", item: int = 0) -> list[Event]:
    """One whole response that says something, as OpenAI would send it, but for numbers."""
    part = {"type": "output_text", "text": "".join(said), "annotations": []}
    message = {"id": f"msg_{id}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    open_item = {**message, "status": "in_progress", "content": []}
    response = {"id": id, "object": "response", "model": "m", "status": "in_progress", "output": []}
    place = {"item_id": message["id"], "output_index": item, "content_index": 0}
    final = {**response, "status": kind.partition(".")[2], "output": [message]}
    return [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {"type": "response.output_item.added", "output_index": item, "item": open_item},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": text} for text in said),
        {"type": "response.output_text.done", **place, "text": part["text"]},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": item, "item": message},
        {"type": kind, "response": final},
    ]


said_in_parts = st.lists(words, min_size=1, max_size=4)


@st.composite
def counted(draw: Any, events: list[Event], start: int | None = None) -> list[Event]:
    """The same, numbered without a hole."""
    first = draw(st.integers(0, 5)) if start is None else start
    return [{**event, "sequence_number": first + place} for place, event in enumerate(events)]


@st.composite
def numbers_or_none(draw: Any, events: list[Event]) -> list[Event]:
    """The same, numbered from somewhere or not at all."""
    return draw(counted(events)) if draw(st.booleans()) else events


@st.composite
def responses_begun_in_the_middle(draw: Any) -> HealthyStream:
    """1.5: the first event is any before the text, and so is its number. A text without its beginning is a gap."""
    events = lifecycle(draw(said_in_parts))
    events = events[draw(st.integers(0, 4)) :]
    return on_the_wire("responses", draw(counted(events, draw(st.integers(0, 90)))), draw(st.booleans()))


@st.composite
def responses_some_unnumbered(draw: Any) -> HealthyStream:
    """1.5: some events have no number; the others have their place, or a count of their own, or anything."""
    events = lifecycle(draw(said_in_parts))
    bare = draw(st.sets(st.integers(0, len(events) - 1), min_size=1, max_size=len(events) - 1))
    scheme = draw(st.sampled_from(("place", "own count")))
    numbered, result = 0, []
    for place, event in enumerate(events):
        if place in bare:
            result.append(event)
        else:
            result.append({**event, "sequence_number": place if scheme == "place" else numbered})
            numbered += 1
    return on_the_wire("responses", result, draw(st.booleans()))


@st.composite
def responses_only_items_numbered(draw: Any) -> HealthyStream:
    """1.5: a bridge numbers some kinds of events only, and counts what it likes."""
    events = lifecycle(draw(said_in_parts))
    kinds = sorted({event["type"] for event in events[1:]})
    chosen = draw(st.sets(st.sampled_from(kinds), min_size=1, max_size=3))
    result = [
        {**event, "sequence_number": draw(st.integers(0, 9))} if event["type"] in chosen else event for event in events
    ]
    return on_the_wire("responses", result, draw(st.booleans()))


@st.composite
def responses_one_number_for_all(draw: Any) -> HealthyStream:
    """1.5: every event, or every delta, has the same number."""
    events, number = lifecycle(draw(st.lists(words, min_size=2, max_size=4, unique=True))), draw(st.integers(0, 3))
    only = draw(st.sampled_from(("response.output_text.delta", "response.")))
    result = [{**event, "sequence_number": number} if event["type"].startswith(only) else event for event in events]
    return on_the_wire("responses", result, draw(st.booleans()))


TRACES = st.sampled_from(
    [
        {"type": "gateway.trace", "step": "cache lookup"},
        {"type": "response.guardrail.checked", "verdict": "pass"},
        {"type": "response.cost", "usd": 0.001},
    ]
)
"""What a gateway adds of its own."""


@st.composite
def responses_reused_numbers(draw: Any) -> HealthyStream:
    """1.5: events of a gateway reuse a number of the upstream's, the last one or one from before."""
    events = draw(counted(lifecycle(draw(said_in_parts))))
    result = list(events)
    for serial in range(draw(st.integers(1, 3))):  # told apart, or one of them might be a duplicate
        place = draw(st.integers(1, len(result) - 1))
        number = result[place - draw(st.integers(1, place))]["sequence_number"]
        result.insert(place, {**draw(TRACES), "serial": serial, "sequence_number": number})
    return on_the_wire("responses", result, draw(st.booleans()))


@st.composite
def responses_keep_alives(draw: Any) -> HealthyStream:
    """1.5: keep-alives use up numbers, or share that of the next event."""
    result: list[Event] = []
    number, kind = draw(st.integers(0, 3)), draw(st.sampled_from(("keepalive", "response.keep_alive", "ping")))
    for event in lifecycle(draw(said_in_parts)):
        if draw(st.integers(0, 3)) == 0:
            result.append({"type": kind, "sequence_number": number})
            number += draw(st.integers(0, 1))
        result.append({**event, "sequence_number": number})
        number += 1
    return on_the_wire("responses", result, draw(st.booleans()))


@st.composite
def responses_several_lifecycles(draw: Any) -> HealthyStream:
    """1.4: interim responses of a gateway that runs tools. Numbers begin anew or go on, the id is another or not."""
    ids = draw(st.sampled_from((("resp_1", "resp_2", "resp_3"), ("resp_1", "resp_1", "resp_1"))))
    count, scheme = draw(st.integers(2, 3)), draw(st.sampled_from(("none", "anew", "on")))
    result: list[Event] = []
    for id in ids[:count]:
        events = lifecycle(draw(said_in_parts), id)
        if scheme != "none":
            events = draw(counted(events, 0 if scheme == "anew" else len(result)))
        result += events
    return on_the_wire("responses", result, draw(st.booleans()))


@st.composite
def responses_announced_again(draw: Any) -> HealthyStream:
    """1.4: the response is announced anew before each delta, as by llama.cpp, or before some."""
    result: list[Event] = []
    for event in (events := lifecycle(draw(said_in_parts))):
        if event["type"].endswith(".delta") and draw(st.sampled_from((True, True, False))):
            result += events[:2]
        result.append(event)
    return on_the_wire("responses", result, draw(st.booleans()))


@st.composite
def responses_settled_early(draw: Any) -> HealthyStream:
    """1.4: the terminal event comes before output that another one ends, or `[DONE]`."""
    events = lifecycle(draw(said_in_parts))
    early = draw(st.integers(2, len(events) - 1))
    interim = {"type": "response.completed", "response": {**events[-1]["response"], "output": []}}
    again = draw(st.booleans())
    result = [*events[:early], interim, *events[early : None if again else -1]]
    return on_the_wire("responses", result, draw(st.booleans()) if again else True)


@st.composite
def responses_late_payloads(draw: Any) -> HealthyStream:
    """1.4: what is no output comes behind the terminal event, and is handed on."""
    events = draw(numbers_or_none(lifecycle(draw(said_in_parts))))
    result: list[Any] = put_in(draw, events, TRACES, first=len(events))
    return on_the_wire("responses", result, draw(st.booleans()))


@st.composite
def responses_other_terminal_events(draw: Any) -> HealthyStream:
    """1.6: any event whose response has a final status ends it."""
    events = lifecycle(draw(said_in_parts))
    kind = draw(st.sampled_from(("response.done", "response.finished", "response.end", "gateway.finished")))
    status = draw(st.sampled_from(("completed", "incomplete", "cancelled")))
    events[-1] = {"type": kind, "response": {**events[-1]["response"], "status": status}}
    if draw(st.booleans()):
        events = events[draw(st.integers(1, 2)) :]
    return on_the_wire("responses", draw(numbers_or_none(events)), draw(st.booleans()))


@st.composite
def responses_without_a_lifecycle(draw: Any) -> HealthyStream:
    """1.6: no lifecycle event at all, everything that was opened is closed, and `[DONE]`."""
    result: list[Event] = []
    for number in range(draw(st.integers(1, 2))):
        events = lifecycle(draw(said_in_parts), f"resp_{number}", item=number)[2:-1]
        result += events[-1:] if draw(st.booleans()) else events
    return on_the_wire("responses", result, done=True)


# Media.


@st.composite
def images_of_several(draw: Any) -> HealthyStream:
    """1.7: as many pictures as were asked for, each with its previews."""
    count, prefix = draw(st.integers(2, 3)), "image_generation."
    events: list[Any] = []
    for number in range(count):
        preview = {"type": prefix + "partial_image", "b64_json": "QQ=="}
        events += [{**preview, "partial_image_index": place} for place in range(draw(st.integers(0, 2)))]
        events.append({"type": prefix + "completed", "b64_json": f"Q{'QgwA'[number]}=="})
        events += draw(st.lists(st.just(b": busy\n\n"), max_size=1))
    return on_the_wire("images", events, draw(st.booleans()), n=count)


@st.composite
def transcriptions_by_another_name(draw: Any) -> HealthyStream:
    """1.7: the whole text comes in an event whose type ends in `.done` or `.completed`."""
    said = draw(st.lists(words, min_size=1, max_size=3))
    prefix = draw(st.sampled_from(("transcription", "audio.transcription", "speech.to.text")))
    events = [{"type": f"{prefix}.text.delta", "text": text} for text in said]
    last = {"type": prefix + draw(st.sampled_from((".done", ".completed"))), "text": "".join(said), "language": "en"}
    return on_the_wire("transcriptions", [*events, last], draw(st.booleans()))


@st.composite
def transcriptions_without_types(draw: Any) -> HealthyStream:
    """1.7: segments of which none has a type; the body's end is theirs."""
    said = draw(st.lists(words, min_size=1, max_size=4))
    events = [encode({"text": text, "start": 0.5}) for text in said]
    return on_the_wire("transcriptions", events, draw(st.booleans()))


ODDITIES: dict[str, Callable[[], st.SearchStrategy[HealthyStream]]] = {
    make.__name__: make
    for make in (
        chat_late_payloads,
        chat_finished_again,
        chat_every_chunk_finishes,
        chat_each_call_finishes,
        chat_index_counts,
        chat_finishes_on_one_index,
        chat_message_for_delta,
        chat_summary,
        chat_calls_without_index,
        chat_whole_arguments,
        chat_says_success,
        chat_words_between,
        completions_finished_again,
        responses_begun_in_the_middle,
        responses_some_unnumbered,
        responses_only_items_numbered,
        responses_one_number_for_all,
        responses_reused_numbers,
        responses_keep_alives,
        responses_several_lifecycles,
        responses_announced_again,
        responses_settled_early,
        responses_late_payloads,
        responses_other_terminal_events,
        responses_without_a_lifecycle,
        images_of_several,
        transcriptions_by_another_name,
        transcriptions_without_types,
    )
}
"""Each by its name."""

"""Recorded answers of `/responses`: all typed, numbered events of a response, from `response.created` to its end.

Decides which items each answer has and how it ends; `responses_items` has the events of an item. The answers of
`OTHER_SERVERS` are what OpenAI's never send.

Invariant: in OpenAI's answers `sequence_number` counts every event from 0, the terminal event carries the complete
response and is the last, and no `[DONE]` follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from .answer import TEXT, Answer, AnswerVariant, Frame, Json, compact, first_visible
from .chat import CREATED, REASONING, REFUSAL
from .responses_items import Item, function_call, message, output_text, reasoning, refusal_part

USAGE: Final[Json] = {
    "input_tokens": 19,
    "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
    "output_tokens": 14,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 33,
}
DONE: Final = Frame("[DONE]")


def _response(variant: AnswerVariant) -> Json:
    """Return a response without output."""
    return {
        "id": variant.id("resp_"),
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "background": variant.background,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": variant.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "service_tier": "default",
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _beginning(variant: AnswerVariant) -> list[Json]:
    """Return the first events of a response; one in the background is queued first."""
    started = _response(variant)
    if not variant.background:
        return [{"type": f"response.{kind}", "response": started} for kind in ("created", "in_progress")]
    queued = {**started, "status": "queued"}
    waiting = [{"type": f"response.{kind}", "response": queued} for kind in ("created", "queued")]
    return [*waiting, {"type": "response.in_progress", "response": started}]


def _events(variant: AnswerVariant, items: list[Item], kind: str = "completed", **more: object) -> list[Json]:
    """Return all events of a response with these output items, which ends as `kind` says."""
    first = _beginning(variant)
    output = [item.complete for item in items]
    ended = {**first[-1]["response"], "status": kind, "output": output, "usage": USAGE, **more}
    inner = [event for item in items for event in item.events]
    return [*first, *inner, {"type": f"response.{kind}", "response": ended}]


def _text_message(variant: AnswerVariant, index: int = 0, recorded: str = TEXT) -> Item:
    return message(variant, index, output_text(variant.say(recorded)))


def _weather(variant: AnswerVariant, index: int, name: str, city: str) -> Item:
    arguments = compact({"city": variant.say(city), "unit": "celsius", "days": [1, 2, 3]})
    return function_call(variant, index, name, arguments)


def text(variant: AnswerVariant) -> list[Json]:
    """One message of plain text."""
    return _events(variant, [_text_message(variant)])


def function_calls(variant: AnswerVariant) -> list[Json]:
    """Two function calls, their arguments in several deltas."""
    calls = [("get_weather", "Zürich"), ("get_timetable", "東京 🚋")]
    return _events(variant, [_weather(variant, index, name, city) for index, (name, city) in enumerate(calls)])


def one_call(variant: AnswerVariant) -> list[Json]:
    """One function call, its arguments in several deltas."""
    return _events(variant, [_weather(variant, 0, "get_weather", "Zürich")])


def reasoned(variant: AnswerVariant) -> list[Json]:
    """A reasoning item with a summary of two parts, then the message."""
    thought = reasoning(variant, 0, variant.say(REASONING), variant.say("Then 東京; enough."))
    return _events(variant, [thought, _text_message(variant, 1)])


def refused(variant: AnswerVariant) -> list[Json]:
    """A refusal instead of text."""
    return _events(variant, [message(variant, 0, refusal_part(variant.say(REFUSAL)))])


def several(variant: AnswerVariant) -> list[Json]:
    """A message of two content parts, then a function call, then a message."""
    parts = [output_text(variant.say(words)) for words in (TEXT, "Trams — naïve, blue and cheap.")]
    last = _text_message(variant, 2, "東京 postcards: 3 of 5 🚋 arrived.")
    return _events(variant, [message(variant, 0, *parts), _weather(variant, 1, "get_weather", "Zürich"), last])


def failed(variant: AnswerVariant) -> list[Json]:
    """The API fails in the middle of the answer and says so: a complete stream, not a broken one."""
    events = text(variant)[:8]
    error = {"code": "server_error", "message": "The model could not finish this answer."}
    response = {**events[0]["response"], "status": "failed", "error": error}
    return [*events, {"type": "response.failed", "response": response}]


def incomplete(variant: AnswerVariant) -> list[Json]:
    """Cut short by the token limit: not broken."""
    part = output_text(variant.say("Zürich’s blue trams 🚋 climb"))
    item = message(variant, 0, part, status="incomplete")
    return _events(variant, [item], "incomplete", incomplete_details={"reason": "max_output_tokens"})


def interim(variant: AnswerVariant) -> list[Json]:
    """Two responses in one stream, of a gateway that runs a tool itself: the first calls it, the second answers."""
    return [*one_call(variant), *text(variant)]


RESPONSES: Final[Mapping[str, Callable[[AnswerVariant], list[Json]]]] = {
    "text": text,
    "function_call": function_calls,
    "one_call": one_call,
    "tool_calls": function_calls,  # as chat calls it
    "reasoning": reasoned,
    "refusal": refused,
    "several": several,
    "failed": failed,
    "incomplete": incomplete,
    "llamacpp": text,
    "litellm": text,
    "litellm_failed": failed,
    "litellm_bridge": text,
    "interim": interim,
    "restarted": interim,
}
OTHER_SERVERS: Final = frozenset({"llamacpp", "litellm", "litellm_failed", "litellm_bridge", "interim", "restarted"})
_POSITIONS: Final = {"sequence_number", "output_index", "content_index"}  # llama.cpp's server omits them


def _numbered(name: str, events: list[Json]) -> list[Json]:
    """Return the events with the numbers that the server of this answer gives them."""
    match name:
        case "llamacpp":
            return [{key: value for key, value in event.items() if key not in _POSITIONS} for event in events]
        case "litellm_bridge":
            closing = "response.output_item.done"
            return [{**event, "sequence_number": 1} if event["type"] == closing else event for event in events]
    numbered, number = [], 0
    for event in events:
        number = 0 if name == "restarted" and event["type"] == "response.created" else number
        numbered.append({**event, "sequence_number": number})
        number += 1
    return numbered


def responses_answer(name: str, variant: AnswerVariant) -> Answer:
    """Return the named answer of `/responses`. Raises `KeyError` for an unknown name."""
    events = _numbered(name, RESPONSES[name](variant))
    frames = [Frame(compact(event), event["type"]) for event in events]
    if name.startswith("litellm"):
        frames.append(DONE)
    visible = first_visible([event["type"].endswith(".delta") for event in events])
    return Answer(tuple(frames), visible, events[-1]["response"])

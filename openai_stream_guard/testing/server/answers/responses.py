"""Recorded answers of `/responses`, with the whole life of a response in typed, numbered events.

Decides which items each answer has and how it ends; how an item is told is `responses_items`'. Two answers are
those of servers that are not OpenAI's.

The law: `sequence_number` counts every event from 0, the terminal event carries the whole response, and no
`[DONE]` follows, but where the answer is another server's.
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


def _response(take: AnswerVariant) -> Json:
    """A response of which nothing has been said yet."""
    return {
        "id": take.id("resp_"),
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "background": take.background,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": take.model,
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


def _beginning(take: AnswerVariant) -> list[Json]:
    """How a response begins: in the background it is queued first."""
    started = _response(take)
    if not take.background:
        return [{"type": f"response.{kind}", "response": started} for kind in ("created", "in_progress")]
    queued = {**started, "status": "queued"}
    waiting = [{"type": f"response.{kind}", "response": queued} for kind in ("created", "queued")]
    return [*waiting, {"type": "response.in_progress", "response": started}]


def _life(take: AnswerVariant, items: list[Item], kind: str = "completed", **more: object) -> list[Json]:
    """All events of a response that consists of these items."""
    begun = _beginning(take)
    output = [item.whole for item in items]
    ended = {**begun[-1]["response"], "status": kind, "output": output, "usage": USAGE, **more}
    told = [event for item in items for event in item.events]
    return [*begun, *told, {"type": f"response.{kind}", "response": ended}]


def _spoken(take: AnswerVariant, index: int = 0, recorded: str = TEXT) -> Item:
    return message(take, index, output_text(take.say(recorded)))


def _weather(take: AnswerVariant, index: int, name: str, city: str) -> Item:
    arguments = compact({"city": take.say(city), "unit": "celsius", "days": [1, 2, 3]})
    return function_call(take, index, name, arguments)


def text(take: AnswerVariant) -> list[Json]:
    """One message of plain text."""
    return _life(take, [_spoken(take)])


def function_calls(take: AnswerVariant) -> list[Json]:
    """Two function calls, their arguments in several deltas."""
    calls = [("get_weather", "Zürich"), ("get_timetable", "東京 🚋")]
    return _life(take, [_weather(take, index, name, city) for index, (name, city) in enumerate(calls)])


def one_call(take: AnswerVariant) -> list[Json]:
    """One function call, its arguments in several deltas."""
    return _life(take, [_weather(take, 0, "get_weather", "Zürich")])


def reasoned(take: AnswerVariant) -> list[Json]:
    """A reasoning item with a summary of two parts, then the message."""
    thought = reasoning(take, 0, take.say(REASONING), take.say("Then 東京; enough."))
    return _life(take, [thought, _spoken(take, 1)])


def refused(take: AnswerVariant) -> list[Json]:
    """A refusal instead of text."""
    return _life(take, [message(take, 0, refusal_part(take.say(REFUSAL)))])


def several(take: AnswerVariant) -> list[Json]:
    """A message of two content parts, then a function call, then a message."""
    parts = [output_text(take.say(said)) for said in (TEXT, "Trams — naïve, blue and cheap.")]
    last = _spoken(take, 2, "東京 postcards: 3 of 5 🚋 arrived.")
    return _life(take, [message(take, 0, *parts), _weather(take, 1, "get_weather", "Zürich"), last])


def failed(take: AnswerVariant) -> list[Json]:
    """The API gives the answer up half way and says so: its word, not a broken stream."""
    events = text(take)[:8]
    error = {"code": "server_error", "message": "The model could not finish this answer."}
    gone = {**events[0]["response"], "status": "failed", "error": error}
    return [*events, {"type": "response.failed", "response": gone}]


def incomplete(take: AnswerVariant) -> list[Json]:
    """Cut short by the token limit: not broken."""
    said = output_text(take.say("Zürich’s blue trams 🚋 climb"))
    short = message(take, 0, said, status="incomplete")
    return _life(take, [short], "incomplete", incomplete_details={"reason": "max_output_tokens"})


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
}
_PLACES: Final = {"sequence_number", "output_index", "content_index"}  # what llama.cpp's server leaves out


def responses_answer(name: str, take: AnswerVariant) -> Answer:
    """The named answer of `/responses`."""
    events = [{**event, "sequence_number": number} for number, event in enumerate(RESPONSES[name](take))]
    if name == "llamacpp":
        events = [{key: value for key, value in event.items() if key not in _PLACES} for event in events]
    frames = [Frame(compact(event), event["type"]) for event in events]
    if name.startswith("litellm"):
        frames.append(DONE)
    visible = first_visible([event["type"].endswith(".delta") for event in events])
    return Answer(tuple(frames), visible, events[-1]["response"])

"""The output items of a response, and the events in which a server tells each of them.

Decides the events of one item, from its `output_item.added` to its `output_item.done`. It knows neither the
other items of the response nor the numbers that the events get.

The law: the deltas of an item add up to the item as it is in the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from .answer import AnswerVariant, Json

STEP = 12  # characters of a function call's arguments in one delta


@dataclass(frozen=True, slots=True)
class Item:
    """One output item: the events that tell it, and what it comes to."""

    events: list[Json]
    whole: Json


def output_text(text: str) -> Json:
    """A content part of text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Json:
    """A content part that refuses."""
    return {"type": "refusal", "refusal": text}


def message(take: AnswerVariant, index: int, *parts: Json, status: str = "completed") -> Item:
    """A message of these whole parts, as output item number `index`."""
    item = {"id": take.id("msg_"), "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    whole = {**item, "status": status, "content": list(parts)}
    inside = []
    for content_index, part in enumerate(parts):
        place = {"item_id": item["id"], "output_index": index, "content_index": content_index}
        inside += _content_part(take, place, part)
    return _between(index, item, inside, whole)


def _content_part(take: AnswerVariant, place: Json, part: Json) -> list[Json]:
    field, kind = ("text", "output_text") if part["type"] == "output_text" else ("refusal", "refusal")
    logprobs: Json = {"logprobs": []} if field == "text" else {}
    said = part[field]
    return [
        {"type": "response.content_part.added", **place, "part": {**part, field: ""}},
        *({"type": f"response.{kind}.delta", **place, "delta": piece, **logprobs} for piece in take.split(said)),
        {"type": f"response.{kind}.done", **place, field: said, **logprobs},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def function_call(take: AnswerVariant, index: int, name: str, arguments: str) -> Item:
    """A call of the function, as output item number `index`."""
    item = {
        "id": take.id("fc_"),
        "type": "function_call",
        "status": "in_progress",
        "arguments": "",
        "call_id": take.id("call_"),
        "name": name,
    }
    place = {"item_id": item["id"], "output_index": index}
    kind = "response.function_call_arguments"
    pieces = [arguments[start : start + STEP] for start in range(0, len(arguments), STEP)]
    inside: list[Json] = [
        *({"type": f"{kind}.delta", **place, "delta": piece} for piece in pieces),
        {"type": f"{kind}.done", **place, "name": name, "arguments": arguments},
    ]
    return _between(index, item, inside, {**item, "status": "completed", "arguments": arguments})


def reasoning(take: AnswerVariant, index: int, *summaries: str) -> Item:
    """A reasoning item with these summary parts, as output item number `index`."""
    item: Json = {"id": take.id("rs_"), "type": "reasoning", "summary": []}
    inside: list[Json] = []
    for summary_index, said in enumerate(summaries):
        place = {"item_id": item["id"], "output_index": index, "summary_index": summary_index}
        part = {"type": "summary_text", "text": said}
        text = "response.reasoning_summary_text"
        inside += [
            {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}},
            *({"type": f"{text}.delta", **place, "delta": piece} for piece in take.split(said)),
            {"type": f"{text}.done", **place, "text": said},
            {"type": "response.reasoning_summary_part.done", **place, "part": part},
        ]
    summary = [{"type": "summary_text", "text": said} for said in summaries]
    return _between(index, item, inside, {**item, "summary": summary})


def _between(index: int, item: Json, inside: list[Json], whole: Json) -> Item:
    """The item: its events, between the one that adds it and the one that says it is done."""
    added = {"type": "response.output_item.added", "output_index": index, "item": item}
    done = {"type": "response.output_item.done", "output_index": index, "item": whole}
    return Item([added, *inside, done], whole)

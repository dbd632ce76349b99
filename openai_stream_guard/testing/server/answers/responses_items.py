"""The output items of a response, and the events in which a server sends each of them.

Decides the events of one item, from its `output_item.added` to its `output_item.done`, but not the numbers that these
events get.

Invariant: the deltas of an item add up to the completed item.
"""

from __future__ import annotations

from dataclasses import dataclass

from .answer import AnswerVariant, Json

STEP = 12  # characters of a function call's arguments in one delta


@dataclass(frozen=True, slots=True)
class Item:
    """One output item: its events, and the completed item."""

    events: list[Json]
    complete: Json


def output_text(text: str) -> Json:
    """Return a content part with text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Json:
    """Return a content part with a refusal."""
    return {"type": "refusal", "refusal": text}


def message(variant: AnswerVariant, index: int, *parts: Json, status: str = "completed") -> Item:
    """Return a message of these complete parts, as output item number `index`."""
    item = {"id": variant.id("msg_"), "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    complete = {**item, "status": status, "content": list(parts)}
    inside = []
    for content_index, part in enumerate(parts):
        place = {"item_id": item["id"], "output_index": index, "content_index": content_index}
        inside += _content_part(variant, place, part)
    return _item(index, item, inside, complete)


def _content_part(variant: AnswerVariant, place: Json, part: Json) -> list[Json]:
    field, kind = ("text", "output_text") if part["type"] == "output_text" else ("refusal", "refusal")
    logprobs: Json = {"logprobs": []} if field == "text" else {}
    text = part[field]
    return [
        {"type": "response.content_part.added", **place, "part": {**part, field: ""}},
        *({"type": f"response.{kind}.delta", **place, "delta": piece, **logprobs} for piece in variant.split(text)),
        {"type": f"response.{kind}.done", **place, field: text, **logprobs},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def function_call(variant: AnswerVariant, index: int, name: str, arguments: str) -> Item:
    """Return a call of the function, as output item number `index`."""
    item = {
        "id": variant.id("fc_"),
        "type": "function_call",
        "status": "in_progress",
        "arguments": "",
        "call_id": variant.id("call_"),
        "name": name,
    }
    place = {"item_id": item["id"], "output_index": index}
    kind = "response.function_call_arguments"
    pieces = [arguments[start : start + STEP] for start in range(0, len(arguments), STEP)]
    inside: list[Json] = [
        *({"type": f"{kind}.delta", **place, "delta": piece} for piece in pieces),
        {"type": f"{kind}.done", **place, "name": name, "arguments": arguments},
    ]
    return _item(index, item, inside, {**item, "status": "completed", "arguments": arguments})


def reasoning(variant: AnswerVariant, index: int, *summaries: str) -> Item:
    """Return a reasoning item with these summary parts, as output item number `index`."""
    item: Json = {"id": variant.id("rs_"), "type": "reasoning", "summary": []}
    inside: list[Json] = []
    for summary_index, text in enumerate(summaries):
        place = {"item_id": item["id"], "output_index": index, "summary_index": summary_index}
        part = {"type": "summary_text", "text": text}
        kind = "response.reasoning_summary_text"
        inside += [
            {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}},
            *({"type": f"{kind}.delta", **place, "delta": piece} for piece in variant.split(text)),
            {"type": f"{kind}.done", **place, "text": text},
            {"type": "response.reasoning_summary_part.done", **place, "part": part},
        ]
    summary = [{"type": "summary_text", "text": text} for text in summaries]
    return _item(index, item, inside, {**item, "summary": summary})


def _item(index: int, item: Json, inside: list[Json], complete: Json) -> Item:
    """Return the item, with the events that add and complete it around its own."""
    added = {"type": "response.output_item.added", "output_index": index, "item": item}
    done = {"type": "response.output_item.done", "output_index": index, "item": complete}
    return Item([added, *inside, done], complete)

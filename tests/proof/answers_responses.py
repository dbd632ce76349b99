"""An answer of the Responses API as a value, the events that stream it, and what a reader makes of events.

Shares nothing with the guard. A response has items in an order; an item has parts, or the arguments of a call, and may
carry sealed content. The law of a stream: an item, and a part in it, is opened once, grows, is told whole once, and is
closed once; only the open one grows; what is told whole is what was told piece by piece, the final response included;
sealed content comes under the id that it was sealed for; numbers grow; nothing follows the one terminal event.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .answers_chat import NAMES, words

# Of each kind of part: its envelope, the name of its deltas, the member that holds its text, its index.
_PARTS = {
    "output_text": ("content_part", "output_text", "text", "content_index"),
    "refusal": ("content_part", "refusal", "refusal", "content_index"),
    "reasoning_text": ("content_part", "reasoning_text", "text", "content_index"),
    "summary_text": ("reasoning_summary_part", "reasoning_summary_text", "text", "summary_index"),
}
_CALLS = {
    "function_call": ("function_call_arguments", "arguments"),
    "custom_tool_call": ("custom_tool_call_input", "input"),
}
_SEARCH = ("in_progress", "searching", "completed")


@dataclass(frozen=True)
class Part:
    """A text of an item."""

    kind: str
    text: str
    notes: tuple[str, ...] = ()
    """URLs of its annotations."""


@dataclass(frozen=True)
class Item:
    """One item of the output."""

    kind: str
    parts: tuple[Part, ...] = ()
    name: str = ""
    text: str = ""
    """Arguments, or input, of a call."""
    sealed: bool = False
    untold: bool = False
    """A call that is told whole only, without deltas."""


@dataclass(frozen=True)
class ResponsesAnswer:
    """All of an answer."""

    items: tuple[Item, ...]
    status: str = "completed"

    @property
    def body(self) -> dict[str, Any]:
        """What asks for such an answer."""
        return {"model": "m", "input": "?"}


@dataclass(frozen=True)
class Telling:
    """How a server tells an answer."""

    serial: int
    """Whose generation it is: its ids and seals are its own."""
    numbered: bool = True
    done: str = "same"
    """What `….done` says: `same`, `other`, or `no` such event."""
    final: str = "same"
    """What the final response says: `same`, `other`, `empty` (no output) or `less` (an item is missing)."""
    stored: bool = False
    background: bool = False
    seal: str | None = None
    """The serial under which content is sealed, where it is not this one's."""


def responses_answer(dice: random.Random) -> ResponsesAnswer:
    """Any answer."""
    items = []
    if dice.random() < 0.35:
        kind = dice.choice(("summary_text", "summary_text", "reasoning_text"))
        parts = tuple(Part(kind, words(dice, 4)) for _ in range(dice.randint(0, 2)))
        items.append(Item("reasoning", parts, sealed=dice.random() < 0.6))
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3))):
        match dice.randrange(10):
            case 0 | 1 | 2:
                items.append(
                    Item("function_call", (), dice.choice(NAMES), _arguments(dice), untold=dice.random() < 0.2)
                )
            case 3:
                items.append(Item("custom_tool_call", (), dice.choice(NAMES), words(dice, 3)))
            case 4:
                items.append(Item("web_search_call"))
            case 5:
                items.append(Item("message", (Part("refusal", words(dice, 4)),)))
            case _:
                items.append(Item("message", tuple(_text(dice) for _ in range(dice.choice((1, 1, 2))))))
    return ResponsesAnswer(tuple(items))


def _text(dice: random.Random) -> Part:
    return Part("output_text", words(dice), ("https://a.test",) * (dice.random() < 0.15))


def _arguments(dice: random.Random) -> str:
    return json.dumps({"q": words(dice, 3), "n": dice.randint(1, 3)}, ensure_ascii=False)


# How an answer is told.


def events(answer: ResponsesAnswer, telling: Telling, dice: random.Random) -> list[dict[str, Any]]:
    """The events of one telling, cut anew by the dice."""
    begun = _response(telling, "in_progress", [])
    told: list[dict[str, Any]] = []
    if telling.background:
        queued = {**begun, "status": "queued"}
        told += ({"type": f"response.{kind}", "response": queued} for kind in ("created", "queued"))
    else:
        told.append({"type": "response.created", "response": begun})
    told.append({"type": "response.in_progress", "response": begun})
    for place, item in enumerate(answer.items):
        told += _item(item, place, telling, dice)
    told.append({"type": f"response.{answer.status}", "response": final(answer, telling)})
    if telling.numbered:
        told = [{**event, "sequence_number": number} for number, event in enumerate(told)]
    return told


def final(answer: ResponsesAnswer, telling: Telling) -> dict[str, Any]:
    """The final response."""
    items = [_whole(item, _id(item, place, telling), telling) for place, item in enumerate(answer.items)]
    match telling.final:
        case "empty":
            items = []
        case "less":
            items = items[:-1]
        case "other":
            items = [
                _whole(_contradicted(item), _id(item, at, telling), telling) for at, item in enumerate(answer.items)
            ]
    return _response(telling, answer.status, items)


def _response(telling: Telling, status: str, output: list[Any]) -> dict[str, Any]:
    ended = status not in ("queued", "in_progress")
    return {
        "id": f"resp_{telling.serial}",
        "object": "response",
        "created_at": 1700000000 + telling.serial,
        "status": status,
        "background": telling.background,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "model": "m",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": {
            "input_tokens": 1,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 6,
        }
        if ended
        else None,
    }


def _id(item: Item, place: int, telling: Telling) -> str:
    return f"{item.kind[:4]}_{telling.serial}_{place}"


def _contradicted(item: Item) -> Item:
    """Another text of the same length at every place."""
    parts = tuple(replace(part, text="!" * len(part.text)) for part in item.parts)
    return replace(item, parts=parts, text="!" * len(item.text))


def _whole(item: Item, name: str, telling: Telling, status: str = "completed") -> dict[str, Any]:
    whole: dict[str, Any] = {"id": name, "type": item.kind}
    match item.kind:
        case "message":
            whole |= {"role": "assistant", "status": status, "content": [_part(part) for part in item.parts]}
        case "reasoning":
            whole |= {"summary": [_part(part) for part in item.parts if part.kind == "summary_text"]}
            content = [_part(part) for part in item.parts if part.kind == "reasoning_text"]
            whole |= {"content": content} if content else {}
            whole |= {"encrypted_content": f"sealed {telling.seal or name}"} if item.sealed else {}
        case "function_call" | "custom_tool_call":
            whole |= {"call_id": f"call_{name}", "name": item.name, _CALLS[item.kind][1]: item.text}
            whole |= {"status": status} if item.kind == "function_call" else {}
        case "web_search_call":
            whole |= {"status": status, "action": {"type": "search", "query": "?"}}
    return whole


def _part(part: Part, text: str | None = None, *, notes: bool = True) -> dict[str, Any]:
    told = {"type": part.kind, _PARTS[part.kind][2]: part.text if text is None else text}
    if part.kind == "output_text":
        told |= {"annotations": [_note(url) for url in part.notes] if notes else [], "logprobs": []}
    return told


def _note(url: str) -> dict[str, Any]:
    return {"type": "url_citation", "url": url, "title": "", "start_index": 0, "end_index": 1}


def _item(item: Item, place: int, telling: Telling, dice: random.Random) -> Iterator[dict[str, Any]]:
    name = _id(item, place, telling)
    where = {"item_id": name, "output_index": place}
    opened = _whole(replace(item, parts=(), text="", sealed=False), name, telling, "in_progress")
    yield {"type": "response.output_item.added", "output_index": place, "item": opened}
    counts = {"content_index": 0, "summary_index": 0}
    for part in item.parts:
        index = _PARTS[part.kind][3]
        yield from _part_events(part, {**where, index: counts[index]}, telling, dice)
        counts[index] += 1
    if item.kind in _CALLS:
        kind, member = _CALLS[item.kind]
        for piece in () if item.untold else pieces(item.text, dice):
            yield {"type": f"response.{kind}.delta", **where, "delta": piece}
        if telling.done != "no" or item.untold:
            said = "!" * len(item.text) if telling.done == "other" else item.text
            yield {"type": f"response.{kind}.done", **where, member: said, "name": item.name}
    if item.kind == "web_search_call":
        for step in _SEARCH:
            yield {"type": f"response.web_search_call.{step}", **where}
    whole = _whole(_contradicted(item) if telling.done == "other" else item, name, telling)
    yield {"type": "response.output_item.done", "output_index": place, "item": whole}


def _part_events(part: Part, where: dict[str, Any], telling: Telling, dice: random.Random) -> Iterator[dict[str, Any]]:
    envelope, kind, member, _ = _PARTS[part.kind]
    yield {"type": f"response.{envelope}.added", **where, "part": _part(part, "", notes=False)}
    logprobs = {"logprobs": []} if kind == "output_text" else {}
    for piece in pieces(part.text, dice):
        yield {"type": f"response.{kind}.delta", **where, "delta": piece, **logprobs}
    for number, url in enumerate(part.notes):
        note = {"annotation_index": number, "annotation": _note(url)}
        yield {"type": "response.output_text.annotation.added", **where, **note}
    said = "!" * len(part.text) if telling.done == "other" else part.text
    if telling.done != "no":
        yield {"type": f"response.{kind}.done", **where, member: said, **logprobs}
    yield {"type": f"response.{envelope}.done", **where, "part": _part(part, said)}


def pieces(text: str, dice: random.Random) -> Iterator[str]:
    """The text in deltas."""
    start = 0
    while start < len(text):
        piece = text[start : start + dice.choice((1, 2, 2, 3, 5))]
        yield piece
        start += len(piece)


# What another generation may say instead.


def _at(dice: random.Random, answer: ResponsesAnswer, kinds: Sequence[str], edit: Callable[[Item], Item]) -> Any:
    places = [place for place, item in enumerate(answer.items) if item.kind in kinds]
    if not places:
        return answer
    place = dice.choice(places)
    items = [edit(item) if at == place else item for at, item in enumerate(answer.items)]
    return replace(answer, items=tuple(items))


def _part_edited(dice: random.Random, answer: ResponsesAnswer, edit: Callable[[str], str]) -> Any:
    def one(item: Item) -> Item:
        if not item.parts:
            return item
        place = dice.randrange(len(item.parts))
        parts = [replace(part, text=edit(part.text)) if at == place else part for at, part in enumerate(item.parts)]
        return replace(item, parts=tuple(part for part in parts if part.text))

    return _at(dice, answer, ("message", "reasoning"), one)


VARIATIONS: dict[str, Callable[[random.Random, ResponsesAnswer], ResponsesAnswer]] = {
    "same": lambda dice, answer: answer,
    "longer text": lambda dice, answer: _part_edited(dice, answer, lambda text: text + words(dice, 2)),
    "shorter text": lambda dice, answer: _part_edited(dice, answer, lambda text: text[: dice.randint(0, len(text))]),
    "other text": lambda dice, answer: _part_edited(
        dice, answer, lambda text: text[: dice.randint(0, len(text))] + words(dice, 3)
    ),
    "one part more": lambda dice, answer: _at(
        dice, answer, ("message",), lambda item: replace(item, parts=(*item.parts, _text(dice)))
    ),
    "one part less": lambda dice, answer: _at(
        dice, answer, ("message",), lambda item: replace(item, parts=item.parts[:1])
    ),
    "another note": lambda dice, answer: _at(
        dice,
        answer,
        ("message",),
        lambda item: replace(
            item,
            parts=tuple(
                replace(part, notes=("https://b.test",)) if part.kind == "output_text" else part for part in item.parts
            ),
        ),
    ),
    "longer name": lambda dice, answer: _at(
        dice, answer, ("function_call", "custom_tool_call"), lambda item: replace(item, name=item.name + "_docs")
    ),
    "shorter name": lambda dice, answer: _at(
        dice,
        answer,
        ("function_call", "custom_tool_call"),
        lambda item: replace(item, name=item.name.partition("_")[0]),
    ),
    "other arguments": lambda dice, answer: _at(
        dice,
        answer,
        ("function_call", "custom_tool_call"),
        lambda item: replace(item, text=item.text[: dice.randint(0, len(item.text))] + words(dice, 2)),
    ),
    "one item more": lambda dice, answer: replace(answer, items=(*answer.items, *responses_answer(dice).items[-1:])),
    "one item less": lambda dice, answer: replace(answer, items=answer.items[:-1] or answer.items),
    "another first item": lambda dice, answer: replace(
        answer, items=(*responses_answer(dice).items[:1], *answer.items[1:])
    ),
    "incomplete": lambda dice, answer: replace(answer, status="incomplete"),
}


# What a reader makes of events.


class ResponsesReader:
    """Puts events together as a program would, and notes what no answer would ever say."""

    def __init__(self, answer: ResponsesAnswer, *, own_ids: bool) -> None:
        """`own_ids`: the final response has its own, those of what the API has stored."""
        self.wrong: list[str] = []
        self.final: dict[str, Any] | None = None
        self._own_ids = own_ids
        self._items: list[dict[str, Any]] = []
        self._began: list[str] = []
        self._response_id: object = None
        self._number: int | None = None
        self.seals: set[tuple[object, object]] = set()

    def add(self, event: dict[str, Any]) -> None:
        """One more event."""
        kind = event["type"].removeprefix("response.")
        if self.final is not None:
            self.wrong.append("something after the terminal event")
        number = event.get("sequence_number")
        if number is not None:
            if self._number is not None and number <= self._number:
                self.wrong.append("a number that does not grow")
            self._number = number
        if "response" in event:
            self._lifecycle(kind, event["response"])
        elif kind == "output_item.added":
            self._open(event)
        else:
            self._inside(kind, event)

    def _lifecycle(self, kind: str, response: dict[str, Any]) -> None:
        ended = kind not in ("created", "queued", "in_progress")
        self._response_id = self._response_id or response["id"]
        if response["id"] != self._response_id and not (ended and self._own_ids):
            self.wrong.append("two ids of one response")
        if not ended:
            if kind in self._began or self._items:
                self.wrong.append("the beginning twice")
            self._began.append(kind)
            return
        self.final = response
        if any(item["open"] for item in self._items):
            self.wrong.append("the response ends while an item is open")
        # An empty list says nothing of an answer that restarts; of one that is a replay, the unit tests see to it.
        if response["output"] and len(response["output"]) != len(self._items):
            self.wrong.append("the final response has other items")
        for item, whole in zip(self._items, response["output"], strict=False):
            self._compare(item, whole, own_ids=self._own_ids)

    def _open(self, event: dict[str, Any]) -> None:
        item = event["item"]
        if any(each["open"] for each in self._items) or event["output_index"] != len(self._items):
            self.wrong.append("an item is opened out of turn")
        self._items.append(
            {
                "open": True,
                "id": item["id"],
                "kind": item["type"],
                "name": item.get("name", ""),
                "call_id": item.get("call_id"),
                "text": "",
                "told": False,
                "steps": [],
                "parts": [],
            }
        )

    def _inside(self, kind: str, event: dict[str, Any]) -> None:
        place = event["output_index"]
        if place != len(self._items) - 1 or not self._items[place]["open"]:
            self.wrong.append("an item grows that is not the open one")
            return
        item = self._items[place]
        if event.get("item_id", item["id"]) != item["id"]:
            self.wrong.append("two ids of one item")
        name, _, step = kind.rpartition(".")
        if kind == "output_item.done":
            item["open"] = False
            if any(part["open"] for part in item["parts"]):
                self.wrong.append("an item is closed while a part is open")
            self._compare(item, event["item"], own_ids=False)
        elif name == "web_search_call":
            item["steps"].append(step)
            if item["steps"] != list(_SEARCH[: len(item["steps"])]):
                self.wrong.append("the steps of a search are told out of turn")
        elif name in ("function_call_arguments", "custom_tool_call_input"):
            self._call(item, step, event)
        elif kind.endswith("_part.added"):
            index = event.get("content_index", event.get("summary_index"))
            same = [part for part in item["parts"] if (part["kind"] == "summary_text") == ("summary_index" in event)]
            if any(part["open"] for part in item["parts"]) or index != len(same):
                self.wrong.append("a part is opened out of turn")
            item["parts"].append({"open": True, "kind": event["part"]["type"], "text": "", "told": False, "notes": []})
        else:
            self._part(item, kind, event)

    def _call(self, item: dict[str, Any], step: str, event: dict[str, Any]) -> None:
        if item["told"]:
            self.wrong.append("a call grows after it was told whole")
        if step == "delta":
            item["text"] += event["delta"]
            return
        said = event.get("arguments", event.get("input"))
        if item["text"] and item["text"] != said:
            self.wrong.append("a call is told whole otherwise than piece by piece")
        item["text"], item["told"] = said, True

    def _part(self, item: dict[str, Any], kind: str, event: dict[str, Any]) -> None:
        part = item["parts"][-1] if item["parts"] else None
        if part is None or not part["open"]:
            self.wrong.append("a part grows that is not the open one")
            return
        _, name, member, index = _PARTS[part["kind"]]
        same = [each for each in item["parts"] if (each["kind"] == "summary_text") == (index == "summary_index")]
        if event.get(index) != len(same) - 1:
            self.wrong.append("an earlier part grows")
        if kind.endswith("_part.done"):
            part["open"] = False
            self._same_part(part, event["part"], member)
        elif kind == "output_text.annotation.added":
            part["notes"].append(event["annotation"]["url"])
        elif kind == f"{name}.delta":
            if part["told"]:
                self.wrong.append("a part grows after it was told whole")
            part["text"] += event["delta"]
        elif kind == f"{name}.done":
            part["told"] = True
            if event[member] != part["text"]:
                self.wrong.append("a text is told whole otherwise than piece by piece")
        else:
            self.wrong.append(f"an unexpected {kind}")

    def _same_part(self, part: dict[str, Any], whole: dict[str, Any], member: str) -> None:
        notes = [note["url"] for note in whole.get("annotations", ())]
        if whole["type"] != part["kind"] or whole[member] != part["text"] or notes != part["notes"]:
            self.wrong.append("a part is closed otherwise than it was told")

    def _compare(self, item: dict[str, Any], whole: dict[str, Any], *, own_ids: bool) -> None:
        """What an item says of itself as a whole, against what was told of it."""
        parts = [*(whole.get("summary") or ()), *(whole.get("content") or ())]
        if whole["type"] != item["kind"] or whole.get("name", "") != item["name"] or len(parts) != len(item["parts"]):
            self.wrong.append("an item is told whole as another")
            return
        if not own_ids and (whole["id"] != item["id"] or whole.get("call_id") != item["call_id"]):
            self.wrong.append("an item is told whole under another id")
        for part, said in zip(item["parts"], parts, strict=True):
            self._same_part(part, said, _PARTS[part["kind"]][2])
        if item["kind"] in _CALLS and whole[_CALLS[item["kind"]][1]] != item["text"]:
            self.wrong.append("a call is told whole otherwise than piece by piece")
        if sealed := whole.get("encrypted_content"):
            item["seal"] = True
            self.seals.add((whole["id"], sealed))

    def _heard(self) -> list[Any]:
        return [
            (item["kind"], item["name"], item["text"], [(part["kind"], part["text"]) for part in item["parts"]])
            for item in self._items
        ]

    def is_whole(self, answer: ResponsesAnswer, *, polled: bool = False) -> bool:
        """Whether this is that very answer. (One that was polled does not tell the steps of a search.)"""
        return (
            self.final is not None
            and self.final["status"] == answer.status
            and self._heard() == _said(answer)
            and all(
                part["notes"] == list(said.notes)
                for item, whole in zip(self._items, answer.items, strict=True)
                for part, said in zip(item["parts"], whole.parts, strict=True)
            )
            and (polled or all(len(item["steps"]) == 3 for item in self._items if item["kind"] == "web_search_call"))
        )

    def is_beginning(self, answer: ResponsesAnswer) -> bool:
        """Whether that answer begins so."""
        if self.final is not None:
            return self.is_whole(answer, polled=True)
        heard, said = self._heard(), _said(answer)
        if len(heard) > len(said):
            return False
        for place, (one, other) in enumerate(zip(heard, said, strict=False)):
            if one == other:
                continue
            last = place == len(heard) - 1
            if not (last and one[:2] == other[:2] and other[2].startswith(one[2]) and len(one[3]) <= len(other[3])):
                return False
            for at, (part, whole) in enumerate(zip(one[3], other[3], strict=False)):
                if part != whole and not (
                    at == len(one[3]) - 1 and part[0] == whole[0] and whole[1].startswith(part[1])
                ):
                    return False
        return True


def _said(answer: ResponsesAnswer) -> list[Any]:
    return [(item.kind, item.name, item.text, [(part.kind, part.text) for part in item.parts]) for item in answer.items]


def seals_in(events: Sequence[dict[str, Any]]) -> set[tuple[object, object]]:
    """Which sealed content the server sent under which id."""
    items = [event["item"] for event in events if "item" in event]
    items += [item for event in events if "response" in event for item in event["response"]["output"]]
    return {(item["id"], item["encrypted_content"]) for item in items if item.get("encrypted_content")}


def wire(events: Sequence[dict[str, Any]]) -> list[bytes]:
    """The events as they are sent."""
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]

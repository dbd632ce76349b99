"""An event of the Responses API in a second answer: what it repeats, and what is left of it.

Deltas are cut down to the text that is new. Every other event says something once: it is dropped where it was
delivered, and what it says has to be what was delivered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .chat_deltas import tokens_in
from .output_places import PART_INDEXES, OutputPlaces, integer_in
from .polled_response import TOLD
from .second_answer import Diverged, SecondAnswer, Unsafe
from .transcript import Milestone
from .whole_items import fingerprint

LIFECYCLE = ("response.created", "response.queued", "response.in_progress")
"""Events that say how a response begins; each carries it, without its output."""
LEFT_OUT = ...
"""Stands for a member of a response that is not kept. Instructions and tools, which it repeats from its request, may be
hundreds of kilobytes."""
_MAX_KEPT = 4096
"""Characters that are kept of what a response is called, with its settings."""
_NODE = 32
"""What each value in it counts for besides its characters."""
_PART_EVENTS = ("response.content_part.", "response.reasoning_summary_part.")
_STEPS = frozenset(step for told in TOLD.values() for step in (*told.before, *told.after, "failed"))
"""How far an item has come, which says nothing of what is in it."""
_ONE_NAME = ("type", "name", "said")
"""Names that have to be the same in both answers; ids are each answer's own."""


def trim_event(
    kind: str, value: dict[str, Any], replay: SecondAnswer, places: OutputPlaces, *, one_identity: bool
) -> dict[str, Any] | None:
    """Return what is left of an event, under the names that the consumer knows; None where it has it all.

    Args:
        one_identity: the final response has the first ids too: its own are of no use, or not wanted.

    Raises:
        Diverged: if the event contradicts what was delivered, or adds to what was at its end.
        Unsafe: if it holds what is only good under its own id.
    """
    new, delta = dict(value), value.get("delta")
    if "item_id" in value:
        known = replay.identify(("item", places.of(value), "id"), value["item_id"])
        new["item_id"] = value["item_id"] if known is None else known
    if kind.endswith(".delta") and isinstance(delta, str):
        live = replay.caught_up
        new["delta"] = surplus = replay.take(places.channel(kind, value), delta) if delta else ""
        if not surplus and (delta or not live):
            return None
        if any(map(replay.delivered, _closing(kind, value, places))):
            raise Diverged
        _trim_logprobs(new, delta.removesuffix(surplus))
    elif _is_repeated(kind, value, replay, places):
        return None
    _rename(kind, new, replay, places, one_identity=one_identity)
    return new


def _is_repeated(kind: str, value: Mapping[str, Any], replay: SecondAnswer, places: OutputPlaces) -> bool:
    """Whether an event without text of its own was delivered."""
    once = places.once(kind, value)
    repeated = replay.repeats(once)
    for key, name in names_in(kind, value, places):
        if replay.identify(key, name) not in (None, name) and key[-1] in _ONE_NAME:
            raise Diverged
    if kind == "response.output_item.added":
        for key, text in places.opened(value)[0]:
            replay.take(key, text, whole=True)
    for key, text in places.whole_texts(kind, value):
        replay.tell_whole(key, text)
    if not repeated and any(map(replay.delivered, _closing(kind, value, places))):
        if kind.rpartition(".")[2] in _STEPS:  # not every server tells them all
            return True
        raise Diverged
    response = value.get("response")
    output = response.get("output") if isinstance(response, dict) and kind not in LIFECYCLE else None
    if isinstance(output, list) and places.count and len(output) != places.count and (output or not replay.restarts):
        raise Diverged
    return repeated


def names_in(kind: str, value: Mapping[str, Any], places: OutputPlaces) -> list[Any]:
    """Return the identities that an event without text of its own names, and what it says once as a fingerprint."""
    response = value.get("response")
    if isinstance(response, dict):
        return [(places.response, _kept_of(response))]
    if kind == "response.output_item.added":
        return places.opened(value)[1]
    part = value.get("part")
    if isinstance(part, dict) and kind.startswith(_PART_EVENTS) and isinstance(part.get("type"), str):
        return [((places.once(kind, value), "type"), part["type"])]
    return [((places.once(kind, value), "said"), fingerprint(value))] if kind.endswith(".annotation.added") else []


def _kept_of(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a response for as long as its stream is open; `LEFT_OUT` stands for what is large."""
    kept, room = dict[str, Any](), _MAX_KEPT
    for name in ("id", *response):
        room -= len(name) + _NODE
        if room < 0:
            break
        if name in response and name != "output":
            left = _room_beside(response[name], room)
            kept[name], room = (response[name], left) if left >= 0 else (LEFT_OUT, room)
    return kept


def _room_beside(value: object, room: int) -> int:
    """Return how much of some room is left beside a JSON value, or a negative number where it does not fit."""
    room -= _NODE
    if isinstance(value, str):
        return room - len(value)
    if isinstance(value, dict):
        for name, part in value.items():
            room = _room_beside(part, room - len(name)) if room >= 0 else room
    elif isinstance(value, list):
        for part in value:
            room = _room_beside(part, room) if room >= 0 else room
    return room


def _closing(kind: str, value: Mapping[str, Any], places: OutputPlaces) -> list[Milestone]:
    """Return the events after which nothing more is said of what this one is about."""
    if "response" in value:
        return []
    place, part = places.of(value), tuple(integer_in(value, name) for name in PART_INDEXES[:2])
    whole = Milestone("response.output_item.done", (place, None, None, None))
    if part == (None, None) and not kind.endswith(".delta"):
        return [whole]
    inside = [f"{kind.rpartition('.')[0]}.done"] if kind.endswith(".delta") else []
    parts = [] if kind.startswith(_PART_EVENTS) else [f"{event}done" for event in _PART_EVENTS]
    return [whole, *(Milestone(event, (place, *part, None)) for event in (*inside, *parts))]


def _rename(kind: str, new: dict[str, Any], replay: SecondAnswer, places: OutputPlaces, *, one_identity: bool) -> None:
    place, item, response = places.of(new), new.get("item"), new.get("response")
    if isinstance(item, dict):
        new["item"] = _renamed(item, place, replay)
    if not isinstance(response, dict):
        return
    named = replay.known(places.response)
    known = named.get("id") if isinstance(named, dict) else None
    first = {"id": known} if isinstance(known, str) and known else {}
    if kind in LIFECYCLE:
        new["response"] = {**response, **first}
    elif one_identity:
        output = response.get("output")
        renamed = [
            _renamed(part, places.in_lifecycle(index), replay) if isinstance(part, dict) else part
            for index, part in enumerate(output if isinstance(output, list) else [])
        ]
        new["response"] = {**response, "output": renamed, **first}


def _renamed(item: Mapping[str, Any], place: object, replay: SecondAnswer) -> dict[str, Any]:
    """Return an item under its first ids. Raises `Unsafe` where it holds sealed content, good under its own only."""
    known = {name: replay.known(("item", place, name)) for name in ("id", "call_id")}
    if item.get("encrypted_content") and known["id"] not in (None, item.get("id")):
        raise Unsafe
    return {**item, **{name: first for name, first in known.items() if first is not None and name in item}}


def _trim_logprobs(new: dict[str, Any], cut: str) -> None:
    """Drop the log probabilities of the text that was cut. Raises `Diverged` where it does not end with a token."""
    logprobs = new.get("logprobs")
    if isinstance(logprobs, list) and logprobs and cut:
        new["logprobs"] = logprobs[tokens_in(logprobs, cut) :]

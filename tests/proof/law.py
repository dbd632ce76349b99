"""The law that every damaged stream is held against, written apart from the code under test.

*whole*: every item of one answer, once, in order, under one set of ids, in at most three requests. What may follow the
last finish_reason may be missing, as it is not asked for again.
*raised*: the typed error, and what was delivered is the beginning of that answer.
*passed*: an event that was changed, dropped or doubled on its way and that nothing gives away: every event left is
whole JSON, the numbers have no gap, and the end mark is there. It is handed on as it came; all other events are the
answer's, once, in order.
*passed, raised*: the same, and then the typed error.
Anything else is an exception to the law.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from tests.support.responses import ids_in, nameless

from .damage import CUTS, Damaged, Fault
from .recorded import RecoveryMethod, Stream, sampled_items

_BEGINNINGS = ("response.created", "response.queued", "response.in_progress")
"""Any of these may be the first, and servers count from 0 or from 1: that one of them is lost cannot be told."""
KINDS = ("whole", "raised", "passed", "passed, raised", "wrong")


@dataclass
class Seen:
    """What a consumer got."""

    items: list[Any]
    error: Exception | None
    typed: bool
    outcome: str | None
    requests: int


def verdict(stream: Stream, way: RecoveryMethod, fault: Fault, first: Damaged, seen: Seen) -> str:
    """One of KINDS, a wrong one with the reason behind a colon."""
    if seen.error is not None and not seen.typed:
        return f"wrong: {type(seen.error).__name__}: {seen.error}"
    if seen.requests > 3:
        return f"wrong: {seen.requests} requests"
    if seen.error is None and _is_whole(stream, way, seen):
        return "whole"
    if seen.error is not None and _is_beginning(stream, seen.items):
        return "raised"
    if fault in CUTS:
        return f"wrong: not {'a beginning of ' if seen.error else ''}the answer, {seen.outcome} in {seen.requests}"
    if not _is_local(stream, way, first.struck, seen):
        return f"wrong: more than the struck event differs, {seen.outcome} in {seen.requests}"
    if seen.error is not None:
        return "passed, raised"
    if seen.requests == 1 and (sign := given_away_by(stream, first.body)):
        return f"wrong: not noticed: {sign}"
    return "passed"


def _is_whole(stream: Stream, way: RecoveryMethod, seen: Seen) -> bool:
    items, whole = seen.items, stream.items
    if items == whole:
        return True
    if seen.requests == 1:
        return items == whole[: len(items)] and len(items) > last_finish(stream)
    if way == "atomic" and not stream.background:
        return items == sampled_items(stream)
    folded, names = _folded(stream, items)
    return folded == _folded_whole(stream)[0] and names <= _folded_whole(stream)[1]


def _is_beginning(stream: Stream, items: Sequence[Any]) -> bool:
    """Only what the first answer said can have been delivered where no answer came whole."""
    return list(items) == stream.items[: len(items)]


def _is_local(stream: Stream, way: RecoveryMethod, struck: int, seen: Seen) -> bool:
    """Whether all but the struck event, or two where the byte was the line end between them, is as it was."""
    ended = seen.error is None
    if seen.requests == 1:
        return _differ_at(struck, _nameless(stream.items), _nameless(seen.items), ended=ended)
    # Where it was repeated, texts may be cut into other deltas, and what was struck comes late, in its right form; a
    # continued answer has a usage of its own.
    usage = way != "continue"
    whole = _merged(stream.items, usage=usage)
    place = len(_merged(stream.items[: struck + 1], usage=usage)) - 1
    for items in (seen.items, [*seen.items[:struck], *seen.items[struck + 1 :]]):
        given = _merged(items, usage=usage)
        late = [unit for unit in whole[max(place - 1, 0) : place + 2] if unit in given[place + 1 :]]
        for unit in (None, *late):
            others = ([one for one in units if one != unit] for units in (whole, given))
            if _differ_at(place, *others, ended=ended):
                return True
    return False


def _differ_at(place: int, whole: Sequence[Any], given: Sequence[Any], *, ended: bool) -> bool:
    """Whether at most two neighbours, one of them at this place, were replaced by at most two others."""
    pairs = enumerate(zip(whole, given, strict=False))
    start = next((at for at, (one, other) in pairs if one != other), min(len(whole), len(given)))
    if start < min(place - 1, len(given)):
        return False
    for lost, more in product(range(3), range(3)):
        rest = given[start + more :]
        if start + more <= len(given) and rest == whole[start + lost :][: None if ended else len(rest)]:
            return True
    return False


def _nameless(items: Sequence[Any]) -> list[Any]:
    return [nameless(item) for item in items]


def _merged(items: Sequence[Any], *, usage: bool) -> list[Any]:
    """The items without names and numbers, deltas of one text that follow each other put together."""
    units: list[Any] = []
    for item in items:
        if not usage and not item.get("choices"):
            continue
        unit = nameless(item)
        unit.pop("sequence_number", None)
        if isinstance(unit.get("delta"), str):
            unit = [*map(unit.get, ("type", "output_index", "content_index", "summary_index")), unit["delta"]]
            if units and isinstance(units[-1], list) and units[-1][:-1] == unit[:-1]:
                unit[-1] = units.pop()[-1] + unit[-1]
        units.append(unit)
    return units


@cache
def last_finish(stream: Stream) -> int:
    """The place of the last item that ends a choice; past all where there is no such mark."""
    places = [
        place
        for place, item in enumerate(stream.items)
        if any(choice.get("finish_reason") for choice in item.get("choices") or ())
    ]
    return max(places, default=len(stream.items))


@cache
def _folded_whole(stream: Stream) -> tuple[Any, int]:
    return _folded(stream, stream.items)


def _folded(stream: Stream, items: Sequence[Any]) -> tuple[Any, int]:
    """What some items come to, however their text was cut into deltas; and how many ids they have."""
    texts: defaultdict[Any, str] = defaultdict(str)
    if stream.api != "responses":
        for item in items:
            _add(texts, (), item.get("choices"))
        usages = [item["usage"] for item in items if item.get("usage")]
        return (dict(texts), len(usages)), len(ids_in(list(items)))
    others = []
    for item in items:
        if isinstance(item.get("delta"), str):
            places = (item.get(name) for name in ("type", "output_index", "content_index", "summary_index"))
            texts[tuple(places)] += item["delta"]
        else:
            others.append(nameless({name: part for name, part in item.items() if name != "sequence_number"}))
    numbers = [item.get("sequence_number") for item in items]
    return (dict(texts), others, numbers == list(range(len(items)))), len(ids_in(list(items)))


def _add(texts: defaultdict[Any, str], path: tuple[Any, ...], part: Any) -> None:
    """Put together the texts of some choices, by where they stand."""
    match part:
        case str() if part:
            texts[path] += part
        case dict():
            for name, member in part.items():
                if name != "id":
                    _add(texts, (*path, name), member)
        case list():
            for place, entry in enumerate(part):
                _add(texts, (*path, entry.get("index", place) if isinstance(entry, dict) else place), entry)


def given_away_by(stream: Stream, body: bytes) -> str | None:
    """What tells any client that a body is damaged; None where nothing does."""
    try:
        names, values = _plain_reading(body)
    except ValueError as error:
        return f"an event is no JSON ({type(error).__name__})"
    if not values or not all(isinstance(value, dict) for value in values):
        return None  # a payload like `null`: odd, and no damage that can be told
    if stream.api == "responses":
        if _misses_a_number(values):
            return "a number is missing"
        kinds = (value.get("type") or name for name, value in zip(names, values, strict=True))
        final = any(
            isinstance(value.get("response"), dict) and value["response"].get("status") == "completed"
            for value in values
        )
        return None if final or "response.completed" in kinds else "no terminal event"
    return None if any(_finishes(value) for value in values) else "no finish_reason"


def _misses_a_number(values: Sequence[Any]) -> bool:
    """Whether the events that are numbered have a gap, and the server keeps its numbers at all."""
    numbered = [(value["sequence_number"], value.get("type")) for value in values if _is_numbered(value)]
    if len(numbered) < len(values):
        return False  # where one event has no number, the stream is not numbered
    first, kind = numbered[0]
    if any(number == first and other != kind for number, other in numbered):
        return False  # the server fills the field in
    if kind not in _BEGINNINGS:
        first = 0
    order = [number for number, _ in numbered]
    if order != sorted(order):
        return False  # they mean nothing, or all of them came, in disorder or twice
    numbers = {number for number, _ in numbered}
    return numbers != set(range(first, first + len(numbers)))


def _is_numbered(value: Any) -> bool:
    return type(value.get("sequence_number")) is int


def _plain_reading(body: bytes) -> tuple[list[str], list[Any]]:
    """The names and the JSON of a body's events, as the SSE standard cuts them. Raises `ValueError`."""
    names, values, data, event = [], [], list[bytes](), ""
    for line in re.split(rb"\r\n|\r|\n", body):
        name, _, text = line.partition(b":")
        if name == b"data":
            data.append(text.removeprefix(b" "))
        elif name == b"event":
            event = text.removeprefix(b" ").decode("utf-8", "replace")
        elif not line:
            joined = b"\n".join(data)
            if joined.startswith(b"[DONE]"):
                break
            if joined.strip():
                names.append(event)
                values.append(json.loads(joined))
            data, event = [], ""
    return names, values


def _finishes(value: Any) -> bool:
    choices = value.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and bool(choice.get("finish_reason")) for choice in choices
    )

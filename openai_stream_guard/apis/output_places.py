"""Which output of a response an event is about, and by which key its texts and its repetition are known."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from .completion import Lifecycles, Place
from .transcript import Identity, Key, Milestone, TextDelta
from .whole_items import whole_item, whole_text

PART_INDEXES = ("content_index", "summary_index", "annotation_index")


class OutputPlaces:
    """The places of a response's outputs, also of those without an `output_index`: llama.cpp counts nothing."""

    def __init__(self, lifecycles: Lifecycles) -> None:
        self._lifecycles = lifecycles
        self._latest: int | None = None
        self._by_id: dict[object, int] = {}
        self._opened: set[Place] = set()

    def begin(self, value: Mapping[str, object]) -> None:
        """Take an event by which an item begins: count the item, where the server does not."""
        name = _item_id(value)
        if type(value.get("output_index")) is not int and (name is None or name not in self._by_id):
            self._latest = 0 if self._latest is None else self._latest + 1
            if name is not None:
                self._by_id[name] = self._latest
        self._opened.add(self.of(value))

    def named(self, value: Mapping[str, object]) -> list[Identity]:
        """Take the first text of a channel, and return what it calls its item.

        Some servers announce no items, and some close them by their ids alone, as MLflow's agents do.
        """
        name, index = _item_id(value), value.get("output_index")
        if name is None:
            return []
        if type(index) is int:
            self._by_id[name] = index
        return [(("item", self.of(value), "id"), name)]

    @property
    def count(self) -> int:
        """How many items have begun in the current lifecycle."""
        number = self._lifecycles.number
        return sum(isinstance(place, tuple) and place[0] == number if number else True for place in self._opened)

    def of(self, value: Mapping[str, object]) -> Place:
        """Return the output that an event is about."""
        index = value.get("output_index")
        return self.in_lifecycle(index if type(index) is int else self._by_id.get(_item_id(value), self._latest))

    @property
    def response(self) -> Key:
        """The key of what the response is called; a later lifecycle is a response of its own."""
        number = self._lifecycles.number
        return ("response", number) if number else ("response",)

    def in_lifecycle(self, index: int | None) -> Place:
        """Return the place of an output of the current lifecycle; a later one has outputs of its own."""
        number = self._lifecycles.number
        return (number, index) if number else index

    def channel(self, kind: str, value: Mapping[str, object]) -> Key:
        """Return the key of the text that an event `….delta` adds to."""
        return (self.of(value), *(integer_in(value, name) for name in PART_INDEXES[:2]), kind.removesuffix(".delta"))

    def once(self, kind: str, value: Mapping[str, object]) -> Hashable:
        """Return what an event without text of its own would be repeated as."""
        place = (self.of(value), *(integer_in(value, name) for name in PART_INDEXES))
        return Milestone(kind, place) if kind.endswith((".added", ".done")) else (kind, *place)

    def whole_texts(self, kind: str, value: Mapping[str, Any], *, only_opened: bool = False) -> list[TextDelta]:
        """Return what `….done` and terminal events say of the texts that were told in deltas.

        Args:
            only_opened: leave out items that began before what was asked for.
        """
        response = value.get("response")
        if isinstance(response, dict):
            output = response.get("output")
            items = enumerate(output if isinstance(output, list) else ())
            told = [text for index, item in items for text in whole_item(item, self.in_lifecycle(index))]
        elif kind == "response.output_item.done":
            told = list(whole_item(value.get("item"), self.of(value)))
        else:
            told = list(whole_text(kind, value, self.channel(kind, value)))
        return [text for text in told if text[0][0] in self._opened] if only_opened else told

    def opened(self, value: Mapping[str, object]) -> tuple[list[TextDelta], list[Identity]]:
        """Return what `response.output_item.added` says. A message shows nothing yet; any other item is visible."""
        place, item = self.of(value), value.get("item")
        if not isinstance(item, dict):
            return [], []
        said = {name: part for name, part in item.items() if isinstance(part, str) and part}
        names = ("id", "call_id", "type", "name")
        identities: list[Identity] = [(("item", place, name), said[name]) for name in names if name in said]
        if item.get("type") == "message":
            return [], identities
        return [((place, None, None, "item"), f"{said.get('type', '')} {said.get('name', '')}")], identities


def integer_in(value: Mapping[str, object], name: str) -> int | None:
    """Return a member that is an integer; None for any other."""
    number = value.get(name)
    return number if type(number) is int else None


def _item_id(value: Mapping[str, object]) -> str | None:
    item = value.get("item")
    name = item.get("id") if isinstance(item, dict) else value.get("item_id")
    return name if isinstance(name, str) else None

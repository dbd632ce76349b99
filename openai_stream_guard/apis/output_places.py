"""Which output of a response an event is about, and by which key its texts and its repetition are known."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from .completion import Lifecycles, Place
from .transcript import Identity, Key, TextDelta

_PARTS = ("content_index", "summary_index", "annotation_index")


class OutputPlaces:
    """The places of a response's outputs, also of those without an `output_index`: llama.cpp counts nothing."""

    def __init__(self, lifecycles: Lifecycles) -> None:
        self._lifecycles = lifecycles
        self._latest: int | None = None
        self._by_id: dict[object, int] = {}

    def begin(self, value: Mapping[str, object]) -> None:
        """Take an event by which an item begins: count the item, where the server does not."""
        if type(value.get("output_index")) is int:
            return
        name = _item_id(value)
        if name is None or name not in self._by_id:
            self._latest = 0 if self._latest is None else self._latest + 1
            if name is not None:
                self._by_id[name] = self._latest

    def of(self, value: Mapping[str, object]) -> Place:
        """Return the output that an event is about."""
        index = value.get("output_index")
        return self.in_lifecycle(index if type(index) is int else self._by_id.get(_item_id(value), self._latest))

    def in_lifecycle(self, index: int | None) -> Place:
        """Return the place of an output of the current lifecycle; a later one has outputs of its own."""
        number = self._lifecycles.number
        return (number, index) if number else index

    def channel(self, kind: str, value: Mapping[str, object]) -> Key:
        """Return the key of the text that an event `….delta` adds to."""
        return (self.of(value), *(integer_in(value, name) for name in _PARTS[:2]), kind.removesuffix(".delta"))

    def once(self, kind: str, value: Mapping[str, object]) -> Hashable:
        """Return what an event without text of its own would be repeated as."""
        return (kind, self.of(value), *(integer_in(value, name) for name in _PARTS))

    def opened(self, value: Mapping[str, object]) -> tuple[list[TextDelta], list[Identity]]:
        """Return what `response.output_item.added` says. A message shows nothing yet; any other item is visible."""
        place, item = self.of(value), value.get("item")
        if not isinstance(item, dict):
            return [], []
        said = {name: part for name, part in item.items() if isinstance(part, str) and part}
        names = ("id", "call_id", "type")
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

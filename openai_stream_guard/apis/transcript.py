"""What the consumer has been given, and what a second answer must repeat of it.

A *channel* is one text that grows by appending: the content of choice 0, the arguments of its second tool call.
Its key is the path to it inside the payload. This module knows no API and no JSON; a dialect names the channels.

The law its tests keep: whatever a replay lets through continues the delivered text of every channel exactly, and
nothing is let through before every channel has repeated all that was delivered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from typing import TypeAlias

Key: TypeAlias = tuple[Hashable, ...]
TextDelta: TypeAlias = tuple[Key, str]
Identity: TypeAlias = tuple[Key, object]


class Transcript:
    """The delivered part of one logical answer.

    Texts are kept as UTF-8, since a bytearray holds a delta in as many bytes as it has, where a list of strings
    spends fifty on each; lone surrogates, which JSON may carry, survive by `surrogatepass`.
    """

    def __init__(self) -> None:
        self.text_channels: dict[Key, bytearray] = {}
        self.identities: dict[Key, object] = {}
        """Roles, ids, types: said once, never appended to."""
        self.lifecycle: Counter[Hashable] = Counter()
        """Items without text that were delivered, by kind."""
        self.sequence: int | None = None
        """The `sequence_number` of the last delivered item, where the API numbers them."""
        self.deltas = 0
        """How many items carried text."""

    @property
    def visible(self) -> bool:
        """Whether anything was delivered that a person or a program would have to take back."""
        return bool(self.text_channels)

    @property
    def entries(self) -> int:
        """How many texts, names and kinds of item are kept apart: what memory this takes beside the text itself."""
        return len(self.text_channels) + len(self.identities) + len(self.lifecycle)

    def add(
        self,
        text_deltas: Collection[TextDelta],
        identities: Iterable[Identity] = (),
        kind: Hashable = None,
        sequence: int | None = None,
    ) -> None:
        """Note what is being delivered."""
        text_channels = self.text_channels
        if text_deltas:
            self.deltas += 1
        for key, text in text_deltas:
            piece = text.encode("utf-8", "surrogatepass")
            channel = text_channels.get(key)
            if channel is None:
                text_channels[key] = bytearray(piece)
            else:
                channel += piece
        for key, name in identities:
            self.identities.setdefault(key, name)
        if kind is not None:
            self.lifecycle[kind] += 1
        if sequence is not None:
            self.sequence = sequence

    def text(self, key: Key) -> str:
        """The delivered text of one channel, empty where nothing was."""
        return self.text_channels.get(key, b"").decode("utf-8", "surrogatepass")

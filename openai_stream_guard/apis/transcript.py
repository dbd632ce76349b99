"""What the consumer has been given, and what a second answer must repeat of it.

A *channel* is one text that grows by appending: the content of choice 0, the arguments of its second tool call.
Its key is the path to it inside the payload; the first step of the path is its *group*: the choice, or the output item.
This module knows no API and no JSON; an adapter names the channels.

The law its tests keep: whatever a replay lets through continues the delivered text of every channel exactly, and
nothing is let through before every channel has repeated all that was delivered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from typing import NamedTuple, TypeAlias

Key: TypeAlias = tuple[Hashable, ...]
TextDelta: TypeAlias = tuple[Key, str]
Identity: TypeAlias = tuple[Key, object]

MAX_TEXT = 16 << 20
"""Bytes of text that are kept of one answer. A longer one can no longer be repeated: the longest that models write are
a hundredth of this."""


class Milestone(NamedTuple):
    """The kind of an event that opens or closes a part of the answer: a second answer has to have it too."""

    event: str
    place: Key


class Aside(NamedTuple):
    """The kind of an item that adds no text to its group, such as the log probabilities of half a character."""

    group: Hashable
    shape: Hashable
    required: bool = False
    """It is a part of the answer: a second one has to have it too, before it adds text."""


class Transcript:
    """The delivered part of one logical answer.

    Texts are kept as UTF-8, since a bytearray holds a delta in as many bytes as it has, where a list of strings
    spends fifty on each; lone surrogates, which JSON may carry, survive by `surrogatepass`.
    """

    __slots__ = (
        "_holes", "_unended", "accepts_holes", "asides", "deltas", "ended", "held", "hole_came_again", "identities",
        "lifecycle", "sequence", "size", "text_channels",
    )  # fmt: skip

    def __init__(self) -> None:
        self.text_channels: dict[Key, bytearray] = {}
        """In the order in which they began."""
        self.ended: dict[Key, tuple[int, int]] = {}
        """How long a channel was when a later one of its group began, and that one's place in the order."""
        self.identities: dict[Key, object] = {}
        """Roles, ids, types: said once, never appended to."""
        self.lifecycle: Counter[Hashable] = Counter()
        """Items without text that were delivered, by kind."""
        self.asides: dict[Hashable, tuple[int, Counter[Aside]]] = {}
        """Those behind the last text of each group, and how much text it had by then."""
        self.sequence: int | None = None
        """The `sequence_number` of the last delivered item, where the API numbers them."""
        self.deltas = 0
        """How many items carried text."""
        self.size = 0
        """Bytes of text."""
        self.held: dict[Key, bytearray] = {}
        """Texts of items that are not delivered yet."""
        self.accepts_holes = False
        """The server is known to leave out parts of texts that it tells as a whole afterwards."""
        self.hole_came_again = False
        """A second answer has left out the same part of a text as the one before it."""
        self._holes: dict[Key, int] = {}
        self._unended: dict[Hashable, list[Key]] = {}

    def note_hole(self, key: Key, told: bytes, whole: bytes) -> bool:
        """Note that a part of a text is missing from what was told of it, by what is said of it as a whole.

        Returns:
            Whether that is a habit: of the server, as far as it is known, or since the answer before had the same hole.
        """
        hole = hash((told, whole))
        if self.accepts_holes:
            return True
        if self._holes.get(key) == hole:
            self.hole_came_again = True
            return True
        self._holes[key] = hole
        return False

    @property
    def empty(self) -> bool:
        """Whether nothing at all was delivered."""
        return not (self.text_channels or self.identities or self.lifecycle or self.asides)

    @property
    def visible(self) -> bool:
        """Whether anything was delivered that a person or a program would have to take back."""
        return bool(self.text_channels)

    @property
    def overflowed(self) -> bool:
        """Whether more text was delivered than is kept."""
        return self.size > MAX_TEXT

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
        begun: list[Key] = []
        if text_deltas:
            self.deltas += 1
        for key, text in text_deltas:
            piece = text.encode("utf-8", "surrogatepass")
            self.size += len(piece)
            if self.overflowed:
                continue
            channel = text_channels.get(key)
            if channel is None:
                self._begin(key, begun)
                text_channels[key] = bytearray(piece)
            else:
                channel += piece
        for key, name in identities:
            self.identities.setdefault(key, name)
        if isinstance(kind, Aside):
            self._note_aside(kind)
        elif kind is not None:
            self.lifecycle[kind] += 1
        if sequence is not None:
            self.sequence = sequence

    def _begin(self, key: Key, begun: list[Key]) -> None:
        """A channel begins; `begun` are those of the same item, which go side by side with it."""
        group, rank = key[0], len(self.text_channels)
        for other in self._unended.pop(group, ()):
            if other in begun:
                self._unended.setdefault(group, []).append(other)
            else:
                self.ended[other] = (len(self.text_channels[other]), rank)
        begun.append(key)
        self._unended.setdefault(group, []).append(key)

    def _note_aside(self, kind: Aside) -> None:
        length = self.group_size(kind.group)
        known = self.asides.get(kind.group)
        if known is None or known[0] != length:
            self.asides[kind.group] = known = (length, Counter())
        known[1][kind] += 1

    def group_size(self, group: Hashable) -> int:
        """Bytes of text in the channels of a group."""
        return sum(len(text) for key, text in self.text_channels.items() if key[0] == group)

    def text(self, key: Key) -> str:
        """The delivered text of one channel, empty where nothing was."""
        return self.text_channels.get(key, b"").decode("utf-8", "surrogatepass")

    def hold(self, text_deltas: Iterable[TextDelta]) -> None:
        """Note what will be delivered later, or never."""
        for key, text in text_deltas:
            self.held.setdefault(key, bytearray()).extend(text.encode("utf-8", "surrogatepass"))

    def told(self, key: Key) -> bytes:
        """The text of one channel with what is held of it, in UTF-8."""
        return bytes(self.text_channels.get(key, b"") + self.held.get(key, b""))


def retold_key(key: Key) -> Key:
    """The key of the identity that is the hash of a text as a whole, where it was told otherwise than it came."""
    return ("whole", *key)


def has_hole(told: bytes, whole: bytes) -> bool:
    """Whether a text came with something missing: it is what the whole is without one part, or a few small ones."""
    if len(told) >= len(whole):
        return False
    pairs = enumerate(zip(told, whole, strict=False))
    head = next((at for at, (one, other) in pairs if one != other), len(told))
    tail = len(told) - head
    if whole.endswith(told[head:]) and len(whole) - tail >= head:
        return True
    rest = iter(whole)
    return 2 * len(told) >= len(whole) and all(byte in rest for byte in told)

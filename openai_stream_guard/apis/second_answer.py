"""What another answer adds to the transcript of the first.

The rules of a replay, each a law of its tests:
- A second answer adds to a channel only what follows the text that was delivered of it, and nothing at all before
  every channel, every id and every milestone that was delivered has come again.
- Where one channel had ended before another of its group began, neither grows while the other one is behind. Entries
  of a list, such as parallel calls, and different groups are independent of each other.
- A name is repeated as a whole: none is the beginning of another.
- A value that is no text is compared as a value.
- What is told whole, at the end of a text, is the text that was told piece by piece.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable

from .transcript import Aside, Identity, Key, Milestone, TextDelta, Transcript, has_hole, retold_key


class Diverged(Exception):
    """The second answer is not the first one again."""


class Unsafe(Diverged):
    """It may be, and cannot be joined to the first one: it holds what is only good under its own id."""


class Addition:
    """What one payload adds to a transcript."""

    def __init__(self) -> None:
        self.text_deltas: list[TextDelta] = []
        self.identities: list[Identity] = []
        self.kind: Hashable = None
        self.sequence: int | None = None


class SecondAnswer(ABC):
    """What another answer adds to the transcript of the first: reads it, and collects what is new."""

    spent = 0
    """Tokens of the attempts before that its usage does not count, at least."""
    restarts = False
    """Nothing visible was delivered before: a final response without items says as little as in a first answer."""
    repeated = 0
    """How often it has come nearer to the point that was delivered: with each text, id or milestone that came again."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._news = Addition()
        self._named: dict[Key, object] = {}

    @property
    @abstractmethod
    def caught_up(self) -> bool:
        """Whether all that was delivered has been repeated, or need not be, and nothing is held back."""

    @abstractmethod
    def take(self, key: Key, text: str, *, whole: bool = False) -> str:
        """The part of `text` that is new on its channel. Raises `Diverged` where it contradicts what was delivered.

        Args:
            whole: it is a name, of which no part is new where another part is known.
        """

    @abstractmethod
    def flush(self, key: Key) -> str:
        """What was held back of a channel, and is new, since the answer ends there."""

    @abstractmethod
    def repeats(self, kind: Hashable) -> bool:
        """Whether an item without text was delivered already, counted by kind."""

    @abstractmethod
    def number(self, number: int | None) -> int | None:
        """The number of an item that is new."""

    def take_value(self, key: Key, value: object) -> bool:
        """Whether a value that is no text is new on its channel. Raises `Diverged` where another was delivered."""
        known = self._transcript.text_channels.get(key)
        if known is None:
            return bool(self.take(key, json_line(value)))
        try:
            if json.loads(known) != value:
                raise Diverged
        except ValueError:
            raise Diverged from None
        self.take(key, known.decode("utf-8", "surrogatepass"))
        return False

    @abstractmethod
    def tell_whole(self, key: Key, text: str) -> None:
        """Take what is said of a text as a whole. Raises `Diverged` where it was told otherwise."""

    def is_closed(self, end: Key) -> bool:
        """Whether this channel, the mark by which its group ends, was delivered, and nothing of the group since."""
        return False

    def identify(self, key: Key, name: object) -> object:
        """The role or id that the consumer has been given here; None where it has none yet and `name` is news."""
        known = self._transcript.identities.get(key)
        if known is None:
            self._news.identities.append((key, name))
        return known

    def name_once(self, key: Key, name: object) -> None:
        """Note what this answer itself calls something. Raises `Diverged` where it has called it otherwise.

        Some servers send several calls under one index, which only their ids tell apart.
        """
        if self._named.setdefault(key, name) != name:
            raise Diverged

    def known(self, key: Key) -> object:
        """The role or id that the consumer has been given here, if any."""
        return self._transcript.identities.get(key)

    def delivered(self, kind: Hashable) -> bool:
        """Whether an item of this kind was delivered."""
        return kind in self._transcript.lifecycle

    def news(self) -> Addition:
        """What was new since the last call."""
        news, self._news = self._news, Addition()
        return news


class ReplayChecker(SecondAnswer):
    """Holds a second answer against the transcript of the first: it is to be the same again."""

    def __init__(self, transcript: Transcript) -> None:
        super().__init__(transcript)
        self.restarts = not transcript.visible
        self._behind = {key: len(text) for key, text in transcript.text_channels.items()}
        """Bytes that each channel has yet to repeat; a channel that has caught up is dropped."""
        self._ranks = {key: rank for rank, key in enumerate(self._behind)}
        self._sizes = dict(self._behind)
        last_begun = {key[0]: key for key in self._behind}
        self._last_begun = set(last_begun.values())
        self._unseen: set[Hashable] = {kind for kind in transcript.lifecycle if isinstance(kind, Milestone)}
        self._unseen |= {key for key in transcript.identities if key[-1] == "id" and len(key) > 1}
        self._asides = {
            group: Counter(kinds)
            for group, (length, kinds) in transcript.asides.items()
            if transcript.group_size(group) == length
        }
        """What each group had behind its last text, and is yet to be repeated."""
        self._lifecycle: Counter[Hashable] = Counter()
        self._number = transcript.sequence

    @property
    def caught_up(self) -> bool:
        """Whether every channel, id and milestone that was delivered has come again."""
        return not (self._behind or self._unseen)

    def take(self, key: Key, text: str, *, whole: bool = False) -> str:
        """The part of `text` that goes beyond what was delivered on its channel.

        Raises:
            Diverged: if the rest of it is not what was delivered at this place, or more is said of it than may be.
        """
        if whole and key not in self._behind and self._transcript.text(key) == text:
            return ""
        surplus = self._surplus(key, text)
        if surplus:
            if whole and len(surplus) < len(text):
                raise Diverged
            self._check_order(key)
            self._add(key, surplus)
        return surplus

    def _add(self, key: Key, text: str) -> None:
        self._news.text_deltas.append((key, text))
        self._transcript.hold([(key, text)])

    def _see(self, name: Hashable) -> None:
        """Note an id or a milestone that has come again."""
        self.repeated += name in self._unseen
        self._unseen.discard(name)

    def _surplus(self, key: Key, text: str) -> str:
        behind = self._behind.get(key)
        if behind is None:
            return text
        piece = text.encode("utf-8", "surrogatepass")
        delivered = self._transcript.text_channels[key]
        start = len(delivered) - behind
        if len(piece) < behind:
            if delivered[start : start + len(piece)] != piece:
                raise Diverged
            self._behind[key] = behind - len(piece)
            self.repeated += bool(piece)
            return ""
        if not piece.startswith(delivered[start:]):
            raise Diverged
        del self._behind[key]
        self.repeated += 1
        return piece[behind:].decode("utf-8", "surrogatepass")

    def _check_order(self, key: Key) -> None:
        """Raise `Diverged` where a channel grows before its time."""
        if any(other[0] == key[0] and self._ordered(key, other) for other in self._behind):
            raise Diverged
        if any(kind.required for kind in self._asides.pop(key[0], ())):
            raise Diverged

    def _ordered(self, one: Key, other: Key) -> bool:
        """Whether two channels of a group follow each other, and do not go side by side. (`other` was delivered.)"""
        steps = zip(one, other, strict=False)
        split = next((at for at, (left, right) in enumerate(steps) if left != right), len(one))
        if 1 < split < min(len(one), len(other)) and isinstance(one[split - 1], str) and isinstance(one[split], int):
            return False  # entries of one list
        rank = self._ranks.get(one)
        if rank is None:
            return True
        earlier, later = (one, other) if rank < self._ranks[other] else (other, one)
        length, ended_by = self._transcript.ended.get(earlier, (-1, 0))
        return length == self._sizes[earlier] and self._ranks[later] >= ended_by

    def is_closed(self, end: Key) -> bool:
        """Whether this channel, the mark by which its group ends, was delivered, and nothing of the group since."""
        rank = self._ranks.get(end)
        return end in self._last_begun and all(
            ended_by != rank or length == self._sizes[key]
            for key, (length, ended_by) in self._transcript.ended.items()
            if key in self._sizes
        )

    def tell_whole(self, key: Key, text: str) -> None:
        """Take what is said of a text as a whole.

        Raises:
            Diverged: if this answer, or where it has told nothing of it the first one, has told another text; or the
                first one has told another as a whole.
        """
        behind, told = self._behind.get(key), self._transcript.told(key)
        piece = text.encode("utf-8", "surrogatepass")
        if (retold := self._transcript.identities.get(retold_key(key))) is not None:
            if retold != hash(piece):
                raise Diverged
            return
        if behind is not None:
            if behind != len(told) or told != piece:
                raise Diverged
            del self._behind[key]
            self.repeated += 1
        elif not told:
            self._add(key, text)
        elif told != piece and not (has_hole(told, piece) and self._transcript.note_hole(key, told, piece)):
            raise Diverged

    def identify(self, key: Key, name: object) -> object:
        """The role or id that the consumer has been given here; None where it has none yet and `name` is news."""
        self._see(key)
        return super().identify(key, name)

    def flush(self, key: Key) -> str:
        """Nothing is kept back of a text that is new."""
        return ""

    def repeats(self, kind: Hashable) -> bool:
        """Whether an item without text was delivered already, counted by kind."""
        if isinstance(kind, Aside):
            return self._repeats_aside(kind)
        self._see(kind)
        self._lifecycle[kind] += 1
        if self._lifecycle[kind] <= self._transcript.lifecycle[kind]:
            return True
        self._news.kind = kind
        return False

    def _repeats_aside(self, kind: Aside) -> bool:
        """What adds no text has no place of its own: it is known where its group is behind, or was told there."""
        if any(key[0] == kind.group for key in self._behind):
            return True
        waiting = self._asides.get(kind.group)
        if waiting is not None and waiting[kind] > 0:
            waiting[kind] -= 1
            if not waiting[kind]:
                del waiting[kind]
            return True
        self._news.kind = kind
        return False

    def number(self, number: int | None) -> int | None:
        """The number of an item that is new: one after the last, as the second answer may be cut into other items."""
        if number is None:
            return None
        self._number = number if self._number is None else self._number + 1
        self._news.sequence = self._number
        return self._number


def json_line(value: object) -> str:
    """A value as one line of JSON, the same for equal values."""
    return json.dumps(value, sort_keys=True)

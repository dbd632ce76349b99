"""What another answer adds to the transcript of the first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from .transcript import Identity, Key, TextDelta, Transcript


class Diverged(Exception):
    """The second answer is not the first one again."""


@dataclass
class Addition:
    """What one payload adds to a transcript."""

    text_deltas: list[TextDelta] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
    kind: Hashable = None
    sequence: int | None = None


class SecondAnswer(ABC):
    """What another answer adds to the transcript of the first: reads it, and collects what is new."""

    spent = 0
    """Tokens of the attempts before that its usage does not count, at least."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._news = Addition()
        self._named: dict[Key, object] = {}

    @property
    @abstractmethod
    def caught_up(self) -> bool:
        """Whether all that was delivered has been repeated, or need not be, and nothing is held back."""

    @abstractmethod
    def take(self, key: Key, text: str) -> str:
        """The part of `text` that is new on its channel. Raises `Diverged` where it contradicts what was delivered."""

    @abstractmethod
    def flush(self, key: Key) -> str:
        """What was held back of a channel, and is new, since the answer ends there."""

    @abstractmethod
    def repeats(self, kind: Hashable) -> bool:
        """Whether an item without text was delivered already, counted by kind."""

    @abstractmethod
    def number(self, number: int | None) -> int | None:
        """The number of an item that is new."""

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

    def news(self) -> Addition:
        """What was new since the last call."""
        news, self._news = self._news, Addition()
        return news


class ReplayChecker(SecondAnswer):
    """Holds a second answer against the transcript of the first: it is to be the same again."""

    def __init__(self, transcript: Transcript) -> None:
        super().__init__(transcript)
        self._behind = {key: len(text) for key, text in transcript.text_channels.items()}
        """Bytes that each channel has yet to repeat; a channel that has caught up is dropped."""
        self._lifecycle: Counter[Hashable] = Counter()
        self._number = transcript.sequence

    @property
    def caught_up(self) -> bool:
        """Whether every channel has repeated all it delivered."""
        return not self._behind

    def take(self, key: Key, text: str) -> str:
        """The part of `text` that goes beyond what was delivered on its channel.

        Raises:
            Diverged: if the rest of it is not what was delivered at this place.
        """
        surplus = self._surplus(key, text)
        if surplus:
            self._news.text_deltas.append((key, surplus))
        return surplus

    def flush(self, key: Key) -> str:
        """Nothing is kept back of a text that is new."""
        return ""

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
            return ""
        if not piece.startswith(delivered[start:]):
            raise Diverged
        del self._behind[key]
        return piece[behind:].decode("utf-8", "surrogatepass")

    def repeats(self, kind: Hashable) -> bool:
        """Whether an item without text was delivered already, counted by kind."""
        self._lifecycle[kind] += 1
        if self._lifecycle[kind] <= self._transcript.lifecycle[kind]:
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

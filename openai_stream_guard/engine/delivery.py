"""What is delivered to the consumer, and when.

A healthy live stream passes straight through. Events are held back while a repeated answer catches up with what was
delivered, while a tool call is open (`delivery="tool_calls"`), or until the end (`delivery="atomic"`).

Tests hold: the transcript contains exactly what was delivered; what is held back can be dropped without trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..apis.second_answer import Addition, ReplayChecker, SecondAnswer
from ..apis.sequence import Gap
from ..apis.transcript import Identity, TextDelta, Transcript, has_hole, retold_key

if TYPE_CHECKING:
    from ..apis.adapter import ApiAdapter, DataEvent
    from ..config.policy import Policy
    from ..decoding.payload import Payload

MAX_ENTRIES = 65_536
"""Texts, ids and kinds of event that a transcript may hold side by side. A long response with a thousand output items
has some ten thousand; more is an attempt to fill the memory."""
HELD_COST = 512
"""Bytes that Python needs for an event besides its text, at least."""


class Oversized(Exception):
    """More would have to be held than is allowed; the message says of what."""


class Delivery:
    """Delivers one logical stream."""

    __slots__ = ("_held", "_held_bytes", "_max_held", "_mode", "_replay", "is_rest", "transcript")

    def __init__(self, policy: Policy) -> None:
        self.transcript = Transcript()
        self._mode = policy.delivery
        self._max_held = policy.max_held_bytes
        self.is_rest = False
        """The current answer is the rest of a stored one: what it says of a text as a whole is proof."""
        self._replay: SecondAnswer | None = None
        self._held: list[tuple[Payload, DataEvent | Addition]] = []
        self._held_bytes = 0

    @property
    def caught_up(self) -> bool:
        """Whether the current attempt has repeated everything that was delivered before it."""
        return self._replay is None or self._replay.caught_up

    @property
    def repeated(self) -> int:
        """How often the current attempt has come nearer to what was delivered before it."""
        return 0 if self._replay is None else self._replay.repeated

    @property
    def gaining(self) -> bool:
        """Whether something new is held: the current attempt has come further than what was delivered."""
        return self.caught_up and bool(self._held)

    def accept(self, payload: Payload, item: DataEvent, adapter: ApiAdapter) -> Sequence[Payload]:
        """Take one event of the current attempt; return what may be delivered now.

        Raises:
            Diverged: if a repeated answer is not the first one again.
            Gap: if what is said of a text as a whole shows that a part of it has not come.
            Oversized: if too much would have to be held.
        """
        if self.transcript.entries + len(item.text_deltas) + len(item.identities) > MAX_ENTRIES:
            raise Oversized("the answer has more parts side by side than any answer has")
        news: DataEvent | Addition = item
        if self._replay is None:
            if item.kind is not None:
                news = self._completed(payload, item, adapter)
            if self._mode == "live":
                self.transcript.add(news.text_deltas, news.identities, news.kind, news.sequence)
                return (payload,)
        else:
            trimmed = adapter.trim_repeated(payload, self._replay)
            news = self._replay.news()
            if trimmed is None:
                return self._release_if_due(adapter)
            payload = trimmed
        if self._replay is None:
            self.transcript.hold(news.text_deltas)
        self._held.append((payload, news))
        self._held_bytes += len(payload.raw) + HELD_COST
        due = self._release_if_due(adapter)
        if self._held_bytes > self._max_held:
            raise Oversized("more would have to be held than max_held_bytes allows")
        return due

    def _completed(self, payload: Payload, item: DataEvent, adapter: ApiAdapter) -> DataEvent:
        """An item that may say of texts what they are as a whole.

        With those of which nothing had come yet; and where a text is told otherwise than it came, with what was told.
        """
        untold, retold = list[TextDelta](), list[Identity]()
        for key, text in adapter.whole_texts(payload):
            told, whole = self.transcript.told(key), text.encode("utf-8", "surrogatepass")
            if told == whole or self.transcript.overflowed:
                continue
            if not told:
                untold.append((key, text))
            elif self.is_rest or (has_hole(told, whole) and not self.transcript.note_hole(key, told, whole)):
                raise Gap
            else:
                retold.append((retold_key(key), hash(whole)))
        if not (untold or retold):
            return item
        return item._replace(text_deltas=[*item.text_deltas, *untold], identities=[*item.identities, *retold])

    def _release_if_due(self, adapter: ApiAdapter) -> Sequence[Payload]:
        if not self.caught_up or self._mode == "atomic" or (self._mode == "tool_calls" and adapter.tool_call_open):
            return ()
        return self.release()

    def release(self) -> Sequence[Payload]:
        """Return everything that is held, as delivered."""
        held, self._held, self._held_bytes = self._held, [], 0
        self.transcript.held.clear()
        for _, news in held:
            self.transcript.add(news.text_deltas, news.identities, news.kind, news.sequence)
        return [payload for payload, _ in held]

    def begin_again(self, continuation: SecondAnswer | None = None) -> None:
        """Begin a new attempt: drop what is held, and check the new answer against the transcript, or add it on."""
        self._held, self._held_bytes = [], 0
        self.transcript.held.clear()
        self._replay = continuation or (None if self.transcript.empty else ReplayChecker(self.transcript))
        self.is_rest = False

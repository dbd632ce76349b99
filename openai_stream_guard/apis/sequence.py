"""Putting numbered events in order: duplicates out, disorder right, gaps noticed."""

from __future__ import annotations

from ..decoding.payload import Payload

_MAX_WAITING = 64
"""Events; a number that has not come after so many later ones is lost."""


class Gap(Exception):
    """A number is missing and will not come."""


class Sequence:
    """The events of one attempt by their `sequence_number`; those without one pass as they come."""

    def __init__(self, following: int | None = None) -> None:
        self._next = None if following is None else following + 1
        self._waiting: dict[int, Payload] = {}
        self._first: tuple[int, object] | None = None
        self._trusted = True

    @property
    def last(self) -> int | None:
        """The number up to which nothing is missing."""
        return None if self._next is None else self._next - 1

    @property
    def missing(self) -> bool:
        """Whether later events wait for one that has not come."""
        return bool(self._waiting)

    def follow(self, number: object) -> bool:
        """Take the very number that is due, where nothing waits; False for any other, of which nothing was taken."""
        if number.__class__ is not int or number != self._next or self._waiting or self._first is None:
            return False
        self._next += 1
        return True

    def accept(self, payload: Payload, number: int | None, kind: object = None, *, first: bool) -> list[Payload]:
        """The events that are due now.

        Args:
            kind: the event's type. Where another one comes under the first one's number, the server only fills the
                field in (with the same number each time, or 0 where it has none): nothing is numbered then.
            first: whether this event can be the first of a stream, so that a missing first one is noticed.

        Raises:
            Gap: if too many events wait.
        """
        if number is None or not self._trusted:
            return [payload]
        self._first = self._first or (number, kind)
        if number == self._first[0] and kind != self._first[1]:
            return [*self._distrust(), payload]
        if self._next is None:
            self._next = number if first else 0
        if number < self._next or number in self._waiting:
            return []
        self._waiting[number] = payload
        due = []
        while self._next in self._waiting:
            due.append(self._waiting.pop(self._next))
            self._next += 1
        if len(self._waiting) > _MAX_WAITING:
            raise Gap
        return due

    def skip(self, number: int) -> None:
        """An event has come by itself; where its number is the one that is due, the next one is."""
        if number == self._next:
            self._next += 1

    def _distrust(self) -> list[Payload]:
        """The numbers mean nothing: what waits for one of them is due."""
        due = [self._waiting[number] for number in sorted(self._waiting)]
        self._waiting.clear()
        self._trusted, self._next = False, None
        return due

"""Events by their `sequence_number`: duplicates dropped, disorder put right, losses noticed.

A number is a hint. Bridges number some kinds of events only, gateways reuse the upstream's numbers for events of their
own or give all of them the same one, and a keep-alive may use up a number or share that of the next event. So numbers
are believed only while all of them make sense; from the first that does not, everything is delivered as it comes. In a
resumed answer they are proof, since the server was asked for what follows a number.
"""

from __future__ import annotations

from array import array

from ..decoding.payload import Payload

_MAX_WAITING = 64
"""Events that wait for an earlier one. A number that has not come after so many later ones is lost."""
_REMEMBERED = 64
"""Events of which a second copy is known. Another event under a number of theirs, or an older one, is no duplicate."""

_32_BITS = 0xFFFFFFFF
"""Of a hash; a stream is open for long, and 64 whole ones would be the largest thing that is kept of it."""


class Gap(Exception):
    """A number is missing and will not come."""


class Sequence:
    """The events of one attempt in their order.

    Args:
        after: for the rest of an answer, the number of the last event that is already there. Numbers are proof then.
        trusted: whether numbers mean anything at all on this server.
    """

    __slots__ = (
        "_hashes", "_is_proof", "_next", "_restarted_at", "_start", "_used_by_keep_alives", "_waiting", "trusted",
    )  # fmt: skip

    def __init__(self, after: int | None = None, *, trusted: bool = True) -> None:
        self._next = None if after is None else after + 1
        """The number that is due; None before the first."""
        self._is_proof = after is not None
        self.trusted = trusted or self._is_proof
        """Whether the numbers have made sense so far."""
        self._waiting: dict[int, Payload] = {}
        self._hashes = array("I", [0]) * _REMEMBERED
        """Of the payloads delivered last, each at its number modulo the length."""
        self._start = self._next
        """The first number of this count."""
        self._used_by_keep_alives: int | None = None
        """The last of the numbers from the next one on that keep-alives had: it may be used up, or come again."""
        self._restarted_at: int | None = None
        """What was due before the count that has just begun."""

    @property
    def last(self) -> int | None:
        """The number up to which nothing is missing; None where numbers mean nothing."""
        return None if self._next is None else self._next - 1

    @property
    def missing(self) -> int | None:
        """The number that later events wait for; None while none waits."""
        return self._next if self._waiting else None

    def follow(self, payload: Payload, number: object) -> bool:
        """Take an event if its number is the one that is due and none waits; else return False and take nothing."""
        if number.__class__ is not int or number != self._next or self._waiting or self._restarted_at is not None:
            return False
        self._hashes[self._next % _REMEMBERED] = hash(payload.raw) & _32_BITS
        self._next += 1
        return True

    def accept(self, payload: Payload, number: int | None) -> list[Payload]:
        """Take an event and return those that are due now.

        Raises:
            Gap: if too many events wait for one that has not come.
        """
        if not self.trusted:
            return [payload]
        if number is None:
            if not self._is_proof:
                return [*self.distrust(), payload]
            if self._waiting:
                raise Gap
            return [payload]
        if self._next is None:
            self._begin_count(number)
        if self._restarted_at is not None:
            # Where the old count goes on behind an event that seemed to begin a new one, neither means anything.
            if number == self._restarted_at != self._next:
                return [*self.distrust(), payload]
            self._restarted_at = None
        if self.follow(payload, number):
            return [payload]
        assert self._next is not None
        if number < self._next:
            return [] if self._is_duplicate(payload, number) else [*self.distrust(), payload]
        if (same := self._waiting.get(number)) is not None:
            return [] if self._is_proof or same.raw == payload.raw else [*self.distrust(), payload]
        self._waiting[number] = payload
        due = self._due()
        if len(self._waiting) > _MAX_WAITING:
            raise Gap
        return due

    def restart(self, payload: Payload, number: int | None) -> list[Payload]:
        """Take an event that begins another lifecycle, and with it another count.

        Raises:
            Gap: if events of the count before wait for one that has not come.
        """
        if not self.trusted or self._is_proof or number is None or self._next is None:
            return self.accept(payload, number)
        if self._waiting:
            raise Gap
        due_before, self._restarted_at = self._next, None
        self._begin_count(number)
        due = self.accept(payload, number)
        self._restarted_at = due_before
        return due

    def keep_alive(self, number: int) -> list[Payload]:
        """Note the number of a keep-alive, which the next event may have too; return the events that are due now."""
        if not self.trusted or self._next is None:
            return []
        used = self._used_by_keep_alives
        if number == (self._next if used is None else max(self._next, used + 1)):
            self._used_by_keep_alives = number
        return self._due()

    def skip(self, number: int) -> None:
        """Note the number of an error: where it was due, the next one is."""
        if number == self._next:
            self._next += 1

    def distrust(self) -> list[Payload]:
        """Believe no number any more; return the events that were held back, as they came."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        self.trusted, self._next = False, None
        return waiting

    def _begin_count(self, number: int) -> None:
        self._next = self._start = number
        self._used_by_keep_alives = None

    def _is_duplicate(self, payload: Payload, number: int) -> bool:
        """Whether an event that has been delivered came again."""
        assert self._next is not None
        assert self._start is not None
        if self._is_proof:
            return True
        is_remembered = number >= self._start and self._next - number <= _REMEMBERED
        return is_remembered and self._hashes[number % _REMEMBERED] == hash(payload.raw) & _32_BITS

    def _due(self) -> list[Payload]:
        """Take the events that wait for none any more."""
        due: list[Payload] = []
        while self._waiting:
            assert self._next is not None
            payload = self._waiting.pop(self._next, None)
            if payload is not None:
                self._hashes[self._next % _REMEMBERED] = hash(payload.raw) & _32_BITS
                due.append(payload)
                self._next += 1
                continue
            used = self._used_by_keep_alives
            if used is None or used < self._next or min(self._waiting) > used + 1:
                break
            self._next = min(self._waiting)
        return due

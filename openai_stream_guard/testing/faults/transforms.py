"""How faults change the body of a response: bytes in, bytes and interruptions out.

A `Transform` is one fault at work on one body; a `TransformChain` passes a body through several. Neither knows sockets
or clocks: a wait is a value too, and the reader of the body carries it out (`response_patch`).
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from .points import BlockFinder, Point, PointFinder, is_event

_PAYLOAD = re.compile(rb"(?:^|[\r\n])data: ?([^\r\n]+)")
NEVER_IN_UTF8: Final = b"\xff"


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing comes for so many seconds; infinite if the connection stays open and silent."""

    seconds: float


@dataclass(frozen=True, slots=True)
class BodyEnd:
    """The body ends here, in good order."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection breaks here."""


BodyPart: TypeAlias = bytes | Pause | BodyEnd | ConnectionLost
"""What the reader of a body gets: the bytes of a read, or an interruption."""


def is_last(part: BodyPart) -> bool:
    """Whether no further part of the body can come."""
    return isinstance(part, BodyEnd | ConnectionLost) or part == Pause(math.inf)


class Transform:
    """One fault at work on one body. This base class changes nothing."""

    struck = False
    """Whether the fault has taken effect."""
    content_type: str | None = None
    """The media type that the response is to claim instead of its own."""

    def start(self) -> Iterable[BodyPart]:
        """What comes before the first read."""
        return ()

    def feed(self, data: bytes) -> Iterable[BodyPart]:
        """What comes in place of a read."""
        yield data

    def finish(self) -> Iterable[BodyPart]:
        """What still comes when the body ends."""
        return ()


class TransformChain:
    """The transforms of one body, in order: each changes what the one before it has left."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def start(self) -> Iterator[BodyPart]:
        """What comes before the first read."""
        parts: Iterable[BodyPart] = ()
        for transform in self.transforms:
            parts = itertools.chain(transform.start(), _through(transform, parts))
        yield from parts

    def feed(self, data: bytes) -> Iterable[BodyPart]:
        """What comes in place of a read."""
        return self._through_all((data,))

    def finish(self) -> Iterable[BodyPart]:
        """What comes when the body ends; the last part is a `BodyEnd`, a `ConnectionLost` or an endless `Pause`."""
        return self._through_all((BodyEnd(),))

    def whole(self, reads: Iterable[bytes]) -> Iterator[BodyPart]:
        """A complete body, up to the part that ends it."""
        for part in itertools.chain(self.start(), *map(self.feed, reads), self.finish()):
            yield part
            if is_last(part):
                return

    def _through_all(self, parts: Iterable[BodyPart]) -> Iterable[BodyPart]:
        for transform in self.transforms:
            parts = _through(transform, parts)
        return parts


def _through(transform: Transform, parts: Iterable[BodyPart]) -> Iterator[BodyPart]:
    for part in parts:
        match part:
            case bytes():
                yield from transform.feed(part)
            case Pause(seconds) if seconds < math.inf:
                yield part
            case _:
                yield from transform.finish()
                yield part


class EndBody(Transform):
    """Ends the body at a point, after some last bytes."""

    def __init__(self, point: Point, end: BodyPart, last: bytes = b"") -> None:
        self._point = PointFinder(point)
        self._end = end
        self._last = last

    def start(self) -> Iterable[BodyPart]:
        """The end, if the point is the start of the body: then nothing is read at all."""
        return self._ending() if self._point.reached else ()

    def feed(self, data: bytes) -> Iterable[BodyPart]:
        """What comes before the point, and the end."""
        before, _ = self._point.divide(data)
        if before:
            yield before
        if self._point.reached:
            yield from self._ending()

    def _ending(self) -> Iterable[BodyPart]:
        self.struck = True
        if self._last:
            yield self._last
        yield self._end


class ReplaceBody(Transform):
    """Puts another body in place of the response's own."""

    def __init__(self, body: bytes, content_type: str) -> None:
        self._body = body
        self.content_type = content_type

    def start(self) -> Iterable[BodyPart]:
        """The other body."""
        self.struck = True
        yield self._body
        yield BodyEnd()


class AlterEvents(Transform):
    """Alters the first event behind a point, or every one. Behind the point, events are passed on when complete."""

    def __init__(self, point: Point, alter: Callable[[bytes], bytes], *, every_event: bool = False) -> None:
        self._point = PointFinder(point)
        self._alter = alter
        self._every_event = every_event
        self._blocks = BlockFinder()
        self._held = b""

    @property
    def _done(self) -> bool:
        return self.struck and not self._every_event

    def feed(self, data: bytes) -> Iterable[BodyPart]:
        """The event altered, everything else as it is."""
        if self._done:
            yield data
            return
        before, behind = self._point.divide(data)
        if self._point.reached:
            before += self._altered(behind)
        if before:
            yield before

    def _altered(self, data: bytes) -> bytes:
        out, taken = [], 0
        for end, block in self._blocks.ends(data):
            if is_event(block) and not self._done:
                self.struck = True
                block = self._alter(block)
            out.append(block)
            taken, self._held = end, b""
        self._held += data[taken:]
        if self._done:
            out.append(self._held)
            self._held = b""
        return b"".join(out)

    def finish(self) -> Iterable[BodyPart]:
        """An event that was never completed."""
        if self._held:
            yield self._held


class SplitReads(Transform):
    """Divides reads into pieces of at most `size` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size

    def feed(self, data: bytes) -> Iterable[BodyPart]:
        """The same bytes, `size` at a time."""
        self.struck = True
        for start in range(0, len(data), self._size):
            yield data[start : start + self._size]


class Delay(Transform):
    """Makes every read take so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def feed(self, data: bytes) -> Iterable[BodyPart]:
        """A pause, then the read."""
        self.struck = True
        yield Pause(self._seconds)
        yield data


def without_blank_line(event: bytes) -> bytes:
    """The event without the blank line that ends it."""
    end = b"\r\n" if event.endswith(b"\r\n") else event[-1:]
    return event.removesuffix(end)


def garbler(seed: int) -> Callable[[bytes], bytes]:
    """
    Return a function that makes one byte of an event's payload wrong, the same one for the same seed.

    It becomes a byte that occurs in no UTF-8 text. Any other byte might make another word, which nobody could notice.
    """
    chance = random.Random(seed)

    def garbled(event: bytes) -> bytes:
        payload = _PAYLOAD.search(event)
        if payload is None:
            return event
        place = chance.randrange(*payload.span(1))
        return event[:place] + NEVER_IN_UTF8 + event[place + 1 :]

    return garbled

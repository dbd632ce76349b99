"""What each fault does to a body, as a stage: bytes in, signals out.

What a reader of a struck body meets: bytes, and in between them what no bytes can say.

A stage turns the signals of the one before it into its own. Stages know neither sockets nor clocks: waiting is a
signal too, and the reader carries it out (`bodies`).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .points import Blocks, Gauge, Point, is_event


@dataclass(frozen=True, slots=True)
class Pause:
    """So many seconds in which nothing comes; infinite where the connection stays open and silent."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Over:
    """The body ends here, in good order."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection breaks here."""


Signal: TypeAlias = bytes | Pause | Over | Broken


class Stage:
    """One fault on its way over one body. As it stands it changes nothing."""

    struck = False
    """Whether the fault has shown itself."""

    def start(self) -> Iterable[Signal]:
        """What comes before the first read."""
        return ()

    def feed(self, data: bytes) -> Iterable[Signal]:
        """What comes in the place of a read."""
        yield data

    def finish(self) -> Iterable[Signal]:
        """What still comes where the body ends."""
        return ()


class Chain:
    """All stages of one body, in order: each strikes what the one before it has left."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)

    def start(self) -> Iterator[Signal]:
        """What comes before the first read."""
        signals: Iterable[Signal] = ()
        for stage in self.stages:
            signals = _began(stage, signals)
        yield from signals

    def feed(self, data: bytes) -> Iterator[Signal]:
        """What comes in the place of a read."""
        yield from self._pass((data,))

    def finish(self) -> Iterator[Signal]:
        """What comes where the body ends; the last signal is `Over`, `Broken` or an endless `Pause`."""
        yield from self._pass((Over(),))

    def _pass(self, signals: Iterable[Signal]) -> Iterable[Signal]:
        for stage in self.stages:
            signals = _passed(stage, signals)
        return signals


def _began(stage: Stage, signals: Iterable[Signal]) -> Iterator[Signal]:
    yield from stage.start()
    yield from _passed(stage, signals)


def _passed(stage: Stage, signals: Iterable[Signal]) -> Iterator[Signal]:
    for signal in signals:
        match signal:
            case bytes():
                yield from stage.feed(signal)
            case Pause(seconds) if seconds < math.inf:
                yield signal
            case _:
                yield from stage.finish()
                yield signal


_PAYLOAD = re.compile(rb"(?:^|[\r\n])data: ?([^\r\n]+)")
NEVER_IN_UTF8 = b"\xff"


class Ending(Stage):
    """The body ends at a point, in one way or another, after some last words."""

    def __init__(self, point: Point, end: Signal, words: bytes = b"") -> None:
        self._gauge = Gauge(point)
        self._end = end
        self._words = words

    def start(self) -> Iterable[Signal]:
        """Where the point is the very beginning, nothing is read at all."""
        return self._strike() if self._gauge.reached else ()

    def feed(self, data: bytes) -> Iterable[Signal]:
        """All that comes before the point."""
        before, _ = self._gauge.divide(data)
        if before:
            yield before
        if self._gauge.reached:
            yield from self._strike()

    def _strike(self) -> Iterable[Signal]:
        self.struck = True
        if self._words:
            yield self._words
        yield self._end


class Replaced(Stage):
    """Another body altogether."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def start(self) -> Iterable[Signal]:
        """The other body."""
        self.struck = True
        yield self._body
        yield Over()


class Altered(Stage):
    """The first event behind a point, or every one, is altered. From there on an event comes when it is whole."""

    def __init__(self, point: Point, alter: Callable[[bytes], bytes], *, every_event: bool = False) -> None:
        self._gauge = Gauge(point)
        self._alter = alter
        self._every_event = every_event
        self._blocks = Blocks()
        self._held = b""

    def feed(self, data: bytes) -> Iterable[Signal]:
        """The event altered, everything else as it is."""
        if self.struck and not self._every_event:
            yield data
            return
        before, behind = self._gauge.divide(data)
        out = [before]
        if self._gauge.reached:
            out.append(self._altered(behind))
        if joined := b"".join(out):
            yield joined

    def _altered(self, data: bytes) -> bytes:
        out, taken = [], 0
        for end, block in self._blocks.ends(data):
            if not is_event(block) or (self.struck and not self._every_event):
                out.append(block)
            else:
                self.struck = True
                out.append(self._alter(block))
            taken, self._held = end, b""
        self._held += data[taken:]
        if self.struck and not self._every_event:
            out.append(self._held)
            self._held = b""
        return b"".join(out)

    def finish(self) -> Iterable[Signal]:
        """An event that was never finished."""
        if self._held:
            yield self._held


class Split(Stage):
    """Reads come in pieces."""

    def __init__(self, size: int) -> None:
        self._size = size

    def feed(self, data: bytes) -> Iterable[Signal]:
        """The same bytes, so many at a time."""
        self.struck = True
        for start in range(0, len(data), self._size):
            yield data[start : start + self._size]


class Slow(Stage):
    """Every read has to be waited for."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def feed(self, data: bytes) -> Iterable[Signal]:
        """A pause, then the read."""
        self.struck = True
        yield Pause(self._seconds)
        yield data


def dropped(block: bytes) -> bytes:
    """The event is missing."""
    return b""


def doubled(block: bytes) -> bytes:
    """The event comes twice."""
    return block + block


def glued(block: bytes) -> bytes:
    """The event has lost its blank line."""
    end = b"\r\n" if block.endswith(b"\r\n") else block[-1:]
    return block.removesuffix(end)


def garbler(seed: int) -> Callable[[bytes], bytes]:
    """A function that makes one byte of an event's payload wrong, the same one for the same seed.

    It becomes a byte that no UTF-8 text has. Any other might make another word of it, which nobody could notice.
    """
    chance = random.Random(seed)

    def garbled(block: bytes) -> bytes:
        payload = _PAYLOAD.search(block)
        if payload is None:
            return block
        place = chance.randrange(*payload.span(1))
        return block[:place] + NEVER_IN_UTF8 + block[place + 1 :]

    return garbled

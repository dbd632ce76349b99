"""What a reader of a struck body meets: bytes, and in between them what no bytes can say.

A stage turns the signals of the one before it into its own. Stages know neither sockets nor clocks: waiting is a
signal too, and the reader carries it out (`bodies`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias


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

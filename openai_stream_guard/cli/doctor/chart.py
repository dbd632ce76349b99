"""A stream drawn: when each read and each event came, as SVG that fits any width.

Every place along the time is in per cent, so that the drawing has the width of its page, and letters and dots stay as
they are. Nothing is summed up: a read is a bar, an event a dot, on top of those that came in the same read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import Final

from ...capture.rerun import Step
from .analysis import Stream

TOP: Final = 18.0  # in pixels, as all that is up and down
APART: Final = 8.0  # from one event to the next on top of it
TALLEST: Final = 100.0  # lane of events; where more come in one read they stand closer
READS: Final = 44.0  # height of the lane
MAX_GAPS: Final = 5
MIN_GAP: Final = 0.2  # seconds
MIN_SHARE: Final = 0.1  # of the whole time
_MARGIN: Final = 1.5  # per cent


def chart(stream: Stream, label: str) -> str:
    """The drawing of one stream."""
    return "\n".join(_Drawing(stream).svg(label))


class _Scale:
    """From seconds to a place."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds or 0.001

    def at(self, seconds: float) -> float:
        """In per cent of the width."""
        return round(_MARGIN + (100 - 2 * _MARGIN) * min(1.0, max(0.0, seconds / self.seconds)), 3)

    def ticks(self) -> list[float]:
        """Three to six round times."""
        rough = self.seconds / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
        return [step * number for number in range(int(self.seconds / step) + 1)]


class _Drawing:
    """One stream, and where its lanes are."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._scale = _Scale(stream.seconds)
        self._most = max((len(step.payloads) for step in stream.steps), default=0)
        self._floor = TOP + min(TALLEST, max(24.0, self._most * APART + 4))  # of the events
        self._ceiling = self._floor + 22  # of the reads
        self._ground = self._ceiling + READS

    def svg(self, label: str) -> Iterator[str]:
        """The element, what lies behind first."""
        yield f'<svg class="chart" height="{self._ground + 30:.0f}" role="img" aria-label="{escape(label)}">'
        yield from self._axis()
        yield from self._gaps()
        yield from self._marks()
        yield from self._reads()
        yield from self._events()
        yield f'<text x="0" y="12">events</text><text x="0" y="{self._ceiling - 4}">reads</text>'
        yield "</svg>"

    def _at(self, step: Step) -> float:
        return self._scale.at(self._stream.headers_at + step.at)

    def _line(self, kind: str, x: float, top: float, bottom: float, said: str = "") -> str:
        title = f"<title>{escape(said)}</title>" if said else ""
        return f'<line class="{kind}" x1="{x}%" x2="{x}%" y1="{top:.1f}" y2="{bottom:.1f}">{title}</line>'

    def _axis(self) -> Iterator[str]:
        for tick in self._scale.ticks():
            x = self._scale.at(tick)
            anchor = "start" if x < 8 else "end" if x > 92 else "middle"
            yield self._line("grid", x, TOP, self._ground)
            yield f'<text x="{x}%" y="{self._ground + 18}" text-anchor="{anchor}">{tick:.4g} s</text>'
        for floor in (self._floor, self._ground):
            yield f'<line class="base" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>'

    def _gaps(self) -> Iterator[str]:
        """The longest times without a byte, those that count."""
        least = max(MIN_GAP, MIN_SHARE * self._stream.seconds)
        long = [gap for gap in self._stream.gaps if gap[1] - gap[0] >= least]
        for start, end in sorted(long, key=lambda gap: gap[0] - gap[1])[:MAX_GAPS]:
            x, said = self._scale.at(start), f"{end - start:.2f} s"
            width = self._scale.at(end) - x
            yield (
                f'<g class="gap"><title>{said} without a byte</title>'
                f'<rect x="{x}%" width="{width:.3f}%" y="{TOP}" height="{self._ground - TOP}"/>'
                f'<text x="{x + width / 2:.3f}%" y="{TOP + 14}" text-anchor="middle">{said}</text></g>'
            )

    def _marks(self) -> Iterator[str]:
        """When the headers came, and the end."""
        stream = self._stream
        if stream.headers_at:
            said = f"headers after {stream.headers_at:.3f} s"
            yield self._line("headers", self._scale.at(stream.headers_at), TOP, self._ground, said)
        kind, said = "whole" if stream.whole else "broken", f"ended after {stream.seconds:.3f} s"
        yield self._line(f"end {kind}", self._scale.at(stream.seconds), TOP - 6, self._ground, said)

    def _events(self) -> Iterator[str]:
        """A dot for each event; those of one read make a column."""
        apart = min(APART, (self._floor - TOP - 8) / max(1, self._most - 1))
        for step in self._stream.steps:
            x = self._at(step)
            for place in range(len(step.payloads)):
                yield f'<circle class="event" cx="{x}%" cy="{self._floor - 5 - place * apart:.1f}" r="3"/>'

    def _reads(self) -> Iterator[str]:
        """A bar for each read, the higher the more bytes; above it a mark where the framing was repaired."""
        most = max((step.size for step in self._stream.steps), default=0) or 1
        for number, step in enumerate(self._stream.steps, 1):
            x = self._at(step)
            if step.size:
                height = 6 + (READS - 8) * math.sqrt(step.size / most)
                kind = "read" if step.payloads else "read empty"
                yield self._line(kind, x, self._ground - height, self._ground, self._told(number, step))
            if step.repairs:
                said = escape(f"repaired: {', '.join(step.repairs)}")
                y = (self._floor + self._ceiling) / 2
                yield f'<circle class="repair" cx="{x}%" cy="{y}" r="5"><title>{said}</title></circle>'

    def _told(self, number: int, step: Step) -> str:
        time = self._stream.headers_at + step.at
        return f"read {number}, {time:.3f} s: {step.size} bytes, {len(step.payloads)} events"

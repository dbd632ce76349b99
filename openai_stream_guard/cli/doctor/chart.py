"""A stream as a drawing: when each read and each event came, in SVG that fits any width.

Places along the time axis are percentages, so the drawing is as wide as its page while letters and dots keep their
size. Every read is one bar; every event is one dot, stacked on the other events of its read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import Final, Literal

from ...capture.rerun import Step
from .analysis import Stream

# Heights and distances are in pixels.
TOP: Final = 18.0
DOT_DISTANCE: Final = 8.0
"""From one event of a read to the next."""
MAX_EVENTS_HEIGHT: Final = 100.0
"""If more events come in one read, they are closer together."""
READS_HEIGHT: Final = 44.0
MAX_GAPS: Final = 5
"""How many gaps are marked."""
MIN_GAP: Final = 0.2
"""Seconds."""
MIN_GAP_SHARE: Final = 0.1
"""Of the whole time."""
MIN_LABELLED_WIDTH: Final = 16.0
"""Per cent of the width that a gap must have to hold its label on a small screen; the tooltip says it in any case."""
_MARGIN: Final = 1.5
"""Per cent of the width, on both sides."""


def chart(stream: Stream, label: str) -> str:
    """Return the drawing of one stream as an `svg` element."""
    return "\n".join(_Drawing(stream).svg(label))


class _Scale:
    """Converts seconds to a place."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds or 0.001

    def place(self, seconds: float) -> float:
        """Return the place in per cent of the width."""
        return round(_MARGIN + (100 - 2 * _MARGIN) * min(1.0, max(0.0, seconds / self.seconds)), 3)

    def ticks(self) -> list[float]:
        """Return three to five round times; more would not fit a small screen."""
        rough = self.seconds / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
        return [step * number for number in range(int(self.seconds / step) + 1)]


class _Drawing:
    """Draws one stream: a lane of events above a lane of reads."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._scale = _Scale(stream.seconds)
        self._most_events = max((len(step.payloads) for step in stream.steps), default=0)
        self._events_bottom = TOP + min(MAX_EVENTS_HEIGHT, max(24.0, self._most_events * DOT_DISTANCE + 4))
        self._reads_top = self._events_bottom + 22
        self._reads_bottom = self._reads_top + READS_HEIGHT

    def svg(self, label: str) -> Iterator[str]:
        """Yield the lines of the element; what is drawn later lies above."""
        yield f'<svg class="chart" height="{self._reads_bottom + 30:.0f}" role="img" aria-label="{escape(label)}">'
        yield from self._axis()
        yield from self._gaps()
        yield from self._headers_and_end()
        yield from self._reads()
        yield from self._events()
        yield f'<text x="0" y="12">events</text><text x="0" y="{self._reads_top - 4}">reads</text>'
        yield "</svg>"

    def _line(self, css_class: str, x: float, top: float, bottom: float, tooltip: str = "") -> str:
        title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
        return f'<line class="{css_class}" x1="{x}%" x2="{x}%" y1="{top:.1f}" y2="{bottom:.1f}">{title}</line>'

    def _axis(self) -> Iterator[str]:
        for tick in self._scale.ticks():
            x = self._scale.place(tick)
            label = f"{tick:.4g} s" if self._scale.seconds >= 0.02 else f"{1000 * tick:.4g} ms"
            yield self._line("grid", x, TOP, self._reads_bottom)
            yield f'<text x="{x}%" y="{self._reads_bottom + 18}" text-anchor="{_anchor(x)}">{label}</text>'
        for bottom in (self._events_bottom, self._reads_bottom):
            yield f'<line class="base" x1="0" x2="100%" y1="{bottom}" y2="{bottom}"/>'

    def _gaps(self) -> Iterator[str]:
        """Draw the longest times without a byte."""
        shortest = max(MIN_GAP, MIN_GAP_SHARE * self._stream.seconds)
        gaps = [gap for gap in self._stream.gaps if gap[1] - gap[0] >= shortest]
        for start, end in sorted(gaps, key=lambda gap: gap[0] - gap[1])[:MAX_GAPS]:
            x, label = self._scale.place(start), f"{end - start:.2f} s"
            width = self._scale.place(end) - x
            text = f'<text x="{x + width / 2:.3f}%" y="{TOP + 14}" text-anchor="middle">{label}</text>'
            yield (
                f'<g class="gap"><title>{label} without a byte</title>'
                f'<rect x="{x}%" width="{width:.3f}%" y="{TOP}" height="{self._reads_bottom - TOP}"/>'
                f"{text if width >= MIN_LABELLED_WIDTH else ''}</g>"
            )

    def _headers_and_end(self) -> Iterator[str]:
        stream = self._stream
        if stream.headers_at:
            tooltip = f"headers after {stream.headers_at:.3f} s"
            yield self._line("headers", self._scale.place(stream.headers_at), TOP, self._reads_bottom, tooltip)
        state, tooltip = "whole" if stream.whole else "broken", f"ended after {stream.seconds:.3f} s"
        yield self._line(f"end {state}", self._scale.place(stream.seconds), TOP - 6, self._reads_bottom, tooltip)

    def _events(self) -> Iterator[str]:
        """Draw a dot for each event; those of one read make a column."""
        distance = min(DOT_DISTANCE, (self._events_bottom - TOP - 8) / max(1, self._most_events - 1))
        for at, step in self._stream.timed_steps():
            x = self._scale.place(at)
            for number in range(len(step.payloads)):
                y = self._events_bottom - 5 - number * distance
                yield f'<circle class="event" cx="{x}%" cy="{y:.1f}" r="3"/>'

    def _reads(self) -> Iterator[str]:
        """Draw a bar for each read, higher for more bytes, and above it a mark where the framing was repaired."""
        largest = max((step.size for step in self._stream.steps), default=0) or 1
        for number, (at, step) in enumerate(self._stream.timed_steps(), 1):
            x = self._scale.place(at)
            if step.size:
                top = self._reads_bottom - 6 - (READS_HEIGHT - 8) * math.sqrt(step.size / largest)
                css_class = "read" if step.payloads else "read empty"
                yield self._line(css_class, x, top, self._reads_bottom, _tooltip(number, at, step))
            if step.repairs:
                tooltip = escape(f"repaired: {', '.join(step.repairs)}")
                y = (self._events_bottom + self._reads_top) / 2
                yield f'<circle class="repair" cx="{x}%" cy="{y}" r="5"><title>{tooltip}</title></circle>'


def _anchor(x: float) -> Literal["start", "middle", "end"]:
    """Return which part of a label to put at this place, in per cent, so that the label stays inside."""
    return "start" if x < 8 else "end" if x > 92 else "middle"


def _tooltip(number: int, at: float, step: Step) -> str:
    return f"read {number}, {at:.3f} s: {step.size} bytes, {len(step.payloads)} events"

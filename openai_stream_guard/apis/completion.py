"""When an answer is complete, when its stream is over, and why the two differ.

An answer is *complete* while nothing of it can be missing by what has arrived. A stream is *over* when nothing more is
read from it. Servers end an answer by a mark: a `finish_reason`, a terminal event, the last of several pictures. A mark
is evidence, not proof: real servers send one with every chunk, between two tool calls, or before a tool of their own
runs, and go on. So a mark completes an answer and ends nothing: whatever arrives behind it is delivered, as the SDK
does, and text behind it takes the mark back. A stream is over

- at `[DONE]`, which the SDK stops at as well;
- where the body ends: complete if a mark stands there, or if this server is known to need none;
- where the connection breaks or the wire stays silent, which is a fault, unless a mark stands: then nothing was lost.

The adapters keep the marks with the classes below; `engine.session` alone ends a stream.

A choice of chat or completions, `Choices`:

    open ──── reason ────▶ finished ──── text ────▶ revoked, which is open again
      ▲                                                │
      └────────────────────────────────────────────────┘

    A choice in which two chunks carried both text and a reason is *always finishing*: its reasons mark nothing, and
    only `[DONE]` ends that stream.

A response of the Responses API, `Lifecycles`:

    running ── terminal event ──▶ settled ── output, or a new lifecycle ──▶ revoked, which is running again
      ▲                                                                         │
      └─────────────────────────────────────────────────────────────────────────┘

    `[DONE]` after any terminal event ends the stream, whatever came between. Without any lifecycle event, `[DONE]` is
    enough once everything that was opened is closed.

Pictures, speech and transcriptions, `EndMarks`: complete once as many end marks came as were asked for. Where no event
has a type that is known, the end of the body is the end.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TypeAlias

from ..decoding.json_text import Scanner
from ..records import Record
from .request import EndRule
from .transcript import Key

Place: TypeAlias = int | tuple[int, int | None] | None
"""An output item of a response: its `output_index`; after the first lifecycle, together with the lifecycle's number."""

HOLES = "its sequence numbers have holes"
UNTOLD_TEXT = "its deltas lack a part of what it says of their text as a whole"
NO_TERMINAL = "it sends [DONE] without a terminal event"
NO_FINISH = "it sends [DONE] without a finish_reason"


class Oddity(Record):
    """Something that keeps an answer from being complete, and that a server may do each time."""

    habit: str
    """What the server does if it is a habit, in words: `HOLES`, `UNTOLD_TEXT`, `NO_TERMINAL` or `NO_FINISH`."""
    number: int | None = None
    """`HOLES`: the first number that is missing. `NO_FINISH`: 1 in an answer with a tool call, else 0."""


class CallArguments:
    """Tells whole arguments of a function call from cut ones, without keeping a text that the transcript has.

    Of an object or array no beginning closes all its brackets. Any other text is short.
    """

    __slots__ = ("_is_closed", "_rest", "_scanner")

    def __init__(self) -> None:
        self._scanner: Scanner | None = None
        self._is_closed = False
        self._rest = b""  # what is not in the object or array

    def add(self, piece: bytes) -> None:
        """Take more of the text, in UTF-8."""
        if self._scanner is None and not self._rest.strip() and piece.lstrip()[:1] in (b"{", b"["):
            self._scanner = Scanner()
        if self._scanner is None or self._is_closed:
            self._rest += piece
        elif (end := self._scanner.scan(piece)) >= 0:
            self._is_closed, self._rest = True, piece[end:]

    @property
    def is_whole(self) -> bool:
        """Whether they are empty, or JSON as far as brackets tell."""
        rest = self._rest.strip()
        if self._scanner is not None:
            return self._is_closed and not rest
        try:
            json.loads(rest.decode("utf-8", "surrogatepass") or "null")
        except (ValueError, RecursionError):
            return False
        return True


class Choices:
    """The choices of a chat answer, and which of them have finished.

    Args:
        expected: how many were asked for. Where it is one, all indexes are one choice: some servers count tokens by
            `index`.
    """

    __slots__ = ("always_finishing", "arguments", "expected", "revoked", "seen", "standing", "with_text")

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.seen: set[int] = set()
        self.standing: Counter[int] = Counter()
        """How many finish reasons stand, by choice: more than one where all are sent under one index."""
        self.with_text: Counter[int] = Counter()
        """How many chunks carried both text and a reason, by choice."""
        self.always_finishing = False
        """Reasons come with the text, again and again: they mark nothing."""
        self.revoked = False
        """A finish was taken back by text behind it."""
        self.arguments: dict[Key, CallArguments] = {}
        """The arguments of every function call whose arguments are text, by their channel."""

    def add_text(self, index: int) -> None:
        """A choice has grown, which revokes its finish."""
        if self.standing.pop(index, 0):
            self.revoked = True

    def finish(self, index: int, *, with_text: bool) -> None:
        """A choice has a finish reason, in a chunk with text or without."""
        self.standing[index] += 1
        if with_text:
            self.with_text[index] += 1
            self.always_finishing = self.always_finishing or self.with_text[index] > 1

    @property
    def all_finished(self) -> bool:
        """Whether there is a choice, and the last reason of every one stands."""
        return bool(self.seen) and all(index in self.standing for index in self.seen)

    @property
    def complete(self) -> bool:
        """Whether a mark stands for the whole answer: every choice asked for has finished."""
        return self.all_finished and len(self.seen) >= self.expected and not self.always_finishing

    def complete_at_end(self, rule: EndRule, *, done: bool) -> bool:
        """Whether the answer is complete where the stream ends, with `[DONE]` or without."""
        if self.always_finishing:
            return done and self._calls_are_whole() and (rule != "strict" or self.all_finished)
        if self.complete:
            return True
        # Some servers send every finish under the last index; with `[DONE]` their number is enough.
        if done and self.standing.total() >= self.expected and self._calls_are_whole():
            return True
        if rule == "strict":
            return False
        # A `[DONE]` excuses a server that ignores `n`. Without one, the choices that never came may have been cut.
        if self.all_finished and (done or rule == "lenient"):
            return True
        return rule != "learnt" and done and bool(self.seen) and self._calls_are_whole()

    def _calls_are_whole(self) -> bool:
        """Whether the arguments of every call in an unfinished choice are empty or whole JSON."""
        arguments = self.arguments.items()
        return all(call.is_whole for key, call in arguments if self.always_finishing or key[0] not in self.standing)


class Lifecycles:
    """The lifecycles of a streamed response: nearly always one; gateways that run tools send several."""

    __slots__ = ("announced", "closed_items", "number", "open_items", "revoked", "running", "settled", "terminals")

    def __init__(self) -> None:
        self.number = 0
        """Of the current lifecycle, from 0."""
        self.running = False
        """An event of the current lifecycle came."""
        self.announced = False
        """A lifecycle event came at all: then `[DONE]` alone is no end."""
        self.settled = False
        """The last terminal event stands."""
        self.revoked = False
        """A terminal event was taken back by output behind it."""
        self.terminals = 0
        self.open_items: set[Key] = set()
        """Output items and texts that have begun and not been closed."""
        self.closed_items = 0

    def begin(self, *, anew: bool) -> None:
        """A lifecycle is announced. One that begins after other events has output of its own."""
        self.announced = True
        if self.settled or (anew and self.running):
            self.number += 1
            self.open_items.clear()
        self.add_output()

    def add_output(self) -> None:
        """An event of the answer came, which revokes a terminal event before it."""
        self.running = True
        if self.settled:
            self.settled, self.revoked = False, True

    def close_item(self, place: Place) -> None:
        """An output item is done, and with it all its texts."""
        self.open_items = {key for key in self.open_items if key[0] != place}
        self.closed_items += 1

    def settle(self) -> None:
        """A terminal event came."""
        self.announced = self.running = self.settled = True
        self.terminals += 1

    def complete_at_end(self, rule: EndRule, *, done: bool) -> bool:
        """Whether the answer is complete where the stream ends, with `[DONE]` or without."""
        if self.settled:
            return True
        if not done or not self.running:
            return False
        return bool(self.terminals) or rule == "lenient" or (not self.announced and not self.open_items)

    @property
    def only_terminal_missing(self) -> bool:
        """Whether every output item that was opened is closed, and nothing but a terminal event is missing."""
        return bool(self.closed_items) and not self.open_items and not self.terminals


class EndMarks:
    """The end marks of an API that sends one for each result."""

    __slots__ = ("came", "events", "expected", "known_types")

    def __init__(self, expected: int = 1) -> None:
        self.expected = expected
        self.came = 0
        self.known_types = False
        """An event came whose type is known, so that an end mark has to come too."""
        self.events = 0

    @property
    def complete(self) -> bool:
        """Whether all results came."""
        return self.came >= self.expected

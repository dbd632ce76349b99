"""What each API calls text, progress, end and error.

A dialect reads the payloads of one attempt. It knows its API's JSON and nothing of transport, time or policy; the
session asks it. One row in `adapter_for` serves one API.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from ..decoding.payload import Payload
from ..notices import FaultKind
from ..redaction import redact
from .request import EndRule
from .second_answer import SecondAnswer
from .transcript import Identity, Key, TextDelta, Transcript

_KEEP_ALIVE = re.compile(r"ping|keep-?_?alive|heart-?_?beat", re.IGNORECASE)
_PLAIN_ID = re.compile(r"[a-z0-9][\w.:\-]{0,255}", re.IGNORECASE | re.ASCII)


class DataEvent(NamedTuple):
    """A payload for the consumer. (A tuple: one is made for each event.)"""

    text_deltas: Sequence[TextDelta] = ()
    """The text it carries, by channel; no piece is empty."""
    identities: Sequence[Identity] = ()
    kind: Hashable = None
    """For an item without text: what a repetition of it would look like."""
    sequence: int | None = None
    """Its number, where the API numbers its events."""


@dataclass(frozen=True)
class KeepAlive:
    """A keep-alive dressed as an event: no payload of the API."""


@dataclass(frozen=True)
class FaultEvent:
    """A payload that ends the attempt: an error of the API's, or no stream at all."""

    fault: FaultKind
    reason: str
    body: object = None


ApiEvent: TypeAlias = DataEvent | KeepAlive | FaultEvent


class ApiAdapter(Protocol):
    """Reads the payloads of one attempt, in order."""

    reissuable: bool
    """Whether this API's request may be sent a second time at all."""
    response_id: str | None
    answer_complete: bool
    """Nothing of the answer can be missing any more, whatever becomes of the connection."""
    over: bool
    """Nothing that may still come counts: the stream is at its end."""

    @property
    def missing(self) -> bool:
        """Events wait for an earlier one that has not come."""

    @property
    def resume_after(self) -> int | None:
        """The number up to which nothing is missing, where the API can send the rest of the same answer."""

    def in_sequence(self, payload: Payload) -> Sequence[Payload]:
        """The payloads that are due, by the API's own numbers. Raises `Gap`."""

    @property
    def has_finished(self) -> bool:
        """A mark was seen by which servers end an answer; worth remembering about this server."""

    def append(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Take those payloads, from `start` on, that only add to texts of the transcript; return where that ends.

        The short way for what nearly every event is: the same as `in_sequence`, `read` and `Transcript.add`, in a third
        of the time.
        """

    def read(self, payload: Payload) -> ApiEvent:
        """What this payload is. Called once for every payload but `[DONE]` and those appended."""

    def whole(self, rule: EndRule, *, done: bool) -> bool:
        """Whether the answer is complete, with (`done`) or without a `[DONE]`."""

    def trim(self, payload: Payload, replay: SecondAnswer) -> Payload | None:
        """The part of a payload that the consumer has not been given; None where it has it all.

        Raises:
            Diverged: if the payload contradicts what was delivered.
        """

    def whole_texts(self, payload: Payload) -> Sequence[TextDelta]:
        """What a payload says of texts as a whole, after they were told piece by piece."""

    @property
    def tool_call_open(self) -> bool:
        """A tool call is open: under `delivery="tool_calls"` items are held until it is whole."""

    def may_replay(self, transcript: Transcript) -> bool:
        """Whether asking again is without effects that show, once `transcript` was delivered."""

    def may_continue(self, transcript: Transcript) -> Key | None:
        """The one channel that another generation may go on with; None where it may not."""

    def partial_text(self, transcript: Transcript) -> str:
        """The answer's text as far as it came."""

    def partial(self, transcript: Transcript) -> dict[str, object] | None:
        """The non-streamed answer object, as far as it came; None where the API has none."""


def is_keep_alive(name: str) -> bool:
    """Whether an event of this name or type only says that the connection lives."""
    return _KEEP_ALIVE.fullmatch(name) is not None


def plain_id(given: object) -> str | None:
    """An answer's id, if it is fit to be told and to be a step of a URL: the server chooses it."""
    if isinstance(given, str) and _PLAIN_ID.fullmatch(given) and redact(given) == given:
        return given
    return None

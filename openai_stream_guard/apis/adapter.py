"""What every API adapter does: it says what a payload is, and when the answer is complete.

An adapter reads the payloads of one attempt, in order. It knows its API's JSON and nothing of transport, time or
policy. `ApiAdapter` is the base class; its defaults are those of an API of which nothing is known but that it streams.
`registry.adapter_for` chooses the class for a request.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ..decoding.payload import Payload
from ..notices import FaultKind
from ..redaction import redact
from .request import EndRule, StreamRequest
from .second_answer import SecondAnswer
from .transcript import Identity, Key, TextDelta, Transcript

_KEEP_ALIVE = re.compile(r"ping|keep-?_?alive|heart-?_?beat", re.IGNORECASE)
_PLAIN_ID = re.compile(r"[a-z0-9][\w.:\-]{0,255}", re.IGNORECASE | re.ASCII)


class DataEvent(NamedTuple):
    """A payload to deliver. (A tuple, since one is made for each event: a dataclass costs three times as much.)"""

    text_deltas: Sequence[TextDelta] = ()
    """The text that it carries, by channel. No text is empty."""
    identities: Sequence[Identity] = ()
    kind: Hashable = None
    """Of an event without text: equal for the same event in another answer."""
    sequence: int | None = None
    """Its `sequence_number`, where the API numbers its events."""


@dataclass(frozen=True)
class KeepAlive:
    """A payload that only says that the connection lives."""


@dataclass(frozen=True)
class FaultEvent:
    """A payload that ends the attempt: an error of the API, or a body that is no stream."""

    fault: FaultKind
    reason: str
    body: object = None
    """The API's error object."""


ApiEvent: TypeAlias = DataEvent | KeepAlive | FaultEvent

UNKNOWN_EVENT = DataEvent()
"""A payload of which nothing is known but that it is delivered."""
KEEP_ALIVE = KeepAlive()


def api_error(body: object) -> FaultEvent:
    """Return the event for an error that the API reports inside the stream."""
    return FaultEvent("upstream_error", "the API reported an error inside the stream", body)


class ApiAdapter:
    """Reads the payloads of one attempt."""

    reissuable: bool = False
    """Whether a request to this API may be sent a second time at all. Not where it may create something."""
    response_id: str | None = None
    answer_complete: bool = False
    """Whether nothing of the answer can be missing any more, whatever becomes of the connection."""
    stream_ended: bool = False
    """Whether nothing that may still come belongs to the stream."""
    has_finished: bool = False
    """Whether a `finish_reason` was seen, which is remembered about the server."""
    tool_call_open: bool = False
    """Whether a tool call has begun and not ended: with `delivery="tool_calls"` events are held until it has."""
    missing: bool = False
    """Whether events are held back, since one before them has not come."""
    resume_after: int | None = None
    """The `sequence_number` up to which nothing is missing, where the API can send the rest of the same answer."""

    def __init__(self, request: StreamRequest) -> None:
        self._request = request

    def in_sequence(self, payload: Payload) -> Sequence[Payload]:
        """Return the payloads that are due, in the order of the API's own numbers. Raises `Gap`."""
        return (payload,)

    def append_text_deltas(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Add the payloads from `start` on that only add to texts of the transcript. Return where they end.

        Does what `in_sequence`, `read` and `Transcript.add` do, in a third of the time: nearly every event goes here.
        """
        return start

    def read(self, payload: Payload) -> ApiEvent:
        """Say what a payload is. Called once for every payload but `[DONE]` and those appended."""
        return UNKNOWN_EVENT

    def is_complete(self, rule: EndRule, *, done: bool) -> bool:
        """Whether the answer is complete where the stream ends, with `[DONE]` (`done`) or by the end of the body.

        The session has checked that the body did not end inside an event.
        """
        return True

    def trim_repeated(self, payload: Payload, replay: SecondAnswer) -> Payload | None:
        """Return the part of a payload that was not delivered yet; None where all of it was.

        Raises:
            Diverged: if the payload contradicts what was delivered.
        """
        return payload

    def whole_texts(self, payload: Payload) -> Sequence[TextDelta]:
        """Return what a payload says of texts as a whole, after they were told piece by piece."""
        return ()

    def may_replay(self, transcript: Transcript) -> bool:
        """Whether sending the request again has no effect that shows, once `transcript` was delivered."""
        return False

    def may_continue(self, transcript: Transcript) -> Key | None:
        """Return the one channel that another generation may go on with; None where that is not safe."""
        return None

    def partial_text(self, transcript: Transcript) -> str:
        """Return the answer's text as far as it was delivered; empty where the API's texts are not known."""
        return ""

    def partial(self, transcript: Transcript) -> dict[str, object] | None:
        """Return the non-streamed answer object as far as it was delivered; None where the API has none."""
        return None


def is_keep_alive(name: str) -> bool:
    """Whether an event of this name or type only says that the connection lives."""
    return _KEEP_ALIVE.fullmatch(name) is not None


def plain_id(given: object) -> str | None:
    """Return an answer's id if it is safe in a log and in a URL path, since the server chooses it; else None."""
    if isinstance(given, str) and _PLAIN_ID.fullmatch(given) and redact(given) == given:
        return given
    return None

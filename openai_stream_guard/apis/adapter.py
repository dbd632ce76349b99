"""What every API adapter does: it says what a payload is, and when the answer is complete.

An adapter reads the payloads of one attempt, in order. It knows its API's JSON and nothing of transport, time or
policy. `ApiAdapter` is the base class; its defaults are those of an API of which nothing is known but that it streams.
`registry.adapter_for` chooses the class for a request.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from ..decoding.payload import Payload
from ..notices import FaultKind
from ..records import Record
from ..redaction import redact
from .completion import Oddity
from .error_shapes import OTHER_ITEMS, ItemShape, ReportedError, find_error, has_error
from .request import EndRule, StreamRequest
from .second_answer import Diverged, SecondAnswer
from .transcript import Identity, Key, TextDelta, Transcript

_KEEP_ALIVE = r"(?i)(?:\w+\.)*(?:ping|keep-?_?alive|heart-?_?beat)"
_PLAIN_ID = r"(?ia)[a-z0-9][\w.:\-]{0,255}"


class DataEvent(NamedTuple):
    """A payload to deliver. (A tuple, since one is made for each event: a dataclass costs three times as much.)"""

    text_deltas: Sequence[TextDelta] = ()
    """The text that it carries, by channel. No text is empty."""
    identities: Sequence[Identity] = ()
    kind: Hashable = None
    """Of an event without text: equal for the same event in another answer."""
    sequence: int | None = None
    """Its `sequence_number`, where the API numbers its events."""
    is_progress: bool = True
    """False for a keep-alive that the SDK hands on as an event."""
    failure: ReportedError | None = None
    """Of an event by which an answer ends as failed: why."""


class KeepAlive(Record):
    """A payload that only says that the connection lives."""


class FaultEvent(Record):
    """A payload that ends the attempt: an error of the API, or a body that is no stream."""

    fault: FaultKind
    reason: str
    body: object = None
    """The API's error object, or what stands in place of a stream."""
    reported: ReportedError | None = None
    """The error that the API reports, if it does."""


ApiEvent: TypeAlias = DataEvent | KeepAlive | FaultEvent

UNKNOWN_EVENT = DataEvent()
"""A payload of which nothing is known but that it is delivered."""
KEEP_ALIVE = KeepAlive()


def api_error(reported: ReportedError) -> FaultEvent:
    """Return the event for an error that the API reports inside the stream."""
    return FaultEvent("upstream_error", "the API reported an error inside the stream", reported.body, reported)


def page(payload: Payload, reported: ReportedError | None = None) -> FaultEvent:
    """Return the event for a JSON text where the events of a stream should be."""
    return FaultEvent("not_a_stream", "a JSON text that is no event of this API stands there", payload.value, reported)


class ApiAdapter:
    """Reads the payloads of one attempt."""

    items: ItemShape = OTHER_ITEMS
    """What its events look like."""
    end_marks: Literal["finish_reason", "terminal_event", "unknown"] = "unknown"
    """How the API marks the end of an answer."""
    reissuable: bool = False
    """Whether a request to this API may be sent a second time at all. Not where it may create something."""
    response_id: str | None = None
    answer_complete: bool = False
    """Whether a mark stands by which nothing of the answer is missing. What comes after it can take it back."""
    tokens: int = 0
    """Tokens of the answer that the API has counted so far; 0 where it has not told."""
    end_note: str | None = None
    """What is odd about the end that `is_complete` accepted."""
    tool_call_open: bool = False
    """Whether a tool call has begun and may still grow: with `delivery="tool_calls"` events are held while it may."""

    def __init__(self, request: StreamRequest) -> None:
        self._request = request

    @property
    def went_on(self) -> bool:
        """Whether the answer went on after a mark by which it was complete."""
        return False

    @property
    def finishes(self) -> bool | None:
        """Whether every choice ended with a `finish_reason`, which is learnt; None where none counts."""
        return None

    @property
    def missing(self) -> bool:
        """Whether events are held back, since one before them has not come."""
        return False

    @property
    def is_stored(self) -> bool:
        """Whether the answer is kept by the API, which goes on making it: then its rest is asked for, not another."""
        request = self._request
        return request.stored_id is not None or (request.background and not request.background_added)

    @property
    def resume_after(self) -> int | None:
        """The `sequence_number` up to which nothing is missing, where the API can send the rest of the same answer."""
        return None

    def in_sequence(self, payload: Payload) -> Sequence[Payload]:
        """Return the payloads that are due, in the order of the API's own numbers. Raises `Gap`."""
        return (payload,)

    def append_text_deltas(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Add the payloads from `start` on that only add to texts of the transcript. Return where they end.

        Does what `in_sequence`, `read` and `Transcript.add` do, in a third of the time: nearly every event goes here.
        """
        return start

    def fault_in(self, payload: Payload) -> FaultEvent | None:
        """Return the fault of a payload that is an error of the API, or no event of it; None for an event."""
        if payload.outside_field and not self.items.fits(payload) and not says_keep_alive(payload):
            reported = find_error(payload)
            return api_error(reported) if reported and has_error(payload) else page(payload, reported)
        reported = find_error(payload) if self.may_report_error(payload) else None
        return None if reported is None else api_error(reported)

    def may_report_error(self, payload: Payload) -> bool:
        """Whether a payload may be an error of the API, in any shape. Errors of unknown APIs are left to the SDK."""
        return payload.is_plain_text

    def read(self, payload: Payload) -> ApiEvent:
        """Say what a payload is. Called once for every payload but `[DONE]` and those appended."""
        return self.fault_in(payload) or UNKNOWN_EVENT

    def is_complete(self, rule: EndRule, *, done: bool) -> bool:
        """Whether the answer is complete where the stream ends, with `[DONE]` (`done`) or by the end of the body.

        The session has checked that the body did not end inside an event.
        """
        return True

    def oddity(self, rule: EndRule, *, done: bool) -> Oddity | None:
        """Return what keeps the answer from being complete, if a server may do it each time.

        It is a habit of the server where a second answer shows the same, see `engine.server_habits`. None for an end
        without any mark, and inside an open tool call.
        """
        return None

    def accept_oddity(self, oddity: Oddity) -> list[Payload]:
        """Take the oddity for a habit; return the payloads that were held back for it."""
        return []

    def trim_repeated(self, payload: Payload, replay: SecondAnswer) -> Payload | None:
        """Return the part of a payload that was not delivered yet; None where all of it was.

        Raises:
            Diverged: if the payload contradicts what was delivered.
        """
        value = payload.value
        if not isinstance(value, dict):
            return payload if replay.caught_up else None
        try:
            new = self._trimmed(payload, value, replay)
            return payload if new == value else None if new is None else payload.replace(new)
        except RecursionError:
            raise Diverged from None

    def _trimmed(self, payload: Payload, value: dict[str, Any], replay: SecondAnswer) -> dict[str, Any] | None:
        """Return what a payload with this value has that was not delivered yet; None for nothing."""
        return value

    def whole_texts(self, payload: Payload) -> Iterable[TextDelta]:
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
    return re.fullmatch(_KEEP_ALIVE, name) is not None


def says_keep_alive(payload: Payload) -> bool:
    """Whether a payload is a keep-alive, by the name of its event or by its type."""
    kind = payload.event or (payload.value.get("type") if isinstance(payload.value, dict) else None)
    return isinstance(kind, str) and is_keep_alive(kind)


def plain_id(given: object) -> str | None:
    """Return an answer's id if it is safe in a log and in a URL path, since the server chooses it; else None."""
    if isinstance(given, str) and re.fullmatch(_PLAIN_ID, given) and redact(given) == given:
        return given
    return None

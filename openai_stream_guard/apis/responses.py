"""The Responses API: numbered events, items that open and close, and a terminal event that completes the answer.

Any event `….delta` with a string is text, on the channel of its output, its part and its kind; every other event says
something once. https://platform.openai.com/docs/api-reference/responses-streaming

The laws its tests keep: nothing twice and nothing missing by `sequence_number`; a trimmed repetition after the
delivered events gives the helper's snapshot of the unbroken stream.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..decoding.payload import Payload
from .adapter import (
    KEEP_ALIVE,
    UNKNOWN_EVENT,
    ApiAdapter,
    ApiEvent,
    DataEvent,
    FaultEvent,
    api_error,
    is_keep_alive,
    plain_id,
)
from .completion import HOLES, NO_TERMINAL, Lifecycles, Oddity
from .error_shapes import RESPONSE_ITEMS, WHOLE_ANSWER, has_error, reported_as, reported_failure
from .output_places import OutputPlaces, integer_in
from .partial_answer import outputs_from
from .repeated_events import LEFT_OUT, LIFECYCLE, names_in, trim_event
from .request import EndRule, Resume, StreamRequest
from .second_answer import SecondAnswer
from .sequence import Sequence
from .transcript import Identity, TextDelta, Transcript

_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_FINAL = ("completed", "incomplete", "failed", "cancelled")
"""Values of a response's `status` that end it, whatever the event is called: `response.done` of some gateways."""
_UNSTORED = ("message", "function_call", "custom_tool_call", "reasoning")
"""Items that say it all in texts, which a repetition is held against; hosted tools do not."""
_KEEP_ALIVE_EVENT = DataEvent(is_progress=False)
"""In this API keep-alives are handed on, as the SDK does."""
_COUNTS = {int, type(None)}
_NO_CALLS: frozenset[object] = frozenset()


class ResponsesAdapter(ApiAdapter):
    """One attempt at `/responses`, or at one stored response.

    Args:
        resume: what was asked for, where this is the rest of an answer.
        broken: the adapter of the attempt that broke before it, between two events.
        habits: what this server is known to do, see `HOLES` and `NO_TERMINAL`.
    """

    items = RESPONSE_ITEMS
    end_marks = "terminal_event"
    reissuable = True

    def __init__(
        self,
        request: StreamRequest,
        resume: Resume | None = None,
        broken: ResponsesAdapter | None = None,
        habits: Collection[str] = (),
    ) -> None:
        super().__init__(request)
        after = request.starting_after if resume is None else resume.after
        self._sequence = Sequence(after, trusted=HOLES not in habits)
        self._needs_terminal = NO_TERMINAL not in habits
        self._lifecycles: Lifecycles = Lifecycles() if broken is None else broken._lifecycles
        self._open_calls: frozenset[object] = _NO_CALLS if broken is None else broken._open_calls
        self.tool_call_open = bool(self._open_calls)
        self._places: OutputPlaces = OutputPlaces(self._lifecycles) if broken is None else broken._places
        self.response_id = request.stored_id if resume is None else resume.response_id
        self._says_kept: bool | None = None if broken is None else broken._says_kept

    @property
    def is_stored(self) -> bool:
        """Whether the API keeps the answer. Where the guard asked for that, the first event says whether it does."""
        return super().is_stored or (self._request.background_added and self._says_kept is True)

    @property
    def missing(self) -> bool:
        """Whether events are held back, since one before them has not come."""
        return self._sequence.missing is not None

    @property
    def resume_after(self) -> int | None:
        """The number up to which this attempt has everything."""
        return self._sequence.last

    @property
    def went_on(self) -> bool:
        """Whether output, or another lifecycle, came behind a terminal event."""
        return self._lifecycles.revoked

    def in_sequence(self, payload: Payload) -> list[Payload]:
        """Return the events that are due, by their numbers. Raises `Gap`."""
        value = payload.value
        if not isinstance(value, dict) or self.fault_in(payload) is not None:
            return [payload]
        kind, number = value.get("type") or payload.event, integer_in(value, "sequence_number")
        if isinstance(kind, str) and is_keep_alive(kind):
            return [payload] if number is None else [payload, *self._sequence.keep_alive(number)]
        if kind == "response.created":
            return self._sequence.restart(payload, number)
        return self._sequence.accept(payload, number)

    def append_text_deltas(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Append the deltas of texts that have begun, each with the number that is due."""
        if self._lifecycles.settled or self._lifecycles.number or transcript.overflowed:
            return start
        end, size, open_items = start, 0, self._lifecycles.open_items
        try:
            while end < len(payloads):
                payload = payloads[end]
                value: Any = payload.value
                kind, text, number = value["type"], value["delta"], value["sequence_number"]
                place, part, summary = value["output_index"], value.get("content_index"), value.get("summary_index")
                if not {place.__class__, part.__class__, summary.__class__} <= _COUNTS:
                    break
                if not text or not kind.endswith(".delta") or value.get("error") or value.get("object"):
                    break
                key = (place, part, summary, kind.removesuffix(".delta"))
                channel = transcript.text_channels[key]
                piece = text.encode("utf-8", "surrogatepass")
                if key not in open_items or not self._sequence.follow(payload, number):
                    break
                channel += piece
                size += len(piece)
                transcript.sequence = number
                end += 1
        except (AttributeError, KeyError, TypeError):
            pass  # of another shape, or the first text of its channel
        transcript.deltas += end - start
        transcript.size += size
        return end

    def fault_in(self, payload: Payload) -> FaultEvent | None:
        """Return the fault of a payload that is an error of the API, a page, or a whole answer in place of a stream."""
        value = payload.value
        if isinstance(value, dict) and value.get("object") == "response" and not has_error(payload):
            return FaultEvent("not_a_stream", WHOLE_ANSWER, value)
        if isinstance(value, dict) and (value.get("type") or payload.event) == "error" and not has_error(payload):
            return api_error(reported_as(payload, value))  # even if it says nothing more
        return super().fault_in(payload)

    def may_report_error(self, payload: Payload) -> bool:
        """An event `response.…` is no error, unless it has one of its own; the error of a failed response is inside."""
        value = payload.value
        if not isinstance(value, dict):
            return True
        return "response" not in value and (has_error(payload) or not self.items.fits(payload))

    def read(self, payload: Payload) -> ApiEvent:
        """Sort an event and name the channel of its text."""
        value = payload.value
        if (fault := self.fault_in(payload)) is not None:
            if isinstance(value, dict) and (number := integer_in(value, "sequence_number")) is not None:
                self._sequence.skip(number)
            return fault
        if not isinstance(value, dict):
            return KEEP_ALIVE if value is None else UNKNOWN_EVENT
        kind = value.get("type") or payload.event
        if not isinstance(kind, str):
            return UNKNOWN_EVENT
        if is_keep_alive(kind):
            return _KEEP_ALIVE_EVENT
        event = self._read_event(kind, value)
        if kind == "response.failed":
            event = event._replace(failure=reported_failure(payload))
        self.answer_complete = self._lifecycles.settled
        return event

    def _read_event(self, kind: str, value: Mapping[str, object]) -> DataEvent:
        lifecycles, delta = self._lifecycles, value.get("delta")
        if kind in LIFECYCLE:
            lifecycles.begin(anew=kind == "response.created" and not self._is_announced_again(value.get("response")))
        elif "output_index" in value or "item_id" in value or "item" in value or (delta and isinstance(delta, str)):
            lifecycles.add_output()
        if kind.endswith(".delta") and isinstance(delta, str):
            text_deltas: list[TextDelta] = [(self._places.channel(kind, value), delta)] if delta else []
            identities: list[Identity] = []
            if text_deltas and text_deltas[0][0] not in lifecycles.open_items:
                lifecycles.open_items.add(text_deltas[0][0])
                identities = self._places.named(value)
            return DataEvent(text_deltas, identities, sequence=integer_in(value, "sequence_number"))
        text_deltas = []
        response = value.get("response")
        if isinstance(response, dict):
            self.response_id = plain_id(response.get("id")) or self.response_id
            if self._says_kept is None:
                self._says_kept = response.get("background") is True
        if kind not in LIFECYCLE and _is_terminal(kind, value):
            lifecycles.settle()
        if kind == "response.output_item.added":
            self._places.begin(value)
            text_deltas, _ = self._places.opened(value)
        if kind.startswith("response.output_item."):
            self._note_item(kind, value)
        elif kind.endswith(".done"):
            lifecycles.open_items.discard(self._places.channel(kind.removesuffix(".done"), value))
        identities, once = names_in(kind, value, self._places), self._places.once(kind, value)
        return DataEvent(text_deltas, identities, once, integer_in(value, "sequence_number"))

    def _is_announced_again(self, response: object) -> bool:
        """Whether it is the response that is in the middle of an item: llama.cpp announces it with each delta."""
        is_same = isinstance(response, dict) and response.get("id") == self.response_id is not None
        return is_same and bool(self._lifecycles.open_items)

    def _note_item(self, kind: str, value: Mapping[str, object]) -> None:
        """Keep which items are open, and which of them are tool calls."""
        item, place, lifecycles = value.get("item"), self._places.of(value), self._lifecycles
        kind_of_item = item.get("type") if isinstance(item, dict) else None
        is_call = isinstance(kind_of_item, str) and kind_of_item.endswith("_call")
        if kind.endswith(".added"):
            lifecycles.open_items.add((place, "item"))
            if is_call:
                self._open_calls |= {place}
        elif kind.endswith(".done"):
            lifecycles.close_item(place)
            self._open_calls -= {place}
        self.tool_call_open = bool(self._open_calls)

    def is_complete(self, rule: EndRule, *, done: bool) -> bool:
        """Whether a terminal event stands, or `[DONE]` is enough."""
        if self._lifecycles.complete_at_end(rule, done=done):
            return True
        return done and not self._needs_terminal and self._lifecycles.only_terminal_missing

    def oddity(self, rule: EndRule, *, done: bool) -> Oddity | None:
        """A hole in the numbers, or no terminal event after all items; nothing inside an open tool call."""
        if self.tool_call_open:
            return None
        if (number := self._sequence.missing) is not None:
            return Oddity(HOLES, number)
        return Oddity(NO_TERMINAL) if done and rule != "strict" and self._lifecycles.only_terminal_missing else None

    def accept_oddity(self, oddity: Oddity) -> list[Payload]:
        """Take the oddity for a habit; return the events that were held back for it."""
        if oddity.habit == HOLES:
            return self._sequence.distrust()
        self._needs_terminal = False
        return []

    def _trimmed(self, payload: Payload, value: dict[str, Any], replay: SecondAnswer) -> dict[str, Any] | None:
        """Drop what a repeated event has said before, and give the rest the names the consumer knows."""
        kind = value.get("type") or payload.event
        if not isinstance(kind, str) or is_keep_alive(kind):
            return value if replay.caught_up else None
        one_identity = self._request.one_identity or self._request.body.get("store") is False
        new = trim_event(kind, value, replay, self._places, one_identity=one_identity)
        number = None if new is None or not self._sequence.trusted else integer_in(value, "sequence_number")
        if new is not None and (number := replay.number(number)) is not None:
            new["sequence_number"] = number
        return new

    def whole_texts(self, payload: Payload) -> Iterable[TextDelta]:
        """Return what `….done` and terminal events say of the texts that were told in deltas."""
        value = payload.value
        kind = value.get("type") or payload.event if isinstance(value, dict) else None
        if not isinstance(kind, str) or not isinstance(value, dict):
            return ()
        return self._places.whole_texts(kind, value, only_opened=self._request.starting_after is not None)

    def may_replay(self, transcript: Transcript) -> bool:
        """Not once an item was seen whose id leads to one that the API has stored, or that says more than texts.

        What a reasoning item holds sealed, where that was asked for, is good under its own id only.
        """
        body = self._request.body
        repeatable = set(_UNSTORED if body.get("store") is False else ("message",))
        include = body.get("include")
        if isinstance(include, list) and "reasoning.encrypted_content" in include:
            repeatable.discard("reasoning")
        items = (kind for key, kind in transcript.identities.items() if key[0] == "item" and key[2] == "type")
        return repeatable.issuperset(items)

    def partial_text(self, transcript: Transcript) -> str:
        """All output text, in the order of the outputs."""
        return "".join(transcript.text(key) for key in transcript.text_channels if key[-1] == "response.output_text")

    def partial(self, transcript: Transcript) -> dict[str, object] | None:
        """A response with as much of every output as was delivered."""
        named = transcript.identities.get(("response",))
        base: dict[str, object] = {"id": "", "model": self._request.model}
        if isinstance(named, dict):
            asked = self._request.body
            base = {name: asked.get(name) if part is LEFT_OUT else part for name, part in named.items()}
        return {**base, "object": "response", "status": "incomplete", "output": outputs_from(transcript)}


def _is_terminal(kind: str, value: Mapping[str, object]) -> bool:
    """Whether an event that is none of `LIFECYCLE` ends a response."""
    response = value.get("response")
    return kind in _TERMINAL or (isinstance(response, dict) and response.get("status") in _FINAL)

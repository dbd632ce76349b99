"""The Responses API: numbered events, items that open and close, and a terminal event that ends the stream.

Any event `….delta` with a string is text, on the channel of its output, its part and its kind; every other event says
something once. https://platform.openai.com/docs/api-reference/responses-streaming

The laws its tests keep: nothing twice and nothing missing by `sequence_number`; a trimmed repetition after the
delivered events gives the helper's snapshot of the unbroken stream.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
from .chat_deltas import tokens_in
from .partial_answer import outputs_from
from .request import EndRule, Resume, StreamRequest
from .second_answer import Diverged, SecondAnswer, Unsafe
from .sequence import Gap
from .sequence import Sequence as EventSequence
from .transcript import Identity, Key, Milestone, TextDelta, Transcript
from .whole_items import fingerprint, whole_item, whole_text

_LIFECYCLE = ("response.created", "response.queued", "response.in_progress")
_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_UNSTORED = ("message", "function_call", "custom_tool_call", "reasoning")
"""Items that say it all in texts, which a repetition is held against; hosted tools do not."""
_PART_EVENTS = ("response.content_part.", "response.reasoning_summary_part.")
_COUNTS = {int, type(None)}
_PARTS = ("content_index", "summary_index", "annotation_index")


class ResponsesAdapter(ApiAdapter):
    """One attempt at `/responses`, or at one stored response."""

    reissuable = True

    def __init__(
        self, request: StreamRequest, resume: Resume | None = None, broken: ResponsesAdapter | None = None
    ) -> None:
        """Read one attempt; `broken` is the one that a resumed answer goes on from, between two of its events."""
        super().__init__(request)
        self._sequence = EventSequence(request.starting_after if resume is None else resume.after)
        self._event_seen = False
        self._open_calls: set[object] = set() if broken is None else broken._open_calls
        self.tool_call_open = bool(self._open_calls)
        self._latest: int | None = None if broken is None else broken._latest
        self._places: dict[object, int] = {} if broken is None else broken._places
        """The places of items that came without an `output_index`, by id: llama.cpp counts nothing."""
        self._opened_places: set[object] = set() if broken is None else broken._opened_places
        """The places of all items that began."""
        self.response_id: str | None = request.stored_id if resume is None else resume.response_id

    @property
    def missing(self) -> bool:  # type: ignore[override]
        """Whether events are held back, since one before them has not come."""
        return self._sequence.missing

    @property
    def resume_after(self) -> int | None:  # type: ignore[override]
        """The number up to which this attempt has everything."""
        return self._sequence.last

    def in_sequence(self, payload: Payload) -> list[Payload]:
        """By number: duplicates dropped, disorder put right. Raises `Gap`."""
        value = payload.value
        if not isinstance(value, dict):
            return [payload]
        number = value.get("sequence_number")
        kind = value.get("type") or payload.event
        if kind == "error":  # whatever its number
            return [payload]
        first = kind in _LIFECYCLE or self._request.stored_id is not None
        if kind in _TERMINAL and number is None and self._sequence.missing:
            raise Gap
        return self._sequence.accept(payload, number if type(number) is int else None, kind, first=first)

    def append_text_deltas(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Deltas of a text that has begun, each with the number that is due."""
        if transcript.overflowed:
            return start
        end, size = start, 0
        try:
            while end < len(payloads):
                value: Any = payloads[end].value
                kind, text, number = value["type"], value["delta"], value["sequence_number"]
                place, part, summary = value["output_index"], value.get("content_index"), value.get("summary_index")
                if not {place.__class__, part.__class__, summary.__class__} <= _COUNTS:
                    break
                if not text or not kind.endswith(".delta") or value.get("error") or value.get("object"):
                    break
                channel = transcript.text_channels[place, part, summary, kind.removesuffix(".delta")]
                piece = text.encode("utf-8", "surrogatepass")
                if not self._sequence.follow(number):
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

    def read(self, payload: Payload) -> ApiEvent:
        """Sort an event and name the channel of its text."""
        value = payload.value
        if not isinstance(value, dict):
            if payload.event == "error":
                return api_error(value)
            return KEEP_ALIVE if value is None else UNKNOWN_EVENT
        kind = value.get("type") or payload.event
        nested = None if "response" in value else value.get("error")
        if nested or kind == "error":
            if (number := _number(value)) is not None:
                self._sequence.skip(number)
            return api_error(nested or value)
        if isinstance(kind, str) and is_keep_alive(kind):
            return KEEP_ALIVE
        if value.get("object") == "response":
            return FaultEvent("not_a_stream", "the body is a whole answer where a stream was asked for")
        self._event_seen = True
        if not isinstance(kind, str):
            return UNKNOWN_EVENT
        return self._item(kind, value)

    def _item(self, kind: str, value: Mapping[str, object]) -> DataEvent:
        delta = value.get("delta")
        if kind.endswith(".delta") and isinstance(delta, str):
            text_deltas: list[TextDelta] = [(self._channel(kind, value), delta)] if delta else []
            return DataEvent(text_deltas, sequence=_number(value))
        text_deltas = []
        if kind in _TERMINAL:
            self.stream_ended = self.answer_complete = True
        if kind == "response.output_item.added":
            self._place_next(value)
            self._opened_places.add(self._place(value))
            text_deltas, _ = self._opened(value)
        if kind.startswith("response.output_item."):
            self._note_call(kind, value)
        once = self._once(kind, value)
        return DataEvent(text_deltas, self._names(kind, value, once), once, _number(value))

    def _names(self, kind: str, value: Mapping[str, object], once: Hashable) -> list[Identity]:
        """What an event without text of its own names, and what it says once, as a fingerprint."""
        if kind in _LIFECYCLE or kind in _TERMINAL:
            return self._name(value)
        names = self._opened(value)[1] if kind == "response.output_item.added" else []
        if kind.endswith(".annotation.added"):
            names.append(((once, "said"), fingerprint(value)))
        return names

    def whole_texts(self, payload: Payload) -> Sequence[TextDelta]:
        """What `….done` and terminal events say of the texts that were told in deltas."""
        value = payload.value
        kind = value.get("type") or payload.event if isinstance(value, dict) else None
        return self._whole_texts(kind, value) if isinstance(kind, str) and isinstance(value, dict) else ()

    def _whole_texts(self, kind: str, value: Mapping[str, object]) -> list[TextDelta]:
        if kind in _TERMINAL:
            items = enumerate(_output(value) or ())
            told = [text for place, item in items for text in whole_item(item, place)]
        elif kind == "response.output_item.done":
            told = list(whole_item(value.get("item"), self._place(value)))
        else:
            told = list(whole_text(kind, value, self._channel(kind, value)))
        if self._request.starting_after is not None:  # of other items the beginning was not asked for
            told = [text for text in told if text[0][0] in self._opened_places]
        return told

    def _place_next(self, value: Mapping[str, object]) -> None:
        """An item begins: count it, where the server does not."""
        if type(value.get("output_index")) is int:
            return
        name = _item_id(value)
        if name is None or name not in self._places:
            self._latest = 0 if self._latest is None else self._latest + 1
            if name is not None:
                self._places[name] = self._latest

    def _place(self, value: Mapping[str, object]) -> int | None:
        """The output that an event is about."""
        place = value.get("output_index")
        return place if type(place) is int else self._places.get(_item_id(value), self._latest)

    def _channel(self, kind: str, value: Mapping[str, object]) -> Key:
        return (self._place(value), *(_index(value, name) for name in _PARTS[:2]), kind.removesuffix(".delta"))

    def _once(self, kind: str, value: Mapping[str, object]) -> Hashable:
        """What an event that carries no text of its own would be repeated as."""
        place = (self._place(value), *(_index(value, name) for name in _PARTS))
        return Milestone(kind, place) if kind.endswith((".added", ".done")) else (kind, *place)

    def _opened(self, value: Mapping[str, object]) -> tuple[list[TextDelta], list[Identity]]:
        """An item begins. A message shows nothing yet; any other item is a deed, and visible."""
        place, item = self._place(value), value.get("item")
        if not isinstance(item, dict):
            return [], []
        said = {name: part for name, part in item.items() if isinstance(part, str) and part}
        names = ("id", "call_id", "type", "name")
        identities: list[Identity] = [(("item", place, name), said[name]) for name in names if name in said]
        if item.get("type") == "message":
            return [], identities
        return [((place, None, None, "item"), f"{said.get('type', '')} {said.get('name', '')}")], identities

    def _name(self, value: Mapping[str, object]) -> list[Identity]:
        response = value.get("response")
        if not isinstance(response, dict):
            return []
        self.response_id = plain_id(response.get("id")) or self.response_id
        return [(("response",), {name: part for name, part in response.items() if name != "output"})]

    def _note_call(self, kind: str, value: Mapping[str, object]) -> None:
        item = value.get("item")
        kind_of_item = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind_of_item, str) and kind_of_item.endswith("_call"):
            place = self._place(value)
            if kind.endswith(".added"):
                self._open_calls.add(place)
            else:
                self._open_calls.discard(place)
            self.tool_call_open = bool(self._open_calls)

    def is_complete(self, rule: EndRule, *, done: bool) -> bool:
        """A terminal event ends the stream, and nothing else does but for the lenient."""
        return self.stream_ended or (done and rule == "lenient" and self._event_seen)

    def trim_repeated(self, payload: Payload, replay: SecondAnswer) -> Payload | None:
        """Drop what a repeated event has said before, and give the rest the names the consumer knows."""
        value = payload.value
        kind = value.get("type") or payload.event if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(kind, str):
            return payload if replay.caught_up else None
        try:
            new = self._trimmed(kind, value, replay)
            if new is None or new == value:
                return None if new is None else payload
            return payload.replace(new)
        except RecursionError:
            raise Diverged from None

    def _trimmed(self, kind: str, value: dict[str, object], replay: SecondAnswer) -> dict[str, object] | None:
        new = dict(value)
        delta = value.get("delta")
        if kind.endswith(".delta") and isinstance(delta, str):
            live = replay.caught_up
            new["delta"] = surplus = replay.take(self._channel(kind, value), delta) if delta else ""
            if not surplus and (delta or not live):
                return None
            if any(map(replay.delivered, self._closing(kind, value))):
                raise Diverged
            _trim_logprobs(new, delta.removesuffix(surplus))
        elif self._is_repeated(kind, value, replay):
            return None
        self._rename(kind, new, replay)
        number = replay.number(_number(value))
        if number is not None:
            new["sequence_number"] = number
        return new

    def _is_repeated(self, kind: str, value: Mapping[str, object], replay: SecondAnswer) -> bool:
        """Whether an event without text of its own was delivered. Raises `Diverged` where it now says otherwise."""
        once = self._once(kind, value)
        repeated = replay.repeats(once)
        for key, name in self._names(kind, value, once):
            known = replay.identify(key, name)
            if known not in (None, name) and key[-1] in ("type", "name", "said"):
                raise Diverged
        if kind == "response.output_item.added":
            for key, text in self._opened(value)[0]:
                replay.take(key, text, whole=True)
        for key, text in self._whole_texts(kind, value):
            replay.tell_whole(key, text)
        output = _output(value) if kind in _TERMINAL else None
        if output is not None and self._opened_places and len(output) != len(self._opened_places):
            raise Diverged
        if not repeated and any(map(replay.delivered, self._closing(kind, value))):
            raise Diverged
        return repeated

    def _closing(self, kind: str, value: Mapping[str, object]) -> list[Milestone]:
        """The events after which nothing more is said of what this one is about."""
        if "response" in value:
            return []
        place, part = self._place(value), tuple(_index(value, name) for name in _PARTS[:2])
        whole = Milestone("response.output_item.done", (place, None, None, None))
        if part == (None, None) and not kind.endswith(".delta"):
            return [whole]
        name = kind.rpartition(".")[0]
        inside = [f"{name}.done"] if kind.endswith(".delta") else []
        parts = [] if kind.startswith(_PART_EVENTS) else [f"{event}done" for event in _PART_EVENTS]
        return [whole, *(Milestone(event, (place, *part, None)) for event in (*inside, *parts))]

    def _rename(self, kind: str, new: dict[str, object], replay: SecondAnswer) -> None:
        """The items' first ids; in the final response only where its real ones are of no use or not wanted."""
        place = self._place(new)
        if "item_id" in new and (known := replay.identify(("item", place, "id"), new["item_id"])) is not None:
            new["item_id"] = known
        item = new.get("item")
        if isinstance(item, dict):
            new["item"] = _renamed(item, place, replay)
        response = new.get("response")
        if not isinstance(response, dict):
            return
        named = replay.known(("response",))
        first = named.get("id") if isinstance(named, dict) else None
        if kind in _LIFECYCLE:
            new["response"] = {**response, "id": first or response.get("id")}
        elif self._request.one_identity or self._request.body.get("store") is False:
            output = response.get("output")
            items = output if isinstance(output, list) else []
            renamed = [
                _renamed(part, index, replay) if isinstance(part, dict) else part for index, part in enumerate(items)
            ]
            new["response"] = {**response, "output": renamed, "id": first or response.get("id")}

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
        base: dict[str, object] = dict(named) if isinstance(named, dict) else {"id": "", "model": self._request.model}
        return {**base, "object": "response", "status": "incomplete", "output": outputs_from(transcript)}


def _number(value: Mapping[str, object]) -> int | None:
    return _index(value, "sequence_number")


def _output(value: Mapping[str, object]) -> list[object] | None:
    """The items of a final response; None where it says nothing of them."""
    response = value.get("response")
    output = response.get("output") if isinstance(response, dict) else None
    return output if isinstance(output, list) else None


def _index(value: Mapping[str, object], name: str) -> int | None:
    number = value.get(name)
    return number if type(number) is int else None


def _item_id(value: Mapping[str, object]) -> str | None:
    item = value.get("item")
    name = item.get("id") if isinstance(item, dict) else value.get("item_id")
    return name if isinstance(name, str) else None


def _renamed(item: Mapping[str, object], place: object, replay: SecondAnswer) -> dict[str, object]:
    """An item under its first ids.

    Raises:
        Unsafe: if it holds sealed content, which is good under its own id only.
    """
    known = {name: replay.known(("item", place, name)) for name in ("id", "call_id")}
    if item.get("encrypted_content") and known["id"] not in (None, item.get("id")):
        raise Unsafe
    return {**item, **{name: first for name, first in known.items() if first is not None and name in item}}


def _trim_logprobs(new: dict[str, object], cut: str) -> None:
    """Drop the log probabilities of the text that was cut. Raises `Diverged` where it does not end with a token."""
    logprobs = new.get("logprobs")
    if isinstance(logprobs, list) and logprobs and cut:
        new["logprobs"] = logprobs[tokens_in(logprobs, cut) :]

"""Chat completions, and the legacy completions that share their shape: choices that grow by deltas.

Every non-empty string inside a `delta` is a channel of its own, so that the fields which OpenAI-compatible servers
add (`reasoning_content`, `reasoning`, …) are guarded like `content`. Roles, ids and types are identities: said once.
https://platform.openai.com/docs/api-reference/chat-streaming

The laws its tests keep: the end rules of the API table in the README, and that a trimmed repetition followed by the
transcript's own text is the answer once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from .chat_deltas import NO_REASON, aside_from, trim_choice, walk
from .partial_answer import choices_from
from .request import EndRule, StreamRequest
from .second_answer import Diverged, SecondAnswer
from .transcript import Identity, Key, TextDelta, Transcript

_TOO_DEEP = FaultEvent("malformed", "a payload is nested deeper than can be followed")
_FUNCTION = ("function", "function_call")
_TOOLS = ("tool_calls", "function_call")


class ChatAdapter(ApiAdapter):
    """One attempt at `/chat/completions` or `/completions`."""

    reissuable = True

    def __init__(self, request: StreamRequest) -> None:
        super().__init__(request)
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._open: set[int] = set()
        """Choices that have begun a tool call."""
        self._arguments: dict[Key, list[str]] = {}
        """The arguments of every function call, by their channel."""
        self._choice_seen = False

    def append_text_deltas(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Those whose one choice has nothing but more text, or more of a call's arguments."""
        if self.response_id is None or transcript.overflowed:
            return start
        end, size = start, 0
        text_channels = transcript.text_channels
        try:
            while end < len(payloads):
                value: Any = payloads[end].value
                (choice,) = value["choices"]
                ((name, text),) = choice["delta"].items()
                index = choice["index"]
                if index.__class__ is not int or not text or choice.get("finish_reason") or value.get("error"):
                    break
                if text.__class__ is str:
                    channel = text_channels[index, name]
                else:
                    key, text = _more_arguments(index, name, text)
                    channel = text_channels[key]
                    self._arguments[key].append(text)
                piece = text.encode("utf-8", "surrogatepass")
                channel += piece
                size += len(piece)
                end += 1
        except (AttributeError, KeyError, TypeError, ValueError):
            pass  # of another shape, or the first text of its channel
        transcript.deltas += end - start
        transcript.size += size
        return end

    def read(self, payload: Payload) -> ApiEvent:
        """Sort a payload and name the channels of its text."""
        value = payload.value
        if value.__class__ is not dict:
            return self._no_object(payload)
        assert isinstance(value, dict)
        if value.get("error"):
            return api_error(value["error"])
        choices = value.get("choices")
        if choices.__class__ is not list or not choices:
            return self._no_choices(payload, value)

        first, self._choice_seen = not self._choice_seen, True
        text_deltas: list[TextDelta] = []
        identities: list[Identity] = []
        if self.response_id is None:
            self._name(value, identities)
        for choice in choices:
            if choice.__class__ is not dict:
                continue
            index = choice.get("index")
            if index.__class__ is not int:
                index = 0
            if index not in self._seen:
                self._seen.add(index)
                self.answer_complete = False
            delta = choice.get("delta")
            if delta.__class__ is dict:
                for name, part in delta.items():
                    if part and not self._member(index, name, part, text_deltas, identities):
                        return _TOO_DEEP
            elif choice.get("message") and first:  # later it is a summary of what was streamed
                return FaultEvent("not_a_stream", "the body is a whole answer where a stream was asked for")
            elif (text := choice.get("text")).__class__ is str and text:
                text_deltas.append(((index, "text"), text))
            reason = choice.get("finish_reason")
            if reason and reason.__class__ is str and reason != NO_REASON:
                self._finished.add(index)
                self.has_finished = True
                self.tool_call_open = not self._open <= self._finished
                self.answer_complete = self._finished == self._seen and len(self._seen) >= self._request.choices
                text_deltas.append(((index, "finish_reason"), reason))
        return DataEvent(text_deltas, identities, None if text_deltas or identities else aside_from(choices[0]))

    def _member(
        self, index: int, name: str, part: object, text_deltas: list[TextDelta], identities: list[Identity]
    ) -> bool:
        """Note a member of a delta; False where it is nested too deep."""
        start = len(text_deltas)
        try:
            for key, text, is_identity in walk((index, name), part):
                if is_identity:
                    identities.append((key, text))
                else:
                    text_deltas.append((key, text))
        except RecursionError:
            return False
        if name in _TOOLS:
            self._open.add(index)
            self.tool_call_open = not self._open <= self._finished
            for key, text in text_deltas[start:]:
                if key[-2] in _FUNCTION and key[-1] in ("name", "arguments"):
                    arguments = self._arguments.setdefault((*key[:-1], "arguments"), [])
                    if key[-1] == "arguments":
                        arguments.append(text)
        return True

    def _name(self, value: Mapping[str, object], identities: list[Identity]) -> None:
        """Learn the answer's id. Azure's first chunk carries an empty one."""
        response_id = value.get("id")
        if self.response_id is None and isinstance(response_id, str) and response_id:
            self.response_id = plain_id(response_id)
            identities += [(("id",), response_id), (("created",), value.get("created"))]

    def _no_object(self, payload: Payload) -> ApiEvent:
        if payload.event == "error":
            return api_error(payload.value)
        if payload.value is None or _is_keep_alive(payload.event):
            return KEEP_ALIVE
        self._choice_seen = True
        return UNKNOWN_EVENT

    def _no_choices(self, payload: Payload, value: Mapping[str, object]) -> ApiEvent:
        """Usage, Azure's filter results, pings, flat errors, and whatever a gateway adds."""
        says_error = "error" in (value.get("type"), value.get("object")) and value.get("message")
        if says_error or payload.event == "error":
            return api_error(value)
        if "choices" not in value and _is_keep_alive(payload.event or value.get("type")):
            return KEEP_ALIVE
        self._choice_seen = True
        identities: list[Identity] = []
        self._name(value, identities)
        return DataEvent((), identities, (payload.event, *sorted(name for name, part in value.items() if part)))

    def is_complete(self, rule: EndRule, *, done: bool) -> bool:
        """The end rule of the README's API table."""
        finished = bool(self._seen) and self._finished == self._seen
        if rule == "strict":
            return finished and self.answer_complete
        # A `[DONE]` excuses a server that ignores `n`; without one, the choices that never came may have been cut.
        if finished and (self.answer_complete or done or rule == "lenient"):
            return True
        return rule != "learnt" and done and self._choice_seen and self._tool_calls_are_json()

    def _tool_calls_are_json(self) -> bool:
        """Whether the arguments of every call in an unfinished choice are whole, as far as anyone can tell."""
        try:
            for key, text_deltas in self._arguments.items():
                if key[0] not in self._finished:
                    json.loads("".join(text_deltas))
        except (ValueError, RecursionError):
            return False
        return True

    def trim_repeated(self, payload: Payload, replay: SecondAnswer) -> Payload | None:
        """Cut what was delivered out of a repeated chunk, and give the rest the first answer's ids."""
        value = payload.value
        if not isinstance(value, dict):
            return payload if replay.caught_up else None
        try:
            new = self._trimmed(payload, value, replay)
            if new is None or new == value:
                return None if new is None else payload
            return payload.replace(new)
        except RecursionError:
            raise Diverged from None

    def _trimmed(self, payload: Payload, value: dict[str, object], replay: SecondAnswer) -> dict[str, object] | None:
        new = dict(value)
        choices = value.get("choices")
        if isinstance(choices, list) and choices:
            live = replay.caught_up
            kept = [trimmed for choice in choices if (trimmed := trim_choice(choice, replay, live)) is not None]
            if not kept:
                return None
            new["choices"] = kept
        else:
            reading = self._no_choices(payload, value)
            if isinstance(reading, DataEvent) and replay.repeats(reading.kind):
                return None
        if replay.spent and isinstance(usage := new.get("usage"), dict):
            new["usage"] = _with_spent(usage, replay.spent)
        for name in ("id", "created"):
            if new.get(name) and (known := replay.identify((name,), new[name])) is not None:
                new[name] = known
        return new

    def may_replay(self, transcript: Transcript) -> bool:
        """Not where the API stores each answer: the delivered one would be stored twice, under two ids."""
        return self._request.body.get("store") is not True

    def may_continue(self, transcript: Transcript) -> Key | None:
        """Plain text of one choice: no tools, no schema, no logprobs, nothing that a second generation would break."""
        body = self._request.body
        shape = body.get("response_format")
        plain = not shape or (isinstance(shape, dict) and shape.get("type") == "text")
        if not plain or body.get("logprobs") or self._request.choices != 1 or self._open:
            return None
        return (0, "content") if list(transcript.text_channels) == [(0, "content")] else None

    def partial_text(self, transcript: Transcript) -> str:
        """The text of the first choice."""
        first = min((key[0] for key in transcript.text_channels if isinstance(key[0], int)), default=0)
        return transcript.text((first, "content")) or transcript.text((first, "text"))

    def partial(self, transcript: Transcript) -> dict[str, object] | None:
        """A (chat) completion with as much of every choice as was delivered."""
        chat = self._request.path.endswith("/chat/completions")
        return {
            "id": transcript.identities.get(("id",), ""),
            "object": "chat.completion" if chat else "text_completion",
            "created": transcript.identities.get(("created",)) or 0,
            "model": self._request.model or "",
            "choices": choices_from(transcript, chat=chat),
        }


def _more_arguments(index: int, name: str, calls: list[dict[str, Any]]) -> tuple[Key, str]:
    """Channel and text of a delta that holds nothing but more of one call's arguments."""
    (call,) = calls
    ((member, text),) = call["function"].items()
    place = call["index"]
    if name != "tool_calls" or member != "arguments" or place.__class__ is not int or len(call) != 2:
        raise ValueError
    if text.__class__ is not str or not text:
        raise ValueError
    return (index, name, place, "function", member), text


def _is_keep_alive(name: object) -> bool:
    return isinstance(name, str) and is_keep_alive(name)


def _with_spent(usage: Mapping[str, object], spent: int) -> dict[str, object]:
    """A continuation counts its own tokens only."""
    more = {name: usage[name] for name in ("completion_tokens", "total_tokens") if type(usage.get(name)) is int}
    return {**usage, **{name: count + spent for name, count in more.items() if isinstance(count, int)}}

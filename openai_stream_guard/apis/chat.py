"""Chat completions, and the legacy completions that share their shape: choices that grow by deltas.

Every non-empty string inside a `delta` is a channel of its own, so that the fields which OpenAI-compatible servers
add (`reasoning_content`, `reasoning`, …) are guarded like `content`. Roles, ids and types are identities: said once.
https://platform.openai.com/docs/api-reference/chat-streaming

The laws its tests keep: the end rules in the table of README.md, and that a trimmed repetition followed by the
transcript's own text is the answer once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..decoding.payload import Payload
from .adapter import (
    KEEP_ALIVE,
    UNKNOWN_EVENT,
    ApiAdapter,
    ApiEvent,
    DataEvent,
    FaultEvent,
    is_keep_alive,
    plain_id,
)
from .chat_deltas import IDENTITIES, NO_REASON, aside_from, choice_index, finish_line, text_member, trim_choice, walk
from .completion import NO_FINISH, CallArguments, Choices, Oddity
from .error_shapes import COMPLETION_ITEMS, WHOLE_ANSWER, has_error
from .partial_answer import choices_from
from .request import EndRule, StreamRequest
from .second_answer import SecondAnswer
from .transcript import Identity, Key, TextDelta, Transcript

_TOO_DEEP = FaultEvent("malformed", "a payload is nested deeper than can be followed")
_TOOLS = ("tool_calls", "function_call")
_NOT_CONTINUED = ("tools", "functions", "audio", "logprobs")
"""Parameters by which an answer is more than its text."""
_REMARKS = ("annotations", "citations")
"""Members of a delta that say something about the text, and may come behind the finish."""


class ChatAdapter(ApiAdapter):
    """One attempt at `/chat/completions` or `/completions`."""

    items = COMPLETION_ITEMS
    end_marks = "finish_reason"
    reissuable = True

    def __init__(self, request: StreamRequest) -> None:
        super().__init__(request)
        self._choices = Choices(request.choices)
        self._text_in_delta = False
        """Text came in a `delta`: a `message` after it is a summary, and no text."""
        self._message_is_text = True
        """The same for the payload that was read last, so that `trim_repeated` goes by what `read` went by."""

    @property
    def went_on(self) -> bool:
        """Whether text came behind a finish reason."""
        return self._choices.revoked

    @property
    def finishes(self) -> bool | None:
        """Whether every choice ended with a reason; None where reasons mark nothing in this stream."""
        choices = self._choices
        return None if choices.always_finishing or not choices.seen else choices.all_finished

    def append_text_deltas(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Append the chunks whose one choice has nothing but more of texts that have begun."""
        if self.response_id is None or transcript.overflowed:
            return start
        end, size = start, 0
        text_channels, known, choices = transcript.text_channels, transcript.identities, self._choices
        is_single, standing, arguments = choices.expected == 1, choices.standing, choices.arguments
        try:
            while end < len(payloads):
                value: Any = payloads[end].value
                (choice,) = value["choices"]
                index, reason = choice["index"], choice.get("finish_reason")
                if index.__class__ is not int or (reason and reason != NO_REASON) or value.get("error"):
                    break
                if is_single:
                    index = 0
                if index in standing:
                    break
                delta: Any = choice.get("delta")
                more: Sequence[TextDelta]
                if self._text_in_delta and len(delta) == 1:  # nearly always
                    ((name, said),) = delta.items()
                    if not said:
                        break
                    is_text = said.__class__ is str
                    more = (((index, name), said) if is_text else _more_arguments(index, name, said, known),)
                else:
                    more = self._more_texts(index, choice, known)
                    if not more or any(key not in text_channels for key, _ in more):
                        break  # before the first of them is appended
                for key, text in more:
                    channel = text_channels[key]
                    piece = text.encode("utf-8", "surrogatepass")
                    channel += piece
                    size += len(piece)
                    if key in arguments:
                        arguments[key].add(piece)
                end += 1
                if value.get("usage"):
                    self._note_usage(value)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            pass  # of another shape, or the first text of its channel
        transcript.deltas += end - start
        transcript.size += size
        return end

    def _more_texts(self, index: int, choice: Mapping[str, Any], known: Mapping[Key, object]) -> list[TextDelta]:
        """Channels and texts of a choice that names nothing but what is `known`. Raises for one of another shape."""
        delta: Any = choice.get("delta")
        if delta is None and "message" not in choice and choice["text"].__class__ is str:
            return [((index, "text"), choice["text"])] if choice["text"] else []
        more: list[TextDelta] = []
        if not self._text_in_delta:
            return more
        for name, part in delta.items():
            if not part:
                continue
            if part.__class__ is str and name not in IDENTITIES:
                more.append(((index, name), part))
            elif name in _TOOLS:
                more.append(_more_arguments(index, name, part, known))
            else:
                for key, text, is_identity in walk((index, name), part):
                    if not is_identity:
                        more.append((key, text))
                    elif key not in known:
                        return []
        return more

    def fault_in(self, payload: Payload) -> FaultEvent | None:
        """Return the fault of a payload that is an error of the API, a page, or a whole answer in place of a stream."""
        choices = payload.value.get("choices") if isinstance(payload.value, dict) else None
        if payload.outside_field and isinstance(choices, list) and any(map(_has_message, choices)):
            return FaultEvent("not_a_stream", WHOLE_ANSWER, payload.value)
        return super().fault_in(payload)

    def may_report_error(self, payload: Payload) -> bool:
        """A chunk with choices is one, unless it has an `error`, which the SDK raises too."""
        value = payload.value
        choices = value.get("choices") if isinstance(value, dict) else None
        return not (isinstance(choices, list) and choices) or has_error(payload)

    def read(self, payload: Payload) -> ApiEvent:
        """Sort a payload and name the channels of its text."""
        if (fault := self.fault_in(payload)) is not None:
            return fault
        value = payload.value
        if value.__class__ is not dict:
            return KEEP_ALIVE if value is None or _is_keep_alive(payload.event) else UNKNOWN_EVENT
        assert isinstance(value, dict)
        self._note_usage(value)
        choices = value.get("choices")
        if choices.__class__ is not list or not choices:
            return self._no_choices(payload, value)

        self._message_is_text = not self._text_in_delta
        text_deltas: list[TextDelta] = []
        identities: list[Identity] = []
        if self.response_id is None:
            self._name(value, identities)
        for choice in choices:
            if choice.__class__ is dict and not self._read_choice(choice, text_deltas, identities):
                return _TOO_DEEP
        self.answer_complete = self._choices.complete
        is_named = any(len(key) > 1 for key, _ in identities)
        if text_deltas or is_named or choices[0].__class__ is not dict:
            return DataEvent(text_deltas, identities)
        return DataEvent((), identities, aside_from(choices[0], choice_index(choices[0], self._choices.expected)))

    def _read_choice(self, choice: dict[str, Any], text_deltas: list[TextDelta], identities: list[Identity]) -> bool:
        """Note what a chunk says for one choice; return False where it is nested too deep."""
        choices, index = self._choices, choice_index(choice, self._choices.expected)
        choices.seen.add(index)
        start = len(text_deltas)
        name = text_member(choice, message_is_text=self._message_is_text)
        if name == "text":
            if choice["text"]:
                text_deltas.append(((index, "text"), choice["text"]))
        elif name is not None:
            for member, part in choice[name].items():
                if part and not self._read_member(index, member, part, text_deltas, identities):
                    return False
        grew = any(key[1] not in _REMARKS for key, _ in text_deltas[start:])
        if grew:
            choices.add_text(index)
            self._text_in_delta = self._text_in_delta or name == "delta"
        reason = choice.get("finish_reason")
        if reason and reason.__class__ is str and reason != NO_REASON:
            choices.finish(index, with_text=grew)
            text_deltas.append(((index, "finish_reason"), finish_line(reason)))
        return True

    def _read_member(
        self, index: int, name: str, part: object, text_deltas: list[TextDelta], identities: list[Identity]
    ) -> bool:
        """Note a member of a delta; return False where it is nested too deep."""
        try:
            for key, text, is_identity in walk((index, name), part):
                if is_identity:
                    identities.append((key, text))
                else:
                    text_deltas.append((key, text))
        except RecursionError:
            return False
        if name in _TOOLS:
            self.tool_call_open = True  # until the end of the stream: a finish can be taken back
            self._note_arguments(index, name, part)
        return True

    def _note_arguments(self, index: int, name: str, part: object) -> None:
        """Keep the arguments of function calls, to tell whole ones from cut ones."""
        known = self._choices.arguments
        calls: list[Any] = part if isinstance(part, list) else [{"index": name, "function": part}]
        for call in calls:
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                continue
            place, call_id = call.get("index"), call.get("id")
            key: Key = (index, name, place if isinstance(place, int | str) else None, "function", "arguments")
            if key[2] is None:  # some servers count nothing: an id begins another call, or a name does
                key = (index, name, call_id if isinstance(call_id, str) else len(known), "function", "arguments")
                if not call_id and not function.get("name"):
                    key = next((last for last in reversed(known) if last[:2] == (index, name)), key)
            call_arguments = known.setdefault(key, CallArguments())
            if isinstance(arguments := function.get("arguments"), str):
                call_arguments.add(arguments.encode("utf-8", "surrogatepass"))

    def _note_usage(self, value: Any) -> None:
        """Keep how many tokens the answer has by now: some servers say so with each chunk."""
        usage = value.get("usage")
        if usage.__class__ is dict and type(tokens := usage.get("completion_tokens")) is int:
            self.tokens = tokens

    def _name(self, value: Mapping[str, object], identities: list[Identity]) -> None:
        """Learn the answer's id. Azure's first chunk carries an empty one."""
        response_id = value.get("id")
        if self.response_id is None and isinstance(response_id, str) and response_id:
            self.response_id = plain_id(response_id)
            identities += [(("id",), response_id), (("created",), value.get("created"))]

    def _no_choices(self, payload: Payload, value: Mapping[str, object]) -> ApiEvent:
        """Usage, Azure's filter results, keep-alives, and whatever a gateway adds."""
        if "choices" not in value and _is_keep_alive(payload.event or value.get("type")):
            return KEEP_ALIVE
        identities: list[Identity] = []
        self._name(value, identities)
        return DataEvent((), identities, (payload.event, *sorted(name for name, part in value.items() if part)))

    def is_complete(self, rule: EndRule, *, done: bool) -> bool:
        """The end rule of the table in README.md."""
        return self._choices.complete_at_end(rule, done=done)

    def oddity(self, rule: EndRule, *, done: bool) -> Oddity | None:
        """`[DONE]` without a finish_reason, though the server is known to send one; nothing inside a tool call."""
        is_odd = done and rule == "learnt" and self._choices.complete_at_end("auto", done=True)
        return Oddity(NO_FINISH, int(self.tool_call_open)) if is_odd else None

    def _trimmed(self, payload: Payload, value: dict[str, Any], replay: SecondAnswer) -> dict[str, Any] | None:
        """Cut what was delivered out of a repeated chunk, and give the rest the first answer's ids."""
        new = dict(value)
        choices = value.get("choices")
        if isinstance(choices, list) and choices:
            live = replay.caught_up
            kept = [trimmed for choice in choices if (trimmed := self._trim_choice(choice, replay, live)) is not None]
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

    def _trim_choice(self, choice: object, replay: SecondAnswer, live: bool) -> object | None:
        if not isinstance(choice, dict):
            return choice if live else None
        name = text_member(choice, message_is_text=self._message_is_text)
        return trim_choice(choice, name, choice_index(choice, self._choices.expected), replay)

    def may_replay(self, transcript: Transcript) -> bool:
        """Not where the API stores each answer: the delivered one would be stored twice, under two ids."""
        return self._request.body.get("store") is not True

    def may_continue(self, transcript: Transcript) -> Key | None:
        """Plain text of one choice, of an answer that is not stored: nothing that a second generation would break."""
        body = self._request.body
        shape = body.get("response_format")
        plain = not shape or (isinstance(shape, dict) and shape.get("type") == "text")
        if not plain or any(map(body.get, _NOT_CONTINUED)) or self._request.choices != 1 or self.tool_call_open:
            return None
        if not self.may_replay(transcript):
            return None
        return (0, "content") if list(transcript.text_channels) == [(0, "content")] else None

    def partial_text(self, transcript: Transcript) -> str:
        """The text of the first choice."""
        first = min((key[0] for key in transcript.text_channels if isinstance(key[0], int)), default=0)
        return transcript.text((first, "content")) or transcript.text((first, "text"))

    def partial(self, transcript: Transcript) -> dict[str, object] | None:
        """A (chat) completion with as much of every choice as was delivered."""
        chat = self._request.path.endswith("/chat/completions")
        choices = choices_from(transcript, chat=chat)
        if self._choices.revoked:
            for choice in choices:
                if choice["index"] not in self._choices.standing:
                    choice["finish_reason"] = None
        return {
            "id": transcript.identities.get(("id",), ""),
            "object": "chat.completion" if chat else "text_completion",
            "created": transcript.identities.get(("created",)) or 0,
            "model": self._request.model or "",
            "choices": choices,
        }


def _more_arguments(index: int, name: str, calls: list[dict[str, Any]], known: Mapping[Key, object]) -> TextDelta:
    """Channel and text of a delta that holds nothing new but more of one call's arguments. Raises for any other."""
    (call,) = calls
    place, function = call["index"], call["function"]
    text = function["arguments"]
    if name != "tool_calls" or place.__class__ is not int or text.__class__ is not str or not text:
        raise ValueError
    if len(call) + len(function) > 3:
        said = {member: part for member, part in call.items() if part and member not in ("index", "function")}
        names = (member in IDENTITIES and (index, name, place, member) in known for member in said)
        if not all(names) or any(part.__class__ is not str for part in said.values()):
            raise ValueError
        if any(part for member, part in function.items() if member != "arguments"):
            raise ValueError
    return (index, name, place, "function", "arguments"), text


def _has_message(choice: object) -> bool:
    return isinstance(choice, dict) and bool(choice.get("message"))


def _is_keep_alive(name: object) -> bool:
    return isinstance(name, str) and is_keep_alive(name)


def _with_spent(usage: Mapping[str, object], spent: int) -> dict[str, object]:
    """A continuation counts its own tokens only."""
    more = {name: usage[name] for name in ("completion_tokens", "total_tokens") if type(usage.get(name)) is int}
    return {**usage, **{name: count + spent for name, count in more.items() if isinstance(count, int)}}

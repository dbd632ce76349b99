"""A chat answer as a value, the chunks that stream it, and what a reader makes of chunks.

Shares nothing with the guard. An answer has choices; a choice has runs of text in an order (reasoning, then content,
then audio), then parallel calls, then one finish_reason. The law of a stream: runs never grow once a later one has
begun, nothing grows after the finish_reason, a name is one name, an id is told once, and log probabilities spell the
text that they stand beside.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

WORDS = ("a", "ab", "abc ", "b", "ba", "c", " d", "é", "🚋", "東", "\n")
NAMES = ("search", "search_docs", "pay", "pay_all")


@dataclass(frozen=True)
class Call:
    """A function call. Some servers send its arguments as an object, in one chunk."""

    name: str
    arguments: str | dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One choice of an answer."""

    runs: tuple[tuple[str, str], ...]
    """Field and text, in the order in which they are said."""
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    expires: int | None = None
    """A number inside `delta.audio`: something that is said once and is no text. A moment, as `created` is: each
    generation has its own, and a reader keeps the one that it was told."""


@dataclass(frozen=True)
class ChatAnswer:
    """All of an answer."""

    choices: tuple[Choice, ...]
    usage: bool = False
    logprobs: bool = False
    legacy: bool = False
    """Of `/completions`: each choice has one text."""

    @property
    def body(self) -> dict[str, Any]:
        """What asks for such an answer."""
        body: dict[str, Any] = {"model": "m"}
        body |= {"prompt": "?"} if self.legacy else {"messages": [{"role": "user", "content": "?"}]}
        body |= {"n": len(self.choices)} if len(self.choices) > 1 else {}
        body |= {"stream_options": {"include_usage": True}} if self.usage else {}
        return body | ({"logprobs": True} if self.logprobs else {})


def words(dice: random.Random, most: int = 6) -> str:
    """A text of few different words, so that texts often begin alike."""
    return "".join(dice.choices(WORDS, k=dice.randint(1, most)))


def arguments(dice: random.Random) -> str | dict[str, Any]:
    """The arguments of a call."""
    value = {"q": words(dice, 3), "n": dice.randint(1, 3)}
    return value if dice.random() < 0.15 else json.dumps(value, ensure_ascii=False)


def chat_answer(dice: random.Random) -> ChatAnswer:
    """Any answer."""
    legacy, logprobs = dice.random() < 0.05, dice.random() < 0.15
    choices = []
    for _ in range(2 if dice.random() < 0.25 else 1):
        if legacy:
            choices.append(Choice((("text", words(dice)),)))
            continue
        fields = ["reasoning_content"] * (dice.random() < 0.25) + ["content"] * (dice.random() < 0.8)
        fields += ["refusal"] * (dice.random() < 0.1) + ["audio"] * (dice.random() < 0.1 and not logprobs)
        calls = tuple(Call(dice.choice(NAMES), arguments(dice)) for _ in range(dice.choice((0, 0, 0, 1, 2, 2))))
        fields = fields if fields or calls else ["content"]
        finish = "tool_calls" if calls else dice.choice(("stop", "stop", "length"))
        expires = dice.randint(1, 9) if "audio" in fields else None
        choices.append(Choice(tuple((name, words(dice)) for name in fields), calls, finish, expires))
    return ChatAnswer(tuple(choices), not legacy and dice.random() < 0.3, logprobs and not legacy, legacy)


# How an answer is told.


def chunks(answer: ChatAnswer, serial: int, dice: random.Random) -> list[dict[str, Any]]:
    """The chunks of one telling, under ids of its own, cut anew by the dice."""
    kind = "text_completion" if answer.legacy else "chat.completion.chunk"
    head = {"id": f"cmpl-{serial}", "object": kind, "created": 1700000000 + serial, "model": "m"}
    tellings = [list(_choice(answer, place, serial, dice)) for place in range(len(answer.choices))]
    told = [{**head, "choices": [choice]} for choice in _merged(tellings, dice, parallel=True)]
    if dice.random() < 0.15:
        told.insert(0, {**head, "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
    if answer.usage:
        count = 7 + serial
        usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": 1 + count}
        told.append({**head, "choices": [], "usage": usage})
    return told


def _choice(answer: ChatAnswer, place: int, serial: int, dice: random.Random) -> Iterator[dict[str, Any]]:
    choice, last = answer.choices[place], dice.random() < 0.2
    deltas = list(_deltas(choice, answer, place, serial, dice))
    for number, (delta, logprobs) in enumerate(deltas):
        finish = choice.finish if last and number == len(deltas) - 1 else None
        said = {"text": delta["text"]} if answer.legacy else {"delta": delta}
        yield {"index": place, **said, "finish_reason": finish} | ({"logprobs": logprobs} if logprobs else {})
    if not (last and deltas):
        said = {"text": ""} if answer.legacy else {"delta": {}}
        yield {"index": place, **said, "finish_reason": choice.finish}


def _deltas(
    choice: Choice, answer: ChatAnswer, place: int, serial: int, dice: random.Random
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    if not answer.legacy and dice.random() < 0.8:
        yield {"role": "assistant", "content": "" if dice.random() < 0.5 else None}, None
    for name, text in choice.runs:
        for piece, tokens in _pieces(text, dice, answer.logprobs):
            delta: dict[str, Any] = {"audio": {"transcript": piece}} if name == "audio" else {name: piece}
            probabilities = {name: tokens} if answer.logprobs and name in ("content", "refusal") else None
            if piece or probabilities:
                yield delta, probabilities
        if name == "audio":
            yield {"audio": {"expires_at": choice.expires}}, None
    tellings = [list(_call(call, number, place, serial, dice)) for number, call in enumerate(choice.calls)]
    for part in _merged(tellings, dice, parallel=dice.random() < 0.5):
        yield {"tool_calls": [part]}, None


def _merged(tellings: list[list[Any]], dice: random.Random, *, parallel: bool) -> Iterator[Any]:
    """Several tellings as one. Each begins after those before it: the SDK's helper reads no other order."""
    begun = 0
    while any(tellings):
        open_ = [at for at, telling in enumerate(tellings[:begun]) if telling]
        waiting = [begun] if begun < len(tellings) and (parallel or not open_) else []
        at = dice.choice([*open_, *waiting])
        begun = max(begun, at + 1)
        yield tellings[at].pop(0)


def _call(call: Call, number: int, place: int, serial: int, dice: random.Random) -> Iterator[dict[str, Any]]:
    """One call: its identity first, then its arguments."""
    head = {"index": number, "id": f"call_{serial}_{place}_{number}", "type": "function"}
    if isinstance(call.arguments, dict):
        yield {**head, "function": {"name": call.name, "arguments": call.arguments}}
        return
    yield {**head, "function": {"name": call.name, "arguments": ""}}
    for piece, _ in _pieces(call.arguments, dice, False):
        yield {"index": number, "function": {"arguments": piece}}


def _pieces(text: str, dice: random.Random, logprobs: bool) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The text in deltas, each with its tokens. A character may be split over two tokens: the first has no text."""
    start = 0
    while start < len(text):
        piece = text[start : start + dice.choice((1, 2, 2, 3, 5))]
        start += len(piece)
        said = piece.encode()
        if logprobs and len(piece) == 1 and len(said) > 1:
            yield "", [{"token": "\\x", "bytes": list(said[:1]), "logprob": -1.0, "top_logprobs": []}]
            said = said[1:]
        yield piece, [{"token": piece, "bytes": list(said), "logprob": -0.5, "top_logprobs": []}]


# What another generation may say instead.


def _edited(dice: random.Random, answer: ChatAnswer, edit: Callable[[Choice], Choice]) -> ChatAnswer:
    place = dice.randrange(len(answer.choices))
    choices = list(answer.choices)
    edited = edit(choices[place])
    if answer.legacy and (edited.calls or any(name != "text" for name, _ in edited.runs)):
        return answer  # it has nothing but a text
    choices[place] = edited
    return replace(answer, choices=tuple(choices))


def _run_edited(dice: random.Random, answer: ChatAnswer, edit: Callable[[str], str]) -> ChatAnswer:
    def one(choice: Choice) -> Choice:
        if not choice.runs:
            return choice
        place = dice.randrange(len(choice.runs))
        runs = [(name, edit(text) if at == place else text) for at, (name, text) in enumerate(choice.runs)]
        return replace(choice, runs=tuple((name, text) for name, text in runs if text))

    return _edited(dice, answer, one)


def _call_edited(dice: random.Random, answer: ChatAnswer, edit: Callable[[Call], Call]) -> ChatAnswer:
    def one(choice: Choice) -> Choice:
        if not choice.calls:
            return choice
        place = dice.randrange(len(choice.calls))
        return replace(choice, calls=tuple(edit(call) if at == place else call for at, call in enumerate(choice.calls)))

    return _edited(dice, answer, one)


def _other_arguments(dice: random.Random, call: Call) -> Call:
    if isinstance(call.arguments, dict):
        return replace(call, arguments={**call.arguments, "n": 7 + dice.randint(1, 3)})
    return replace(call, arguments=call.arguments[: dice.randint(0, len(call.arguments))] + words(dice, 2))


VARIATIONS: dict[str, Callable[[random.Random, ChatAnswer], ChatAnswer]] = {
    "same": lambda dice, answer: answer,
    "longer text": lambda dice, answer: _run_edited(dice, answer, lambda text: text + words(dice, 2)),
    "shorter text": lambda dice, answer: _run_edited(dice, answer, lambda text: text[: dice.randint(0, len(text))]),
    "other text": lambda dice, answer: _run_edited(
        dice, answer, lambda text: text[: dice.randint(0, len(text))] + words(dice, 3)
    ),
    "one run less": lambda dice, answer: _edited(
        dice, answer, lambda choice: replace(choice, runs=choice.runs[1:]) if len(choice.runs) > 1 else choice
    ),
    "one run more": lambda dice, answer: _edited(
        dice,
        answer,
        lambda choice: (
            choice if answer.legacy else replace(choice, runs=(*choice.runs, (f"x_{len(choice.runs)}", words(dice, 2))))
        ),
    ),
    "longer name": lambda dice, answer: _call_edited(
        dice, answer, lambda call: replace(call, name=call.name + dice.choice(("_docs", "_all", "s")))
    ),
    "shorter name": lambda dice, answer: _call_edited(
        dice, answer, lambda call: replace(call, name=call.name.partition("_")[0])
    ),
    "other arguments": lambda dice, answer: _call_edited(dice, answer, lambda call: _other_arguments(dice, call)),
    "calls in another order": lambda dice, answer: _edited(
        dice, answer, lambda choice: replace(choice, calls=choice.calls[::-1])
    ),
    "one call less": lambda dice, answer: _edited(
        dice, answer, lambda choice: replace(choice, calls=choice.calls[:-1])
    ),
    "one call more": lambda dice, answer: _edited(
        dice, answer, lambda choice: replace(choice, calls=(*choice.calls, Call(dice.choice(NAMES), arguments(dice))))
    ),
    "other finish": lambda dice, answer: _edited(
        dice, answer, lambda choice: replace(choice, finish=dice.choice(("stop", "stop_sequence", "length")))
    ),
    "other number": lambda dice, answer: _edited(
        dice, answer, lambda choice: replace(choice, expires=choice.expires and choice.expires + 10)
    ),
}


# What a reader makes of chunks.


@dataclass
class _Heard:
    runs: list[list[str]] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish: str | None = None
    roles: int = 0
    tokens: bytes = b""
    expires: list[int] = field(default_factory=list)


class ChatReader:
    """Puts chunks together as a program would, and notes what no answer would ever say."""

    def __init__(self, answer: ChatAnswer) -> None:
        self.wrong: list[str] = []
        self._legacy = answer.legacy
        self._ids: set[object] = set()
        self._choices: dict[int, _Heard] = {}
        self._usages = self._filters = 0

    def add(self, chunk: dict[str, Any]) -> None:
        """One more chunk."""
        self._ids.add(chunk.get("id"))
        if len(self._ids) > 1:
            self.wrong.append("two ids")
        if not chunk["choices"]:
            self._usages += bool(chunk.get("usage"))
            self._filters += bool(chunk.get("prompt_filter_results"))
            if self._usages > 1 or self._filters > 1:
                self.wrong.append("usage or filter results twice")
        for choice in chunk["choices"]:
            self._choice(choice)

    def _choice(self, choice: dict[str, Any]) -> None:
        heard = self._choices.setdefault(choice["index"], _Heard())
        delta = {"text": choice.get("text")} if self._legacy else choice.get("delta") or {}
        finished = heard.finish is not None
        for name, part in delta.items():
            if name == "role":
                heard.roles += 1
                if heard.roles > 1:
                    self.wrong.append("a role twice")
            elif name == "tool_calls":
                for call in part:
                    self._call(heard, call)
            elif name == "audio":
                if "expires_at" in part:
                    heard.expires.append(part["expires_at"])
                self._text(heard, name, part.get("transcript"))
            else:
                self._text(heard, name, part)
            if finished and part and name != "role":
                self.wrong.append("something after a finish_reason")
        logprobs = choice.get("logprobs") or {}
        for tokens in (logprobs.get("content"), logprobs.get("refusal")):
            heard.tokens += b"".join(bytes(token["bytes"]) for token in tokens or ())
        if choice.get("finish_reason"):
            if finished:
                self.wrong.append("a finish_reason twice")
            heard.finish = choice["finish_reason"]

    def _text(self, heard: _Heard, name: str, text: str | None) -> None:
        if not text:
            return
        if heard.calls:
            self.wrong.append("text behind a call")
        if not heard.runs or heard.runs[-1][0] != name:
            if any(run[0] == name for run in heard.runs):
                self.wrong.append("text spliced into an earlier part")
            heard.runs.append([name, ""])
        heard.runs[-1][1] += text

    def _call(self, heard: _Heard, part: dict[str, Any]) -> None:
        call = heard.calls.setdefault(part["index"], {"ids": 0, "types": 0, "name": "", "text": "", "value": None})
        call["ids"] += bool(part.get("id"))
        call["types"] += bool(part.get("type"))
        if call["ids"] > 1 or call["types"] > 1:
            self.wrong.append("the identity of a call twice")
        function = part.get("function") or {}
        if call["name"] and function.get("name"):
            self.wrong.append("a name in two pieces")
        call["name"] += function.get("name") or ""
        told = function.get("arguments") or ""
        if isinstance(told, dict):
            if call["value"] is not None:
                self.wrong.append("arguments twice")
            call["value"] = told
        else:
            call["text"] += told

    @property
    def messages(self) -> dict[int, tuple[str, list[tuple[str, Any]], str | None]]:
        """The content, the calls and the finish_reason of every choice."""
        return {
            at: (
                dict(map(tuple, heard.runs)).get("content", ""),
                [(call["name"], call["value"] or call["text"]) for _, call in sorted(heard.calls.items())],
                heard.finish,
            )
            for at, heard in self._choices.items()
        }

    def is_whole(self, answer: ChatAnswer) -> bool:
        """Whether this is that very answer. (Usage may be missing: it is not asked for again.)"""
        return (
            sorted(self._choices) == list(range(len(answer.choices)))
            and self._usages <= answer.usage
            and all(_is_whole(self._choices[at], choice, answer) for at, choice in enumerate(answer.choices))
        )

    def is_beginning(self, answer: ChatAnswer) -> bool:
        """Whether that answer begins so."""
        return all(
            at < len(answer.choices) and _begins(heard, answer.choices[at], answer)
            for at, heard in self._choices.items()
        )


def _is_whole(heard: _Heard, choice: Choice, answer: ChatAnswer) -> bool:
    calls = [(heard.calls.get(at) or {}, call) for at, call in enumerate(choice.calls)]
    return (
        tuple(map(tuple, heard.runs)) == choice.runs
        and heard.finish == choice.finish
        and len(heard.calls) == len(choice.calls)
        and all(
            told.get("name") == call.name
            and (told["value"] if isinstance(call.arguments, dict) else told["text"]) == call.arguments
            and told["ids"] == 1
            for told, call in calls
        )
        and len(heard.expires) == ("audio" in dict(choice.runs))
        and (not answer.logprobs or heard.tokens == _spelt(choice).encode())
    )


def _begins(heard: _Heard, choice: Choice, answer: ChatAnswer) -> bool:
    if heard.finish is not None:
        return _is_whole(heard, choice, answer)
    pairs = list(zip(heard.runs, choice.runs, strict=False))
    all_told = tuple(map(tuple, heard.runs)) == choice.runs
    return (
        len(heard.runs) <= len(choice.runs)
        and all(
            run[0] == name and (text.startswith(run[1]) if at == len(heard.runs) - 1 else run[1] == text)
            for at, (run, (name, text)) in enumerate(pairs)
        )
        and (not heard.calls or all_told)
        and all(at < len(choice.calls) and _call_begins(told, choice.calls[at]) for at, told in heard.calls.items())
        and len(heard.expires) <= ("audio" in dict(choice.runs))
        and (not answer.logprobs or _spelt(choice).encode().startswith(heard.tokens))
    )


def _call_begins(told: dict[str, Any], call: Call) -> bool:
    if call.name != told["name"]:
        return False
    if isinstance(call.arguments, dict):
        return told["text"] == "" and told["value"] in (None, call.arguments)
    return told["value"] is None and call.arguments.startswith(told["text"])


def _spelt(choice: Choice) -> str:
    return "".join(text for name, text in choice.runs if name in ("content", "refusal"))


def wire(chunks: Sequence[dict[str, Any]]) -> list[bytes]:
    """The chunks as events."""
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]

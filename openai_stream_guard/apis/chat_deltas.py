"""The inside of a choice: which of its members are text, and how a repeated one is cut down to what is new.

A delta is a tree. Strings in it append to the string at the same place of the deltas before; a list holds entries
that say by `index` which entry they continue. https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from .second_answer import Diverged, SecondAnswer, json_line
from .transcript import Aside, Key

IDENTITIES = frozenset({"role", "id", "type", "format", "signature"})
"""Members that name something instead of adding to it."""
NO_REASON = "null"
"""What some servers write for a finish_reason that is null, on every chunk but the last."""
ENTRIES = ...
"""Ends the key of the channel that holds, a JSON text a line, the entries of a list that have no `index`."""
_CALLED = ("function", "function_call", "custom")


def walk(path: Key, part: object) -> Iterator[tuple[Key, str, bool]]:
    """Every non-empty string below `part`: its path, its text, and whether it is an identity.

    Arguments that are sent as an object are one text, the JSON that they stand for.
    """
    if isinstance(part, str):
        if part:
            yield path, part, path[-1] in IDENTITIES
    elif isinstance(part, dict):
        if part and _is_arguments(path):
            yield path, json_line(part), False
            return
        for name, member in part.items():
            yield from walk((*path, name), member)
    elif isinstance(part, list):
        for entry in part:
            if isinstance(entry, dict) and isinstance(entry.get("index"), int):
                yield from walk((*path, entry["index"]), entry)
            else:  # such lists only ever gain entries
                yield (*path, ENTRIES), _line(entry), False


def _line(entry: object) -> str:
    return json_line(entry) + "\n"


def _is_arguments(path: Key) -> bool:
    return path[-1] == "arguments" and len(path) > 2 and path[-2] in _CALLED


def choice_index(choice: Mapping[str, Any], expected: int) -> int:
    """Return the index that a choice's channels go by: 0 for all, where one choice was asked for.

    Some servers count tokens by `index`, or send the finish under another one than the text.
    """
    index = choice.get("index")
    return index if type(index) is int and expected > 1 else 0


def text_member(choice: Mapping[str, Any], *, message_is_text: bool) -> Literal["delta", "message", "text"] | None:
    """Return the member of a choice that holds its text: servers send a `message` in place of a `delta`, too."""
    delta, message = choice.get("delta"), choice.get("message")
    if isinstance(delta, dict) and delta:
        return "delta"
    if message_is_text and isinstance(message, dict) and message:
        return "message"
    if isinstance(choice.get("text"), str) and delta.__class__ is not dict:
        return "text"
    return "delta" if isinstance(delta, dict) else None


def aside_from(choice: Mapping[str, Any], index: int) -> Aside:
    """Return the kind of a choice that adds no text and names nothing, by what it has in their place."""
    shape = [name for name, part in choice.items() if name != "index" and part and part != NO_REASON]
    told = [choice[name] for name in ("delta", "message") if isinstance(choice.get(name), dict)]
    members = [str(member) for part in told for member in part if part[member]]
    return Aside(index, (*shape, *members), required=bool(members) or "logprobs" in shape)


def _says_nothing(choice: Mapping[str, Any], name: str | None) -> bool:
    """Whether a choice adds no text and names nothing, apart from its finish_reason."""
    return name is None or next(walk((0, name), choice[name]), None) is None


def _finish_of(choice: Mapping[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) and reason not in ("", NO_REASON) else None


def finish_line(reason: str) -> str:
    """Return a reason as its channel holds it: in a line, since another follows one that is taken back."""
    return reason + "\n"


def trim_choice(
    choice: dict[str, Any], name: Literal["delta", "message", "text"] | None, index: int, replay: SecondAnswer
) -> dict[str, object] | None:
    """Return a repeated choice without what was delivered of it; None where nothing is left.

    Args:
        name: the member that holds its text, see `text_member`.
        index: what its channels go by, see `choice_index`.

    Raises:
        Diverged: if the choice contradicts the transcript, or its logprobs cannot be cut where its text is.
    """
    reason = _finish_of(choice)
    if _says_nothing(choice, name):
        unfinished = {**choice, "finish_reason": None}
        is_repeated = (reason is None or bool(choice.get(name or ""))) and replay.repeats(aside_from(unfinished, index))
        if reason is None:
            return None if is_repeated else choice
        if is_repeated and name is not None:
            choice = {**choice, name: type(choice[name])()}
    end: Key = (index, "finish_reason")
    new: dict[str, Any] = dict(choice)
    grows = named = False
    if name == "text":
        new["text"] = replay.take((index, "text"), choice["text"])
        grows = bool(new["text"])
        _trim_logprobs(new, choice, new)
    elif name is not None:
        new[name], grows, named = _trim_members((index,), choice[name], replay)
        _trim_logprobs(new, choice[name], new[name])
    if reason is not None:
        if late := replay.flush((index, "content")):
            said = new.get("delta")
            new["delta"] = {**(said if isinstance(said, dict) else {}), "content": late}
        line = finish_line(reason)
        told = replay.take(end, line, whole=replay.is_closed(end))  # one that was taken back is told again
        if told not in ("", line):
            raise Diverged
        if told:
            return new
        new["finish_reason"] = None
    if replay.is_closed(end):
        if grows:
            raise Diverged
        return None
    return new if grows or named else None


def _trim_members(path: Key, members: dict[str, object], replay: SecondAnswer) -> tuple[dict[str, object], bool, bool]:
    """The members that are new; whether any of them adds text, and whether any of them names something."""
    new: dict[str, object] = {}
    grows = named = False
    for name, part in members.items():
        here = (*path, name)
        if isinstance(part, str) and part:
            if name in IDENTITIES:
                if _is_first_name(here, part, replay):
                    new[name] = part
                    named = True
            elif surplus := replay.take(here, part, whole=name == "name" and path[-1] in _CALLED):
                new[name] = surplus
                grows = True
        elif isinstance(part, dict) and part and _is_arguments(here):
            if replay.take_value(here, part):
                new[name] = part
                grows = True
        elif isinstance(part, dict):
            inner, more, names = _trim_members(here, part, replay)
            if more or names or next(walk(here, part), None) is None:
                new[name] = inner
            grows, named = grows or more, named or names
        elif isinstance(part, list):
            entries, more, names = _trim_entries(here, part, replay)
            if entries or not part:
                new[name] = entries
            grows, named = grows or more, named or names
        else:
            new[name] = part
    return new, grows, named


def _is_first_name(key: Key, name: str, replay: SecondAnswer) -> bool:
    """Whether the consumer has no name for this yet. Raises `Diverged` where it has one that this cannot stand for."""
    if key[-1] == "id":
        replay.name_once(key, name)
    known = replay.identify(key, name)
    if key[-1] == "type" and known not in (None, name):
        raise Diverged
    return known is None


def _trim_entries(path: Key, entries: list[object], replay: SecondAnswer) -> tuple[list[object], bool, bool]:
    new: list[object] = []
    grows = named = False
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("index"), int):
            inner, more, names = _trim_members((*path, entry["index"]), entry, replay)
            if more or names:
                new.append(inner)
            grows, named = grows or more, named or names
        elif replay.take((*path, ENTRIES), _line(entry)):
            new.append(entry)
            grows = True
    return new, grows, named


def _trim_logprobs(new: dict[str, object], before: dict[str, object], after: dict[str, object]) -> None:
    """Drop the log probabilities of the tokens that were cut from the texts of a choice."""
    logprobs = new.get("logprobs")
    if not isinstance(logprobs, dict):
        return
    trimmed = dict(logprobs)
    for name in ("content", "refusal", "text"):
        text, rest = before.get(name), after.get(name) or ""
        tokens = logprobs.get("tokens" if name == "text" else name)
        if not (isinstance(text, str) and isinstance(rest, str) and isinstance(tokens, list)) or text == rest:
            continue
        count = tokens_in(tokens, text.removesuffix(rest)) if rest else len(tokens)
        if name == "text":
            trimmed = {key: part[count:] if isinstance(part, list) else part for key, part in logprobs.items()}
        else:
            trimmed[name] = tokens[count:]
    new["logprobs"] = trimmed


def tokens_in(tokens: list[object], text: str) -> int:
    """How many tokens make up `text`.

    Raises:
        Diverged: if it does not end where a token does.
    """
    wanted, said, count = text.encode("utf-8", "surrogatepass"), b"", 0
    while len(said) < len(wanted) and count < len(tokens):
        said += _bytes(tokens[count])
        count += 1
    if said != wanted:
        raise Diverged
    return count


def _bytes(token: object) -> bytes:
    """What a token says. A part of a character is told in `bytes` only; its `token` is an escape of them."""
    if isinstance(token, dict):
        try:
            return bytes(token["bytes"])
        except (KeyError, TypeError, ValueError):  # absent, null, or no bytes
            token = token.get("token")
    return token.encode("utf-8", "surrogatepass") if isinstance(token, str) else b""

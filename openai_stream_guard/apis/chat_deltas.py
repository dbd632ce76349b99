"""The inside of a choice: which of its members are text, and how a repeated one is cut down to what is new.

A delta is a tree. Strings in it append to the string at the same place of the deltas before; a list holds entries
that say by `index` which entry they continue. https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from .second_answer import Diverged, SecondAnswer
from .transcript import Key

IDENTITIES = frozenset({"role", "id", "type", "format", "signature"})
"""Members that name something instead of adding to it."""
NO_REASON = "null"
"""What some servers write for a finish_reason that is null, on every chunk but the last."""
ENTRIES = ...
"""Ends the key of the channel that holds, a JSON text a line, the entries of a list that have no `index`."""


def walk(path: Key, part: object) -> Iterator[tuple[Key, str, bool]]:
    """Every non-empty string below `part`: its path, its text, and whether it is an identity."""
    if isinstance(part, str):
        if part:
            yield path, part, path[-1] in IDENTITIES
    elif isinstance(part, dict):
        for name, member in part.items():
            yield from walk((*path, name), member)
    elif isinstance(part, list):
        for entry in part:
            if isinstance(entry, dict) and isinstance(entry.get("index"), int):
                yield from walk((*path, entry["index"]), entry)
            else:  # such lists only ever gain entries
                yield (*path, ENTRIES), _line(entry), False


def _line(entry: object) -> str:
    return json.dumps(entry, sort_keys=True) + "\n"


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


def trim_choice(
    choice: dict[str, Any],
    name: Literal["delta", "message", "text"] | None,
    index: int,
    replay: SecondAnswer,
    *,
    live: bool,
) -> dict[str, object] | None:
    """Return a repeated choice without what was delivered of it; None where nothing is left.

    Args:
        name: the member that holds its text, see `text_member`.
        index: what its channels go by, see `choice_index`.
        live: every channel had caught up before this payload. Then what has no text is new, and stays.

    Raises:
        Diverged: if the choice contradicts the transcript, or its logprobs cannot be cut where its text is.
    """
    new: dict[str, Any] = dict(choice)
    left = False
    if name == "text":
        new["text"] = replay.take((index, "text"), choice["text"])
        left = bool(new["text"])
        _trim_logprobs(new, choice, new)
    elif name is not None:
        new[name], left = _trim_members((index,), choice[name], replay)
        _trim_logprobs(new, choice[name], new[name])
    if isinstance(reason := choice.get("finish_reason"), str) and reason not in ("", NO_REASON):
        if late := replay.flush((index, "content")):
            said = new.get("delta")
            new["delta"] = {**(said if isinstance(said, dict) else {}), "content": late}
        if replay.take((index, "finish_reason"), reason):
            left = True
        else:
            new["finish_reason"] = None
    unchanged = new == choice
    return new if left or (live and unchanged) else None


def _trim_members(path: Key, members: dict[str, object], replay: SecondAnswer) -> tuple[dict[str, object], bool]:
    """The members that are new, and whether any of them says something."""
    new: dict[str, object] = {}
    left = False
    for name, part in members.items():
        here = (*path, name)
        if isinstance(part, str) and part:
            if name in IDENTITIES:
                if name == "id":
                    replay.name_once(here, part)
                if replay.identify(here, part) is None:
                    new[name] = part
                    left = True
            elif surplus := replay.take(here, part):
                new[name] = surplus
                left = True
        elif isinstance(part, dict):
            inner, says = _trim_members(here, part, replay)
            if says or not part:
                new[name] = inner
            left = left or says
        elif isinstance(part, list):
            entries = _trim_entries(here, part, replay)
            if entries or not part:
                new[name] = entries
            left = left or bool(entries)
        else:
            new[name] = part
    return new, left


def _trim_entries(path: Key, entries: list[object], replay: SecondAnswer) -> list[object]:
    new: list[object] = []
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("index"), int):
            inner, says = _trim_members((*path, entry["index"]), entry, replay)
            if says:
                new.append(inner)
        else:
            if replay.take((*path, ENTRIES), _line(entry)):
                new.append(entry)
    return new


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

"""From a transcript back to the choices that the same answer has without streaming, as far as they came.

This module undoes `choices.walk` and must not know what any member means.
"""

from __future__ import annotations

import json

from ..transcript import Key, Transcript
from .choices import ENTRIES


def choices_of(transcript: Transcript, *, chat: bool) -> list[dict[str, object]]:
    """Every choice that was begun, with a `message` (`chat`) or a `text`."""
    choices: dict[int, dict[str, object]] = {}
    texts = {key: transcript.text(key) for key in transcript.channels}
    for (index, *rest), leaf in (*transcript.identities.items(), *texts.items()):
        if not isinstance(index, int):
            continue
        choice = choices.setdefault(index, {"index": index, "finish_reason": None} | ({} if chat else {"text": ""}))
        message = {"role": "assistant", "content": None}
        if chat:
            choice.setdefault("message", message)
        match rest:
            case ["finish_reason" | "text" as name]:
                choice[name] = leaf
            case _:
                _plant(choice.setdefault("message", message), (*rest,), leaf)
    return [choices[index] for index in sorted(choices)]


def _plant(tree: object, path: Key, leaf: object) -> None:
    """Put a leaf where its path says; an integer in a path is the `index` of an entry in a list."""
    for name, following in zip(path, (*path[1:], None), strict=True):
        match tree:
            case list():
                entry = next((one for one in tree if isinstance(one, dict) and one.get("index") == name), None)
                if entry is None:
                    tree.append(entry := {"index": name})
                tree = entry
            case dict() if following is None:
                tree[name] = leaf
            case dict() if following is ENTRIES:
                tree[name] = [*(tree.get(name) or ()), *map(json.loads, str(leaf).splitlines())]
                return
            case dict():
                if tree.get(name) is None:
                    tree[name] = {} if isinstance(following, str) else []
                tree = tree[name]

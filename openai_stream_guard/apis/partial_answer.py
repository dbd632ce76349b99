"""From a transcript back to what the same answer consists of without streaming, as far as it came."""

from __future__ import annotations

import json

from .chat_deltas import ENTRIES
from .transcript import Key, Transcript


def choices_from(transcript: Transcript, *, chat: bool) -> list[dict[str, object]]:
    """Every choice that was begun, with a `message` (`chat`) or a `text`: undoes `choices.walk`."""
    choices: dict[int, dict[str, object]] = {}
    texts = {key: transcript.text(key) for key in transcript.text_channels}
    for (index, *rest), leaf in (*transcript.identities.items(), *texts.items()):
        if not isinstance(index, int):
            continue
        choice = choices.setdefault(index, {"index": index, "finish_reason": None} | ({} if chat else {"text": ""}))
        message = {"role": "assistant", "content": None}
        if chat:
            choice.setdefault("message", message)
        match rest:
            case ["finish_reason"]:
                choice["finish_reason"] = str(leaf).splitlines()[-1]
            case ["text"]:
                choice["text"] = leaf
            case _:
                _plant(choice.setdefault("message", message), (*rest,), leaf)
    return [choices[index] for index in sorted(choices)]


def _plant(tree: object, path: Key, leaf: object) -> None:
    """Put a leaf where its path says; an integer in a path is the `index` of an entry in a list.

    A member that was told in two shapes keeps the first.
    """
    for name, following in zip(path, (*path[1:], None), strict=True):
        match tree:
            case list() if isinstance(name, int):
                entry = next((one for one in tree if isinstance(one, dict) and one.get("index") == name), None)
                if entry is None:
                    tree.append(entry := {"index": name})
                tree = entry
            case dict() if name is ENTRIES:
                return
            case dict() if following is None:
                tree[name] = leaf
            case dict() if following is ENTRIES:
                if isinstance(entries := tree.get(name) or [], list):
                    tree[name] = [*entries, *map(json.loads, str(leaf).splitlines())]
                return
            case dict():
                if tree.get(name) is None:
                    tree[name] = {} if isinstance(following, str) else []
                tree = tree[name]
            case _:
                return


def outputs_from(transcript: Transcript) -> list[dict[str, object]]:
    """Every output item that was begun, with as much of its texts as came."""
    outputs: dict[object, dict[str, object]] = {}
    for key, name in transcript.identities.items():
        if key[0] == "item":
            outputs.setdefault(key[1], {})[str(key[2])] = name
    for key in transcript.text_channels:
        place, kind = key[0], str(key[-1])
        item = outputs.setdefault(place, {})
        item.setdefault("type", "message")
        text = transcript.text(key)
        content = item.setdefault("content", [])
        assert isinstance(content, list)
        if kind == "response.output_text":
            content.append({"type": "output_text", "text": text, "annotations": []})
        elif kind == "response.refusal":
            content.append({"type": "refusal", "refusal": text})
        elif kind == "response.function_call_arguments":
            item["arguments"] = text
        elif kind == "item" and " " in text:
            item["name"] = text.partition(" ")[2]
    for item in outputs.values():
        item.setdefault("status", "incomplete")
        if item.get("type") == "message":
            item.setdefault("role", "assistant")
        elif not item.get("content"):
            item.pop("content", None)
    return list(outputs.values())

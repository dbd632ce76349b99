"""From a transcript back to the output items that the same response has without streaming, as far as they came."""

from __future__ import annotations

from ..transcript import Transcript


def outputs_of(transcript: Transcript) -> list[dict[str, object]]:
    """Every output item that was begun, with as much of its texts as came."""
    outputs: dict[object, dict[str, object]] = {}
    for key, name in transcript.identities.items():
        if key[0] == "item":
            outputs.setdefault(key[1], {})[str(key[2])] = name
    for key in transcript.channels:
        place, kind = key[0], str(key[-1])
        item = outputs.setdefault(place, {"type": "message"})
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

"""What the Responses API says of texts and items as a whole, after it has told them piece by piece.

`….done` events, the items in them, and the output of a final response repeat what the deltas said.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .transcript import Key, TextDelta

_MEMBERS = ("text", "refusal", "arguments", "input", "code")
_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "mcp_call": ("arguments", "response.mcp_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
    "code_interpreter_call": ("code", "response.code_interpreter_call_code"),
}
_OWN = frozenset({"id", "call_id", "item_id", "sequence_number", "encrypted_content", "logprobs", "obfuscation"})
"""Members that are each generation's own."""
_MAX_DEPTH = 8


def whole_text(kind: str, value: Mapping[str, Any], channel: Key) -> Iterator[TextDelta]:
    """What an event other than those of whole items says of its text, on this channel."""
    name = kind.removesuffix(".done")
    if name == kind:
        return
    if name.endswith("_part"):
        part = value.get("part")
        if isinstance(part, dict):
            yield from _part(part, channel[:-1])
        return
    for member in _MEMBERS:
        if isinstance(text := value.get(member), str):
            yield (*channel[:-1], name), text


def whole_item(item: object, place: object) -> Iterator[TextDelta]:
    """What an item says of its texts."""
    if not isinstance(item, dict):
        return
    for name in ("content", "summary"):
        parts = item.get(name)
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict):
                yield from _part(part, (place, index, None) if name == "content" else (place, None, index))
    member, kind = _CALLS.get(str(item.get("type")), ("", ""))
    if isinstance(text := item.get(member), str):
        yield (place, None, None, kind), text


def _part(part: Mapping[str, Any], where: Key) -> Iterator[TextDelta]:
    name = str(part.get("type"))
    text = part.get("refusal" if name == "refusal" else "text")
    if isinstance(text, str):
        yield (*where, f"response.{'reasoning_summary_text' if name == 'summary_text' else name}"), text


def fingerprint(value: object, depth: int = 0) -> int:
    """A number that is the same for equal values, in this process, whatever generation they are of."""
    if isinstance(value, dict):
        if depth > _MAX_DEPTH:
            return 0
        members = (name for name in sorted(value) if name not in _OWN)
        return hash(tuple((name, fingerprint(value[name], depth + 1)) for name in members))
    if isinstance(value, list):
        return hash(tuple(fingerprint(entry, depth + 1) for entry in value)) if depth <= _MAX_DEPTH else 0
    return hash((value.__class__, value))

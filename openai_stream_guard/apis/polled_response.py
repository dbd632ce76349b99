"""A finished response as the events that would have streamed it, each text in a single delta.

For a consumer whose stream can no longer be streamed: what these events repeat is trimmed like any other repetition.

A response that was asked for as a whole, in the shape of one that streams.

What can no longer be streamed is read here as the events that would have streamed it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

_TEXTS = {
    "output_text": ("text", "output_text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("text", "reasoning_text"),
}
_ARGUMENTS = {
    "function_call": ("arguments", "function_call_arguments"),
    "mcp_call": ("arguments", "mcp_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
    "code_interpreter_call": ("code", "code_interpreter_call_code"),
}


def events_from(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The events of a response that has come to its end, numbered from 0."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for place, item in enumerate(response.get("output") or ()):
        events += _item(item, place)
    events.append({"type": f"response.{response['status']}", "response": dict(response)})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _item(item: Mapping[str, Any], place: int) -> Iterator[dict[str, Any]]:
    where = {"item_id": item.get("id"), "output_index": place}
    opened = {**item, "status": "in_progress"} if "status" in item else dict(item)
    opened.update(
        {name: type(item[name])() for name in ("content", "summary", "arguments", "input", "code") if item.get(name)}
    )
    yield {"type": "response.output_item.added", "output_index": place, "item": opened}
    for index, part in enumerate(item.get("summary") or ()):
        yield from _part(
            part, {**where, "summary_index": index}, "text", "reasoning_summary_text", "reasoning_summary_part"
        )
    for index, part in enumerate(item.get("content") or ()):
        member, kind = _TEXTS.get(part.get("type"), ("text", str(part.get("type"))))
        yield from _part(part, {**where, "content_index": index}, member, kind, "content_part")
    if item.get("type") in _ARGUMENTS:
        member, kind = _ARGUMENTS[item["type"]]
        yield {"type": f"response.{kind}.delta", **where, "delta": item.get(member) or ""}
        yield {"type": f"response.{kind}.done", **where, member: item.get(member) or "", "name": item.get("name")}
    yield {"type": "response.output_item.done", "output_index": place, "item": dict(item)}


def _part(
    part: Mapping[str, Any], where: Mapping[str, Any], member: str, kind: str, envelope: str
) -> Iterator[dict[str, Any]]:
    text = part.get(member) or ""
    logprobs = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    opened = {**part, member: "", **({"annotations": []} if "annotations" in part else {})}
    yield {"type": f"response.{envelope}.added", **where, "part": opened}
    yield {"type": f"response.{kind}.delta", **where, "delta": text, **logprobs}
    for index, annotation in enumerate(part.get("annotations") or ()):
        yield {
            "type": "response.output_text.annotation.added",
            **where,
            "annotation_index": index,
            "annotation": annotation,
        }
    yield {"type": f"response.{kind}.done", **where, member: text, **logprobs}
    yield {"type": f"response.{envelope}.done", **where, "part": dict(part)}


class Unfinished(Exception):
    """The response is still being made."""


class PolledResponse:
    """Stands for an HTTP response where the exchange reads one."""

    status_code = 200
    http_version = "none"
    is_closed = False

    def __init__(self, response: Mapping[str, Any]) -> None:
        self.headers: dict[str, str] = {}
        self.extensions: dict[str, Any] = {}
        self._events = events_from(response)

    def iter_bytes(self) -> Iterator[bytes]:
        """The events, one for each read."""
        for event in self._events:
            yield b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode())

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """The events, one for each read."""
        for part in self.iter_bytes():
            yield part

    def close(self) -> None:
        """There is nothing to close."""

    async def aclose(self) -> None:
        """There is nothing to close."""


def finished_response(response: Any) -> PolledResponse:
    """A polled response as a stream.

    Raises:
        Unfinished: if it is not at its end.
    """
    if not isinstance(response, Mapping) or response.get("status") in ("queued", "in_progress", None):
        raise Unfinished
    return PolledResponse(response)

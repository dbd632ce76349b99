"""A response that is asked for as a whole, in the shape of one that streams: what can no longer be streamed.

It is read as the events that would have streamed it, each text in a single delta. What these repeat of the events that
were delivered is trimmed like any other repetition.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from ..records import Record

_TEXTS = {
    "output_text": ("text", "output_text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("text", "reasoning_text"),
}


class _Told(Record):
    """How an item is told between `output_item.added` and `output_item.done`, besides its parts.

    Steps are events `response.{type of the item}.{step}`; a text is told by `response.{kind}.delta` and `.done`.
    """

    before: tuple[str, ...] = ()
    text: tuple[str, str] | None = None
    """The member that holds its text, and the kind of the events that tell it."""
    after: tuple[str, ...] = ()


TOLD: Mapping[str, _Told] = {
    "message": _Told(),
    "reasoning": _Told(),
    "function_call": _Told(text=("arguments", "function_call_arguments")),
    "custom_tool_call": _Told(text=("input", "custom_tool_call_input")),
    "web_search_call": _Told(("in_progress", "searching"), after=("completed",)),
    "file_search_call": _Told(("in_progress", "searching"), after=("completed",)),
    "code_interpreter_call": _Told(
        ("in_progress",), ("code", "code_interpreter_call_code"), after=("interpreting", "completed")
    ),
    "image_generation_call": _Told(("in_progress", "generating"), after=("completed",)),
    "mcp_call": _Told(("in_progress",), ("arguments", "mcp_call_arguments"), after=("completed",)),
    "mcp_list_tools": _Told(("in_progress",), after=("completed",)),
    "compaction": _Told(("compacting",)),
}
"""By the type of an item. Any other is told by `output_item.added` and `output_item.done` alone, as computer use is."""


_GROWING = ("content", "summary", "arguments", "input", "code", "tools")
"""Members that are empty when an item is added."""
_RESULTS = ("result", "results", "outputs", "output", "error")
"""Members that are null then."""


def events_from(response: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a response that has come to its end, numbered from 0."""
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
    kind = str(item.get("type"))
    told = TOLD.get(kind, _Told())
    opened = {**item, "status": "in_progress"} if "status" in item else dict(item)
    opened.update({name: type(item[name])() for name in _GROWING if isinstance(item.get(name), str | list)})
    if kind in TOLD:
        opened.update({name: None for name in _RESULTS if name in item})
    yield {"type": "response.output_item.added", "output_index": place, "item": opened}
    for index, part in enumerate(item.get("summary") or ()):
        yield from _part(
            part, {**where, "summary_index": index}, "text", "reasoning_summary_text", "reasoning_summary_part"
        )
    for index, part in enumerate(item.get("content") or ()):
        member, name = _TEXTS.get(part.get("type"), ("text", str(part.get("type"))))
        yield from _part(part, {**where, "content_index": index}, member, name, "content_part")
    yield from _steps(kind, told.before, where)
    if told.text is not None:
        member, name = told.text
        text = item.get(member) or ""
        if text:
            yield {"type": f"response.{name}.delta", **where, "delta": text}
        called = {"name": item.get("name")} if kind == "function_call" else {}
        yield {"type": f"response.{name}.done", **where, member: text, **called}
    yield from _steps(kind, _outcome(item, told.after), where)
    yield {"type": "response.output_item.done", "output_index": place, "item": dict(item)}


def _steps(kind: str, steps: tuple[str, ...], where: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for step in steps:
        yield {"type": f"response.{kind}.{step}", **where}


def _outcome(item: Mapping[str, Any], steps: tuple[str, ...]) -> tuple[str, ...]:
    """Return the last steps of an item as they came: of calls to MCP servers the API says that they have failed."""
    if item.get("type") in ("mcp_call", "mcp_list_tools"):
        return ("failed",) if item.get("error") else steps
    return steps if item.get("status") in ("completed", None) else steps[:-1]


def _part(
    part: Mapping[str, Any], where: Mapping[str, Any], member: str, kind: str, envelope: str
) -> Iterator[dict[str, Any]]:
    text = part.get(member) or ""
    logprobs = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
    opened = {**part, member: "", **({"annotations": []} if "annotations" in part else {})}
    yield {"type": f"response.{envelope}.added", **where, "part": opened}
    if text:
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

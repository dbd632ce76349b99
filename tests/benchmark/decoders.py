"""Decoders of server-sent events side by side: each reads a body, parses what it holds, and counts the events."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import openai

Reads = list[bytes]


def guard(reads: Reads) -> int:
    """Ours, which parses as it reads."""
    reader = importlib.import_module(
        "openai_stream_guard.decoding.reader"
    ).Reader()  # not in the process without the guard
    count = sum(len(reader.feed(data)) for data in reads) + len(reader.finish())
    assert reader.fault is None
    return count - reader.done


def sdk(reads: Reads) -> int:
    """The SDK's own, and its `json()`."""
    count = 0
    for event in openai._streaming.SSEDecoder().iter_bytes(iter(reads)):
        if not event.data.startswith("[DONE]"):
            event.json()
            count += 1
    return count


def _event_source(library: str, http: str, reads: Reads) -> int:
    try:
        source, body = importlib.import_module(library).EventSource, importlib.import_module(http)
    except (ImportError, AttributeError):
        return 0

    class Body(body.SyncByteStream):
        def __iter__(self) -> Any:
            return iter(reads)

    request = body.Request("GET", "http://host")
    headers = {"content-type": "text/event-stream"}
    events = source(body.Response(200, headers=headers, stream=Body(), request=request))
    count = 0
    for event in events.iter_sse() if hasattr(events, "iter_sse") else events:
        if event.data != "[DONE]":
            json.loads(event.data)
            count += 1
    return count


def httpx_sse(reads: Reads) -> int:
    """httpx-sse, on httpx."""
    return _event_source("httpx_sse", "httpx", reads)


def httpx2(reads: Reads) -> int:
    """What httpx2 brings."""
    return _event_source("httpx2", "httpx2", reads)


def floor(reads: Reads) -> int:
    """The least there is to do: cut at blank lines, and parse by jiter. Right for these streams only."""
    parse = importlib.import_module("jiter").from_json
    count = 0
    for frame in b"".join(reads).split(b"\n\n"):
        found = frame.find(b"{")
        if found >= 0:
            parse(frame[found:])
            count += 1
    return count


DECODERS: dict[str, Callable[[Reads], int]] = {
    "guard": guard,
    "SDK": sdk,
    "httpx-sse": httpx_sse,
    "httpx2": httpx2,
    "split + jiter": floor,
}

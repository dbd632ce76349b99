"""Errors as servers write them into streams: shapes, and words, each with whether they may pass.

Written from what the servers were seen to send, apart from the package: it is the table that the tests hold it to.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """What an error says of itself."""

    type: str | None
    code: str | int | None
    message: str = "It did not work."


BUSY = "You are over the limit of your plan; see your billing details."
"""What rate limits say, too."""
MIND = [
    Words("rate_limit_reached_error", None, BUSY),
    Words(None, "ThrottlingException", BUSY),
    Words(None, "Throttling.BurstRate"),
    Words(None, "Throttling.AllocationQuota", BUSY),
    Words("ServiceUnavailableException", None),
    Words("ModelOverloadedException", None),
    Words("model_overloaded", None),
    Words("overloaded_error", None),
    Words("provider_unavailable", None),
    Words("upstream_timeout", None),
    Words("InternalServerException", None),
    Words("server_error", "503"),
    Words("bad_gateway", 502),
    Words("invalid_request_error", 408),
    Words("BadRequestError", "408"),
    Words(None, 429, BUSY),
    Words(None, 529),
    Words(None, "500"),
]
"""These may pass: the same request may be answered the next time."""
UNCHANGING = [
    Words("server_error", "content_policy_violation"),
    Words("internal_server_error", "model_not_found"),
    Words("server_error", "context_length_exceeded"),
    Words(None, 500, "This model's maximum context length is 4096 tokens, you sent 5000."),
    Words("internal_server_error", "500", "prompt is too long: 210000 tokens > 200000 maximum"),
    Words("insufficient_quota", 429, BUSY),
    Words("billing_hard_limit_reached", 429, BUSY),
    Words("authentication_error", "401"),
    Words(None, "invalid_api_key"),
    Words("invalid_request_error", None),
    Words("not_found_error", 404),
    Words("odd_error", None),
]
"""These last, or say nothing: asking again would only cost."""
PLAIN = {
    "Rate limit reached for requests. Please check your plan and billing details.": True,
    "Too many requests, slow down": True,
    "Service temporarily unavailable": True,
    "the model is overloaded": True,
    "This model's maximum context length is 512 tokens": False,
    "prompt is too long: 900 tokens": False,
    "no such thing": False,
}
"""Plain text under `event: error`, and whether it may pass."""


def event(value: Any, name: str | None = None) -> bytes:
    """An event on the wire."""
    return (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(value)}\n\n".encode()


def fields(told: Words, prefix: str = "") -> dict[str, Any]:
    """What it says, without what it does not say."""
    said = {"type": told.type, "code": told.code, "message": told.message}
    return {prefix + name: value for name, value in said.items() if value is not None}


def coded(told: Words) -> dict[str, Any]:
    """`code` and `message`, and a `type` where both are said."""
    return {**fields(told), "code": told.type if told.code is None else told.code}


SHAPES: dict[str, Callable[[Words], bytes]] = {
    "error object": lambda told: event({"error": fields(told)}),
    "error object and choices": lambda told: event({"id": "c", "choices": None, "error": fields(told)}),
    "error text": lambda told: event({"error": told.message, **fields(told, "error_")}),
    "error_ fields": lambda told: event(fields(told, "error_")),
    "error_ fields and choices": lambda told: event({"choices": None, **fields(told, "error_")}),
    "errors": lambda told: event({"success": False, "errors": [fields(told)], "result": None}),
    "success is false": lambda told: event({"success": False, **fields(told)}),
    "code and message": lambda told: event(coded(told)),
    "object is error": lambda told: event({"object": "error", "param": None, **coded(told)}),
    "event error, error object": lambda told: event({"error": fields(told)}, "error"),
    "event error, flat": lambda told: event(coded(told), "error"),
    "in an unfinished event": lambda told: (
        b'data: {"id":"c","choices":[{"index":0,"del\n' + event({"error": fields(told)})
    ),
    "behind an unfinished event": lambda told: (
        b'data: {"id":"c","choices":[{"index":0,"del\n\n: ping\n\n' + event({"error": fields(told)}, "error")
    ),
}
"""How it is written down."""

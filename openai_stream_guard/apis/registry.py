"""Which adapter reads the answer to which request."""

from __future__ import annotations

from collections.abc import Collection

from .adapter import ApiAdapter
from .chat import ChatAdapter
from .detect_only import DetectOnlyAdapter, MediaAdapter, RunAdapter
from .request import Resume, StreamRequest
from .responses import ResponsesAdapter


def adapter_for(
    request: StreamRequest,
    resume: Resume | None = None,
    broken: ApiAdapter | None = None,
    habits: Collection[str] = (),
) -> ApiAdapter:
    """Return the adapter for one attempt at a request.

    Args:
        resume: what was asked for, where the attempt brings the rest of an answer.
        broken: the adapter that had read that answer until then.
        habits: what the server is known to do, see `completion.Oddity`.
    """
    match request.method, request.steps:
        case "post", [*_, "completions"]:
            return ChatAdapter(request)
        case ("post", [*_, "responses"]) | ("get", [*_, "responses", _]):
            return ResponsesAdapter(request, resume, broken if isinstance(broken, ResponsesAdapter) else None, habits)
        case "post", [*_, "threads", _, "runs"] | [*_, "threads", "runs"] | [*_, "submit_tool_outputs"]:
            return RunAdapter(request)
        case "post", [*_, "images" | "audio", _]:
            return MediaAdapter(request)
    return DetectOnlyAdapter(request)

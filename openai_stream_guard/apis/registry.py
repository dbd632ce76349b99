"""Which adapter reads the answer to which request."""

from __future__ import annotations

from .adapter import ApiAdapter
from .chat import ChatAdapter
from .detect_only import MEDIA_ENDS, RUN_ENDS, DetectOnlyAdapter, EndMarkAdapter
from .request import Resume, StreamRequest
from .responses import ResponsesAdapter


def adapter_for(request: StreamRequest, resume: Resume | None = None, broken: ApiAdapter | None = None) -> ApiAdapter:
    """The dialect of the API that a request goes to.

    Args:
        resume: for the rest of an answer, of which.
        broken: and what had read it until then.
    """
    match request.method, request.steps:
        case "post", [*_, "completions"]:
            return ChatAdapter(request)
        case ("post", [*_, "responses"]) | ("get", [*_, "responses", _]):
            return ResponsesAdapter(request, resume, broken if isinstance(broken, ResponsesAdapter) else None)
        case "post", [*_, "threads", _, "runs"] | [*_, "threads", "runs"] | [*_, "submit_tool_outputs"]:
            return EndMarkAdapter(request, RUN_ENDS)
        case "post", [*_, "images" | "audio", _]:
            return EndMarkAdapter(request, MEDIA_ENDS)
    return DetectOnlyAdapter(request)

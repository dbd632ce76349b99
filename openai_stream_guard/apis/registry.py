"""Which adapter reads the answer to which request."""

from __future__ import annotations

from .adapter import Dialect
from .request import Asked, Resume


def dialect_for(asked: Asked, resume: Resume | None = None, broken: Dialect | None = None) -> Dialect:
    """The dialect of the API that a request goes to.

    Args:
        resume: for the rest of an answer, of which.
        broken: and what had read it until then.
    """
    from .chat import Chat
    from .detect_only import MEDIA_ENDS, RUN_ENDS, Marked, Other
    from .responses import Responses

    match asked.method, asked.steps:
        case "post", [*_, "completions"]:
            return Chat(asked)
        case ("post", [*_, "responses"]) | ("get", [*_, "responses", _]):
            return Responses(asked, resume, broken if isinstance(broken, Responses) else None)
        case "post", [*_, "threads", _, "runs"] | [*_, "threads", "runs"] | [*_, "submit_tool_outputs"]:
            return Marked(asked, RUN_ENDS)
        case "post", [*_, "images" | "audio", _]:
            return Marked(asked, MEDIA_ENDS)
    return Other(asked)

"""Make every stream of the official openai SDK arrive whole, exactly once, or raise one typed error.

    import openai_stream_guard      # at startup, before or after `import openai`, with OPENAI_STREAM_GUARD=1

Importing this package never imports openai.

PYTEST_DONT_REWRITE: or pytest warns where this package was imported first, by `run` or when Python started.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .activation import configure, disable, enable, guarding, is_enabled, observe, start
from .config.environment import StreamGuardWarning
from .config.fields import StreamGuardConfigError
from .config.policy import Policy
from .notices import Attempt, StreamReport

if TYPE_CHECKING:
    from .errors import OpenAIStreamParseError

    __version__: str

__all__ = [
    "Attempt",
    "OpenAIStreamParseError",
    "Policy",
    "StreamGuardConfigError",
    "StreamGuardWarning",
    "StreamReport",
    "configure",
    "disable",
    "enable",
    "guarding",
    "is_enabled",
    "observe",
    "report",
]


def report(stream: object) -> StreamReport | None:
    """Return what has happened to a stream so far: attempts, recoveries, repairs, timing.

    Args:
        stream: what the SDK returned: a stream, a helper stream such as that of `chat.completions.stream()`, or a
            raw response.

    Returns:
        The report; None where the stream is not guarded.
    """
    if "openai" not in sys.modules:  # nothing is guarded then, and importing it here would patch it
        return None
    from .sdk import report_from

    return report_from(stream)


if not TYPE_CHECKING:  # to a type checker every misspelt name would be one of ours

    def __getattr__(name: str) -> Any:
        if name == "OpenAIStreamParseError":  # a child of openai's error, so it is imported where it is used only
            import openai  # noqa: F401 - first: its import sets the error as an attribute, and must find it complete

            from .errors import OpenAIStreamParseError

            return OpenAIStreamParseError
        if name == "__version__":
            from importlib.metadata import version

            return version("openai-stream-guard")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


start()

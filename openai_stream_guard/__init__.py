"""Make every stream of the official openai SDK arrive whole, exactly once, or raise one typed error.

    import openai_stream_guard      # at startup, before or after `import openai`, with OPENAI_STREAM_GUARD=1

Importing this package never imports openai.

PYTEST_DONT_REWRITE: else pytest complains where this was imported before it, by `run` or at start-up.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .activation import configure, disable, enable, guarding, is_enabled, start
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
    "report",
]


def report(stream: object) -> StreamReport | None:
    """What happened to a stream so far: attempts, recoveries, repairs, timing.

    Args:
        stream: what the SDK handed out: a stream, a helper stream such as `chat.completions.stream()` gives, or a
            raw response.

    Returns:
        The report; None where the stream is not guarded.
    """
    if "openai" not in sys.modules:  # importing it here would set off the patch from within what it patches with
        return None
    from .sdk import report_from

    return report_from(stream)


if not TYPE_CHECKING:  # to a type checker every misspelt name would be one of ours

    def __getattr__(name: str) -> Any:
        if name == "OpenAIStreamParseError":  # a child of openai's error: only those who use it import openai
            import openai  # noqa: F401 - first, since its import names the error, which must not be half made then

            from .errors import OpenAIStreamParseError

            return OpenAIStreamParseError
        if name == "__version__":
            from importlib.metadata import version

            return version("openai-stream-guard")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


start()

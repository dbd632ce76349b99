"""What the guard may do about a fault: one stream's settings, what deserves another try, and after how long.

Knows no clock, no randomness and no SDK: the caller brings the time, the jitter and the headers.
The law: a `Policy` that exists is valid, and judging what a server sent never raises.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from . import fields
from .fields import Kind, StreamGuardConfigError, checked, optional, suggestion

ENVIRONMENT_PREFIX = "OPENAI_STREAM_GUARD_"


@dataclass(frozen=True)
class Policy:
    """
    How one stream is guarded. Read once, when its request starts, and unchanged while the stream lives.

    Raises `StreamGuardConfigError` for a value that a field does not allow.
    """

    max_retries: int | None = None
    """Re-issues after the first failure; `none` follows the client's `max_retries`, 0 repairs and detects."""

    backoff_initial: float = 0.5
    """Seconds before the first re-issue; doubled for each further one, jittered as the SDK does."""

    backoff_max: float = 8.0
    """Seconds that a wait never exceeds, unless the server itself asked for more (at most 120 s)."""

    max_elapsed: float = 120.0
    """Seconds from a fault to the next newly delivered item; a wait that would pass it is not begun."""

    recovery: tuple[str, ...] = ("resume", "restart", "replay")
    """Ways to go on after a fault; `continue` and `stateful` are opt-in, `none` only raises."""

    continuation: Literal["vllm", "prefill"] | Callable[..., object] | None = None
    """How `continue` asks for the rest of an answer: the dialect of the server, or a callable."""

    delivery: Literal["live", "atomic", "tool_calls"] = "live"
    """`atomic` hands over when the stream is complete, `tool_calls` hands a tool call over when whole."""

    max_held_bytes: int = 16 << 20
    """Bytes that `atomic` or `tool_calls` may hold; beyond them the fault is `oversized`."""

    idle_timeout: float | None = None
    """Seconds waited without an event (comments are none); `none` is the read timeout, at least 300 s."""

    first_event_timeout: float | None = None
    """Seconds until the first event; `none` is `idle_timeout`."""

    repair: Literal["safe", "off"] = "safe"
    """`safe` moves framing only, `lenient` adds likely but unsure repairs, `off` only detects."""

    end_rule: Literal["auto", "strict", "lenient"] = "auto"
    """Marks that end a chat stream: `strict` wants every `finish_reason`, `lenient` that or `[DONE]`."""

    lenient_hosts: tuple[str, ...] = ()
    """Hosts whose streams may end without any mark."""

    retry_budget: float | None = 0.1
    """Tokens a started stream adds to its host's bucket of 10; a re-issue costs 1; `none` is no budget."""

    max_event_bytes: int = 256 << 20
    """Bytes of one event or unfinished line; beyond them the fault is `oversized`."""

    items: Literal["auto", "sdk"] = "auto"
    """How items are built: by plans where this SDK and pydantic are known, or by the SDK (`sdk`) always."""

    on_event: Callable[..., object] | None = None
    """Called with each notice; what it raises is logged, never propagated."""

    log_raw: bool = False
    """Log the raw tail of a faulty attempt at DEBUG, secrets masked."""

    capture: str | os.PathLike[str] | None = None
    """Folder for captures of faulty attempts; they hold answer text."""

    def __post_init__(self) -> None:
        for name, kind in KINDS.items():
            accepted = checked(kind.accept, getattr(self, name), name, kind.allowed)
            object.__setattr__(self, name, accepted)

    def replace(self, **changes: Any) -> Policy:
        """A policy with these fields changed; an unknown or bad one raises `StreamGuardConfigError`."""
        for name in changes:
            if name not in KINDS:
                raise StreamGuardConfigError(f"Unknown setting {name!r}{suggestion(name, KINDS)}")
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Policy:
        """The policy that the `OPENAI_STREAM_GUARD_<FIELD>` variables describe; see `read_environment`."""
        return cls(**read_environment(environ))


KINDS: Mapping[str, Kind] = {
    "max_retries": optional(fields.COUNT),
    "backoff_initial": fields.SECONDS,
    "backoff_max": fields.SECONDS,
    "max_elapsed": fields.SECONDS,
    "recovery": fields.any_of(("resume", "restart", "continue", "replay", "stateful")),
    "continuation": optional(fields.word_or_callable("vllm", "prefill")),
    "delivery": fields.one_of("live", "atomic", "tool_calls"),
    "max_held_bytes": fields.SIZE,
    "idle_timeout": optional(fields.TIMEOUT),
    "first_event_timeout": optional(fields.TIMEOUT),
    "repair": fields.one_of("safe", "off"),
    "end_rule": fields.one_of("auto", "strict", "lenient"),
    "lenient_hosts": fields.HOSTS,
    "retry_budget": optional(fields.RATIO),
    "max_event_bytes": fields.SIZE,
    "items": fields.one_of("auto", "sdk"),
    "on_event": optional(fields.CALLABLE),
    "log_raw": fields.FLAG,
    "capture": optional(fields.PATH),
}


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """
    The fields that `OPENAI_STREAM_GUARD_<FIELD>` variables set, an empty variable counting as none.

    A bad value raises `StreamGuardConfigError`, naming the variable.
    """
    given = {}
    for name, kind in KINDS.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if text := environ.get(variable, "").strip():
            given[name] = checked(kind.parse, text, variable, kind.allowed)
    return given

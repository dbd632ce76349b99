"""The settings of one stream: how it is judged, recovered and delivered.

Tests hold: a `Policy` that exists is valid.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, cast

from ..records import Record
from . import fields
from .fields import Setting, StreamGuardConfigError, checked, optional, suggestion

if TYPE_CHECKING:
    from typing_extensions import Unpack

ENVIRONMENT_PREFIX = "OPENAI_STREAM_GUARD_"

ContinuationStyle: TypeAlias = Literal["vllm", "prefill", "anchored"] | Callable[..., object] | None
DeliveryMode: TypeAlias = Literal["live", "atomic", "tool_calls"]
RepairMode: TypeAlias = Literal["safe", "off"]
EndRuleSetting: TypeAlias = Literal["auto", "strict", "lenient"]
ItemSetting: TypeAlias = Literal["auto", "sdk"]
BackgroundMode: TypeAlias = Literal["as_requested", "always"]

_LENIENT_REMOVED = "removed, since it guessed at answer text: 'safe' raises what it cannot repair"


class PolicyFields(TypedDict, total=False):
    """The fields of a `Policy` as keyword arguments, so that type checkers refuse a misspelt one."""

    max_retries: int | None
    backoff_initial: float
    backoff_max: float
    max_elapsed: float
    outage_timeout: float
    recovery: Sequence[str]
    continuation: ContinuationStyle
    delivery: DeliveryMode
    max_held_bytes: int
    idle_timeout: float | None
    first_event_timeout: float | None
    linger_timeout: float
    repair: RepairMode
    end_rule: EndRuleSetting
    lenient_hosts: Sequence[str]
    retry_budget: float | None
    max_event_bytes: int
    background: BackgroundMode
    background_hosts: Sequence[str]
    items: ItemSetting
    on_event: Callable[..., object] | None
    log_raw: bool
    capture: str | os.PathLike[str] | None


class Policy(Record):
    """
    How one stream is guarded. It is read once, when the request is sent, and stays the same for the stream's life.

    Raises `StreamGuardConfigError` for an invalid value.
    """

    max_retries: int | None = None
    """Answered re-issues after the first failure; `none` follows the client's `max_retries`, 0 only repairs."""

    backoff_initial: float = 0.5
    """Seconds before the first re-issue; doubled for each further one, jittered as the SDK does."""

    backoff_max: float = 8.0
    """Longest wait before a re-issue in seconds; a `Retry-After` may ask for more, up to 120 s."""

    max_elapsed: float = 120.0
    """Seconds from a fault to the next newly delivered event; no wait is begun that would end later."""

    outage_timeout: float = 30.0
    """Seconds to wait for a host that refuses re-issues, or for a token; with 0 each refusal costs a retry."""

    recovery: tuple[str, ...] = ("resume", "restart", "replay")
    """Allowed ways of recovery; `continue` and `stateful` are opt-in, with `none` every fault is raised."""

    continuation: ContinuationStyle = None
    """How `continue` asks for the rest: in the style of a server, `anchored` of any chat model, or by a callable."""

    delivery: DeliveryMode = "live"
    """`atomic` delivers once the stream is complete, `tool_calls` delivers each tool call once it is whole."""

    max_held_bytes: int = 16 << 20
    """Bytes that `atomic` or `tool_calls` may hold back; more is the fault `oversized`."""

    idle_timeout: float | None = None
    """Seconds without an event (comments count if the API marks no end); `none` is the read timeout, at least 300 s."""

    first_event_timeout: float | None = None
    """Seconds until the first event; `none`: while bytes come within the read timeout, up to 1,800 s."""

    linger_timeout: float = 30.0
    """Seconds without a byte after a complete answer before its stream is ended, since not every server closes it."""

    repair: RepairMode = "safe"
    """`safe` repairs framing and never changes a payload, `off` only detects."""

    end_rule: EndRuleSetting = "auto"
    """What ends a chat stream: `strict` wants every `finish_reason`, `lenient` accepts that or `[DONE]`."""

    lenient_hosts: tuple[str, ...] = ()
    """Hosts whose streams may end without any mark."""

    retry_budget: float | None = 0.1
    """Tokens that each started stream adds to the 10 of its host; a re-issue borrows one; `none` is no budget."""

    max_event_bytes: int = 256 << 20
    """Bytes of one event or unfinished line; more is the fault `oversized`."""

    background: BackgroundMode = "as_requested"
    """`always` asks for each Responses stream in the background: it is stored, and any cut is resumed exactly."""

    background_hosts: tuple[str, ...] = ()
    """Hosts besides OpenAI's and Azure's that keep background responses."""

    items: ItemSetting = "auto"
    """How items are built: by plans where this SDK and pydantic are known, or by the SDK (`sdk`) always."""

    on_event: Callable[..., object] | None = None
    """Called with each notice; an exception that it raises is logged, never propagated."""

    log_raw: bool = False
    """Log the raw tail of a faulty attempt at DEBUG, secrets masked."""

    capture: str | os.PathLike[str] | None = None
    """Folder for captures of faulty attempts; they hold answer text."""

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            accepted = checked(setting.accept, getattr(self, name), name, setting.expected)
            object.__setattr__(self, name, accepted)

    def replace(self, **changes: Unpack[PolicyFields]) -> Policy:
        """Return a copy with these fields changed. Raises `StreamGuardConfigError` for an unknown or invalid one."""
        for name in changes:
            if name not in SETTINGS:
                raise StreamGuardConfigError(f"Unknown setting {name!r}{suggestion(name, SETTINGS)}")
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type] # __post_init__ converts sequences

    @property
    def useless_combinations(self) -> list[str]:
        """Sentences about fields that have no effect as they are combined."""
        continues = "continue" in self.recovery
        found = []
        if self.continuation is not None and not continues:
            found.append("continuation has no effect, since recovery does not name 'continue'")
        if continues and self.continuation is None:
            found.append("recovery names 'continue', which has no effect without continuation")
        if self.background_hosts and self.background == "as_requested":
            found.append("background_hosts has no effect, since background is 'as_requested'")
        if self.background == "always" and "resume" not in self.recovery:
            found.append("background is 'always', which is of no use where recovery does not name 'resume'")
        if self.backoff_initial > self.backoff_max:
            found.append(f"backoff_initial is never waited, since backoff_max is {self.backoff_max:g} s")
        return found

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Policy:
        """Return the policy that the `OPENAI_STREAM_GUARD_<FIELD>` variables describe; see `read_environment`.

        Args:
            environ: the variables; None for those of the process. (As a default, `help()` would print them all.)
        """
        return cls().replace(**read_environment(os.environ if environ is None else environ))


SETTINGS: Mapping[str, Setting] = {
    "max_retries": optional(fields.COUNT),
    "backoff_initial": fields.SECONDS,
    "backoff_max": fields.SECONDS,
    "max_elapsed": fields.SECONDS,
    "outage_timeout": fields.SECONDS,
    "recovery": fields.any_of(("resume", "restart", "continue", "replay", "stateful")),
    "continuation": optional(fields.word_or_callable("vllm", "prefill", "anchored")),
    "delivery": fields.one_of("live", "atomic", "tool_calls"),
    "max_held_bytes": fields.SIZE,
    "idle_timeout": optional(fields.TIMEOUT),
    "first_event_timeout": optional(fields.TIMEOUT),
    "linger_timeout": fields.TIMEOUT,
    "repair": fields.one_of("safe", "off", removed={"lenient": _LENIENT_REMOVED}),
    "end_rule": fields.one_of("auto", "strict", "lenient"),
    "lenient_hosts": fields.HOSTS,
    "retry_budget": optional(fields.RATIO),
    "max_event_bytes": fields.SIZE,
    "background": fields.one_of("as_requested", "always"),
    "background_hosts": fields.HOSTS,
    "items": fields.one_of("auto", "sdk"),
    "on_event": optional(fields.CALLABLE),
    "log_raw": fields.FLAG,
    "capture": optional(fields.PATH),
}


def read_environment(environ: Mapping[str, str]) -> PolicyFields:
    """Return the fields that `OPENAI_STREAM_GUARD_<FIELD>` variables set. An empty variable sets nothing.

    Raises `StreamGuardConfigError` for an invalid value, naming the variable.
    """
    found = {}
    for name, setting in SETTINGS.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if text := environ.get(variable, "").strip():
            found[name] = checked(setting.parse, text, variable, setting.expected)
    return cast("PolicyFields", found)  # each value is one that its setting accepts

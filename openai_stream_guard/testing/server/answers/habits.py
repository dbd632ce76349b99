"""What servers of the same protocol do differently, and a test may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Prefill: TypeAlias = Literal["continued", "stripped", "echoed", "refused"]


@dataclass(frozen=True, slots=True)
class Habits:
    """
    What a server does its own way.

    `prefill` says what becomes of a request whose last message is the beginning of the assistant's answer: it
    is `continued`, continued with its leading white space `stripped`, `echoed` before it is continued, or
    `refused` with status 400.

    A response made in the background is `in_progress` for the first `pending_polls` times that it is
    retrieved. With `streamable` off it can no longer be streamed: status 400.
    """

    prefill: Prefill = "continued"
    pending_polls: int = 0
    streamable: bool = True

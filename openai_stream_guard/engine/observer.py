"""What follows a session from outside, such as the recorder of captures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..apis.request import EndRule, StreamRequest
from ..config.policy import Policy
from ..diagnosis.evidence import ResponseHead
from ..notices import Attempt
from .decisions import StreamFault, Timeouts


class SessionObserver(Protocol):
    """Called by a session with all that it is told, before it acts on it.

    Times are those that an observed session goes by: whole microseconds, so that they can be written down exactly.
    `waiting_since` is when the program was done with the last events; 0 where that is not known.
    """

    def stream_opened(
        self, stream_id: str, request: StreamRequest, policy: Policy, timeouts: Timeouts, now: float
    ) -> None:
        """A session begins. Called once, first."""

    def attempt_opened(
        self, head: ResponseHead, now: float, *, polled: bool = False, anchor: str | None = None
    ) -> None:
        """A response is about to be read.

        Args:
            polled: it was made of a stored answer that was retrieved as a whole.
            anchor: what it has to begin with, as a continuation.
        """

    def bytes_received(self, data: bytes, now: float, waiting_since: float) -> None:
        """A read brought bytes."""

    def body_ended(self, fault: StreamFault | None, now: float, waiting_since: float) -> None:
        """The body ended: normally, or by an error of the transport, which is this fault."""

    def attempt_closed(self, attempt: Attempt, rule: EndRule, reason: str | None, repairs: Mapping[str, int]) -> None:
        """An attempt is over.

        Args:
            rule: what counted as the end of the answer.
            reason: why it was judged as it was; None if the consumer left it.
            repairs: how often each kind of repair was made in it.
        """

    def stream_ended(self) -> None:
        """The stream is over. Nothing is called after this."""

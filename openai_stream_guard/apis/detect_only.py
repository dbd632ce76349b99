"""Any API without rules of its own: whole at `[DONE]`, or at an end with no unfinished event.

Its requests may create things, so none is ever sent a second time, and its errors are left to the SDK.
"""

from __future__ import annotations

from typing import Final

from ..decoding.payload import Payload
from .adapter import Asked, EndRule, Item, Reading
from .transcript import SecondAnswer, Transcript

_ITEM = Item()


class Other:
    """The rule for all that no other dialect claims."""

    reissuable = False
    has_finished: Final = False
    holding: Final = False
    response_id: str | None = None
    settled = False
    over = False
    missing = False
    resume_after = None

    def __init__(self, asked: Asked) -> None:
        """Nothing of the request matters here."""

    def arrange(self, payload: Payload) -> tuple[Payload]:
        """Nothing is known of numbers."""
        return (payload,)

    def append(self, payloads: list[Payload], start: int, transcript: Transcript) -> int:
        """Nothing is known of texts."""
        return start

    def read(self, payload: Payload) -> Reading:
        """Everything is an item."""
        return _ITEM

    def whole(self, rule: EndRule, *, done: bool) -> bool:
        """The session has seen to unfinished events."""
        return True

    def trim(self, payload: Payload, replay: SecondAnswer) -> Payload | None:
        """Never asked, since nothing is re-issued."""
        return payload

    def may_replay(self, transcript: Transcript) -> bool:
        """Nothing is known of the effects."""
        return False

    def may_continue(self, transcript: Transcript) -> None:
        """This API knows no continuation."""

    def partial_text(self, transcript: Transcript) -> str:
        """No text is known as such."""
        return ""

    def partial(self, transcript: Transcript) -> dict[str, object] | None:
        """No answer object is known."""
        return None

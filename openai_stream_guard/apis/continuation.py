"""Opt-in: let a server that can continue an answer go on from where it broke off.

The second generation is another one, and only its seam is looked after here: a prefix that the server repeats is
dropped, white space is kept as it comes, and what was spent is taken off the limit and added to the usage.
vLLM: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html (`continue_final_message`)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping
from typing import Literal, TypeAlias

from .second_answer import SecondAnswer
from .transcript import Key, Transcript

Continuing: TypeAlias = Literal["vllm", "prefill"] | Callable[..., object]
_LIMITS = ("max_tokens", "max_completion_tokens")


def continued_body(how: Continuing, body: Mapping[str, object], text: str, spent: int) -> dict[str, object] | None:
    """The request that asks for the rest; None where it cannot be made.

    Args:
        how: the server's dialect, or a callable that is given the first request's JSON, with lowered limits, and the
            partial text, and returns what to send.
        text: what was delivered.
        spent: tokens that went into it, at least: every delta is one or more.
    """
    messages = body.get("messages")
    if not isinstance(messages, list):
        return None
    if isinstance(how, str) and messages and _is_assistants(messages[-1]):
        return None  # a beginning of the caller's own: nobody knows whether the server has repeated it
    request = copy.deepcopy(dict(body))  # a callable may edit it, and the first request must stay as it was
    for name in _LIMITS:
        limit = request.get(name)
        if type(limit) is int:
            request[name] = max(1, limit - spent)
    match how:
        case "vllm":
            request["messages"] = [*messages, {"role": "assistant", "content": text}]
            return {**request, "continue_final_message": True, "add_generation_prompt": False}
        case "prefill":
            request["messages"] = [*messages, {"role": "assistant", "content": text, "prefix": True}]
            return request
        case _:
            made = how(request, text)
            return dict(made) if isinstance(made, Mapping) else None


def _is_assistants(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "assistant"


class Continuation(SecondAnswer):
    """Takes the second answer as more of the first, but for what it repeats of it at its beginning."""

    def __init__(self, transcript: Transcript, key: Key, spent: int) -> None:
        super().__init__(transcript)
        self.spent = spent
        self._key = key
        self._delivered = transcript.text(key)
        self._repeated: int | None = 0
        """Characters of the delivered text that the answer begins with, and that are held back; None once decided."""

    @property
    def caught_up(self) -> bool:
        """Whether nothing is held back that may be a repetition, or may be new."""
        return not self._repeated

    def take(self, key: Key, text: str, *, whole: bool = False) -> str:
        """The part of `text` that is new."""
        if key == self._key and self._repeated is not None:
            rest = len(self._delivered) - self._repeated
            if len(text) < rest and self._delivered.startswith(text, self._repeated):
                self._repeated += len(text)
                return ""
            whole = text.startswith(self._delivered[self._repeated :])
            text = text[rest:] if whole else self._delivered[: self._repeated] + text
            self._repeated = None
        if text:
            self._news.text_deltas.append((key, text))
        return text

    def flush(self, key: Key) -> str:
        """What was held as a repetition and is none, since the answer ends there."""
        text = self._delivered[: self._repeated] if key == self._key and self._repeated else ""
        if text:
            self._repeated = None
            self._news.text_deltas.append((key, text))
        return text

    def tell_whole(self, key: Key, text: str) -> None:
        """Chunks say no text twice."""

    def repeats(self, kind: Hashable) -> bool:
        """Usage and the like are said anew, and count."""
        self._news.kind = kind
        return False

    def number(self, number: int | None) -> int | None:
        """Chunks have no numbers."""
        return number

"""Recorded streams of every API, and the server that goes on with them: what is asked, answered and asked again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, Literal

from openai_stream_guard import Policy
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.testing import Answer, AnswerVariant, build_answer

RecoveryMethod = Literal["restart", "replay", "resume", "continue", "atomic"]
WAYS: tuple[RecoveryMethod, ...] = ("restart", "replay", "resume", "continue", "atomic")
_AT_ONCE = Policy(retry_budget=None, backoff_initial=0.0, backoff_max=0.0, idle_timeout=10.0)
POLICIES: dict[RecoveryMethod, Policy] = {
    "restart": _AT_ONCE.replace(recovery=("restart",)),
    "replay": _AT_ONCE,
    "resume": _AT_ONCE,
    "continue": _AT_ONCE.replace(recovery=("restart", "continue"), continuation="vllm"),
    "atomic": _AT_ONCE.replace(delivery="atomic"),
}
"""What makes the guard take each way, where it is open."""
HOST = "wire.test"


@dataclass(frozen=True)
class Stream:
    """One recorded stream: what asks for it, and what a server answers."""

    api: Literal["chat", "completions", "responses"]
    answer: str
    background: bool = False

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.api} {self.answer}{', background' if self.background else ''}"

    @property
    def ways(self) -> tuple[RecoveryMethod, ...]:
        """The ways that this API knows. (Where one is closed to this answer, the typed error has to come.)"""
        if self.background:
            return ("resume", "atomic")
        if self.api == "responses":
            return ("restart", "replay", "atomic")
        return ("restart", "replay", "continue", "atomic")

    @property
    def path(self) -> str:
        """Of its endpoint."""
        return "/chat/completions" if self.api == "chat" else f"/{self.api}"

    @cached_property
    def body(self) -> dict[str, Any]:
        """The JSON that asks for it."""
        if self.api == "completions":
            return {"model": "m", "prompt": "?"}
        if self.api == "responses":
            kept = {"background": True} if self.background else {"store": False}
            return {"model": "m", "input": "?", **kept}
        more = {"n2": {"n": 2}, "usage": {"stream_options": {"include_usage": True}}, "logprobs": {"logprobs": True}}
        return {"model": "m", "messages": [{"role": "user", "content": "?"}], **more.get(self.answer, {})}

    @cached_property
    def asked(self) -> StreamRequest:
        """The same as the guard knows it."""
        return StreamRequest("post", self.path, HOST, {**self.body, "stream": True})

    @cached_property
    def frames(self) -> tuple[bytes, ...]:
        """The first answer, event by event."""
        return self.answered(1)

    @cached_property
    def wire(self) -> bytes:
        """The same in one piece."""
        return b"".join(self.frames)

    @cached_property
    def items(self) -> list[Any]:
        """What a consumer gets of the first answer."""
        return items_of(self.answer_variant(1))

    def answer_variant(self, serial: int, *, sampled: bool = False, regroup: bool = False, prefix: str = "") -> Answer:
        """What the server says to this request, under ids of its own."""
        return _take(self, serial, sampled, regroup, prefix)

    def answered(
        self, serial: int, *, sampled: bool = False, regroup: bool = False, prefix: str = ""
    ) -> tuple[bytes, ...]:
        """The same as bytes, event by event."""
        return _encoded(self, serial, sampled, regroup, prefix)


STREAMS = (
    *(Stream("chat", name) for name in ("text", "tool_calls", "n2", "reasoning", "refusal")),
    *(Stream("chat", name) for name in ("usage", "logprobs", "function_call")),
    Stream("completions", "text"),
    *(Stream("responses", name) for name in ("text", "function_call", "reasoning", "refusal", "several")),
    *(Stream("responses", name, background=True) for name in ("text", "several")),
)


def items_of(answer: Answer) -> list[Any]:
    """The payloads of an answer but for `[DONE]`."""
    return [json.loads(frame.data) for frame in answer.frames if frame.data != "[DONE]"]


@lru_cache(maxsize=4096)
def _take(stream: Stream, serial: int, sampled: bool, regroup: bool, prefix: str) -> Answer:
    variant = AnswerVariant(serial, sampled=sampled, regroup=regroup, background=stream.background, prefix=prefix)
    return build_answer(stream.api, stream.answer, variant)


@lru_cache(maxsize=4096)
def _encoded(stream: Stream, serial: int, sampled: bool, regroup: bool, prefix: str) -> tuple[bytes, ...]:
    return tuple(_take(stream, serial, sampled, regroup, prefix).encode())


@cache
def sampled_items(stream: Stream) -> list[Any]:
    """What a model that does not repeat itself says the second time."""
    return items_of(stream.answer_variant(2, sampled=True))

"""A network that exists only in memory: what the thinking modules are tested on, without any SDK."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.decisions import Fail, Refusal, Reissue, StreamFault, Timeouts, Wait
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.session import Session
from openai_stream_guard.notices import Notice
from openai_stream_guard.testing import Answer, AnswerVariant, build_answer
from openai_stream_guard.transport.drivers import drive

End = Literal["clean", "reset", "refused"]
CHAT = StreamRequest("post", "/chat/completions", "host:1", {"model": "m"})
ANSWERS = ("text", "tool_calls", "n2", "reasoning", "refusal", "logprobs", "usage", "function_call")


def request_for(name: str) -> StreamRequest:
    """The request that a recorded answer belongs to."""
    return replace(CHAT, body={**CHAT.body, "n": 2}) if name == "n2" else CHAT


@dataclass
class Response:
    """One response: the reads it comes in, and how it ends. A refused one has no reads."""

    reads: Sequence[bytes]
    end: End = "clean"
    pause: float = 0.0
    """Seconds before every read."""


class GaveUp(Exception):
    """What the simulated exchange raises for a verdict of that kind."""

    def __init__(self, decision: Fail) -> None:
        self.decision = decision


class Receives:
    """What an exchange does by its `read`, as `SyncExchange` does."""

    def receive(self: Any) -> list[Any]:
        """Read until there is something to deliver or to decide."""
        while True:
            events: list[Any] = self.session.receive(self.read(), self.clock())
            if events or self.session.decision is not None:
                return events


class AsyncReceives:
    """The same, as `AsyncExchange` does."""

    async def receive(self: Any) -> list[Any]:
        """Read until there is something to deliver or to decide."""
        while True:
            events: list[Any] = self.session.receive(await self.read(), self.clock())
            if events or self.session.decision is not None:
                return events


@dataclass
class Network(Receives):
    """An exchange over responses that are known beforehand; its clock moves only by pauses and sleeps."""

    responses: list[Response]
    now: float = 0.0
    slept: list[float] = field(default_factory=list)
    within: list[float] = field(default_factory=list)
    """Seconds within which each re-issue had to be answered."""
    requests: int = 0
    open: int = 0
    abandoned: bool = False
    head: ResponseHead = ResponseHead(200)  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.requests += 1
        self._current = self.responses.pop(0)
        if self._current.end == "refused":
            raise ConnectionRefusedError
        self._reads = iter(self._current.reads)
        self.open = 1

    def clock(self) -> float:
        return self.now

    def consumer_clock(self) -> float:
        return self.now

    def read(self) -> bytes:
        self.now += self._current.pause
        data = next(self._reads, None)
        if data is not None:
            return data
        if self._current.end == "reset":
            raise ConnectionResetError
        raise StopIteration

    def close(self) -> None:
        self.open = 0

    def release(self) -> None:
        self.close()
        self.session.abandon(self.clock())

    def drain(self) -> None:
        """Nothing is reused here."""

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def wait(self, decision: Wait) -> None:
        self.slept.append(decision.seconds)
        self.now += decision.seconds

    def reopen(self, decision: Reissue) -> None:
        self.within.append(decision.within)
        self._start()

    def fault(self, error: Exception) -> StreamFault | None:
        if not isinstance(error, ConnectionResetError):
            return None  # one of ours
        return StreamFault("disconnected", "reset", error)

    def refusal(self, error: Exception) -> Refusal:
        return Refusal(retryable=True)

    def error(self, decision: Fail) -> Exception:
        return GaveUp(decision)


@dataclass
class Outcome:
    """What came out of one simulated stream."""

    values: list[Any]
    session: Session
    network: Network
    gave_up: Fail | None
    notices: list[Notice]


def play(
    responses: Iterable[Response],
    policy: Policy = Policy(retry_budget=None),  # noqa: B008 - frozen
    *,
    asked: StreamRequest = CHAT,
    hosts: HostMemory | None = None,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    requests: int = 1,
    busy: float = 0.0,
) -> Outcome:
    """Drive a session over these responses to its end.

    Args:
        busy: seconds that the program takes with each event.
    """
    notices: list[Notice] = []
    network = Network(list(responses))
    retries = 2 if policy.max_retries is None else policy.max_retries
    session = Session(
        asked,
        policy,
        hosts or HostMemory(),
        now=0.0,
        max_retries=retries,
        timeouts=timeouts,
        requests=requests,
        notify=notices.append,
    )
    values: list[Any] = []
    gave_up = None
    try:
        network.session = session
        for event in drive(lambda: network):
            values += [event.json()] * (not event.is_done)
            network.now += busy
    except GaveUp as error:
        gave_up = error.decision
    assert network.open == 0
    return Outcome(values, session, network, gave_up, notices)


def answer_variant(name: str, serial: int, *, sampled: bool = False, regroup: bool = False) -> Answer:
    """A copy of a recorded chat answer, with ids of its own."""
    return build_answer("chat", name, AnswerVariant(serial, sampled=sampled, regroup=regroup))


def body(answer: Answer) -> bytes:
    """Its bytes on the wire."""
    return b"".join(answer.encode())


def said(values: Iterable[Any]) -> dict[tuple[Any, ...], str]:
    """All texts in some chunks, put together by where they stand; written apart from the code under test."""
    texts: dict[tuple[Any, ...], str] = defaultdict(str)

    def visit(path: tuple[Any, ...], part: Any) -> None:
        match part:
            case str() if part and path[-1] not in ("id", "type", "role"):
                texts[path] += part
            case dict():
                for name, member in part.items():
                    visit((*path, name), member)
            case list():
                for place, entry in enumerate(part):
                    visit((*path, entry.get("index", place) if isinstance(entry, dict) else place), entry)

    for value in values:
        for choice in value.get("choices") or ():
            visit((choice["index"],), choice.get("delta"))
            visit((choice["index"], "finish_reason"), choice.get("finish_reason"))
            for token in (choice.get("logprobs") or {}).get("content") or ():
                texts[choice["index"], "logprobs"] += token["token"]
        if value.get("usage"):
            texts["usage",] += str(value["usage"]["total_tokens"])
    return dict(texts)


def ids(values: Iterable[Any]) -> tuple[set[str], dict[tuple[int, int], list[str]]]:
    """The chunk ids, and each tool call's ids."""
    calls: dict[tuple[int, int], list[str]] = defaultdict(list)
    chunks = set()
    for value in values:
        chunks.add(value["id"])
        for choice in value.get("choices") or ():
            for call in choice["delta"].get("tool_calls") or ():
                if call.get("id"):
                    calls[choice["index"], call["index"]].append(call["id"])
    return chunks, dict(calls)

"""Every cut of every recorded answer, through the real SDK: the acceptance of "exactly once".

    python -m tests.proof.sdk_cuts [--every N] [--answer NAME ...]

An answer is cut after each of its bytes, by a clean end of the body and by a transport error, for the synchronous
and the asynchronous client, read by `create(stream=True)` and by the SDK's `.stream()` helper; a second request is
answered in full, under ids of its own. A cut is *whole* where the consumer got the items and the final snapshot of
the unbroken answer, once, under one chunk id and one id a tool call, in at most two requests; *raised* where it got
the typed error after a true prefix; anything else is *wrong*, and the exit status is then 1. The bytes come from
memory, one event a read.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import multiprocessing
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, product
from typing import Any, Literal, NamedTuple

import openai

import openai_stream_guard
from openai_stream_guard import Policy
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import Answer, AnswerVariant, build_answer

HTTP: Any = importlib.import_module("httpx2" if hasattr(openai._base_client, "httpx2") else "httpx")
"""The library that this release of the SDK speaks."""

End = Literal["clean", "error"]
Door = Literal["create", "stream"]
ANSWERS = ("text", "tool_calls", "n2", "reasoning", "refusal", "logprobs", "usage", "function_call", "completions")
ENDS: tuple[End, ...] = ("clean", "error")
CLIENT_KINDS = ("sync", "async")
POLICY = Policy(backoff_initial=0.0, backoff_max=0.0, retry_budget=None)


class Row(NamedTuple):
    """One line of the table."""

    answer: str
    end: End
    client_kind: str
    door: Door


DOORS: tuple[Door, ...] = ("create", "stream")
ROWS = [
    Row(answer, end, client_kind, door)
    for answer, end, client_kind, door in product(ANSWERS, ENDS, CLIENT_KINDS, DOORS)
    if answer != "completions" or door == "create"  # legacy completions have no helper
]


@cache
def answer_variant(answer: str, serial: int) -> Answer:
    """A copy of a recorded answer, with ids of its own."""
    if answer == "completions":
        return build_answer("completions", "text", AnswerVariant(serial))
    return build_answer("chat", answer, AnswerVariant(serial))


@dataclass
class Wire:
    """A transport that answers the first request with a body cut after `offset` bytes, and all others in full."""

    row: Row
    offset: int | None = None
    requests: int = 0

    def answering(self, request: Any) -> Any:
        """The next response. The asynchronous transport takes what the synchronous one does."""
        self.requests += 1
        frames = answer_variant(self.row.answer, self.requests).encode()
        offset = self.offset if self.requests == 1 else None
        reads = frames if offset is None else cut(frames, offset)
        breaks = offset is not None and self.row.end == "error"
        body = _body(reads, breaks) if self.row.client_kind == "sync" else _abody(reads, breaks)
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    def cut_at(self, offset: int) -> Wire:
        """Begin anew, with this cut in the first response."""
        self.offset, self.requests = offset, 0
        return self

    def client(self) -> Any:
        """A client of the SDK on this transport."""
        sync = self.row.client_kind == "sync"
        http = (HTTP.Client if sync else HTTP.AsyncClient)(transport=HTTP.MockTransport(self.answering))
        kind = openai.OpenAI if sync else openai.AsyncOpenAI
        return kind(base_url="http://wire.test/v1", api_key="none", http_client=http)


def cut(frames: Sequence[bytes], offset: int) -> list[bytes]:
    """The frames up to a byte offset."""
    starts = [0, *accumulate(map(len, frames))]
    return [frame[: offset - start] for frame, start in zip(frames, starts, strict=False) if start < offset]


def _body(reads: Sequence[bytes], breaks: bool) -> Iterator[bytes]:
    yield from reads
    if breaks:
        raise HTTP.RemoteProtocolError("peer closed connection without sending complete message body")


async def _abody(reads: Sequence[bytes], breaks: bool) -> AsyncIterator[bytes]:
    for data in _body(reads, breaks):
        yield data


@dataclass
class Seen:
    """What a consumer got."""

    items: list[Any]
    snapshot: Any = None
    error: Exception | None = None
    outcome: str | None = None


def asked(client: Any, row: Row) -> Any:
    """The request that has this answer."""
    if row.answer == "completions":
        return client.completions.create(model="m", prompt="", stream=True)
    options: dict[str, Any] = {"n": 2} if row.answer == "n2" else {}
    if row.answer == "usage":
        options["stream_options"] = {"include_usage": True}
    if row.door == "create":
        return client.chat.completions.create(model="m", messages=[], stream=True, **options)
    chat = client.chat if hasattr(client.chat.completions, "stream") else client.beta.chat
    return chat.completions.stream(model="m", messages=[], **options)


def see(client: Any, row: Row) -> Seen:
    """Read one stream to its end, synchronously."""
    seen = Seen([])
    try:
        if row.door == "create":
            stream = asked(client, row)
            seen.items += (item.model_dump() for item in stream)
        else:
            with asked(client, row) as stream:
                seen.items += (event.chunk.model_dump() for event in stream if event.type == "chunk")
                seen.snapshot = stream.current_completion_snapshot.model_dump()
        seen.outcome = outcome_of(stream)
    except Exception as error:
        seen.error = error
    return seen


async def asee(client: Any, row: Row) -> Seen:
    """Read one stream to its end, asynchronously."""
    seen = Seen([])
    try:
        if row.door == "create":
            stream = await asked(client, row)
            seen.items += [item.model_dump() async for item in stream]
        else:
            async with asked(client, row) as stream:
                seen.items += [event.chunk.model_dump() async for event in stream if event.type == "chunk"]
                seen.snapshot = stream.current_completion_snapshot.model_dump()
        seen.outcome = outcome_of(stream)
    except Exception as error:
        seen.error = error
    return seen


def outcome_of(stream: Any) -> str | None:
    """How the guard says that a stream ended."""
    report = openai_stream_guard.report(stream)
    return None if report is None else report.outcome


def nameless(value: Any) -> Any:
    """A dumped item without the ids that differ from one answer to the next."""
    if isinstance(value, dict):
        return {key: nameless(part) for key, part in value.items() if key != "id"}
    return [nameless(part) for part in value] if isinstance(value, list) else value


def names(items: Sequence[Any]) -> dict[object, set[str]]:
    """The ids in some dumped chunks: the answer's, and each tool call's by its place."""
    found: dict[object, set[str]] = {}
    for item in items:
        found.setdefault("answer", set()).add(item["id"])
        for choice in item["choices"]:
            for call in (choice.get("delta") or {}).get("tool_calls") or ():
                if call.get("id"):
                    found.setdefault((choice["index"], call["index"]), set()).add(call["id"])
    return found


def events_sent(answer: Answer, offset: int) -> list[Any]:
    """The payloads that came whole before the cut; the last may lack its blank line."""
    ends = accumulate(map(len, answer.encode()))
    return [json.loads(frame.data) for frame, end in zip(answer.frames[:-1], ends, strict=False) if end - 2 <= offset]


def is_finished(answer: Answer, offset: int) -> bool:
    """Whether no finish_reason comes after the cut."""
    reasons = ["finish_reason" in frame.data and '"finish_reason":null' not in frame.data for frame in answer.frames]
    return len(events_sent(answer, offset)) > max(place for place, reason in enumerate(reasons) if reason)


class Judge:
    """Knows what the unbroken answer gives, and holds others against it."""

    def __init__(self, row: Row, unbroken: Seen) -> None:
        assert unbroken.error is None
        self.row = row
        self.whole = nameless(unbroken.items)
        self.snapshot = nameless(unbroken.snapshot)

    def verdict(self, wire: Wire, seen: Seen) -> str:
        """`whole`, `raised`, or what is wrong."""
        assert wire.offset is not None
        given = nameless(seen.items)
        if seen.error is not None:
            typed = isinstance(seen.error, openai_stream_guard.OpenAIStreamParseError)
            return "raised" if typed and given == self.whole[: len(given)] else f"wrong: {type(seen.error).__name__}"
        whole, snapshot = self.whole, self.snapshot
        if self.row.answer == "usage" and seen.outcome == "complete" and len(given) < len(whole):
            # What was to come after the last finish_reason is not asked for again: then there is no usage.
            whole, snapshot = whole[:-1], snapshot and {**snapshot, "usage": None}
        if given != whole or nameless(seen.snapshot) != snapshot:
            return "wrong: items" if given != whole else "wrong: snapshot"
        if any(len(ids) != 1 for ids in names(seen.items).values()):
            return "wrong: two ids"
        first = answer_variant(self.row.answer, 1)
        if not names(events_sent(first, wire.offset)).items() <= names(seen.items).items():
            return "wrong: not the first answer's ids"
        if seen.snapshot is not None and seen.snapshot["id"] != seen.items[0]["id"]:
            return "wrong: the snapshot's id"
        complete = is_finished(first, wire.offset)
        if wire.requests != (1 if complete else 2) or seen.outcome != ("complete" if complete else "recovered"):
            return f"wrong: {seen.outcome} in {wire.requests} requests"
        return "whole"


def verdicts(row: Row, offsets: Sequence[int] | None = None) -> dict[int, str]:
    """What came of each cut of a row, by its offset; of every one where none are given."""
    offsets = range(len(b"".join(answer_variant(row.answer, 1).encode()))) if offsets is None else offsets
    wire = Wire(row)
    if row.client_kind == "sync":
        with switch.restored(), wire.client() as client:
            switch.disable()
            judge = Judge(row, see(client, row))
            switch.enable(POLICY)
            return {offset: judge.verdict(wire.cut_at(offset), see(client, row)) for offset in offsets}

    async def main() -> dict[int, str]:
        async with wire.client() as client:
            switch.disable()
            judge = Judge(row, await asee(client, row))
            switch.enable(POLICY)
            return {offset: judge.verdict(wire.cut_at(offset), await asee(client, row)) for offset in offsets}

    with switch.restored():
        return asyncio.run(main())


def _measure(job: tuple[Row, int]) -> tuple[Row, dict[int, str], float]:
    row, every = job
    logging.disable()  # each cut is a warning of the guard's
    started = time.perf_counter()
    length = len(b"".join(answer_variant(row.answer, 1).encode()))
    found = verdicts(row, range(0, length, every))
    return row, found, time.perf_counter() - started


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="cut after each N-th byte (default: each)")
    parser.add_argument("--answer", nargs="+", choices=ANSWERS, default=ANSWERS)
    options = parser.parse_args(arguments)
    jobs = [(row, options.every) for row in ROWS if row.answer in options.answer]
    print(f"openai {openai.__version__}")
    print(
        f"{'answer':14}{'end':7}{'client_kind':7}{'door':7}{'cuts':>7}{'whole':>7}{'raised':>7}{'wrong':>7}{'seconds':>9}"
    )
    total: list[float] = [0, 0, 0, 0, 0.0]
    with multiprocessing.Pool() as pool:
        for row, found, seconds in pool.imap(_measure, jobs):
            kinds = [verdict.partition(":")[0] for verdict in found.values()]
            figures = [len(kinds), *map(kinds.count, ("whole", "raised", "wrong")), seconds]
            total = [before + figure for before, figure in zip(total, figures, strict=True)]
            print("{:14}{:7}{:7}{:7}".format(*row) + "{:7}{:7}{:7}{:7}{:9.1f}".format(*figures), flush=True)
            wrong = [f"{offset} {verdict}" for offset, verdict in found.items() if verdict.startswith("wrong")]
            if wrong:
                print(f"    first at byte {wrong[0]}")
    print("{:35}{:7}{:7}{:7}{:7}{:9.1f}".format("all", *total))
    return 1 if total[3] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

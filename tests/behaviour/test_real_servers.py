"""The law: what real servers sent, each case of `vectors/servers.jsonl`, is judged as its row says, however it is read.

The items are compared with those that the SDK alone makes of the same bytes. Pauses of seconds are on the test clock;
`test_the_pauses_are_waited_for` waits for them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from openai_stream_guard import OpenAIStreamParseError, Policy
from openai_stream_guard.testing import StreamGuard
from tests.support.real_servers import (
    ATTEMPTS_AT_MOST,
    Heard,
    ServerCase,
    listen,
    listen_raw,
    server_cases,
    serving,
)
from tests.support.streams import VERSION

pytestmark = [
    pytest.mark.usefixtures("stream_guard"),
    pytest.mark.skipif(VERSION < (1, 109), reason="this SDK does not stream images and transcriptions"),
]

CASES = server_cases()
HELPED = [case.as_chunks_of_openai() for case in CASES if case.api in ("chat", "responses")]
"""The cases of APIs whose resource has a helper of the SDK's: `.stream()`."""
BY_NAME = {case.id: case for case in (*CASES, *HELPED)}
CLIENT_KINDS = ("sync", "asyncio")
Warned = Callable[[], list[str]]


@dataclass(frozen=True)
class Break:
    """What a stream of a case that has to be raised comes to."""

    faults: tuple[str, ...]
    items: int
    """How many of the SDK's own items come before the error, handed over as they come."""
    held: int | None = None
    """The same with `delivery="tool_calls"`, where that differs."""


RAISED = {
    "m2": Break(("disconnected",), 2),
    "m2b": Break(("truncated",), 2),
    "m3": Break(("upstream_error",), 1),
    "m18": Break(("upstream_error",), 0),
    "m18b": Break(("upstream_error",), 0),
    "m19": Break(("upstream_error",), 0),
    "m20": Break(("upstream_error",), 0),
    "m21": Break(("truncated",), 1, held=0),
    "m22": Break(("upstream_error",), 0),
    "m24": Break(("upstream_error",), 1),
    "m25": Break(("upstream_error",), 1),
    "m26": Break(("truncated",), 1),
    "f1": Break(("malformed",), 1),
    "p2": Break(("malformed", "upstream_error"), 1),  # an error shape after items came, and a page in mid-answer
    "p3": Break(("not_a_stream",), 0),
    "e1": Break(("upstream_error",), 0),
    "e2": Break(("upstream_error",), 0),
}
"""Stated by hand from the rules, for each case that ends in an exception."""
LOSES_BYTES = ("truncated", "disconnected")
"""What a reader of bytes cannot see for itself, and is told by the error."""


def test_the_cases_are_all_there() -> None:
    """Each by a name of its own, and each that has to be raised has its fault."""
    assert len({case.id for case in CASES}) == len(CASES) == 37
    kinds = Counter(case.expect.partition(",")[0] for case in CASES)
    assert set(kinds) == {"whole", "raised", "once", "retried", "healed", "habit"}
    assert {case.id for case in CASES if case.expect.partition(",")[0] in ("raised", "once", "retried")} == set(RAISED)


@dataclass
class Run:
    """The streams of one case, guarded and by the SDK alone."""

    alone: list[Heard]
    heard: list[Heard]
    requests: list[int]
    warned: list[list[str]]


def play(
    case: ServerCase,
    guard: StreamGuard,
    warned: Warned,
    *,
    door: str = "create",
    client_kind: str = "sync",
    real_pauses: bool = False,
    mode: Any = "on",
) -> Run:
    """Ask as often as the case says, of one server each."""
    streams = 2 if case.expect in ("healed", "habit") else case.streams
    guard.switch("off")
    alone = by_the_sdk_alone(case.id, door, streams)
    guard.switch(mode)
    result = Run(alone, [], [], [])
    if case.longest_pause > 1.0 and not real_pauses:
        guard.faults.slow(seconds=case.longest_pause, times=None)
    with serving(case, real_pauses=real_pauses) as server:
        for _ in range(1 if case.expect == "healed" else streams):
            requests, lines = len(server.requests), len(warned())
            result.heard.append(
                listen(server, case.api, case.request, door=door, client_kind=client_kind, timeout=60.0)
            )
            result.requests.append(len(server.requests) - requests)
            result.warned.append(warned()[lines:])
    return result


@cache
def by_the_sdk_alone(name: str, door: str, streams: int) -> list[Heard]:
    """What the SDK makes of a case while the guard is off."""
    case = BY_NAME[name]
    with serving(case) as server:
        return [listen(server, case.api, case.request, door=door) for _ in range(streams)]


def judge(case: ServerCase, result: Run, delivery: str = "live") -> None:
    """Hold what was read against the row."""
    match case.expect.partition(",")[0]:
        case "whole":
            judge_whole(result)
        case "healed":
            (heard,) = result.heard
            assert (repr(heard.error), heard.items) == ("None", result.alone[1].items)
            assert result.requests == [2]
            assert heard.report.outcome == "recovered"
        case "habit":
            judge_habit(result)
        case expected:
            judge_raised(case, result, expected, delivery)


def judge_whole(result: Run) -> None:
    """Every item of the SDK's, one request a stream, not a word of warning. A helper may find fault by itself."""
    for heard, alone in zip(result.heard, result.alone, strict=True):
        assert (repr(heard.error), heard.items) == (repr(alone.error), alone.items)
        if heard.error is None:
            assert heard.report.outcome == "complete"
    assert result.requests == [1] * len(result.heard)
    assert result.warned == [[]] * len(result.heard)


def judge_habit(result: Run) -> None:
    """Complete once the re-issue has shown the same, with a note and one WARNING; then as any other stream."""
    first, second = result.heard
    for heard, alone in zip(result.heard, result.alone, strict=True):
        assert (repr(heard.error), heard.items) == (repr(alone.error), alone.items)
    assert result.requests == [2, 1]
    settings = {known.name for known in dataclasses.fields(Policy)}
    naming = [line for line in result.warned[0] if any(name in line for name in settings)]
    assert len(naming) == 1, result.warned[0]
    assert first.report.notes
    assert result.warned[1] == []
    assert second.report.outcome == "complete"


def judge_raised(case: ServerCase, result: Run, expected: str, delivery: str) -> None:
    """The typed error after the whole items, which nothing follows."""
    (heard,), (alone,), (requests,) = result.heard, result.alone, result.requests
    broken = RAISED[case.id]
    assert isinstance(heard.error, OpenAIStreamParseError), repr(heard.error)
    assert heard.error.fault in broken.faults
    items = {"live": broken.items, "tool_calls": broken.held, "atomic": 0}[delivery]
    assert heard.items == alone.items[: broken.items if items is None else items]
    assert heard.report.outcome == "failed"
    match expected:
        case "once":
            assert requests == 1
        case "retried":
            assert 1 < requests <= ATTEMPTS_AT_MOST
        case "raised":
            assert requests <= (1 if case.id == "m3" else ATTEMPTS_AT_MOST), "an error after the finish is not retried"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_real_server(case: ServerCase, client_kind: str, stream_guard: StreamGuard, warned: Warned) -> None:
    """As its row says."""
    judge(case, play(case, stream_guard, warned, client_kind=client_kind))


def ways(names: Sequence[str], cases: Sequence[ServerCase] = CASES) -> list[Any]:
    """Each case by each of these, sync and async in turns. One way for each case is quick, the others are slow ones."""
    return [
        pytest.param(
            case,
            name,
            CLIENT_KINDS[(row // len(names) + column) % 2],
            id=f"{case}-{name}",
            marks=() if row % len(names) == column else pytest.mark.slow,
        )
        for row, case in enumerate(cases)
        for column, name in enumerate(names)
    ]


@pytest.mark.parametrize(("case", "door", "client_kind"), ways(("with_raw_response", "with_streaming_response")))
def test_a_real_server_by_a_raw_response(
    case: ServerCase, door: str, client_kind: str, stream_guard: StreamGuard, warned: Warned
) -> None:
    """`parse()` of `with_raw_response` and `with_streaming_response` gives what `create` gives."""
    judge(case, play(case, stream_guard, warned, door=door, client_kind=client_kind))


@pytest.mark.parametrize(("case", "door", "client_kind"), ways(("stream",), HELPED))
def test_a_real_server_by_the_helper(
    case: ServerCase, door: str, client_kind: str, stream_guard: StreamGuard, warned: Warned
) -> None:
    """`.stream()`, which finds fault with some healthy streams by itself: then so, and not otherwise."""
    result = play(case, stream_guard, warned, door=door, client_kind=client_kind)
    if case.is_healthy:
        judge_whole(result)
        return
    heard, alone = result.heard[0], result.alone[-1]
    if case.expect in ("healed", "habit"):
        assert (repr(heard.error), heard.items) == (repr(alone.error), alone.items)
        return
    assert heard.error is not None
    assert heard.items == alone.items[: len(heard.items)]
    if case.expect == "once":
        assert result.requests == [1]
    elif case.expect == "retried":
        assert 1 < result.requests[0] <= ATTEMPTS_AT_MOST


@pytest.mark.parametrize(("case", "delivery", "client_kind"), ways(("atomic", "tool_calls")))
def test_a_real_server_with_held_delivery(
    case: ServerCase, delivery: str, client_kind: str, stream_guard: StreamGuard, warned: Warned
) -> None:
    """What is held back comes at the end, and never where the stream has broken."""
    stream_guard.configure(delivery=delivery)
    judge(case, play(case, stream_guard, warned, client_kind=client_kind), delivery)


@pytest.mark.parametrize(("case", "mode", "client_kind"), ways(("observe",)))
def test_a_real_server_observed(
    case: ServerCase, mode: str, client_kind: str, stream_guard: StreamGuard, warned: Warned
) -> None:
    """Nothing changes for the program, and the report says what a guard would have seen in the first response."""
    result = play(case, stream_guard, warned, mode=mode, client_kind=client_kind)
    for heard, alone in zip(result.heard, result.alone, strict=False):
        assert (type(heard.error), heard.items) == (type(alone.error), alone.items)
        if not any(step.get("end") == "reset" for body in case.responses for step in body):  # else by the kernel
            assert str(heard.error) == str(alone.error)
    assert result.requests == [1] * len(result.heard)
    report = result.heard[-1].report
    if case.is_healthy:
        assert [heard.report.outcome for heard in result.heard] == ["complete"] * len(result.heard)
        assert result.warned == [[]] * len(result.heard)
    elif case.id in RAISED:
        assert report.outcome == "failed"
        assert report.attempts[0].fault in RAISED[case.id].faults
    elif case.expect == "healed":
        assert (report.outcome, report.attempts[0].fault) == ("failed", "not_a_stream")


@pytest.mark.parametrize(("case", "reader", "client_kind"), ways(("iter_bytes", "iter_lines")))
def test_a_real_server_read_by_the_byte(
    case: ServerCase, reader: str, client_kind: str, stream_guard: StreamGuard, warned: Warned
) -> None:
    """Every byte that was sent, also after a mark; an error only where bytes are missing; never a second request."""
    if case.longest_pause > 1.0:
        stream_guard.faults.slow(seconds=case.longest_pause, times=None)
    with serving(case) as server:
        for number in range(case.streams):
            heard = listen_raw(server, case.api, case.request, reader=reader, client_kind=client_kind, timeout=60.0)
            sent = case.body(number)
            if reader == "iter_bytes":
                assert b"".join(heard.items) == sent
            else:
                assert heard.items == sent.decode().splitlines()
            assert len(server.requests) == number + 1
            broken = RAISED.get(case.id)
            if broken is not None and set(broken.faults) <= set(LOSES_BYTES):
                assert isinstance(heard.error, OpenAIStreamParseError)
                assert heard.error.fault in broken.faults
            else:
                assert heard.error is None
            if case.is_healthy:
                assert (heard.report.outcome, warned()) == ("complete", [])
            elif case.expect != "habit":
                assert heard.report.outcome == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("case", [case for case in CASES if case.longest_pause > 1.0], ids=str)
def test_the_pauses_are_waited_for(case: ServerCase, client_kind: str, warned: Warned, guarded: None) -> None:
    """The same in real time, by real sockets."""
    with serving(case, real_pauses=True) as server:
        heard = listen(server, case.api, case.request, client_kind=client_kind, timeout=60.0)
    assert heard.error is None
    assert len(heard.items) == case.body(0).count(b"data: {")
    assert (heard.report.outcome, len(server.requests), warned()) == ("complete", 1, [])

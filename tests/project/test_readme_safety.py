"""The law: the page's table of recovery is what the code does, row by row, and has a row for all it may do."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import pytest

from openai_stream_guard import Policy
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.engine import recovery
from openai_stream_guard.engine.host_memory import DIVERGENCE_SECONDS, HostMemory
from openai_stream_guard.engine.recovery import RecoveryPlan
from openai_stream_guard.notices import StoppedBy
from openai_stream_guard.testing import AnswerVariant, build_answer, find_fault
from openai_stream_guard.testing.server.scripted_response import Send
from tests.support.budgets import borrow
from tests.support.pages import RECOVERY, read, table
from tests.support.simulated import Outcome, Response, answer_variant, body, play

FREE = Policy(retry_budget=None)
IN_TEXT = 1500
"""A byte offset behind the first words."""
STORED = StreamRequest("post", "/chat/completions", "host:1", {"model": "m", "store": True})
RESPONSE = StreamRequest("post", "/responses", "host:1", {"model": "m"})
BACKGROUND = StreamRequest("post", "/responses", "host:1", {"model": "m", "background": True})
STATEFUL = [
    StreamRequest("post", "/responses", "host:1", {"model": "m", **state})
    for state in ({"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"tools": [{"type": "web_search"}]})
]
SEALED = StreamRequest(
    "post", "/responses", "host:1", {"model": "m", "store": False, "include": ["reasoning.encrypted_content"]}
)
EXACT = StreamRequest("post", "/chat/completions", "host:1", {"model": "m", "temperature": 0})
ENDLESS = b'data: {"id": "c", "choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % (b"x" * (1 << 20))
RUN = StreamRequest("post", "/threads/runs", "host:1", {"model": "m"})
UPLOAD = StreamRequest("post", "/chat/completions", "host:1", {"model": "m"}, resendable=False)
INVALID = find_fault("error_invalid_request").apply(build_answer("chat", "text", AnswerVariant(0)), 5)


class Row(NamedTuple):
    """One row of the table, taken apart."""

    delivered: str
    action: str
    stopped_by: str | None
    cost: str


def rows() -> list[Row]:
    """The table of the page."""
    found = []
    for delivered, does, cost in table(read(RECOVERY), "delivered so far"):
        action = re.match(r"\*\*(\w+)\*\*(?: \(`(\w+)`\))?", does)
        assert action is not None, does
        found.append(Row(delivered, action[1], action[2], cost))
    return found


def broken(answer: str = "text", offset: int = IN_TEXT, *, sampled: bool = False) -> Response:
    """An answer that ends too early."""
    return Response([body(answer_variant(answer, 0, sampled=sampled))[:offset]])


def whole(answer: str = "text", *, sampled: bool = False) -> Response:
    """A second answer, of the model that repeats itself or of one that does not."""
    return Response([body(answer_variant(answer, 1, sampled=sampled))])


def response(name: str, serial: int, start: int = 0, stop: int | None = None) -> Response:
    """Events `start` to `stop` of an answer of the Responses API."""
    return Response([b"".join(build_answer("responses", name, AnswerVariant(serial)).encode()[start:stop])])


def warned_hosts(seconds_ago: float, *, exact: bool = False) -> HostMemory:
    """A memory in which the model has diverged twice so long ago, `exact` where it was asked at temperature 0."""
    hosts = HostMemory()
    for _ in range(2):
        hosts.record_divergence("host:1", "m", exact, -seconds_ago)
    return hosts


def unfinished_usage() -> Response:
    """An answer that breaks off before its usage and `[DONE]`, and lacks nothing else."""
    raw = body(answer_variant("usage", 0))
    return Response([raw[: raw.index(b'data: {"id"', raw.index(b'"finish_reason":"stop"'))]], "reset")


SCENES: dict[str, Callable[[], Outcome]] = {
    "nothing visible: no event": lambda: play([broken(offset=0), whole()], FREE),
    "text, reasoning": lambda: play([broken(), whole()], FREE, hosts=warned_hosts(DIVERGENCE_SECONDS)),
    "the same, and": lambda: play([broken(sampled=True), whole(sampled=True)], FREE),
    "the same, of a model": lambda: play([broken()], FREE, hosts=warned_hosts(DIVERGENCE_SECONDS - 1)),
    "text, of a chat with": lambda: play([broken()], FREE, asked=STORED),
    "part of a response with": lambda: play([response("function_call", 0, 0, 7)], FREE, asked=RESPONSE),
    "anything or nothing, of a request whose state": lambda: play([response("text", 0, 0, 9)], FREE, asked=STATEFUL[0]),
    "anything, of a background": lambda: play(
        [response("text", 0, 0, 9), response("text", 0, 9)], FREE, asked=BACKGROUND, hosts=warned_hosts(1)
    ),
    "nothing, of a background": lambda: play([Response([])], FREE, asked=BACKGROUND),
    "text only, of one choice": lambda: play(
        [broken(), whole(sampled=True)],
        FREE.replace(recovery=("restart", "replay", "continue"), continuation="vllm"),
        asked=StreamRequest("post", "/chat/completions", "host:1", {"model": "m", "messages": []}),
        hosts=warned_hosts(1),
    ),
    "nothing visible, and": lambda: play([broken(offset=0)], FREE.replace(recovery=("replay", "resume"))),
    "anything, then a permanent": lambda: play(
        [Response([step.data for step in INVALID.steps if isinstance(step, Send)])], FREE
    ),
    "anything, and `max_retries`": lambda: play([broken()] * 3, FREE.replace(max_retries=2)),
    "anything, and the next wait": lambda: play([broken()], FREE.replace(max_elapsed=0.1)),
    "anything, and the host's": lambda: play([broken()], FREE.replace(retry_budget=0.0), hosts=spent()),
    "the whole answer": lambda: play([unfinished_usage()], FREE),
}
"""What happens in each row, by the words with which it begins."""
MORE_OF_A_ROW: dict[str, list[Callable[[], Outcome]]] = {
    "nothing visible: no event": [
        lambda: play([broken(offset=400), whole()], FREE, asked=STORED),
        lambda: play([broken("azure", 700), whole("azure")], FREE, hosts=warned_hosts(1)),
        lambda: play(
            [broken(sampled=True), whole(sampled=True)], FREE.replace(delivery="atomic"), hosts=warned_hosts(1)
        ),
        lambda: play(
            [broken("tool_calls", 2500, sampled=True), whole("tool_calls", sampled=True)],
            FREE.replace(delivery="tool_calls"),
            hosts=warned_hosts(1),
        ),
    ],
    "the same, of a model": [lambda: play([broken()], FREE, asked=EXACT, hosts=warned_hosts(1, exact=True))],
    "text, of a chat with": [lambda: play([Response([ENDLESS] * 17, "reset")], FREE)],
    "nothing visible, and": [lambda: play([broken()], FREE.replace(recovery=("restart", "resume")))],
    "anything, then a permanent": [
        lambda: play([whole()], FREE.replace(delivery="atomic", max_held_bytes=1000)),
        lambda: play([broken(offset=300)], FREE.replace(max_event_bytes=100)),
    ],
    "text, reasoning": [
        lambda: play([broken("reasoning", 1000), whole("reasoning")], FREE),
        lambda: play([broken("refusal"), whole("refusal")], FREE),
        lambda: play([broken("tool_calls", 2500), whole("tool_calls")], FREE),
        lambda: play([response("text", 0, 0, 9), response("text", 1)], FREE, asked=RESPONSE),
    ],
    "part of a response with": [
        lambda: play([response("reasoning", 0, 0, 7)], FREE, asked=RESPONSE),
        lambda: play([response("reasoning", 0, 0, 7)], FREE, asked=SEALED),
    ],
    "anything or nothing, of a request whose state": [
        *(lambda asked=asked: play([response("text", 0, 0, 9)], FREE, asked=asked) for asked in STATEFUL),
        lambda: play([Response([])], FREE, asked=STATEFUL[0]),
        *(
            lambda at=at, asked=asked: play([broken(offset=at)], FREE, asked=asked)
            for at in (100, IN_TEXT)
            for asked in (RUN, UPLOAD)
        ),
        lambda: play([broken(offset=0)], FREE, asked=UPLOAD),
    ],
    "anything, and `max_retries`": [lambda: play([broken(offset=0)] * 5, FREE.replace(max_retries=4))],
}


def spent() -> HostMemory:
    """A memory in which this host has no token left."""
    hosts = HostMemory()
    while borrow(hosts.budget, "host:1"):
        pass
    return hosts


def scene_of(row: Row) -> str:
    """The one key of `SCENES` with which a row begins."""
    [found] = [words for words in SCENES if row.delivered.startswith(words)]
    return found


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.delivered[:50])
def test_a_row_is_what_the_code_does(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way, or the reason to stop, and the number of requests are those of a stream that is played."""
    decided: list[Any] = []
    decide = recovery.choose_recovery

    def choose_recovery(*args: Any, **kwargs: Any) -> Any:
        decided.append(decide(*args, **kwargs))
        return decided[-1]

    monkeypatch.setattr(recovery, "choose_recovery", choose_recovery)
    for scene in (SCENES[scene_of(row)], *MORE_OF_A_ROW.get(scene_of(row), ())):
        decided.clear()
        outcome = scene()
        match row.action:
            case "restart" | "replay" | "resume" | "continue":
                assert [go.way for go in decided if isinstance(go, RecoveryPlan)] == [row.action]
                assert outcome.session.report().recoveries == [row.action]
                assert outcome.gave_up is None
            case "raises":
                assert outcome.gave_up is not None
                assert outcome.gave_up.stopped_by == row.stopped_by
                if row.stopped_by in ("unsafe", "policy"):
                    assert decided == [row.stopped_by]
            case "completes":
                assert (outcome.gave_up, decided) == (None, [])
                assert outcome.session.report().notes
            case _:
                pytest.fail(f"the table says {row.action}")
        extra = outcome.network.requests - 1
        expected = "`max_retries` requests" if row.stopped_by == "retries" else cost_of(extra)
        assert re.match(r"(?:`\w+` requests|1 request|nothing)\b", row.cost)[0] == expected


def cost_of(requests: int) -> str:
    """How the table writes so many further requests."""
    return "nothing" if requests == 0 else f"{requests} request{'s' * (requests > 1)}"


def test_the_table_is_complete() -> None:
    """Every scene has its row, every reason to stop and every way of the code is in some row."""
    found = rows()
    assert sorted(map(scene_of, found)) == sorted(SCENES)
    assert {row.stopped_by for row in found if row.stopped_by} == set(get_args(StoppedBy))
    ways = set(re.findall(r'RecoveryPlan\("(\w+)"', inspect.getsource(recovery)))
    assert {row.action for row in found} == ways | {"raises", "completes"}
    seconds = [re.search(r"(\d+) s\b", row.delivered) for row in found]
    assert [float(said[1]) for said in seconds if said] == [DIVERGENCE_SECONDS]

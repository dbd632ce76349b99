"""The law: a notice cannot be changed, and holds nothing of the answer, the request or its keys."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, get_args

import pytest

from openai_stream_guard import configure, report
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.notices import Attempt, CancelSent, Ended, Notice, StreamReport
from openai_stream_guard.observability import publish as logs
from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.simulated import CHAT, Response, answer_variant, body, play
from tests.support.streams import chat, client_for


def story() -> list[Notice]:
    """What is told of a stream that broke, was refused, came back, and did not repeat itself; after five whole ones."""
    hosts, first_whole = HostMemory(), body(answer_variant("text", 2))
    first, second = body(answer_variant("text", 0, sampled=True))[:1500], body(answer_variant("text", 1, sampled=True))
    asked = StreamRequest("post", CHAT.path, CHAT.host, {"model": "m", "messages": [{"content": "my question"}]})
    responses = [Response([first], "reset"), Response([], "refused"), Response([second])]
    finishes = [each for _ in range(5) for each in play([Response([first_whole])], asked=asked, hosts=hosts).notices]
    return finishes + play(responses, Policy(retry_budget=None), asked=asked, hosts=hosts).notices


@pytest.mark.parametrize("record", [*get_args(Notice), Attempt, StreamReport])
def test_records_are_frozen(record: Any) -> None:
    """A hook that is given one cannot change what the next is given."""
    assert dataclasses.is_dataclass(record)
    made = object.__new__(record)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(record)[0].name, None)


def test_every_kind_of_notice_is_told_without_a_word_of_the_answer() -> None:
    """Not in any field, however deep: each may be logged as it is."""
    notices = story()
    assert {type(notice) for notice in notices} == set(get_args(Notice)) - {CancelSent}  # it is the SDK's side's
    words = set(re.findall(r"\w{4,}", " ".join(str(choice) for choice in answer_variant("text", 0).plain["choices"])))
    words -= {"finish_reason", "index", "message", "content", "assistant", "role", "stop", "None", "logprobs", "data"}
    assert len(words) > 8
    told = repr(notices)
    assert not [word for word in words | {"question"} if word in told]


ATTEMPT = Attempt("truncated", None, 1, 2, 300, 0.5, "req_1", "chatcmpl-1", 200)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "truncated after 2 events and 300 bytes"),
        ({"events": 1, "bytes": 1}, "truncated after 1 event and 1 byte"),
        ({"fault": None, "events": 2000, "bytes": 0}, "no fault in 2,000 events and 0 bytes"),
        ({"fault": None, "status": None}, "no fault in 2 events and 300 bytes"),
        ({"fault": None, "refused": True, "status": 503}, "refused with status 503"),
        ({"fault": None, "refused": True, "status": None}, "refused without a response"),
    ],
)
def test_an_attempt_as_text(changes: dict[str, Any], text: str) -> None:
    """How it ended; a refused re-issue is one by its field, whatever its status."""
    assert str(dataclasses.replace(ATTEMPT, **changes)) == text


REPORT = StreamReport("recovered", (ATTEMPT,), ["replay", "restart"], {"bare_json": 2})
CHANGES: dict[str, Callable[[Any], object]] = {
    "append": lambda report: report.recoveries.append("resume"),
    "assign a way": lambda report: report.recoveries.__setitem__(0, "resume"),
    "delete a way": lambda report: report.recoveries.__delitem__(0),
    "clear ways": lambda report: report.recoveries.clear(),
    "assign": lambda report: report.repairs.__setitem__("bare_json", 0),
    "delete": lambda report: report.repairs.__delitem__("bare_json"),
    "merge": lambda report: report.repairs.__ior__({"other": 1}),
    "clear": lambda report: report.repairs.clear(),
    "pop": lambda report: report.repairs.pop("bare_json"),
    "popitem": lambda report: report.repairs.popitem(),
    "setdefault": lambda report: report.repairs.setdefault("other", 1),
    "update": lambda report: report.repairs.update(other=1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_report_refuses_every_change(change: Callable[[Any], object]) -> None:
    """Of its sequence and of its mapping as well."""
    with pytest.raises((TypeError, AttributeError)):
        change(REPORT)
    assert (REPORT.recoveries, REPORT.repairs) == (["replay", "restart"], {"bare_json": 2})


def test_every_method_that_changes_a_dict_is_refused() -> None:
    """Those of a later Python too: what a dict has and a read-only view of one has not."""
    changing = {*dir(dict), "__ior__"} - {*dir(MappingProxyType), "fromkeys"}
    assert {"update", "pop"} < changing <= vars(type(REPORT.repairs)).keys()


def test_a_report_equals_one_of_lists_and_dicts() -> None:
    """In both orders, and differs from other items; so asserts read as documented."""
    assert REPORT.recoveries == ["replay", "restart"]
    assert ["replay", "restart"] == REPORT.recoveries  # noqa: SIM300 - the other order is what is asked
    assert REPORT.recoveries == ("replay", "restart")
    assert not REPORT.recoveries != ["replay", "restart"]  # noqa: SIM202 - it has a method of its own
    assert REPORT.recoveries != ["restart", "replay"]
    assert REPORT.recoveries != "replay"
    assert {"bare_json": 2} == REPORT.repairs  # noqa: SIM300 - the same
    assert REPORT.repairs != {"bare_json": 1}
    assert len({REPORT, dataclasses.replace(REPORT), StreamReport("open")}) == 2


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda told: pickle.loads(pickle.dumps(told))])
def test_a_copy_is_as_immutable(again: Callable[[Any], Any]) -> None:
    """Copied and pickled, alone and as part of a report."""
    for told in (REPORT, REPORT.recoveries, REPORT.repairs):
        assert again(told) == told
        assert type(again(told)) is type(told)
    test_a_report_refuses_every_change(lambda _: again(REPORT).repairs.update(other=1))


def test_a_report_can_be_exported() -> None:
    """As plain JSON, by the standard library alone."""
    told = json.loads(json.dumps(dataclasses.asdict(REPORT)))
    assert (told["recoveries"], told["repairs"]) == (["replay", "restart"], {"bare_json": 2})


@pytest.mark.usefixtures("guarded")
def test_no_hook_changes_what_the_next_is_told(server: Server, monkeypatch: pytest.MonkeyPatch, records: Any) -> None:
    """One that tries raises, which is logged; the stream, the next hook and the report do not suffer."""
    refused: list[TypeError] = []

    def vandal(notice: Any) -> None:
        if isinstance(notice, Ended):
            with pytest.raises(AttributeError):
                notice.report.recoveries.append("resume")  # type: ignore[attr-defined] # it is not a list
            try:
                notice.report.repairs["planted"] = 1  # type: ignore[index] # it is read-only
            except TypeError as error:
                refused.append(error)
                raise

    heard: list[Notice] = []
    monkeypatch.setattr(logs, "attached", [vandal])
    configure(on_event=heard.append)
    server.script("truncate_clean", "glued_objects")
    with client_for(server) as client:
        stream = chat(client)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == TEXT
    assert len(refused) == 1
    assert [record.exc_info[1] for record in records if record.exc_info] == refused
    ended, told = heard[-1], report(stream)
    assert isinstance(ended, Ended)
    assert told is not None
    assert ended.report.recoveries == told.recoveries == ["restart"]
    assert ended.report.repairs == told.repairs != {}
    assert "planted" not in told.repairs

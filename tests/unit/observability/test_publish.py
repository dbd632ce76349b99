"""The law of the log: one WARNING for a broken stream, one line for its end, the hint once; and never any text."""

from __future__ import annotations

import json
import logging
import re
import time
from collections import Counter
from typing import Any

import pytest

from openai_stream_guard import configure, observe
from openai_stream_guard.notices import (
    Attempt,
    CancelSent,
    Ended,
    FaultSeen,
    Notice,
    Recovering,
    Refused,
    ServerNotice,
    StreamReport,
    Waiting,
)
from openai_stream_guard.observability.publish import publish, publish_raw
from openai_stream_guard.sdk.runtime import RUNTIME
from openai_stream_guard.testing import Server, replying
from tests.support.budgets import borrow
from tests.support.pages import OBSERVABILITY, README, section, table
from tests.support.streams import CLIENT_KINDS, chat, consume, scripted

ATTEMPT = Attempt("truncated", None, 1, 2, 300, 0.5, "req_1", "chatcmpl-1", 200)
NOTICES: list[tuple[Notice, int]] = [
    (FaultSeen("a reason", 1, ATTEMPT, "h:1", "m"), logging.WARNING),
    (FaultSeen("a reason", 2, ATTEMPT, "h:1", "m", "the hint is told once"), logging.INFO),
    (Waiting("host", 30.0, 2, "h:1", "m"), logging.INFO),
    (Recovering("restart", 0.5, 2, "h:1", "m"), logging.DEBUG),
    (Refused(503, 2, "req_2", "h:1", "m"), logging.INFO),
    (CancelSent("resp_1", None, None, "h:1", "m"), logging.INFO),
    (CancelSent("resp_1", 404, "NotFoundError", "h:1", "m"), logging.WARNING),
    (CancelSent("resp_1", None, "ReadTimeout", "h:1", "m"), logging.WARNING),
    (Ended(StreamReport("recovered", (ATTEMPT,), ("restart",)), None, "h:1", "m"), logging.INFO),
    (Ended(StreamReport("complete"), None, "h:1", "m"), logging.DEBUG),
    (Ended(StreamReport("abandoned"), None, "h:1", "m"), logging.DEBUG),
    (Ended(StreamReport("abandoned", (ATTEMPT,)), None, "h:1", "m"), logging.WARNING),
    (Ended(StreamReport("failed", (ATTEMPT,)), "retries", "h:1", "m"), logging.ERROR),
    (ServerNotice("a habit", False, "h:1", "m"), logging.INFO),
    (ServerNotice("an odd end", True, "h:1", "m"), logging.WARNING),
]
COMMON = {"stream_id", "stream_event", "server", "model"}


@pytest.mark.parametrize(("notice", "level"), NOTICES)
def test_each_notice_has_its_level_and_reaches_the_hook(notice: Notice, level: int, records: Any) -> None:
    """One record of the guard's logger, that names host and model, and one call of the hook."""
    heard: list[Notice] = []
    publish(notice, [heard.append])
    (record,) = records
    assert (record.name, record.levelno) == ("openai_stream_guard", level)
    assert "h:1" in record.getMessage()
    assert heard == [notice]


def test_a_hook_that_raises_is_logged_and_goes_no_further(records: Any) -> None:
    """The stream must not suffer from the hook."""

    def broken(notice: Notice) -> None:
        raise ZeroDivisionError

    publish(NOTICES[1][0], [broken])
    assert records[-1].levelno == logging.ERROR
    assert records[-1].exc_info[0] is ZeroDivisionError


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_recovery_is_one_warning_and_one_info(server: Server, client_kind: str, records: Any) -> None:
    """The warning names the request, the fault and the counts, the hint stands apart; the hook hears it in order."""
    heard: list[Notice] = []
    configure(on_event=heard.append)
    server.script(scripted("truncate_clean"))
    consume(server, client_kind)
    loud = [record for record in records if record.levelno > logging.DEBUG]
    assert [record.levelno for record in loud] == [logging.WARNING, logging.INFO, logging.INFO]
    assert loud[1].getMessage().endswith(f" hint: {heard[0].hint}")
    warning = loud[0].getMessage()
    for words in ("truncated", "attempt 1", server.requests[0].request_id, "1 events", "model m", "127.0.0.1:"):
        assert words in warning
    assert [type(notice) for notice in heard] == [FaultSeen, Recovering, Ended]
    (stream_id,) = {record.stream_id for record in loud}
    assert {notice.stream_id for notice in heard} == {stream_id, heard[-1].report.stream_id}
    assert all(record.getMessage().startswith(f"stream {stream_id} ") for record in loud)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("reason", ["host", "budget"])
def test_a_wait_says_for_what_and_how_long(server: Server, reason: str, client_kind: str, records: Any) -> None:
    """Notice, log and report, once, however often the host refuses; a token is lent as soon as there is one."""
    host, heard = server.base_url.split("/")[2], list[Waiting]()

    def hear(notice: Notice) -> None:
        if isinstance(notice, Waiting):
            heard.append(notice)
            if reason == "budget":
                RUNTIME.hosts.budget.stream_started(host, 1.0)

    configure(on_event=hear, outage_timeout=9.0, retry_budget=0.1)
    refusals = [replying({}, 503)] * 2 if reason == "host" else []
    while reason == "budget" and borrow(RUNTIME.hosts.budget, host, time.monotonic()):
        pass
    server.script(scripted("truncate_clean", after=6), *refusals)
    report = consume(server, client_kind).report
    (notice,) = heard
    assert (notice.reason, notice.number, report.outcome) == (reason, 2 + len(refusals) // 2, "recovered")
    assert 8.0 < notice.seconds <= 9.0
    (record,) = [record for record in records if record.stream_event == "waiting"]
    what = {"host": "the host to accept requests", "budget": "a token of the retry budget"}[reason]
    assert f"up to {notice.seconds:.1f} s for {what}" in record.getMessage()
    assert (record.waits_for, record.limit_seconds) == (reason, notice.seconds)
    assert f"waited {report.waited_seconds:.1f} s for {what}" in report.notes
    assert (report.waited_seconds > 0.2) == (reason == "host")


@pytest.mark.usefixtures("guarded")
def test_time_to_the_first_chunk_counts_from_the_request(server: Server) -> None:
    """With what the SDK is refused before it."""
    server.script(replying({}, 503, (("retry-after-ms", "300"),)))
    report = consume(server).report
    assert report.first_chunk_seconds >= 0.3
    assert report.first_event_seconds < 0.3


@pytest.mark.usefixtures("guarded")
def test_an_error_has_the_id_of_its_log_records(server: Server, records: Any) -> None:
    """So that whoever catches it finds the lines that belong to it."""
    configure(recovery=())
    server.script(scripted("truncate_clean"))
    error = consume(server, "sync").error
    assert {record.stream_id for record in records} == {error.stream_id}
    assert error.stream_id


DAY = [
    ("truncate_clean",), ("rst",), ("truncate_mid_event", "rst"), ("error_event",), ("healthy",), ("html_mid_stream",),
    ("garbage_event", 503, 503), ("invalid_utf8", "invalid_utf8", "invalid_utf8"), ("healthy",), ("rst", 400),
]  # fmt: skip


@pytest.mark.usefixtures("guarded")
def test_a_day_of_mixed_faults_can_be_read(server: Server, records: Any) -> None:
    """As an operator reads it: what broke, and how each of those ended, by joining lines on the stream's id alone."""
    outcomes, long_name = Counter[str](), "a-deployment-of-a-model-with-a-very-long-name-" * 3
    for story in DAY:
        broken = [step for step in story if step != "healthy"]
        server.script(*(replying({}, step) if isinstance(step, int) else scripted(step, after=6) for step in broken))
        seen = consume(server, ask=lambda client: chat(client, extra_body={"model": long_name}))
        assert seen.report is not None, (story, seen.error)
        outcomes[seen.report.outcome] += 1
    by_stream: dict[str, list[logging.LogRecord]] = {}
    for record in records:
        by_stream.setdefault(record.stream_id, []).append(record)
        assert record.getMessage().startswith(f"stream {record.stream_id} ")
        if record.stream_event != "hint":
            assert len(record.getMessage()) < 200, record.getMessage()
    assert len(by_stream) == len(DAY)
    for told in by_stream.values():
        levels = Counter(record.levelno for record in told)
        end = told[-1]
        assert end.stream_event == "ended"
        broke = end.outcome != "complete"
        assert levels[logging.WARNING] == broke
        assert [record.stream_event for record in told].count("hint") == broke
        assert (
            end.levelno == {"complete": logging.DEBUG, "recovered": logging.INFO, "failed": logging.ERROR}[end.outcome]
        )
        assert levels[logging.ERROR] == (end.outcome == "failed")
        assert end.server == server.base_url.split("/")[2]
        assert end.model == long_name
    assert Counter(told[-1].outcome for told in by_stream.values()) == outcomes
    assert set(outcomes) == {"complete", "recovered", "failed"}
    (upstream,) = [record for record in records if getattr(record, "fault", "") == "upstream_error"]
    assert "type " in upstream.reason
    assert all(json.dumps(vars(record), default=str) for record in records)


def test_the_page_has_every_record_with_its_level_and_attributes(records: Any) -> None:
    """A row for each, and none for what is never logged."""
    for notice, _ in NOTICES:
        publish(notice)
    publish(FaultSeen("a reason", 1, ATTEMPT, "h:1", "m", "what helps"))
    logging.getLogger("openai_stream_guard").setLevel(logging.DEBUG)
    publish_raw(b"data: ", (), "1a2b3c4d")
    plain = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
    written = {(one.levelname, one.stream_event, frozenset(set(one.__dict__) - plain - COMMON)) for one in records}
    told, before = set(), ""
    for level, line, _, attributes in table(section(OBSERVABILITY, "The log"), "level"):
        before = before if attributes == "the same" else attributes
        told.add((level, re.findall(r"`(\w+)`", line)[0], frozenset(re.findall(r"`(\w+)`", before))))
    assert told == written


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("guard", ["observe", "on"])
def test_the_readme_shows_what_is_logged(server: Server, records: Any, guard: str) -> None:
    """Its lines are those of a stream that was cut, but for ids, the host, and what is left out behind `…`."""
    lines = re.findall(r"^([A-Z]+) +stream \w{8} (.*)$", section(README, "Roll it out"), re.MULTILINE)
    assert len(lines) == 4
    if guard == "observe":
        observe()
    server.script("truncate_clean", after=6)
    consume(server, ask=lambda client: client.chat.completions.create(model="gpt-4.1", messages=[], stream=True))
    host = server.base_url.split("/")[2]
    written = [(one.levelname, one.getMessage().split(" ", 2)[2].replace(host, "llm.example.com")) for one in records]
    for level, line in lines[:3] if guard == "observe" else [*lines[:2], lines[3]]:
        begin = line.removesuffix("…").strip()
        assert any(level == found and text.startswith(begin) for found, text in written), line

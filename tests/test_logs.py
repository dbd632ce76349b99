"""The log: a WARNING for each fault, an INFO for each recovery, else nothing above DEBUG; and never any text."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from openai_stream_guard import configure
from openai_stream_guard.notices import Attempt, Ended, FaultSeen, Notice, Recovering, Refused, StreamReport
from openai_stream_guard.observability.publish import publish
from openai_stream_guard.testing import Server, replying
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.streams import CLIENT_KINDS, KEY, chat, consume, scripted

ATTEMPT = Attempt("truncated", None, 1, 2, 300, 0.5, "req_1", "chatcmpl-1", 200)
NOTICES: list[tuple[Notice, int]] = [
    (FaultSeen("a reason", 1, ATTEMPT, "h:1", "m"), logging.WARNING),
    (Recovering("restart", 0.5, 2, "h:1", "m"), logging.DEBUG),
    (Refused(503, 2, "req_2", "h:1", "m"), logging.WARNING),
    (Ended(StreamReport("recovered", (ATTEMPT,), ("restart",)), None, "h:1", "m"), logging.INFO),
    (Ended(StreamReport("complete"), None, "h:1", "m"), logging.DEBUG),
    (Ended(StreamReport("abandoned"), None, "h:1", "m"), logging.DEBUG),
    (Ended(StreamReport("failed"), "retries", "h:1", "m"), logging.DEBUG),
]


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
    """The warning names the request, the fault and the counts; the hook hears the same story in order."""
    heard: list[Notice] = []
    configure(on_event=heard.append)
    server.script(scripted("truncate_clean"))
    consume(server, client_kind)
    loud = [record for record in records if record.levelno > logging.DEBUG]
    assert [record.levelno for record in loud] == [logging.WARNING, logging.INFO]
    warning = loud[0].getMessage()
    for words in ("truncated", "attempt 1", server.requests[0].request_id, "1 events", "model m", "127.0.0.1:"):
        assert words in warning
    assert [type(notice) for notice in heard] == [FaultSeen, Recovering, Ended]


@pytest.mark.usefixtures("guarded")
def test_a_failing_hook_does_not_stop_a_stream(server: Server, records: Any) -> None:
    """The answer comes out whole though every notice made the hook raise."""
    configure(on_event=lambda notice: 1 / 0)
    server.reset(fault="truncate_clean")
    assert consume(server).text == TEXT


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize(
    "fault", ["garbage_event", "invalid_utf8", "truncate_mid_event", "error_event", "html_mid_stream", "rst"]
)
def test_no_record_carries_text_or_keys(server: Server, fault: str, records: Any) -> None:
    """Whatever breaks, the log at DEBUG is free of prompt, answer and credentials."""
    server.script(scripted(fault, after=8), replying({"error": {"message": TEXT}}, 503), scripted(fault, after=8))
    consume(server, ask=lambda client: chat(client, user="planted-prompt"))
    ours = "\n".join(record.getMessage() for record in records)
    assert ours
    for word in (*TEXT.split()[:5], KEY, "planted-prompt"):
        assert word not in ours


@pytest.mark.usefixtures("guarded")
def test_the_raw_tail_is_logged_only_on_request_and_masked(server: Server, records: Any) -> None:
    """With log_raw the last bytes of a faulty attempt are a DEBUG record, without anything that looks like a key."""
    broken = f'data: {{"model":"m","api_key":"{KEY}","choi'.encode()
    server.script(replying(broken))
    configure(log_raw=True)
    consume(server)
    (tail,) = [record for record in records if record.getMessage().startswith("raw tail")]
    assert tail.levelno == logging.DEBUG
    assert '"model":"m"' in tail.getMessage()
    assert KEY not in tail.getMessage()

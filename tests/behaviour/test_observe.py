"""`OPENAI_STREAM_GUARD=observe` judges and reports, and a program cannot tell that it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import openai_stream_guard
from openai_stream_guard import activation as switch
from openai_stream_guard import guarding, is_enabled
from openai_stream_guard.notices import Ended, FaultSeen, Notice
from openai_stream_guard.testing import FAULTS, Equal, Server
from tests.support.ported import unported
from tests.support.streams import (
    CLIENT_KINDS,
    VERSION,
    alone,
    chat,
    consume,
    opened,
    run,
    scripted,
    silence_for,
)

WORN_OUT = {"stall_heartbeat"}
"""On this the SDK alone waits for ever."""
OF_CHAT = [fault for fault in FAULTS.values() if fault.api in (None, "chat") and fault.name not in {*WORN_OUT, "slow"}]


@pytest.fixture(autouse=True)
def observing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched on as a user does it, for a first rollout: the recovery settings are to have no effect."""
    monkeypatch.setenv("OPENAI_STREAM_GUARD", "observe")
    monkeypatch.setenv("OPENAI_STREAM_GUARD_MAX_RETRIES", "5")
    monkeypatch.setenv("OPENAI_STREAM_GUARD_DELIVERY", "atomic")
    switch.start()
    assert is_enabled()
    assert switch.current_mode() == "observe"


@pytest.mark.parametrize("fault", OF_CHAT, ids=lambda fault: fault.name)
def test_nothing_changes_but_the_report(server: Server, fault: Any, warned: Callable[[], list[str]]) -> None:
    """Items, exception and requests are the unguarded SDK's; a fault is logged once and reported."""
    client_kind = CLIENT_KINDS[len(fault.name) % 3]
    scripted_answer = scripted(fault.name)
    server.script(scripted_answer, scripted_answer)
    options = {"timeout": silence_for(fault.name), "max_retries": 0}
    plain = alone(server, client_kind, **options)
    before = len(server.requests)
    seen = consume(server, client_kind, **options)
    assert seen.items == plain.items
    assert seen.kind is plain.kind
    assert type(seen.error) is type(plain.error)
    assert str(seen.error) == str(plain.error)
    assert type(getattr(seen.error, "__cause__", None)) is type(getattr(plain.error, "__cause__", None))
    assert len(server.requests) == before + 1
    if fault.name == "status_503":  # it never became a stream
        return
    assert seen.report is not None
    if isinstance(fault.promise, Equal) or fault.verdict is None:
        # Before openai 2.9 a stream that the SDK itself cannot read is left open until it is collected.
        assert seen.report.outcome in ("complete", "abandoned", *(["open"] if VERSION < (2, 9) else []))
        assert not warned()
    else:
        assert seen.report.outcome == "failed"
        assert seen.report.attempts[0].fault == fault.verdict
        assert seen.report.hint
        (line,) = warned()
        assert f" fault: {fault.verdict} after " in line


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_hooks_hear_what_is_observed(server: Server, client_kind: str) -> None:
    """The same notices as of a guarded stream that may not be asked for again, and a whole report."""
    heard: list[Notice] = []
    with guarding(on_event=heard.append):
        server.script(scripted("rst"))
        broken, healthy = consume(server, client_kind, max_retries=0), consume(server, client_kind)
    fault, ended, last = heard
    assert isinstance(fault, FaultSeen)
    assert isinstance(ended, Ended)
    assert isinstance(last, Ended)
    assert (fault.attempt.fault, ended.stopped_by, ended.report) == ("disconnected", "policy", broken.report)
    assert fault.hint == ended.report.hint
    assert ended.report.attempts == (fault.attempt,)
    assert ended.report.bytes == fault.attempt.bytes > 0
    assert ended.report.events == fault.attempt.events == 1
    assert ended.report.first_event_seconds is not None
    assert (last.report, last.report.outcome, last.report.hint) == (healthy.report, "complete", None)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_stream_that_is_left_is_abandoned(server: Server, client_kind: str, warned: Callable[[], list[str]]) -> None:
    """Also under observation a consumer who goes away is no fault."""

    async def main() -> Any:
        async with opened(server, client_kind) as client:
            stream = await chat(client)
            await stream.__anext__()
            await stream.close()
            return openai_stream_guard.report(unported(stream))

    report = run(client_kind, main)
    assert report is not None
    assert report.outcome == "abandoned"
    assert not warned()

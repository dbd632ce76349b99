"""Switching on, off and for a while: only requests made afterwards notice, and nothing is ever unwrapped."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import openai
import pytest
import wrapt

from openai_stream_guard import (
    Policy,
    StreamGuardConfigError,
    configure,
    disable,
    enable,
    guarding,
    is_enabled,
    observe,
)
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.streams import CLIENT_KINDS, VERSION, chat, client_for, consume, opened, run


def test_on_and_off(server: Server) -> None:
    """What `is_enabled` says is what happens to the next stream."""
    for turn in (enable, disable, enable):
        turn()
        assert is_enabled() is (turn is enable)
        assert (consume(server).report is not None) is is_enabled()


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_stream_keeps_the_policy_of_its_request(server: Server, client_kind: str) -> None:
    """What is switched after the request is for later ones: the open stream recovers as it was going to."""
    server.reset(fault="truncate_clean", after=6)

    def change(stream: Any) -> None:
        configure(recovery=(), max_retries=0, delivery="atomic")
        disable()

    assert switched(server, client_kind, change) == TEXT
    assert len(server.requests) == 2


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_stream_requested_unguarded_stays_so(server: Server, client_kind: str) -> None:
    """Enabling does not reach back: a stream of the SDK alone ends as it would have, silently cut."""
    disable()
    server.reset(fault="truncate_clean", after=6)
    text = switched(server, client_kind, lambda stream: enable())
    assert text != TEXT
    assert TEXT.startswith(text)
    assert len(server.requests) == 1


def switched(server: Server, client_kind: str, change: Any) -> str:
    """The text of a stream in whose midst something is switched."""

    async def main() -> str:
        async with opened(server, client_kind) as client:
            stream = await chat(client)
            first = await stream.__anext__()
            change(stream)
            return "".join([one.choices[0].delta.content or "" for one in [first, *[one async for one in stream]]])

    return str(run(client_kind, main))


@pytest.mark.usefixtures("guarded")
def test_switching_while_threads_stream_harms_none(server: Server) -> None:
    """Eight threads stream while another enables, disables and configures: every healthy stream is whole."""
    over = threading.Event()
    wrong: list[Any] = []

    def stream() -> None:
        for _ in range(6):
            seen = consume(server)
            if seen.text != TEXT or seen.error is not None:
                wrong.append(seen)

    def switch_about() -> None:
        while not over.is_set():
            enable()
            configure(delivery="atomic", max_retries=1)
            disable()
            configure(delivery="live", max_retries=None)
            time.sleep(0.0005)

    switching = threading.Thread(target=switch_about)
    switching.start()
    streaming = [threading.Thread(target=stream) for _ in range(8)]
    for thread in streaming:
        thread.start()
    for thread in streaming:
        thread.join(30)
    over.set()
    switching.join(5)
    assert not wrong
    assert len(server.requests) == 48


def test_enable_takes_a_policy_and_keeps_it() -> None:
    """A policy given once holds through off and on."""
    enable(Policy(max_retries=7))
    disable()
    enable()
    assert switch.current_policy().max_retries == 7
    assert configure(delivery="atomic").max_retries == 7
    assert switch.current_policy().delivery == "atomic"


@pytest.mark.parametrize("bad", [{"max_retries": -1}, {"delivery": "live or die"}, {"max_retry": 1}])
def test_a_bad_field_changes_nothing(bad: dict[str, Any]) -> None:
    """`configure` and `guarding` raise and leave the policy as it was."""
    before = switch.current_policy()
    with pytest.raises(StreamGuardConfigError, match=next(iter(bad))):
        configure(**bad)
    with pytest.raises(StreamGuardConfigError), guarding(**bad):
        pass
    assert switch.current_policy() is before


def test_guarding_ends_with_its_block_and_nests() -> None:
    """Inner fields are added to outer ones; an exception restores them as well."""
    with pytest.raises(ZeroDivisionError), guarding(max_retries=1):  # noqa: PT012 - the block around it is what is tested
        with guarding(delivery="atomic") as inner:
            assert (inner.max_retries, inner.delivery) == (1, "atomic")
            assert switch.current_policy() == inner
        assert switch.current_policy().delivery == "live"
        raise ZeroDivisionError
    assert switch.current_policy() == Policy()


def test_guarding_does_not_switch_on(server: Server) -> None:
    """It changes how streams are guarded, not whether."""
    with guarding(max_retries=1):
        assert consume(server).report is None


def test_guarding_is_no_matter_of_other_threads_and_tasks() -> None:
    """The policy of a block is seen in its own context, and in tasks started from it, and nowhere else."""
    elsewhere: list[int | None] = []

    async def retries() -> int | None:
        await asyncio.sleep(0)
        return switch.current_policy().max_retries

    async def main() -> list[int | None]:
        with guarding(max_retries=1):
            first = asyncio.create_task(retries())
        with guarding(max_retries=2):
            second = asyncio.create_task(retries())
            thread = threading.Thread(target=lambda: elsewhere.append(switch.current_policy().max_retries))
            thread.start()
            thread.join()
        return [await first, await second, await retries()]

    assert asyncio.run(main()) == [1, 2, None]
    assert elsewhere == [None]


def test_the_policy_travels_with_the_stream(server: Server) -> None:
    """A stream asked for inside the block is guarded by its policy when it is read outside."""
    enable(Policy(max_retries=0, backoff_initial=0.0, retry_budget=None))
    server.reset(fault="truncate_clean", times=3)
    with client_for(server) as client:
        with guarding(max_retries=3):
            stream = chat(client)
        assert "".join(one.choices[0].delta.content or "" for one in stream) == TEXT
    assert len(server.requests) == 4


def test_another_librarys_wrapper_stays_on_top(server: Server) -> None:
    """Disabling and enabling never unwraps: a tracer that came later goes on seeing every stream."""
    enable()
    calls = []
    stock = vars(openai.Stream)["_iter_events"]

    def traced(wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
        calls.append(stream)
        return wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper("openai._streaming", "Stream._iter_events", traced)
    mine = vars(openai.Stream)["_iter_events"]
    try:
        for turn in (disable, enable, disable, enable):
            turn()
            consume(server)
            assert vars(openai.Stream)["_iter_events"] is mine
    finally:
        openai.Stream._iter_events = stock
    assert len(calls) == 4


def test_each_patch_point_is_wrapped_once() -> None:
    """However often the guard is switched on, there is one wrapper of its own on each patch point."""
    for _ in range(3):
        enable()
        configure(max_retries=1)
    for owner in (openai.Stream, openai.AsyncStream):
        function, layers = vars(owner)["__init__"], 0
        while hasattr(function, "__wrapped__"):
            function, layers = function.__wrapped__, layers + 1
        assert layers == 1


def test_the_environment_is_read_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is read at the start; what a program changes is the program's from then on."""
    monkeypatch.setenv("OPENAI_STREAM_GUARD", "on")
    monkeypatch.setenv("OPENAI_STREAM_GUARD_MAX_RETRIES", "4")
    with switch.restored():
        switch.start()
        assert switch.current_mode() == "on"
        assert switch.current_policy().max_retries == 4
        configure(max_retries=5)
        assert switch.current_policy().max_retries == 5
    assert switch.unguarded_patch_points() == []


@pytest.mark.parametrize("value", ["0", None])
@pytest.mark.parametrize("turn", [enable, observe])
def test_switching_on_reads_the_settings_that_were_not_read_while_it_was_off(
    monkeypatch: pytest.MonkeyPatch, turn: Any, value: str | None
) -> None:
    """A program that calls `enable()` is set up by variables too; what it has set itself stays, and comes first."""
    if value is None:
        monkeypatch.delenv("OPENAI_STREAM_GUARD", raising=False)
    else:
        monkeypatch.setenv("OPENAI_STREAM_GUARD", value)
    for name, setting in (("MAX_RETRIES", "4"), ("BACKOFF_INITIAL", "0.1"), ("DELIVERY", "atomic")):
        monkeypatch.setenv(f"OPENAI_STREAM_GUARD_{name}", setting)
    with switch.restored():
        switch.start()
        assert switch.current_policy() == Policy()
        configure(backoff_initial=0.2)
        turn(delivery="live")
        assert switch.current_policy() == Policy(max_retries=4, backoff_initial=0.2)
        monkeypatch.setenv("OPENAI_STREAM_GUARD_MAX_RETRIES", "7")
        disable()
        turn()
        assert switch.current_policy() == Policy(max_retries=4, backoff_initial=0.2)
        switch.start()
        monkeypatch.setenv("OPENAI_STREAM_GUARD_MAX_RETRIES", "many")
        with pytest.raises(StreamGuardConfigError, match=r"OPENAI_STREAM_GUARD_MAX_RETRIES.*many"):
            turn()
        assert not is_enabled()


@pytest.mark.parametrize("turn", [enable, observe])
@pytest.mark.parametrize("wrong", ["on", True, {"max_retries": 1}, Policy])
def test_what_is_no_policy_is_refused_there_and_then(turn: Any, wrong: Any) -> None:
    """Not when a stream dies of it; the message says what is allowed."""
    with pytest.raises(TypeError, match=rf"{turn.__name__}\(\) takes a Policy, or settings"):
        turn(wrong)
    assert not is_enabled()


@pytest.mark.parametrize(("turn", "mode"), [(enable, "on"), (observe, "observe")])
def test_settings_can_be_given_where_it_is_switched_on(turn: Any, mode: str) -> None:
    """They are added to the policy that is given, or to the one that is set."""
    turn(Policy(max_retries=5), delivery="atomic")
    assert switch.current_mode() == mode
    assert (switch.current_policy().max_retries, switch.current_policy().delivery) == (5, "atomic")
    turn(max_retries=1)
    assert (switch.current_policy().max_retries, switch.current_policy().delivery) == (1, "atomic")
    with pytest.raises(StreamGuardConfigError, match="max_retry"):
        turn(max_retry=1)


@pytest.mark.skipif(VERSION < (2, 9), reason="this SDK leaves the response open of any stream that breaks")
def test_what_interrupts_the_opening_of_a_stream_leaves_nothing_open(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A KeyboardInterrupt there is raised, and the response is closed."""
    enable()

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("openai_stream_guard.sdk.streams.stream_request_from", interrupted)
    with client_for(server) as client:
        stream = chat(client)
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert stream.response.is_closed

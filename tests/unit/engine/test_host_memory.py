"""The law: a memory of servers holds positive evidence only, is bounded, and is not inherited by a forked child."""

from __future__ import annotations

import os
import threading

import pytest

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.engine.host_memory import DIVERGENCE_SECONDS, HostMemory
from openai_stream_guard.engine.server_habits import Server
from tests.support.budgets import borrow

MAX = 1024


def test_only_what_was_seen_is_known() -> None:
    """A finish_reason is evidence for its host, path and model, and for no other."""
    hosts = HostMemory()
    assert not hosts.habits.sends_finish(Server("a:1", "/chat/completions", "m"), with_call=False)
    hosts.habits.expect_finish(Server("a:1", "/chat/completions", "m"))
    assert hosts.habits.sends_finish(Server("a:1", "/chat/completions", "m"), with_call=False)
    assert not hosts.habits.sends_finish(Server("a:2", "/chat/completions", "m"), with_call=False)
    assert not hosts.habits.sends_finish(Server("a:1", "/completions", "m"), with_call=False)
    assert not hosts.habits.sends_finish(Server("a:1", "/chat/completions", None), with_call=False)


def test_two_divergences_are_held_against_a_model_for_ten_minutes() -> None:
    """Not one, not a second longer than from the first of the last two, and each for its own kind of request."""
    hosts = HostMemory()
    hosts.record_divergence("a", "m", False, 1000.0)
    assert not hosts.diverged_recently("a", "m", False, 1000.0)
    hosts.record_divergence("a", "m", False, 1500.0)
    assert DIVERGENCE_SECONDS == 600
    assert hosts.diverged_recently("a", "m", False, 1599.9)
    assert not hosts.diverged_recently("a", "m", False, 1600.0)
    assert not hosts.diverged_recently("a", "m", True, 1500.0), "at temperature 0 nothing is known of it"
    assert not hosts.diverged_recently("a", "other", False, 1500.0)
    assert not hosts.diverged_recently("b", "m", False, 1500.0)
    hosts.record_divergence("a", "m", False, 1700.0)
    assert hosts.diverged_recently("a", "m", False, 2099.9)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        *(({}, False), ({"temperature": 1}, False), ({"temperature": False}, False)),
        *(({"temperature": 0}, True), ({"temperature": 0.0}, True), ({"seed": 0}, True)),
    ],
)
def test_a_request_is_deterministic_at_temperature_0_or_with_a_seed(body: dict[str, object], expected: bool) -> None:
    """What is asked so may be expected to be answered the same."""
    assert StreamRequest("post", "/chat/completions", "a", body).deterministic is expected


def test_memory_is_bounded() -> None:
    """The server whose evidence is oldest is forgotten first; evidence seen again is young again."""
    hosts = HostMemory()
    for model in ("old", "renewed"):
        hosts.habits.expect_finish(Server("a", "/p", model))
        hosts.record_divergence("a", model, False, 0.0)
    for number in range(MAX - 1):
        if number == 10:
            hosts.habits.expect_finish(Server("a", "/p", "renewed"))
            hosts.record_divergence("a", "renewed", False, 0.0)
        hosts.habits.expect_finish(Server("a", "/p", f"m{number}"))
        hosts.record_divergence("a", f"m{number}", False, 0.0)
    hosts.habits.expect_finish(Server("a", "/p", "last"))
    hosts.record_divergence("a", "last", False, 0.0)
    assert not hosts.habits.sends_finish(Server("a", "/p", "old"), with_call=False)
    assert not hosts.diverged_recently("a", "old", False, 0.0)
    assert hosts.habits.sends_finish(Server("a", "/p", "renewed"), with_call=False)
    assert hosts.diverged_recently("a", "renewed", False, 0.0)
    assert not hosts.habits.sends_finish(Server("a", "/p", "m0"), with_call=False)
    assert hosts.habits.sends_finish(Server("a", "/p", "m1"), with_call=False)


def test_threads_share_it() -> None:
    """However many note at once, the bound holds and nothing breaks."""
    hosts, start = HostMemory(), threading.Barrier(4)

    def note(thread: int) -> None:
        start.wait()
        for number in range(500):
            hosts.habits.expect_finish(Server("a", "/p", f"{thread}-{number}"))

    threads = [threading.Thread(target=note, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = sum(
        hosts.habits.sends_finish(Server("a", "/p", f"{thread}-{number}"), with_call=False)
        for thread in range(4)
        for number in range(500)
    )
    assert known == MAX


def test_forgetting_is_complete() -> None:
    """Finishes, divergences and budgets are as new."""
    hosts = HostMemory()
    hosts.habits.expect_finish(Server("a", "/p", "m"))
    hosts.record_divergence("a", "m", False, 0.0)
    while borrow(hosts.budget, "a"):
        pass
    hosts.forget()
    assert not hosts.habits.sends_finish(Server("a", "/p", "m"), with_call=False)
    assert not hosts.diverged_recently("a", "m", False, 0.0)
    assert borrow(hosts.budget, "a")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_knows_nothing() -> None:
    """Nor does it inherit a lock that a thread of its parent held."""
    hosts = HostMemory()
    hosts.habits.expect_finish(Server("a", "/p", "m"))
    while borrow(hosts.budget, "a"):
        pass
    with hosts._lock, hosts.budget._lock:
        child = os.fork()
        if child == 0:
            known = hosts.habits.sends_finish(Server("a", "/p", "m"), with_call=False)
            hosts.habits.expect_finish(Server("a", "/p", "m"))
            os._exit(
                int(
                    known
                    or not hosts.habits.sends_finish(Server("a", "/p", "m"), with_call=False)
                    or not borrow(hosts.budget, "a")
                )
            )
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert hosts.habits.sends_finish(Server("a", "/p", "m"), with_call=False)

"""Budget: a host never gets more re-issues than its bucket held plus what the started streams have added."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.engine.host_memory import CAPACITY, Budget


def test_full_bucket_pays_for_ten_re_issues() -> None:
    """A host that nothing was ever sent to may be asked ten times more than it was."""
    budget = Budget()
    assert [budget.withdraw("a") for _ in range(11)] == [True] * 10 + [False]


def test_ten_streams_at_a_tenth_pay_for_one_re_issue() -> None:
    """Tenths add up to one, though as floats they do not."""
    budget = _drained("a")
    for _ in range(10):
        assert not budget.withdraw("a")
        budget.deposit("a", 0.1)
    assert budget.withdraw("a")
    assert not budget.withdraw("a")


def test_bucket_never_overflows() -> None:
    """A quiet day does not pay for a storm: what is over the brim is lost."""
    budget = Budget()
    for _ in range(1000):
        budget.deposit("a", 5.0)
    assert sum(budget.withdraw("a") for _ in range(100)) == CAPACITY


def test_hosts_do_not_share() -> None:
    """One host's outage leaves the others' budgets whole."""
    assert _drained("a").withdraw("b")


def test_number_of_hosts_is_bounded() -> None:
    """The least recently used host is forgotten, and starts anew if it comes back; one in use is not."""
    budget = _drained("old", "used")
    for number in range(1023):
        budget.deposit(f"host-{number}", 0.1)
        budget.deposit("used", 0.0)
    assert not budget.withdraw("used")
    assert budget.withdraw("old")


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3))))
def test_withdrawals_are_paid_for(steps: list[tuple[bool, float]]) -> None:
    """At any time: re-issues ≤ 10 + what was deposited."""
    budget, paid, taken = Budget(), CAPACITY, 0
    for withdraws, ratio in steps:
        if withdraws:
            taken += budget.withdraw("a")
        else:
            budget.deposit("a", ratio)
            paid += ratio
        assert taken <= paid + 1e-6


def test_threads_take_no_token_twice() -> None:
    """However many threads ask at once, ten tokens pay for ten re-issues."""
    budget, start, won = Budget(), threading.Barrier(8), []

    def take() -> None:
        start.wait()
        won.extend(budget.withdraw("a") for _ in range(50))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == CAPACITY


def _drained(*hosts: str) -> Budget:
    budget = Budget()
    for host in hosts:
        while budget.withdraw(host):
            pass
    return budget

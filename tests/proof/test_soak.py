"""The law: `python -m tests.proof.soak` loses no stream and keeps nothing of one, and would tell if it did."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from openai_stream_guard import Policy
from openai_stream_guard import activation as switch

from . import soak
from .loopback import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="counts descriptors and raises their limit as POSIX has it"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server in a process of its own."""
    with running() as address:
        yield address


@pytest.fixture(autouse=True)
def on() -> None:
    """The command's policy."""
    switch.enable(soak.POLICY)


def unkept(figures: list[soak.Figure]) -> list[soak.Figure]:
    """The figures that are not what their lines allow."""
    return [one for one in figures if not one.kept]


def test_streams_that_are_open_at_once_all_come_whole(url: str) -> None:
    """Three in ten broken, all in the middle of their answers at the same time."""
    (figure,) = asyncio.run(soak.at_once(url, 60, 1))
    assert figure.kept
    assert "recovered" in figure.found


def test_threads_that_share_a_client_lose_nothing(url: str) -> None:
    """Eight threads, five streams each."""
    (figure,) = soak.in_threads(url, 8, 5, 1)
    assert figure.kept
    assert "recovered" in figure.found


def test_what_has_ended_is_not_held(url: str) -> None:
    """No descriptor, task or thread is left of two hundred streams; memory is for the command, which runs longer."""
    figures = asyncio.run(soak.soak(url, 200, 1))
    assert unkept(figures[:4]) == []


@pytest.mark.parametrize("what", ["a read", "a backoff"])
def test_cancelled_streams_end_at_once(url: str, what: str) -> None:
    """Whatever they wait for."""
    assert unkept(asyncio.run(soak.cancelled(url, 10, what))) == []


@pytest.mark.parametrize("words", [60, 1000])
def test_a_stream_weighs_little(url: str, words: int) -> None:
    """Above an unguarded one: at most 8 KiB, and its text once."""
    assert unkept(soak.weighed(url, 10, words)) == []


def test_what_is_lost_would_be_told(url: str) -> None:
    """A guard that only raises, and none at all, are told from one that recovers."""
    switch.enable(Policy(recovery=()))
    (raised,) = asyncio.run(soak.at_once(url, 20, 1))
    assert not raised.kept
    assert "raised" in raised.found
    switch.disable()
    (alone,) = soak.in_threads(url, 2, 10, 1)
    assert "wrong" in alone.found

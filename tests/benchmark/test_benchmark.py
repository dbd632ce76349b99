"""The benchmark command measures what it says; how fast that is, only a run of it can say."""

from __future__ import annotations

import pytest

from openai_stream_guard import Policy, enable
from tests.support.streams import VERSION

from . import decoders
from .__main__ import KEPT, loopback, workers
from .bodies import PATHS, READS, reads, text_in

pytestmark = pytest.mark.slow

if VERSION >= (1, 66):
    from . import worker
else:
    pytest.skip("the benchmark streams the Responses API, which this SDK has not", allow_module_level=True)


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("shape", PATHS)
def test_a_stream_is_read_to_its_end(shape: str, read: str, guarded: bool) -> None:
    """Every cell of the table gives a figure, guarded and unguarded."""
    if guarded:
        enable(Policy(retry_budget=None))
    for client_kind in ("sync", "async"):
        for door in worker.DOORS:
            if shape in worker.DOORS[door]:
                assert worker.stream(shape, client_kind, door, READS[read], 5) > 0


@pytest.mark.parametrize("shape", PATHS)
def test_a_stream_comes_over_sockets_as_well(shape: str) -> None:
    """From a process of its own, to both kinds of client."""
    with loopback() as server:
        for client_kind, size in (("sync", None), ("async", 65536)):
            assert worker.stream(shape, client_kind, "create", size, 5, server) > 0


def test_what_grows_gives_figures() -> None:
    """A large event, a replay, and open streams, of which none is left open."""
    enable(Policy(retry_budget=None, backoff_initial=0.0))
    assert worker.big(1) > 0
    assert worker.replay(20) > 0
    assert all(worker.memory(shape, 3, 10) > 0 for shape in PATHS)


@pytest.mark.skipif(VERSION < (3, 0), reason="the SDK itself holds some KiB less there")
@pytest.mark.parametrize("shape", ["chat", "tool calls", "Responses"])
def test_an_open_stream_holds_little_more_than_the_sdks(shape: str) -> None:
    """As the benchmark measures it: apart from its text, at most so many KiB."""
    with workers("absent", "guarded") as asked:
        plain, guarded = (process.ask("memory", shape, 100, 10) or 0.0 for process in asked)
    assert 0 < guarded - plain < KEPT


def test_text_is_counted_once() -> None:
    """Of deltas, escapes undone, and not again where an event says it as a whole."""
    frames = reads("chat", None, 3), reads("tool calls", None, 3), reads("Responses", None, 3)[:7]
    assert [text_in(each) for each in frames] == [len(" word0 word1 word2"), len('{"0":0,"1":1,"2":2}'), 18]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("shape", PATHS)
@pytest.mark.parametrize("name", decoders.DECODERS)
def test_every_decoder_reads_every_event(name: str, shape: str, read: str) -> None:
    """All count the same events, so that their times can be compared."""
    parts = reads(shape, READS[read], 20)
    count = decoders.DECODERS[name](parts)
    if count == 0:
        pytest.skip(f"{name} is not installed")
    assert count == decoders.DECODERS["guard"](parts)

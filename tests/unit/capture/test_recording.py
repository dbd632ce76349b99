"""The law: of every attempt the last reads are kept, whole and with their times, and what is lost is counted."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.apis.registry import adapter_for
from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.capture import recording
from openai_stream_guard.capture.recording import ReadBuffer, kept_headers, kept_policy, kept_request
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.redaction import blanked
from tests.support.recorded import record
from tests.support.simulated import Response

SIZES = st.lists(st.integers(0, 60), max_size=60)


@pytest.fixture(scope="module", autouse=True)
def small() -> Any:
    """Bounds that a test can reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "MAX_BYTES", 100)
        patch.setattr(recording, "MAX_READS", 20)
        yield


@given(SIZES)
def test_the_ring_keeps_the_last_reads_that_fit(sizes: list[int]) -> None:
    """As many of the last reads as the bounds allow, as they came, and a count of the others."""
    buffer = ReadBuffer()
    given_reads = [bytes([65 + number % 26]) * size for number, size in enumerate(sizes)]
    for number, data in enumerate(given_reads):
        buffer.add(data, float(number))
    kept = [read.data for read in buffer.reads]
    assert kept == given_reads[len(given_reads) - len(kept) :]
    assert [read.at for read in buffer.reads] == [float(number) for number in range(buffer.lost_reads, len(sizes))]
    assert sum(map(len, kept)) <= 100
    assert len(kept) <= 20
    assert buffer.lost_reads == len(given_reads) - len(kept)
    assert buffer.lost_bytes == sum(sizes) - sum(map(len, kept))
    if buffer.lost_reads:  # one more would not have fitted
        assert sum(sizes[buffer.lost_reads - 1 :]) > 100 or len(kept) == 20


@given(st.integers(101, 500))
def test_of_a_read_that_is_too_large_the_end_is_kept(size: int) -> None:
    """Whatever a server sends at once, no more than the bound is kept."""
    buffer = ReadBuffer()
    buffer.add(b"before", 0.0)
    data = bytes(number % 251 for number in range(size))
    buffer.add(data, 1.0)
    assert [read.data for read in buffer.reads] == [data[-100:]]
    assert (buffer.lost_reads, buffer.lost_bytes) == (1, size + 6 - 100)


@settings(max_examples=50)
@given(st.integers(1, 40))
def test_a_key_is_blanked_also_where_two_reads_share_it(cut: int) -> None:
    """It gives way to as many asterisks, and every read keeps its length."""
    data = b'{"x": "sk-abcdefghijklmnop1234"} and more'
    buffer = ReadBuffer()
    buffer.add(data[:cut], 0.0)
    buffer.add(data[cut:], 0.0)
    assert [len(read.data) for read in buffer.reads] == [cut, len(data) - cut]
    assert b"".join(read.data for read in buffer.reads) == b'{"x": "***********************"} and more'


@given(
    st.lists(
        st.sampled_from([b"sk-", b"bearer ", b"abcDEF0123456789", b"eyJ", b".", b'"', b"\\", b"\n", b"\xff", b"-"])
    )
)
def test_blanking_moves_nothing_and_leaves_what_structures(parts: list[bytes]) -> None:
    """Quotes, escapes, line ends and bytes that are no text stay, and a second time there is nothing to do."""
    raw = b"".join(parts)
    seen = blanked(raw)
    assert len(seen) == len(raw)
    assert all(new in (old, ord("*")) for old, new in zip(raw, seen, strict=True))
    assert all(new == old for old, new in zip(raw, seen, strict=True) if old in b'"\\\n\xff')
    assert blanked(seen) == seen


def test_headers_are_kept_by_name() -> None:
    """What is not on the list is not kept; what is, is short and without keys."""
    headers = {
        "Server": "x",
        "VIA": "a" * 999,
        "Set-Cookie": "s",
        "x-request-id": "Bearer abcdefghijk",
        "openai-project": "p",
    }
    assert kept_headers(headers) == {"server": "x", "via": "a" * 200, "x-request-id": "Bearer ***"}


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "n": 2, "messages": [{"role": "user", "content": "secret words"}], "store": True},
        {"model": "m", "prompt": ["secret words", "b", "c"], "n": 2},
        {"model": "m", "previous_response_id": "secret words", "background": True},
        {"model": "m", "tools": [{"type": "web_search", "x": "secret words"}, {"type": "function"}]},
        {"model": "m", "response_format": {"type": "json_schema", "schema": "secret words"}, "logprobs": True},
        {"model": 5, "tools": "secret words", "response_format": "secret words", "n": 1.5},
    ],
)
@pytest.mark.parametrize(
    "path", ["/chat/completions", "/responses", "https://u:secret words@h/v1/completions?secret words"]
)
def test_a_request_is_kept_without_its_words(body: dict[str, object], path: str) -> None:
    """What is left decides the same: the API, the choices, and whether asking again could do something twice."""
    request = StreamRequest("post", path, "host", body)
    kept = kept_request(request)
    assert "secret words" not in repr(kept)
    assert type(adapter_for(kept)) is type(adapter_for(request))
    for name in ("choices", "stateful", "background", "model", "stored_id"):
        assert getattr(kept, name) == getattr(request, name), name
    assert kept_request(kept) == kept


def test_of_a_policy_what_judges_is_kept() -> None:
    """Neither callables nor folders nor other hosts leave the process."""
    policy = Policy(
        lenient_hosts=("h", "other"),
        on_event=print,
        capture="/secret",
        continuation=lambda body, text: body,
        repair="off",
    )
    kept = kept_policy(policy, StreamRequest("post", "/x", "h:1"))
    assert kept.lenient_hosts == ("h:1",)
    assert (kept.repair, kept.capture, kept.on_event) == ("off", None, None)
    assert kept.continuation not in (None, policy.continuation)
    assert kept_policy(policy, StreamRequest("post", "/x", "else")).lenient_hosts == ()


def test_a_stream_that_breaks_for_ever_is_bounded() -> None:
    """After `MAX_ATTEMPTS` attempts no more is kept."""
    policy = Policy(retry_budget=None, backoff_initial=0.0, max_retries=20)
    capture = record(itertools.repeat(Response([b": nothing\n\n"]), 9), policy)
    assert len(capture.attempts) == recording.MAX_ATTEMPTS

"""The law: a stream is read as WHATWG HTML 9.2.6 says, whatever the reads; the cases are in `vectors/spec.jsonl`."""

from __future__ import annotations

import sys
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.sse import Decoder, Event, Lines, parse_retry
from tests.vectors import Case, cases, cuts, in_pieces

MAX_RETRY = 10**4300 - 1
JUNK = st.lists(
    st.sampled_from(
        [
            *(
                b"data: a\n",
                b"data:b\r\n",
                b"data\r",
                b"event: x\n",
                b"id: 7\n",
                b"id: \0\n",
                b"retry: 30\n",
                b": c\n",
            ),
            *(b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xff", "é".encode(), b" ", b"da", b"ta:", b"\0"),
        ]
    )
    | st.binary(max_size=3),
    max_size=20,
).map(b"".join)


def decoded(reads: list[bytes]) -> tuple[list[Event], str, int | None]:
    """All there is to know about a stream: its events, and what an EventSource would keep."""
    decoder = Decoder()
    events = [event for read in reads for event in decoder.feed(read)]
    return events + decoder.finish(), decoder.last_event_id, decoder.reconnection_time


def retry_of(recorded: int | str | None) -> int | None:
    """The vectors hold a number too long for `int()` as text, and allow to cap it."""
    return MAX_RETRY if isinstance(recorded, str) else recorded


@pytest.mark.parametrize("case", cases("spec"), ids=repr)
def test_every_vector_holds_under_every_cut(case: Case) -> None:
    """The events are those of the standard, however the bytes arrive."""
    expected = [
        Event(None if row["event"] == "message" else row["event"], row["data"], row["id"], retry_of(row["retry"]))
        for row in case.row["expected"]
    ]
    final = case.row["final"]
    whole = (expected, final["last_event_id"], retry_of(final["reconnection_time"]))
    assert decoded(list(case.reads)) == whole
    for reads in cuts(case.body):
        assert decoded(reads) == whole


@pytest.mark.parametrize("case", cases("spec"), ids=repr)
def test_events_are_prompt(case: Case) -> None:
    """An event is returned by the very `feed` that brings its last byte."""
    decoder = Decoder()
    seen = 0
    available = []
    for read in case.reads:
        seen += len(decoder.feed(read))
        available.append(seen)
    assert available == case.row["available_after_chunk"]


@settings(deadline=None)
@given(JUNK, st.lists(st.integers(0, 60)))
def test_any_cut_gives_what_no_cut_gives(body: bytes, places: list[int]) -> None:
    """Where reads begin and end means nothing, whatever the bytes."""
    edges = [0, *sorted(places), len(body)]
    assert decoded([body[start:stop] for start, stop in pairwise(edges)]) == decoded([body])


@settings(deadline=None)
@given(JUNK, st.integers(1, 5))
def test_lines_say_where_they_began_and_how_they_ended(body: bytes, size: int) -> None:
    """Lines and their ends, put together again, are the bytes, each line where its `start` says."""
    lines = Lines()
    read = [line for piece in in_pieces(body, size) for line in lines.feed(piece)]
    read.append(lines.rest())
    mark = b"\xef\xbb\xbf" if body.startswith(b"\xef\xbb\xbf") else b""
    # A last CR is known for one only when something comes after it.
    assert mark + b"".join(line.after + line.text for line in read) == body
    for line in read[1:]:
        assert body[line.start :].startswith(line.text)
        assert body[: line.start].endswith(line.after)


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"data: x\n\n", b"\n", b"id: 1\n\n"]), max_size=5), st.binary(max_size=9))
def test_skipped_bytes_count_as_read(skipped: list[bytes], body: bytes) -> None:
    """Lines that somebody else has read move the offsets, and end the search for a byte order mark."""
    lines = Lines()
    lines.feed(b"\n")
    lines.skip(len(b"".join(skipped)))
    plain = Lines()
    plain.feed(b"\n")
    moved = [line._replace(start=line.start + len(b"".join(skipped))) for line in plain.feed(body)]
    assert lines.feed(body) == moved


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (b"0", 0),
        (b"0" * 9000 + b"3000", 3000),
        (b"9" * 4300, MAX_RETRY),
        (b"1" + b"0" * 4300, MAX_RETRY),
        (b"9" * 200_000, MAX_RETRY),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1_0", None),
        (b" 1", None),
        ("٣".encode(), None),
    ],
    ids=lambda value: f"{value[:4]!r} of {len(value)}" if isinstance(value, bytes) else "",
)
def test_retry_is_ascii_digits(value: bytes, milliseconds: int | None) -> None:
    """Anything but ASCII digits is no `retry`; a number that Python would refuse is the largest it would not."""
    assert parse_retry(value) == milliseconds
    assert milliseconds is None or len(str(milliseconds)) <= 4300


def test_retry_under_a_lower_limit_of_the_interpreter() -> None:
    """Where the interpreter allows fewer digits still, a longer number is capped and nothing raises."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert parse_retry(b"1" * 1000) == MAX_RETRY
    finally:
        sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize("size", [1, 16, 1 << 20])
@pytest.mark.parametrize("part", [b"x" * 7, b"x\ndata: "], ids=["one line", "many lines"])
def test_time_is_linear(part: bytes, size: int) -> None:
    """Four times the bytes take about four times as long, not sixteen, in reads of any size."""

    def seconds(count: int) -> float:
        reads = in_pieces(b"data: " + part * count + b"\n\n", size)
        start = time.process_time()
        decoded(reads)
        return time.process_time() - start

    assert min(seconds(32_000) for _ in range(2)) < 10 * max(min(seconds(8_000) for _ in range(3)), 0.002)

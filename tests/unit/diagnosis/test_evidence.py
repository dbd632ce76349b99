"""The law: evidence is told right, in words of this package, never in those of a header, an error or an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest

from openai_stream_guard.decoding.reader import Reader
from openai_stream_guard.diagnosis.evidence import (
    Clues,
    Complaint,
    Cut,
    Evidence,
    Party,
    ResponseHead,
    alike,
    clues_from,
    opening_from,
)
from openai_stream_guard.engine.attempt_log import AttemptLog
from openai_stream_guard.engine.decisions import StreamFault, Timeouts
from openai_stream_guard.engine.host_memory import HostMemory
from openai_stream_guard.engine.retry_rules import judge_error

NAMING: dict[Party, Mapping[str, str]] = {
    "apache": {"Server": "Apache/2.4.71 (Debian)"},
    "aws": {"X-Amzn-Trace-Id": "Root=1-5"},
    "caddy": {"Via": "1.1 Caddy"},
    "cloudflare": {"CF-Ray": "8a1-FRA"},
    "cloudfront": {"X-Cache": "Miss from cloudfront"},
    "envoy": {"x-envoy-upstream-service-time": "4"},
    "google": {"Via": "1.1 google"},
    "gunicorn": {"Server": "gunicorn"},
    "kong": {"X-Kong-Proxy-Latency": "1"},
    "litellm": {"x-litellm-version": "1.109"},
    "lighttpd": {"Server": "lighttpd/1.4.76"},
    "llama.cpp": {"Server": "llama.cpp"},
    "nginx": {"server": "nginx/1.22.1"},
    "portkey": {"x-portkey-trace-id": "t"},
    "squid": {"X-Cache": "MISS from squid-1"},
    "uvicorn": {"Server": "uvicorn"},
    "varnish": {"X-Varnish": "12"},
}


@pytest.mark.parametrize("party", get_args(Party))
def test_each_party_is_known_by_its_headers(party: Party) -> None:
    """By the one that it sends, whatever its case, and no other party with it."""
    assert clues_from(NAMING[party]).parties == {party}
    assert clues_from({name.upper(): value.upper() for name, value in NAMING[party].items()}).parties == {party}


def test_headers_that_name_nobody_say_nothing() -> None:
    """Neither a request's own names in other headers, nor an unknown server, is a party."""
    assert clues_from({"server": "own/1.0", "x-note": "nginx", "set-cookie": "cloudflare"}) == Clues()


@pytest.mark.parametrize(
    ("headers", "clues"),
    [
        ({}, Clues()),
        ({"content-type": "text/event-stream; charset=utf-8"}, Clues()),
        ({"content-type": "text/html"}, Clues("html")),
        ({"content-type": "application/json"}, Clues("json")),
        ({"content-type": "text/plain"}, Clues("other")),
        ({"content-encoding": "gzip"}, Clues(encoding="gzip")),
        ({"content-encoding": "identity"}, Clues()),
        ({"X-Accel-Buffering": "no"}, Clues(accel=True)),
    ],
)
def test_a_head_is_what_the_body_claims_to_be(headers: dict[str, str], clues: Clues) -> None:
    """Its kind, its content encoding, and whether somebody was asked not to buffer."""
    assert clues_from(headers) == clues


@pytest.mark.parametrize(
    ("first", "opening"),
    [
        (b"", "other"), (b"data", "other"), (b": hi", "other"), (b"<!DO", "html"), (b"\n<ht", "html"),
        (b'{"er', "json"), (b"[{", "json"), (b"\x1f\x8b\x08\0", "compressed"), (b"\x28\xb5\x2f\xfd", "compressed"),
    ],
)  # fmt: skip
def test_an_opening_tells_what_a_body_is(first: bytes, opening: str) -> None:
    """By four bytes."""
    assert opening_from(first) == opening


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"message": "CUDA out of memory. Tried to allocate 2.00 GiB"}, "memory"),
        ({"code": "context_length_exceeded", "message": "x"}, "context"),
        ({"message": "the request exceeds the available context size", "type": "exceed_context_size_error"}, "context"),
        ({"code": "insufficient_quota", "type": "insufficient_quota"}, "quota"),
        ({"code": "rate_limit_exceeded", "message": "x"}, "rate"),
        ({"message": "Loading model", "type": "unavailable_error", "code": 503}, "overloaded"),
        ("Rate limit reached", "rate"),
        ({"type": "server_error", "message": "The server had an error."}, None),
        (None, None),
    ],
)
def test_a_complaint_is_known_by_its_code_type_or_message(body: object, complaint: Complaint | None) -> None:
    """As vLLM, llama.cpp and the API itself write them; what is unknown stays unknown."""
    assert judge_error(body).complaint == complaint


@pytest.mark.parametrize(
    ("one", "other", "same"), [(60.0, 60.2, True), (60.0, 58.0, False), (350, 345, True), (2, 2.3, False)]
)
def test_times_are_alike_within_what_a_network_adds(one: float, other: float, same: bool) -> None:
    """A quarter of a second, or two per cent."""
    assert alike(one, other) is alike(other, one) is same


BURSTS = Evidence(events=40, reads=4, first_event_seconds=0.1, worst_gap=3.0)


@pytest.mark.parametrize(
    ("change", "bursts"),
    [
        ({}, True),
        ({"worst_gap": 0.0, "first_event_seconds": 3.0}, True),
        ({"reads": 40}, False),
        ({"events": 9, "reads": 1}, False),
        ({"worst_gap": 0.4}, False),
        ({"consumer_busy_seconds": 2.0}, False),
    ],
)
def test_bursts_are_many_events_in_few_reads_after_a_wait(change: dict[str, Any], bursts: bool) -> None:
    """Unless it was the program that kept them waiting."""
    assert replace(BURSTS, **change).bursts is bursts


def test_equal_cuts_are_counted_per_host() -> None:
    """The second of two equal silences, or ages, is seen as such; those of another host, and stalls, do not count."""
    hosts = HostMemory()
    cut = Evidence("disconnected", seconds=9.0, silence=2.0, at=100.0)
    assert hosts.record_fault("a", cut).cuts == (Cut(9.0, 2.0, 100.0),)
    hosts.record_fault("b", cut)
    hosts.record_fault("a", Evidence("stalled", seconds=9.0, silence=2.0, at=150.0))
    assert not hosts.with_cuts("a", cut).same_silence
    again = hosts.record_fault("a", replace(cut, seconds=30.0, silence=2.1, at=200.0))
    assert (again.same_silence, again.same_length) == (True, False)
    older = hosts.record_fault("a", replace(cut, seconds=9.1, silence=0.0, at=300.0))
    assert (older.same_silence, older.same_length) == (False, True)


def test_cuts_at_one_moment_are_one_event() -> None:
    """Forty streams cut together show no timeout, however alike they are; the same again later does."""
    hosts = HostMemory()
    cut = Evidence("disconnected", seconds=3.0, silence=0.6)
    for stream in range(40):
        seen = hosts.record_fault("a", replace(cut, at=100.0 + stream / 40))
    assert (seen.cut_together, seen.same_silence, seen.same_length) == (40, False, False)
    first = hosts.with_cuts("a", replace(cut, at=100.0))
    assert first.cut_together == 40
    later = hosts.record_fault("a", replace(cut, at=160.0))
    assert (later.cut_together, later.same_silence, later.same_length) == (1, True, True)


def test_the_latest_cuts_are_kept() -> None:
    """Eight of a host, so that a long life does not make them many."""
    hosts = HostMemory()
    for second in range(20):
        kept = hosts.record_fault("a", Evidence("truncated", seconds=float(second), at=60.0 * second))
    assert [cut.seconds for cut in kept.cuts] == [12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0]
    hosts.forget()
    assert hosts.with_cuts("a", Evidence()).cuts == ()


def test_an_attempt_log_tells_where_the_time_went() -> None:
    """The wait for the first event, the worst gap, the silence, and what the program itself took between two reads."""
    log = AttemptLog(100.0, 1, ResponseHead(200, headers={"server": "nginx"}))
    reader = Reader()
    for asked, read in ((100.0, 102.0), (102.5, 103.0), (110.0, 111.0)):  # away for 0.5 and for 7 s
        log.consumer_waits(asked)
        log.consumer_waits(asked + 0.2)  # a read that brought no byte of the body
        log.reads += 1
        log.read_at = read
        reader.feed(b'data: {"a":1}\n\n')
        log.progress(1, read)
    log.consumer_waits(112.0)
    found = log.evidence(StreamFault("disconnected", "", ending="reset"), reader, Timeouts(read=60.0), 131.0)
    assert (found.fault, found.ending, found.clues.parties) == ("disconnected", "reset", {"nginx"})
    assert (found.reads, found.events, found.bytes) == (3, 3, reader.bytes_fed)
    assert (found.seconds, found.first_event_seconds, found.worst_gap) == (31.0, 2.0, 8.0)
    assert (found.silence, found.waited, found.consumer_busy_seconds, found.read_timeout) == (20.0, 20.0, 7.0, 60.0)


def test_a_later_attempt_is_seen_by_itself() -> None:
    """Counts and times are its own; a wait that recovery took is not held against the server."""
    log = AttemptLog(0.0, 1, ResponseHead())
    log.reads, log.read_at = 9, 5.0
    log.consumer_waits(40.0)
    log.progress(1, 5.0)
    log.close_attempt("stalled", 50.0, events=1, bytes=9, repairs={}, response_id=None)
    log.open_attempt("replay", 60.0, 1, ResponseHead(200, headers={"server": "envoy"}))
    found = log.evidence(StreamFault("truncated", "", ending="clean"), Reader(), Timeouts(), 61.0)
    assert (found.reads, found.seconds, found.silence, found.consumer_busy_seconds, found.worst_gap) == (
        0,
        1.0,
        1.0,
        0.0,
        0.0,
    )
    assert found.clues.parties == {"envoy"}


def test_no_header_value_is_kept() -> None:
    """What a header says is reduced to the names in this module."""
    secret = "planted-9f3"
    headers = {"server": f"nginx {secret}", "via": secret, "set-cookie": secret, "content-type": f"text/html; {secret}"}
    assert secret not in repr(clues_from(headers))

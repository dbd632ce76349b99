"""The law: what the doctor finds follows from the recording alone, and a healthy stream shows nothing."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.capture.ssecap import dump, load
from openai_stream_guard.cli.doctor.analysis import Stream, analyzed
from openai_stream_guard.cli.doctor.findings import (
    CHECKS,
    SEVERITIES,
    SUMMARIES,
    TOO_LITTLE,
    findings_from,
    health_from,
)
from openai_stream_guard.cli.doctor.proxy_settings import _PRODUCTS, LINES, Product, lines_for
from openai_stream_guard.diagnosis import causes as hints
from openai_stream_guard.diagnosis.evidence import Party
from openai_stream_guard.notices import FaultSeen
from tests.support.examined import CHUNKED, DONE, HEALTHY, SECRET, STOP, WORDS, chunk, paced, recorded, refused, seen

BURST = [(2.0, b"".join([*WORDS, STOP, DONE]))]
LATE = paced([*WORDS, STOP, DONE], 0.02)
NAMED = {"server": "nginx/1.22"}
COMPRESSED = {**CHUNKED, "content-encoding": "gzip"}
OPEN = {"content-type": "text/event-stream"}
RESPONSES = StreamRequest("post", "/responses", "host:1", {"model": "m"})
RESPONSE = [
    b'data: {"type": "response.created", "sequence_number": 0, "response": {"id": "r"}}\n\n',
    b'data: {"type": "response.completed", "sequence_number": 1, "response": {"id": "r", "output": []}}\n\n',
]

SCENES: dict[str, Stream] = {
    "no_answer": refused(None),
    "http_error": refused(502, server="nginx"),
    "not_ended": seen(HEALTHY[:9], "left"),
    "collected_whole": seen([(0.1, BURST[0][1])], headers={**OPEN, "content-length": "999"}),
    "broke_after_end": seen(HEALTHY[:-1], "unterminated"),
    "content_type": seen(HEALTHY, headers={**CHUNKED, "content-type": "text/plain"}),
    "http_1_0": seen(HEALTHY, headers=OPEN, version="HTTP/1.0"),
    "close_delimited": seen(HEALTHY, headers=OPEN),
    "no_finish_reason": seen(paced([*WORDS, DONE])),
    "repaired": seen(paced([*WORDS, chunk()[:-2] + b"\n" + STOP, DONE], 0.1)),
    "long_silence": seen([*HEALTHY[:9], *((at + 20.0, data) for at, data in HEALTHY[9:])]),
    "no_done": seen(HEALTHY[:-1]),
    "keep_alives": seen([(0.05, b": keep-alive\n\n"), *HEALTHY]),
    "too_little_to_tell": seen(paced([chunk(), STOP, DONE])),
    "buffered_not_by_nginx": seen(BURST, headers={**CHUNKED, **NAMED, "x-accel-buffering": "no"}),
    "buffered_nginx": seen(BURST, headers={**CHUNKED, **NAMED}),
    "buffered_lighttpd": seen(BURST, headers={**CHUNKED, "server": "lighttpd/1.4.76"}),
    "buffered_compressed": seen(BURST, headers=COMPRESSED),
    "buffered": seen(BURST),
    "compressed": seen(HEALTHY, headers=COMPRESSED),
}
"""One stream for each finding: of a whole answer, or of none."""

BESIDE = {"broke_after_end": {"no_done"}}

FAULTS: dict[str, Stream] = {
    "html_page": seen([(0.1, b"<html>login</html>")], headers={"content-type": "text/html"}),
    "json_answer": seen(
        [(0.1, b'{"object": "chat.completion", "choices": [{"message": {"content": "x"}}]}')],
        headers={"content-type": "application/json"},
    ),
    "upstream_error": seen(
        paced([chunk(), b'data: {"error": {"type": "server_error", "code": 7, "message": "x"}}\n\n'])
    ),
    "out_of_memory": seen(paced([chunk(), b'data: {"error": {"message": "CUDA out of memory"}}\n\n'])),
    "not_utf8": seen(paced([chunk(), b'data: {"a": "\xff"}\n\n'])),
    "idle_cut_nginx": seen(paced(WORDS), "unterminated", headers={**CHUNKED, **NAMED}, end_at=62.0),
    "old_cut_envoy": seen(
        paced(WORDS, 0.745), "unterminated", headers={**CHUNKED, "x-envoy-upstream-service-time": "1"}
    ),
    "clean_end_nginx": seen(paced(WORDS), headers={**CHUNKED, **NAMED}),
    "cut_inside_event": seen(paced([*WORDS, chunk()[:30]])),
    "truncated": seen(paced(WORDS)),
    "reset": seen(paced(WORDS), "reset"),
    "unterminated": seen(paced(WORDS), "unterminated"),
    "read_slowly": seen(paced(WORDS), "unterminated", busy=62.0),
    "empty_stream": seen([]),
    "stalled": seen(paced(WORDS), "timeout", end_at=20.0),
}
"""Streams that broke, by the cause that `hints` names."""


def names(*streams: Stream) -> set[str]:
    """What is found."""
    return {one.name for one in findings_from(streams)}


def test_a_healthy_stream_shows_nothing() -> None:
    """Whatever its API, and also where it is slow."""
    assert names(seen(HEALTHY)) == set()
    assert names(seen(HEALTHY, headers_at=3.0)) == set()
    assert names(seen(HEALTHY, version="HTTP/2", headers=OPEN)) == set()
    assert names(seen(paced(RESPONSE), request=RESPONSES)) == {"too_little_to_tell"}
    assert health_from(findings_from([seen(HEALTHY)])) == "healthy"


@pytest.mark.parametrize("name", SCENES)
def test_each_finding_has_its_stream(name: str) -> None:
    """It is found there, with a remedy, and nothing but what belongs to it."""
    found = {one.name: one for one in findings_from([SCENES[name]])}
    assert set(found) == {name} | BESIDE.get(name, set())
    one = found[name]
    assert one.what
    assert one.remedy
    assert one.severity in SEVERITIES


def test_each_finding_is_tried() -> None:
    """Every row of the doctor's own, and every row of `hints` that applies to whole streams."""
    own = {check.name for check in (*CHECKS, TOO_LITTLE)}
    assert set(SCENES) == own | {row.name for row in hints.CAUSES if None in row.faults}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_stream_is_explained_as_the_guard_does(name: str) -> None:
    """By the likeliest cause, which is a problem."""
    found = [one for one in findings_from([FAULTS[name]]) if one.severity == "problem"]
    assert [one.name for one in found] == [name]
    assert health_from(found) == "unhealthy"


COLLECTED = [(0.01, b"".join([*WORDS, STOP]))]
"""What a proxy that buffers hands on of an answer that broke behind it: the headers and all it has, late, at once."""


@pytest.mark.parametrize(
    ("reads", "end", "headers"),
    [
        (COLLECTED, "unterminated", CHUNKED),
        ([(0.01, b"".join(WORDS))], "unterminated", {**CHUNKED, **NAMED}),
        ([(0.01, b"".join(WORDS))], "body", {**CHUNKED, **NAMED}),
        ([(0.01, b"".join(WORDS))], "body", {**CHUNKED, "x-envoy-upstream-service-time": "1"}),
        ([(0.01, b"".join(WORDS))], "reset", {**CHUNKED, "x-envoy-upstream-service-time": "1"}),
        ([(0.01, b"".join(WORDS))], "short", {**OPEN, "content-length": "9999"}),
        ([(0.01, b"".join([*WORDS, chunk()[:30]]))], "body", CHUNKED),
        ([], "body", CHUNKED),
    ],
)
@pytest.mark.parametrize("headers_at", [0.0, 2.0, 15.0, 60.0])
def test_behind_a_proxy_that_buffers_the_guard_names_the_same_cause(
    reads: Any, end: Any, headers: dict[str, str], headers_at: float
) -> None:
    """The wait for what was collected is no age of the connection, also where two streams waited alike."""
    notices: list[Any] = []
    capture = recorded(reads, end, headers=headers, notify=notices.append)
    (stream,) = analyzed(capture, headers_at=headers_at)
    problems = [one for one in findings_from([stream, stream]) if one.severity == "problem"]
    hints_of_guard = [notice.hint for notice in notices if isinstance(notice, FaultSeen)]
    if hints_of_guard:
        assert [f"{one.what}: {one.remedy}." for one in problems] == hints_of_guard
    else:
        assert stream.whole


def test_an_error_is_named_and_not_quoted() -> None:
    """Its type and its code; what its message says may be anything."""
    assert FAULTS["upstream_error"].error == "type server_error, code 7"
    assert FAULTS["reset"].error == ""


def test_streams_that_are_cut_alike_are_cut_by_a_timeout() -> None:
    """One alone might be an accident, two at the same age are not."""
    cut = seen(paced(WORDS, 0.2), "unterminated")
    assert names(cut) == {"unterminated"}
    assert names(cut, cut) == {"old_cut"}
    (one,) = findings_from([cut, cut])
    assert one.streams == (1, 2)


def test_the_wait_for_the_headers_counts() -> None:
    """A proxy that collects an answer holds the headers back as well."""
    quick = [(0.01, BURST[0][1])]
    assert names(seen(quick)) == {"too_little_to_tell"}
    assert names(seen(quick, headers_at=2.0)) == {"buffered"}
    assert names(seen(LATE, headers_at=2.0)) == set()


def test_one_stream_that_tells_is_enough() -> None:
    """That too little came is said only where no stream came to enough."""
    short = seen(paced([chunk(), STOP, DONE]))
    assert names(short, seen(HEALTHY)) == set()
    assert [one.streams for one in findings_from([short, short])] == [(1,)]


def test_the_worst_comes_first_and_decides() -> None:
    """Problems, then warnings, then notes."""
    found = findings_from([SCENES["keep_alives"], SCENES["close_delimited"], FAULTS["reset"]])
    assert [one.severity for one in found] == ["problem", "warning", "note"]
    assert [one.streams for one in found] == [(3,), (2,), (1,)]
    assert [health_from(found[start:]) for start in range(3)] == ["unhealthy", "doubtful", "healthy"]
    assert set(SUMMARIES) == {"unhealthy", "doubtful", "healthy"}


def test_the_figures_are_those_of_the_reads() -> None:
    """All times count from the request."""
    stream = seen([(0.5, b": x\n\n"), (1.0, WORDS[0] * 2), (4.0, STOP), (4.5, DONE)], headers_at=0.25)
    assert stream.figures() == {
        "headers_seconds": 0.25,
        "first_event_seconds": 1.25,
        "seconds": 4.75,
        "worst_gap_seconds": 3.0,
        "longest_silence_seconds": 3.0,
        "events": 3,
        "reads": 4,
        "bytes": 5 + len(WORDS[0]) * 2 + len(STOP) + len(DONE),
        "events_per_read": 0.75,
        "bytes_per_read": round((5 + len(WORDS[0]) * 2 + len(STOP) + len(DONE)) / 4, 1),
        "comments": 1,
    }
    assert stream.gaps == ((0.0, 0.75), (0.75, 1.25), (1.25, 4.25), (4.25, 4.75), (4.75, 4.75))


@pytest.mark.parametrize("stream", [*FAULTS.values(), *SCENES.values()], ids=[*FAULTS, *SCENES])
def test_a_file_tells_the_same(stream: Stream) -> None:
    """Whatever is found live is found in the capture's file, but for the time before the headers."""
    capture = dataclasses.replace(recorded(HEALTHY), attempts=(stream.recording,))
    if stream.answered:
        (again,) = analyzed(load(dump(capture)))
        assert names(again) == names(stream)


def test_what_is_lost_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long stream the beginning is gone: its first event is looked for, and half a one is no damage."""
    monkeypatch.setattr("openai_stream_guard.capture.recording.MAX_BYTES", 700)
    stream = seen(HEALTHY)
    assert stream.recording.lost_bytes > 0
    assert stream.evidence.events < 20
    assert names(stream) <= {"too_little_to_tell"}
    assert stream.figures()["bytes"] == sum(len(data) for _, data in HEALTHY)


def test_no_text_of_an_answer_is_told() -> None:
    """Neither of whole nor of broken ones."""
    for stream in [*SCENES.values(), *FAULTS.values()]:
        assert SECRET not in repr(findings_from([stream])) + repr(stream.figures())


@pytest.mark.parametrize("topic", LINES)
def test_a_product_that_is_named_gets_its_own_line(topic: Any) -> None:
    """One that is none of these gets all, and one that was not it gets none."""
    for party in get_args(Party):
        product = _PRODUCTS.get(party)
        expected = LINES[topic] if product is None else {product} & set(LINES[topic])
        assert set(lines_for(topic, {party})) == set(expected)
    assert "nginx" not in lines_for(topic, {"nginx"}, excluded="nginx")
    assert lines_for(None, {"nginx"}) == {}
    assert set(LINES[topic]) <= set(get_args(Product))


def test_every_product_knows_what_to_do_about_buffering() -> None:
    """The commonest of all; likewise compression, silence and a hidden end."""
    for topic in ("buffering", "compression", "idle", "hidden_end"):
        assert set(LINES[topic]) == set(get_args(Product))

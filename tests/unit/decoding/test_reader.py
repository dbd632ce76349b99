"""The law: a body is read, repaired or refused as `vectors/repair.jsonl` says, however its bytes are cut."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, TypeAlias, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.decoding.reader import REPAIRS, DecodeFault, Payload, Reader, RepairMode
from openai_stream_guard.sse import Decoder
from tests.vectors import Case, cases, cuts, in_pieces

MODES = get_args(RepairMode)

# What these lack is for the session to judge: every event is whole, the answer is not.
UNENDED = {"e-no-terminal", "e-empty-body", "f-plain-text-mid"}


class Reading(NamedTuple):
    """All there is to know about a body."""

    payloads: list[tuple[str | None, bytes, str, str | None, int | None]]
    fault: tuple[str, str, int, type] | None
    done: bool
    unfinished: bool
    repairs: dict[str, int]
    events: int

    @property
    def broke(self) -> bool:
        """Whether the decoding layer itself saw that something is missing."""
        return self.fault is not None or self.unfinished


class LineByLine(Reader):
    """A Reader without its fast way."""

    def _read_frames(self, data: bytes, start: int, last: int) -> int:
        return start


def read(
    reads: list[bytes] | tuple[bytes, ...],
    mode: RepairMode = "safe",
    limit: int = 1 << 28,
    kind: Callable[[RepairMode, int], Reader] = Reader,
) -> Reading:
    """What a reader makes of a body."""
    reader = kind(mode, limit)
    payloads = [payload for data in reads for payload in reader.feed(data)]
    payloads += reader.finish()
    assert reader.bytes_fed == sum(map(len, reads))
    fault = reader.fault
    return Reading(
        [(payload.event, payload.raw, repr(payload.value), payload.id, payload.retry) for payload in payloads],
        (fault.kind, fault.reason, fault.offset, type(fault.error)) if fault else None,
        reader.done,
        reader.unfinished,
        reader.repairs,
        reader.events,
    )


def values(reading: Reading) -> list[str]:
    """The payloads' values as `repr` has them, for NaN equals nothing."""
    return [value for _, raw, value, _, _ in reading.payloads if raw != b"[DONE]"]


def agrees(case: Case, reading: Reading) -> bool:
    """Whether a reading is one that the case allows."""
    row = case.row
    forbidden = [repr(value) for value in row.get("forbidden", [])]
    if any(value in forbidden for value in values(reading)):
        return False
    if row["expected"] == "error":
        whole = [repr(value) for value in row["recovered_before_error"]]
        return values(reading) == whole and not reading.done and reading.broke == (case.name not in UNENDED)
    exact = values(reading) == [repr(value) for value in row["expected"]]
    exact = exact and not reading.broke and reading.done == row["done"] and names_agree(row["events"], reading)
    return exact or (row["tier"] == "opt_in" and reading.broke)


def names_agree(names: list[str | None] | None, reading: Reading) -> bool:
    """Whether the payloads have the event names of the case, where it says any."""
    sent = [event or "message" for event, raw, _, _, _ in reading.payloads if raw != b"[DONE]"]
    return names is None or all(name in (None, got) for name, got in zip(names, sent, strict=True))


@pytest.mark.parametrize("case", cases("repair"), ids=repr)
def test_every_vector_holds_under_every_cut(case: Case) -> None:
    """Repaired, left alone or refused as the case says, with the same repairs counted, however the bytes arrive."""
    reading = read(case.reads)
    assert agrees(case, reading), reading
    assert reading.repairs.keys() <= REPAIRS.keys()
    for reads in cuts(case.body):
        assert read(reads) == reading


@pytest.mark.parametrize("case", cases("repair"), ids=repr)
def test_off_repairs_nothing(case: Case) -> None:
    """With `off` every payload is one that WHATWG's reading and `json.loads` give, and no repair is counted."""
    decoder = Decoder()
    plain = [event.data for data in case.reads for event in decoder.feed(data)]
    reading = read(case.reads, "off")
    sent = [raw.decode() for _, raw, _, _, _ in reading.payloads if raw != b"[DONE]"]
    assert sent == [data for data in plain if data.strip()][: len(sent)]
    assert reading.repairs == {}


# Whole frames, halves of frames and noise: enough of each that most mixes are neither all right nor all wrong.
FRAGMENTS = [
    *(b'data: {"a":1}\n\n', b'data: {"b":"x y"}\r\n\r\n', b'event: e\ndata: {"c":[1]}\n\n', b'data:{"d":1}\n\n'),
    *(b"data: [DONE]\n\n", b"[DONE]\n", b"data: [DONE]\n", b"data: [DONE]x\n\n", b'data: {"s":"\\ud83d"}\n\n'),
    *(b": ping\n\n", b"id: 7\n", b"id: \0\n", b"retry: 3\n", b"event: n\n", b"event:\n", b"xyz\n", b"cd\r\n"),
    *(b"\n", b"\r", b"\r\n", b" \n", b"\0\0", b"\xef\xbb\xbf", b"data:", b"data: ", b"data", b"\xff\xfe\n"),
    *(b'data: {"d":\n\n', b"1}\n\n", b"data: 1}\n\n", b"data: {\n", b'data: "m":1\n', b"data: }\n\n"),
    *(b"data: [\n", b'data: {"w":1},\n', b"data: ]\n\n", b'data: {"l":"one\n', b'two"}\n\n', b'a"}\n'),
    *(b'{"bare":1}\n', b"{\n", b'"k":"v"\n', b"}\n", b'{"a":1}{"b":2}\n', b'{"a":1}x\n', b'error: {"code":1}\n'),
    *(b"[{\n", b'"q":1},\n', b"]\n", b'[{"a":1},{"b":2}]\n', b"<html>\n", b"\x1f\x8b\x08"),
    *(b'data: {"x":1}{"y":2}\n', b'data: {"x":1}data: {"y":2}\n', b'data: {"x":1}\\n\\ndata: {"y":2}\n\n'),
    *(b"data: data: 5\n\n", b"data: : c\n\n", b"data: event: q\n", b'data: {"a":1}: c\n\n'),
    *(b"data: null\n\n", b"data: 12\n\n", b'data: "s"\n\n', b'data: {"n":NaN}\n\n', b'data: {"t":"a\tb"}\n\n'),
    *(b'data: {"u":"\xe2\x80"}\n\n', b"data: b'data: {\"r\":1}\\n\\n'\n\n", b"b'data: {}'\n"),
    *(b'event: x\r\ndata: {"a":1}\n\n', b'event: a\rb\ndata: {"a":1}\n\n', b'event: data: {"a":1}\n\n'),
    *(b'data: {"a":1}\r\n\n', b'data: {"a":\n1}\n\n', b'data: {"a":1} \n \n', b'data: {"a":1}event: z\n'),
    *(b'data: {"e":"\\\n', b'data: {"v":1}\r\r', b'event: xdata: {}\ndata: {"a":1}\n\n'),
]
BODIES = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=14).map(b"".join)
LIMITS = st.sampled_from([1 << 28, 1 << 28, 40, 15])


@settings(deadline=None)
@given(BODIES, st.sampled_from(MODES), LIMITS, st.lists(st.integers(0, 120), max_size=6))
def test_any_cut_gives_what_no_cut_gives(body: bytes, mode: RepairMode, limit: int, places: list[int]) -> None:
    """Where reads begin and end means nothing to payloads, names and repairs, nor to the fault and its offset."""
    whole = read([body], mode, limit)
    edges = [0, *sorted(places), len(body)]
    assert read([body[start:stop] for start, stop in pairwise(edges)], mode, limit) == whole
    assert read(in_pieces(body, 1), mode, limit) == whole


@settings(deadline=None)
@given(BODIES, st.sampled_from(MODES), LIMITS)
def test_the_fast_way_gives_what_the_other_gives(body: bytes, mode: RepairMode, limit: int) -> None:
    """Reading frames at once is a matter of speed alone."""
    assert read([body], mode, limit) == read([body], mode, limit, LineByLine)


@settings(deadline=None)
@given(BODIES, st.sampled_from([b"", b'data: {"a":1}\n\n' * 400]), st.lists(st.integers(0, 120), max_size=6))
def test_the_tail_is_the_end_of_what_came(body: bytes, before: bytes, places: list[int]) -> None:
    """However the bytes are cut, and whatever is kept of a frame: 1,152 bytes, each once."""
    reader, came = Reader(), before
    reader.feed(before)
    for start, stop in pairwise([0, *sorted(places), len(body)]):
        reader.feed(body[start:stop])
        came += body[start:stop]
        assert reader.tail == came[-1152:]


def assert_equally_prompt(reads: list[bytes], mode: RepairMode, limit: int) -> None:
    """Both ways give each payload, and end the reading, in the same read."""
    fast, other = Reader(mode, limit), LineByLine(mode, limit)
    for data in reads:
        given = [[(payload.event, payload.raw) for payload in reader.feed(data)] for reader in (fast, other)]
        assert given[0] == given[1], reads
        assert fast.over == other.over, reads
    assert len(fast.finish()) == len(other.finish())
    assert repr(fast.error) == repr(other.error)


@settings(deadline=None)
@given(BODIES, st.sampled_from(MODES), LIMITS, st.lists(st.integers(0, 300)))
def test_the_fast_way_is_as_prompt_as_the_other(body: bytes, mode: RepairMode, limit: int, places: list[int]) -> None:
    """However the bytes are cut, nothing waits for a later read than it has to."""
    edges = [0, *sorted(places), len(body)]
    assert_equally_prompt([body[start:stop] for start, stop in pairwise(edges)], mode, limit)


@pytest.mark.parametrize("limit", [1 << 28, 40, 15])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_cut_frame_is_as_prompt_as_the_other_way(end: bytes, limit: int) -> None:
    """Whatever follows a frame, cut anywhere: what the fast way keeps of it shows nothing by itself."""
    frame = b'data: {"a":1}' + end + end
    for fragment in FRAGMENTS:
        body = fragment + frame
        for at in range(len(body)):
            assert_equally_prompt([frame, body[:at], body[at:]], "safe", limit)
            assert_equally_prompt([frame, body[:at], *in_pieces(body[at:], 1)], "safe", limit)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_the_fast_way_goes_no_further_than_the_other(mode: RepairMode, end: bytes) -> None:
    """After a frame that it can read, whatever comes next is read as without it."""
    frame = b'data: {"a":1}' + end + end
    for fragment in FRAGMENTS:
        body = frame * 2 + fragment + frame
        assert read([body], mode) == read([body], mode, kind=LineByLine)


@settings(deadline=None)
@given(BODIES)
def test_safe_repairs_move_framing_only(body: bytes) -> None:
    """Each line of a payload's text stands in the body as it is, and in the same order."""
    position = 0
    for _, raw, _, _, _ in read([body]).payloads:
        for part in raw.removeprefix(b'{"error": ').split(b"\n"):
            part = part[:-1] if raw.startswith(b'{"error": ') else part
            position = body.find(part, position)
            assert position >= 0
            position += len(part)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


# The bytes, and the payloads' names and values.
Stream: TypeAlias = tuple[bytes, list[tuple[str | None, str]]]


@st.composite
def healthy(draw: st.DrawFn) -> Stream:
    """A stream as the standard allows it: any line ends, comments, names, fields, and data over many lines."""
    end = draw(st.sampled_from([b"\n", b"\r", b"\r\n"]))
    body, sent = b"", list[tuple[str | None, str]]()
    for value in draw(st.lists(JSON, max_size=5)):
        name = draw(st.none() | st.sampled_from(["ping", "response.created"]))
        text = json.dumps(value, indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans()))
        lines = draw(st.lists(st.sampled_from([b": comment", b"id: 1", b"retry: 5", b"unknown: x"]), max_size=3))
        lines += [b"event: " + name.encode()] if name else []
        lines += [b"data: " + line.encode("utf-8", "surrogatepass") for line in text.split("\n")]
        body += b"".join(line + end for line in [*lines, b""])
        body += draw(st.sampled_from([b"", end, b": ping" + end + end]))
        sent.append((name, repr(value)))
    return body, sent


@settings(deadline=None)
@given(healthy(), st.sampled_from(MODES), st.integers(1, 40))
def test_healthy_streams_need_no_repair(stream: Stream, mode: RepairMode, size: int) -> None:
    """What the standard allows is read as it is, in every mode, and counted as no repair."""
    body, sent = stream
    reading = read(in_pieces(body, size), mode)
    assert [(event, value) for event, _, value, _, _ in reading.payloads] == sent
    assert not reading.broke
    assert reading.repairs == {}


def test_payloads_are_prompt() -> None:
    """A payload is returned by the `feed` that brings its blank line, or the line that shows it to be whole."""
    reader = Reader()
    arrivals = [
        (b'data: {"a":1}\n', 0),
        (b"\n", 1),
        (b'data: {"a":2}\r\n\r', 1),
        (b'\ndata: {"a":3}\n', 0),
        (b'data: {"a":4}\n', 1),  # shows that 3 had ended
        (b" \n", 1),  # as good as a blank line
        (b'{"bare":5}\n', 1),
        (b'error: {"code":6}\n', 1),
        (b'data: {"a":7}\n\ndata: {"a":8}\n\ndata: {"a":', 2),
        (b"9}\n\ndata: [DONE]\n\n", 2),
    ]
    assert [len(reader.feed(data)) for data, _ in arrivals] == [count for _, count in arrivals]
    assert reader.done
    assert reader.events == 9


def test_what_is_returned_stays_the_callers() -> None:
    """A list that `feed` has returned does not change later."""
    reader = Reader()
    early = reader.feed(b'data: {"a":1}')
    assert len(reader.finish()) == 1
    assert early == []


def test_nothing_comes_after_the_end() -> None:
    """After `[DONE]`, and after a fault, bytes are counted and otherwise ignored."""
    for body, fault in ((b"data: [DONE]\n\n", False), (b"data: {x}\n\n", True)):
        reader = Reader()
        reader.feed(body)
        assert reader.feed(b'data: {"a":1}\n\n<html>\n\x1f\x8b') == []
        assert reader.finish() == []
        assert (reader.fault is not None) == fault
        assert reader.done != fault
        assert not reader.unfinished


@pytest.mark.parametrize(
    "body",
    [b"x" * 200, b": " + b"x" * 200, b'data: {"a":"' + b"x" * 200, b"data: [[[[\n" * 30, b'{"a":1,\n' * 30],
    ids=["no field", "comment", "line", "lines", "bare"],
)
def test_oversized(body: bytes) -> None:
    """More than `max_event_bytes` of one event or line is a fault at once, be it finished or not."""
    reader = Reader("safe", 100)
    sent = reader.feed(b'data: {"a":1}\n\n') + reader.feed(body)
    assert len(sent) == 1
    assert reader.fault is not None
    assert reader.fault.kind == "oversized"
    for ended in (body + b"\n", body + b'"}\n\n'):
        assert read([ended], "safe", 100).fault == read([body], "safe", 100).fault


def test_many_small_events_are_not_oversized() -> None:
    """The limit is one event's: what has been handed out is not held."""
    bodies = (b'data: {"a":1}\n\n', b'data: {"a":1}\n', b'{"a":1}\n', b": comment\n")
    assert all(read([body * 50], "safe", 60).fault is None for body in bodies)


@pytest.mark.parametrize("mode", MODES)
def test_deep_nesting_is_a_fault_and_no_error(mode: RepairMode) -> None:
    """Brackets nested deeper than Python's parser follows end the reading; nothing is raised."""
    deep = b"[" * 100_000 + b"]" * 100_000
    assert read([b"data: " + deep + b"\n\n"], mode).broke
    assert read([b"data: " + deep[:100_000] + b"\n\n"], mode).broke
    assert read([b'{"a":' + deep + b"}\n"], mode).broke == (mode != "off")
    assert read([b"data: " + b"[" * 500 + b"]" * 500 + b"\n\n"], mode).events == 1


def test_faults_and_payloads_do_not_show_text() -> None:
    """The text of an answer is in no reason and no repr; the stock error, which holds it, is there when asked for."""
    reader = Reader()
    payload = reader.feed(b'data: {"a":"secret"}\n\n')[0]
    reader.feed(b"data: {secret}\n\n")
    assert isinstance(reader.fault, DecodeFault)
    assert isinstance(reader.fault.error, json.JSONDecodeError)
    assert "secret" not in repr(payload) + repr(reader.fault) + reader.fault.reason
    assert reader.error is None
    undecodable = Reader()
    undecodable.feed(b'data: {"a":"\xff"}\n\n')
    assert undecodable.fault is not None
    assert isinstance(undecodable.fault.error, UnicodeDecodeError)


@pytest.mark.parametrize("body", [b"\x1f\x8b\x08", b"\xff\xfe\n"])
def test_a_body_that_is_no_text_has_the_decoders_error(body: bytes) -> None:
    """What the SDK raises for it is at hand."""
    reader = Reader()
    reader.feed(body)
    reader.finish()
    assert reader.fault is not None
    assert isinstance(reader.fault.error, UnicodeDecodeError)


def test_payload_has_the_surface_of_the_sdks_event() -> None:
    """`data` is the text as the SDK would have it, `json()` its value; `replace` writes another."""
    payload = Reader().feed('id: 3\nretry: 9\nevent: e\ndata: {"a": "é"}\n\n'.encode())[0]
    assert (payload.event, payload.data, payload.json()) == ("e", '{"a": "é"}', {"a": "é"})
    assert (payload.id, payload.retry, payload.is_done) == ("3", 9, False)
    other = payload.replace({"b": "\ud83d"})
    assert (json.loads(other.data), other.json()) == ({"b": "\ud83d"}, {"b": "\ud83d"})
    assert (other.event, other.id, other.retry) == ("e", "3", 9)
    done = Reader().feed(b"data: [DONE]\n\n")[0]
    assert (done.data, done.json(), done.is_done) == ("[DONE]", None, True)
    assert isinstance(done, Payload)


BULK = {
    "one line": lambda n: b'data: {"a":"' + b"x" * 10 * n + b'"}\n\n',
    "many data lines": lambda n: b"data: [\n" + b'data: {"a":"]\\""},\n' * n + b"data: 1]\n\n",
    "tiny events": lambda n: b'data: {"a":1}\n\n' * n,
    "no blank lines": lambda n: b'data: {"a":1}\n' * n,
    "glued": lambda n: b"data: " + b'{"a":1}' * n + b"\n\n",
    "bare lines": lambda n: b'{"a":1}\n' * n,
    "one bare text": lambda n: b"{\n" + b'"a":1,\n' * n + b'"b":2}\n',
    "nested": lambda n: b"data: " + b"[\ndata:" * n + b"\n\n",
    "blank lines": lambda n: b"\n" * n,
}


@pytest.mark.parametrize("size", [1, 16, 1 << 20])
@pytest.mark.parametrize("name", BULK)
def test_time_is_linear(name: str, size: int) -> None:
    """Six times the bytes take about six times as long, not thirty-six, in reads of any size."""

    def seconds(factor: int) -> float:
        body = BULK[name](300 * factor)
        start = time.process_time()
        read(in_pieces(body, size))
        return time.process_time() - start

    assert min(seconds(6) for _ in range(2)) < 18 * max(min(seconds(1) for _ in range(3)), 0.001)

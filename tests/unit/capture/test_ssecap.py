"""The law: what was dumped is loaded again as it was, and anything else is one clear sentence, or less of a capture."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_stream_guard.apis.request import StreamRequest
from openai_stream_guard.capture.json_line import NotACapture
from openai_stream_guard.capture.recording import MAX_ATTEMPTS, MAX_READS, Capture, Ending, Read, Recording, Verdict
from openai_stream_guard.capture.rerun import rerun
from openai_stream_guard.capture.ssecap import MAX_FILE_BYTES, VERSION, dump, load
from openai_stream_guard.config.policy import Policy
from openai_stream_guard.diagnosis.evidence import ResponseHead
from openai_stream_guard.engine.decisions import Timeouts
from tests.support.recorded import a_capture, record
from tests.support.simulated import CHAT, Response

WORDS = st.text(max_size=20)
COUNTS = st.integers(0, 1 << 40)
SECONDS = st.floats(0, 1e6)
FAULTS = st.sampled_from(["truncated", "stalled", "disconnected", "diverged"])
VERDICTS = st.builds(Verdict, st.none() | FAULTS, WORDS, COUNTS, COUNTS, st.dictionaries(WORDS, COUNTS, max_size=3))
ENDINGS = st.builds(Ending, SECONDS, st.sampled_from(["body", "guard"]), st.none(), WORDS, st.none()) | st.builds(
    Ending, SECONDS, st.just("transport"), FAULTS, WORDS, st.none() | WORDS
)
BYTES = st.binary(max_size=40) | WORDS.map(lambda text: text.encode("utf-8", "replace"))
READS = st.lists(st.tuples(SECONDS, BYTES, st.just(0.0) | st.floats(0, 1)))
RECORDINGS = st.builds(
    Recording,
    opened=SECONDS,
    way=st.sampled_from([None, "restart", "resume", "continue", "replay"]),
    rule=st.sampled_from(["strict", "learnt", "auto", "lenient"]),
    head=st.builds(
        ResponseHead,
        status=st.none() | st.integers(100, 599),
        request_id=st.none() | WORDS,
        headers=st.dictionaries(WORDS, WORDS, max_size=3),
        http_version=WORDS,
    ),
    polled=st.booleans(),
    lost_reads=COUNTS,
    lost_bytes=COUNTS,
    reads=READS.map(lambda reads: tuple(Read(at, data, at * part) for at, data, part in sorted(reads))),
    ending=ENDINGS | ENDINGS.map(lambda ending: replace(ending, waiting_since=ending.at / 2)),
    verdict=VERDICTS,
)
BODIES = st.dictionaries(
    WORDS, st.none() | st.booleans() | st.integers() | WORDS | st.lists(st.dictionaries(WORDS, WORDS))
)
CAPTURES = st.builds(
    Capture,
    st.builds(
        StreamRequest,
        WORDS,
        WORDS,
        WORDS,
        BODIES,
        resendable=st.booleans(),
        starting_after=st.none() | COUNTS,
        one_identity=st.booleans(),
        errors_are_values=st.booleans(),
    ),
    st.builds(Policy, recovery=st.sampled_from([(), ("replay",)]), repair=st.sampled_from(["safe", "off"])),
    st.tuples(SECONDS, SECONDS | st.just(math.inf)).map(lambda limits: Timeouts(*limits)),
    SECONDS,
    st.lists(RECORDINGS, max_size=3).map(tuple),
    written=WORDS,
    made_by=st.dictionaries(WORDS, WORDS, max_size=2),
)
OLD = Path(__file__).parents[2] / "vectors" / "version_1.ssecap"
GOOD = dump(a_capture())
LINES = GOOD.splitlines(keepends=True)


@settings(deadline=None, max_examples=150)
@given(CAPTURES)
def test_a_capture_survives_its_file(capture: Capture) -> None:
    """Any bytes in any reads, any words in any place."""
    assert load(dump(capture)) == capture


def test_text_can_be_read_in_the_file() -> None:
    """A person who opens the file sees the events; only what is no text is encoded."""
    capture = a_capture([": Zürich\u2028 \x00\n\n".encode(), b": \xe2\x82\n", b":" + b"\x01" * 50])
    lines = dump(capture).decode().split("\n")
    assert ': Zürich\u2028 \\u0000\\n\\n"' in lines[2]
    assert ['"base64"' in line for line in lines[2:5]] == [False, True, True]
    assert load(dump(capture)) == capture


@settings(max_examples=200)
@given(st.integers(0, len(GOOD)))
def test_a_file_that_was_cut_is_loaded_as_far_as_it_goes(length: int) -> None:
    """Wherever it is cut: what is whole is there, and it is known that something is not."""
    try:
        capture = load(GOOD[:length])
    except NotACapture:
        assert length < len(LINES[0])
        return
    whole = a_capture()
    assert capture.whole is (length >= len(GOOD) - 1)  # the last line end is no loss
    if capture.attempts:
        reads = capture.attempts[0].reads
        assert reads == whole.attempts[0].reads[: len(reads)]
    assert replace(capture, attempts=(), whole=True) == replace(whole, attempts=())
    rerun(capture)


def test_what_editors_and_other_systems_do_to_a_file_is_forgiven() -> None:
    """A byte order mark, and line ends of another system."""
    assert load(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n")) == a_capture()


def head(**changes: Any) -> bytes:
    """The first line with other members."""
    return json.dumps({**json.loads(LINES[0]), **changes}).encode() + b"\n"


def request(**changes: Any) -> bytes:
    """The first line with another request."""
    return head(request={**json.loads(LINES[0])["request"], **changes})


def policy(**changes: Any) -> bytes:
    """The first line with another policy."""
    return head(policy={**json.loads(LINES[0])["policy"], **changes})


def line(number: int, **changes: Any) -> bytes:
    """A good file with other members in one line."""
    changed = json.dumps({**json.loads(LINES[number]), **changes}).encode() + b"\n"
    return b"".join([*LINES[:number], changed, *LINES[number + 1 :]])


DEEP = b'{"type": "capture", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the file is empty"),
    "no JSON": (b"hello\n", "not a capture file"),
    "not one line": (b"hello", "not a capture file"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0\0", "not a capture file"),
    "other JSON": (b'{"type": "log"}\n', "not a capture file"),
    "a list": (b"[]\n", "not a capture file"),
    "deep": (DEEP, "not a capture file"),
    "newer": (head(version=VERSION + 1), f"version {VERSION + 1} of the format"),
    "no version": (head(version=None), "line 1: 'version' must be an integer"),
    "huge version": (b'{"type": "capture", "version": ' + b"9" * 5000 + b"}\n", "not a capture file"),
    "a million lines": (LINES[0] + b'{"type": "x"}\n' * 1_000_000, "line 2: 'type' must be one of attempt, read"),
    "a million attempts": (LINES[0] + b"{}\n" * 1_000_000, "line 2: 'type' must be one of"),
    "too large": (b" " * (MAX_FILE_BYTES + 1), "has 16777217 bytes"),
    "a bad line": (line(2) + b"", ""),
    "a torn line inside": (b"".join([*LINES[:2], LINES[2][:20] + b"\n", *LINES[3:]]), "line 3: not a JSON object"),
    "negative time": (line(2, at=-0.1), "line 3: 'at' must be a number of seconds from 0 to"),
    "endless time": (line(2, at=1e300), "line 3: 'at' must be a number of seconds from 0 to"),
    "no time": (line(2, at=math.nan), "line 3: 'at' must be a number of seconds from 0 to"),
    "time in words": (line(2, at="now"), "line 3: 'at' must be a number of seconds"),
    "waiting for the past": (line(2, waiting_since=99.0), "line 3: 'waiting_since' is after 'at'"),
    "an end that waits for the past": (line(4, waiting_since=99.0), "line 5: 'waiting_since' is after 'at'"),
    "backwards": (line(2, at=99.0), "line 4: 'at' is before"),
    "a flag for a count": (line(1, lost_bytes=True), "line 2: 'lost_bytes' must be an integer"),
    "a negative count": (line(1, lost_bytes=-1), "line 2: 'lost_bytes' must be an integer from 0 to"),
    "a vast count": (line(1, lost_bytes=1 << 80), "line 2: 'lost_bytes' must be an integer from 0 to"),
    "no base64": (line(3, base64="?"), "line 4: the bytes cannot be decoded"),
    "half a character": (line(2, text="\ud800"), "line 3: the bytes cannot be decoded"),
    "no bytes": (line(2, text=None), "line 3: 'text' must be a string"),
    "an unknown way": (line(1, way="../../etc"), "line 2: 'way' must be one of resume, restart"),
    "headers of numbers": (line(1, headers={"a": 1}), "line 2: 'headers.a' must be a string"),
    "a bad policy": (policy(repair="never"), "line 1: the policy is not valid: repair is 'never'"),
    "a policy of code": (policy(continuation="os:system"), "line 1: 'continuation' must be true or false"),
    "no request": (head(request=7), "line 1: 'request' must be an object"),
    "a body of text": (request(body="x"), "line 1: 'body' must be an object"),
    "a verdict too soon": (b"".join([*LINES[:2], LINES[-2]]), "line 3: a line of type 'verdict' is not allowed here"),
    "a read too late": (b"".join([*LINES[:-1], LINES[2]]), "a line of type 'read' is not allowed here"),
    "a second end": (GOOD + LINES[-1], "nothing may follow the end of the capture"),
    "an unknown fault": (line(len(LINES) - 2, fault="bad luck"), "'fault' must be one of disconnected"),
}
del HOSTILE["a bad line"]


@pytest.mark.parametrize(("data", "said"), HOSTILE.values(), ids=HOSTILE)
def test_anything_else_is_refused_in_a_sentence(data: bytes, said: str) -> None:
    """The error is typed, short, names the line, and is there within seconds."""
    started = time.monotonic()
    with pytest.raises(NotACapture) as caught:
        load(data)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200
    assert time.monotonic() - started < 10


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_damage_is_more_than_a_refusal(data: st.DataObject) -> None:
    """Whatever bytes are replaced: a `NotACapture`, or a capture that can be run again."""
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b"9", b"-", b'"', b"\n", b"\xff"])
        )
    try:
        capture = load(bytes(raw))
    except NotACapture:
        return
    rerun(capture)


def test_the_largest_capture_takes_seconds() -> None:
    """As many reads as an attempt can have are loaded and run again in bounded time, and no read more."""
    read = b'{"type": "read", "at": 0, "text": ":"}\n'
    started = time.monotonic()
    capture = load(LINES[0] + LINES[1] + read * MAX_READS)
    assert len(rerun(capture)[0].steps) == MAX_READS
    assert time.monotonic() - started < 10
    with pytest.raises(NotACapture, match="more than 16384 reads in one attempt"):
        load(LINES[0] + LINES[1] + read * (MAX_READS + 1))
    with pytest.raises(NotACapture, match="more than 8 attempts"):
        load(LINES[0] + LINES[1] * (MAX_ATTEMPTS + 1))


def test_a_request_of_another_api_is_kept() -> None:
    """What the end rule depends on is in the file."""
    request = replace(CHAT, host="api.openai.com", one_identity=True, starting_after=7, method="get")
    capture = record([Response([])], request=request, timeouts=Timeouts(1.5, math.inf))
    assert load(dump(capture)) == capture
    assert capture.attempts[0].rule == "strict"


def test_a_file_of_the_first_release_is_read_and_written_alike() -> None:
    """Version 1 of the format: each member of the file has its place, and is written again under the same name."""
    raw = OLD.read_bytes()
    capture = load(raw)
    assert capture.whole
    assert capture.made_by["openai-stream-guard"] == "0.1.0"
    assert (capture.request.host, capture.request.one_identity) == ("llm.example.com:8000", True)
    assert capture.request.body == {"model": "m", "n": 1, "tools": [{"type": "function"}]}
    assert capture.policy.recovery == ("restart", "replay", "continue")
    assert capture.policy.continuation is not None
    assert (capture.timeouts.first_event, capture.timeouts.idle, capture.origin) == (30.0, math.inf, 1000.0)
    first, second, third = capture.attempts
    assert (first.opened, first.way, second.way, third.rule) == (0.0, None, "continue", "auto")
    assert (second.head.request_id, second.head.http_version) == ("req", "HTTP/1.1")
    assert second.head.headers == {"server": "x"}
    assert first.reads[1].waiting_since == 0.8
    assert first.reads[3] == Read(2.9, b": keep-alive \xff\n\n", 2.4)
    assert first.ending == Ending(
        3.4, "transport", "disconnected", "reset", "builtins.ConnectionResetError", waiting_since=2.4
    )
    assert second.verdict == Verdict(
        "truncated", "the body ends without its end mark", 3, 201, {"missing_blank_line": 1}
    )
    assert [one.comparison for one in rerun(capture)] == ["same"] * 3
    assert [json.loads(line) for line in dump(capture).splitlines()] == [json.loads(line) for line in raw.splitlines()]

"""Every fault does on the wire what its sentence says, and the SDK alone does under it what was measured."""

from __future__ import annotations

import http.client
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import openai
import pytest

from openai_stream_guard.sse import Decoder
from openai_stream_guard.testing import (
    ANSWERS,
    FAULTS,
    Answer,
    AnswerVariant,
    Equal,
    Fault,
    Outcome,
    Raises,
    ScriptedResponse,
    Send,
    Server,
    Whole,
    build_answer,
    find_fault,
    healthy,
)

MIDWAY = 6
# fmt: off
MEASURED = [
    "clean", "one_chunk", "byte_by_byte", "utf8_split", "crlf", "cr", "crlf_split", "bom", "comments",
    "blank_lines", "retry_only", "id_only", "id_lines", "empty_data", "ping_event", "no_space",
    "unicode_separators", "gzip", "huge_event", "slow", "trailing_after_done", "finish_length",
    "missing_blank", "blank_inside", "data_line_cut", "glued_objects", "glued_prefix", "no_final_newline",
    "no_final_blank_no_done", "no_done", "fin_after_finish", "fin_after_done", "nul_keepalive",
    "space_prefix", "garbage_line", "garbage_event", "invalid_utf8", "truncate_clean",
    "truncate_mid_event", "truncate_content_length", "truncate_close_delimited", "fin_mid_chunk",
    "fin_no_terminator", "rst", "stall", "stall_heartbeat", "stall_before_first", "error_event",
    "error_event_named", "error_event_flat", "error_invalid_request", "error_llamacpp_line", "html_200",
    "json_200", "json_error_200", "empty_body", "gzip_corrupt", "bad_chunk_header", "status_503",
    "tool_clean", "tool_cut", "seq_gap", "response_failed",
]
# fmt: on
CHAT = [fault for fault in FAULTS.values() if fault.api in (None, "chat")]
GENERIC = [(fault, api) for fault in FAULTS.values() if fault.api is None for api in ("chat", "responses")]
OF_ANY_API = [*GENERIC, *((fault, fault.api) for fault in FAULTS.values() if fault.api is not None)]
OF_BOTH = [*GENERIC, *((fault, "chat") for fault in FAULTS.values() if fault.api == "chat")]
ODD = [(fault, api) for fault, api in OF_ANY_API if isinstance(fault.promise, Equal)]
DAMAGED = [(fault, api) for fault, api in OF_BOTH if fault.promise == Whole(1)]
BROKEN = [(fault, api) for fault, api in OF_BOTH if fault.promise == Whole(2)]
PLACED = [fault for fault in CHAT if fault.placed and fault.name != "gzip_corrupt"]


def ids(faults: list[tuple[Fault, str]]) -> list[str]:
    """The names, for the test report."""
    return [f"{fault.name}-{api}" for fault, api in faults]


def answer_from(fault: Fault, api: str = "chat", serial: int = 1) -> Answer:
    """The take of the answer that the fault is about; of any response the one with every kind of place."""
    usual = "several" if api == "responses" and fault.api is None else "text"
    return build_answer(api, fault.answer or usual, AnswerVariant(serial))


def sent(scripted: ScriptedResponse) -> bytes:
    """The body that the steps send, before any framing."""
    return b"".join(step.data for step in scripted.steps if isinstance(step, Send))


def data_of(body: bytes) -> list[str]:
    """What a reader that keeps to the specification gets out of a body."""
    decoder = Decoder()
    return [event.data for event in decoder.feed(body) + decoder.finish()]


def test_every_measured_fault_has_a_name() -> None:
    """The catalogue holds every fault that the SDK was measured with."""
    assert not set(MEASURED) - set(FAULTS)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_in_one_sentence(fault: Fault) -> None:
    """The name is the key, and what the fault does is one sentence on one line."""
    assert FAULTS[fault.name] is fault
    assert re.fullmatch(r"[A-Z`][^\n]*[^.]\.", fault.does)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_that_loses_something_has_a_verdict(fault: Fault) -> None:
    """Only what can lose something names the error it ends in when it strikes every time."""
    lossless = isinstance(fault.promise, Equal) or fault.promise == Whole(1)
    assert (fault.verdict is None) is (lossless or fault.name == "status_503")


@pytest.mark.parametrize("after", [None, 0, MIDWAY, 99])
@pytest.mark.parametrize(("fault", "api"), ODD, ids=ids(ODD))
def test_odd_streams_carry_exactly_the_healthy_payloads(fault: Fault, api: str, after: int | None) -> None:
    """To a reader that keeps to the specification an odd stream is the healthy one, wherever it strikes."""
    answer = answer_from(fault, api)
    body = sent(fault.apply(answer, after))
    if fault.name == "gzip":
        body = zlib.decompress(body, wbits=31)
    wanted = [frame.data for frame in answer.frames]
    if fault.name == "no_final_newline" or (fault.name == "no_done" and api != "responses"):
        del wanted[-1]  # the specification drops what no blank line ends
    if fault.name == "trailing_after_done":
        wanted.append('{"junk": ')
    assert data_of(body) == wanted


@pytest.mark.parametrize("after", [None, 0, MIDWAY, 99])
@pytest.mark.parametrize(("fault", "api"), DAMAGED, ids=ids(DAMAGED))
def test_damaged_framing_loses_no_payload(fault: Fault, api: str, after: int | None) -> None:
    """Where the promise is a repair, every payload is on the wire, whole and in order."""
    answer = answer_from(fault, api)
    scripted = fault.apply(answer, after)
    assert scripted != healthy(answer)
    place, body = 0, sent(scripted).decode()
    for frame in answer.frames:
        if frame.data != "[DONE]":
            place = body.index(frame.data, place) + len(frame.data)


@pytest.mark.parametrize("after", [None, 0, MIDWAY])
@pytest.mark.parametrize("fault", PLACED, ids=lambda fault: fault.name)
def test_what_comes_before_a_fault_is_healthy(fault: Fault, after: int | None) -> None:
    """A fault that strikes at a frame leaves the frames before it as they were."""
    answer = answer_from(fault)
    before = b"".join(answer.encode()[: answer.visible if after is None else after])
    assert sent(fault.apply(answer, after)).removeprefix(b"retry: 3000\n\n").startswith(before)


@pytest.mark.parametrize("after", [None, 0, MIDWAY, 99])
@pytest.mark.parametrize(("fault", "api"), BROKEN, ids=ids(BROKEN))
def test_a_broken_stream_is_not_whole(fault: Fault, api: str, after: int | None) -> None:
    """Where the promise is another try, a reader of the specification does not get every payload."""
    answer = answer_from(fault, api)
    assert data_of(sent(fault.apply(answer, after))) != [frame.data for frame in answer.frames]


def test_a_fault_beyond_the_end_strikes_at_the_last_frame() -> None:
    """A number of frames that the answer does not have is no error."""
    answer = answer_from(FAULTS["clean"])
    assert len(data_of(sent(FAULTS["truncate_clean"].apply(answer, 99)))) == len(answer.frames) - 1


def test_the_halves_of_an_event_part_inside_its_text() -> None:
    """An event is cut inside the string that says something: joined again it is the event."""
    answer = answer_from(FAULTS["blank_inside"])
    body = sent(FAULTS["blank_inside"].apply(answer, 3))
    cut = [data for data in data_of(body) if data not in {frame.data for frame in answer.frames}]
    assert "".join(cut) == answer.frames[3].data
    assert json.loads("".join(cut))["choices"][0]["delta"]["content"]
    assert '"content":"' in cut[0]


@pytest.mark.parametrize(
    ("name", "length", "last"),
    [
        ("truncate_clean", None, b"\r\n0\r\n\r\n"),
        ("fin_no_terminator", None, b"}\n\n\r\n"),
        ("truncate_close_delimited", None, b"}\n\n"),
        ("truncate_content_length", 4_000, b"}\n\n"),
        ("bad_chunk_header", None, b"zz\r\nnonsense\r\n"),
    ],
)
def test_the_ends_differ_on_the_wire(name: str, length: int | None, last: bytes) -> None:
    """A clean end has its 0-chunk, a lost connection none, and a promised length is not kept."""
    with Server(fault=name, after=MIDWAY) as server:
        host, _, port = server.base_url[7:-3].partition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=5)) as connection:
            connection.request("POST", "/v1/chat/completions", json.dumps({"stream": True}))
            assert connection.sock is not None
            received = b""
            while not received.endswith(b"0\r\n\r\n") and (part := connection.sock.recv(65_536)):
                received += part
    assert received.endswith(last)
    promised = re.search(rb"content-length: (\d+)", received)
    assert (promised is not None) is (length is not None)
    if promised is not None:
        assert int(promised[1]) > len(received.partition(b"\r\n\r\n")[2])


def test_a_gap_is_one_missing_number() -> None:
    """Under `seq_gap` the sequence numbers jump by two, once, at a delta."""
    numbers = [json.loads(data)["sequence_number"] for data in data_of(sent(_responses("seq_gap", MIDWAY)))]
    assert [later - earlier for earlier, later in pairwise(numbers)].count(2) == 1


def _responses(name: str, after: int | None = None) -> ScriptedResponse:
    return FAULTS[name].apply(answer_from(FAULTS[name], "responses"), after)


def test_a_failed_response_is_the_apis_word() -> None:
    """`response_failed` ends in the terminal event that says so."""
    assert json.loads(data_of(sent(_responses("response_failed")))[-1])["type"] == "response.failed"


@pytest.mark.parametrize("name", ANSWERS["chat"])
def test_an_answer_is_the_same_streamed_and_plain(name: str) -> None:
    """The deltas of every recorded answer add up to the message of its plain body."""
    answer = build_answer("chat", name, AnswerVariant(1))
    said: dict[int, dict[str, str]] = {}
    for frame in answer.frames[:-1]:
        for one in json.loads(frame.data)["choices"]:
            for path, text in _texts(one.get("delta", {})):
                texts = said.setdefault(one["index"], {})
                texts[path] = texts.get(path, "") + text
    plain = {one["index"]: dict(_texts(one["message"])) for one in answer.plain["choices"]}
    assert said == plain
    assert all(one["finish_reason"] for one in answer.plain["choices"])


def _texts(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every streamed text in a delta or a message, by its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"content", "refusal", "reasoning_content", "arguments", "name"} and inner:
                yield f"{path}/{key}", inner
            else:
                yield from _texts(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            index = inner.get("index", place) if isinstance(inner, dict) else place
            yield from _texts(inner, f"{path}/{index}")


@pytest.mark.parametrize("name", ANSWERS["chat"])
def test_the_first_visible_frame_is_the_first_that_shows_something(name: str) -> None:
    """What comes before `visible` shows a reader nothing, and the frame at it does."""
    answer = build_answer("chat", name, AnswerVariant(1))
    shown = [
        any(text for one in json.loads(frame.data)["choices"] for _, text in _texts(one.get("delta", {})))
        for frame in answer.frames[:-1]
    ]
    assert shown.index(True) == answer.visible


def test_an_unknown_fault_is_answered_with_the_nearest() -> None:
    """A wrong name names the right one; a fault stands for itself."""
    assert find_fault(FAULTS["rst"]) is FAULTS["rst"]
    with pytest.raises(ValueError, match="unknown fault 'truncated'; did you mean 'truncate_clean'"):
        find_fault("truncated")


def test_a_fault_that_strikes_every_time_ends_in_its_error() -> None:
    """Once is survived; every time costs all retries, or none where asking again is no use."""
    rst, invalid = FAULTS["rst"], FAULTS["error_invalid_request"]
    assert rst.promised(every_time=False, max_retries=2) == Whole(2)
    assert rst.promised(every_time=True, max_retries=2) == Raises("disconnected", requests=3)
    assert invalid.promised(every_time=True, max_retries=2) == Raises("upstream_error", requests=1)
    assert FAULTS["bom"].promised(every_time=True, max_retries=2) == Whole(1)


class _Typed(Exception):
    fault = "truncated"


WHOLE = Outcome(("a", "b"), "ab", 1)
SHORT = Outcome(("a",), "a", 1)


@pytest.mark.parametrize(
    ("promise", "outcome", "kept"),
    [
        (Equal(), WHOLE, True),
        (Equal(), replace(WHOLE, warnings=1), False),
        (Equal(), replace(WHOLE, requests=2), False),
        (Equal(), SHORT, False),
        (Whole(1), replace(WHOLE, warnings=1), True),
        (Whole(1), replace(WHOLE, items=("a", "a", "b")), False),
        (Whole(2), replace(WHOLE, requests=2), True),
        (Whole(2), replace(WHOLE, requests=3), False),
        (Whole(2), replace(WHOLE, error=_Typed()), False),
        (Whole(2), replace(WHOLE, hang=True), False),
        (Raises("truncated", 1), replace(SHORT, error=_Typed()), True),
        (Raises("truncated", 1), replace(SHORT, error=_Typed(), drop_in=False), False),
        (Raises("truncated", 1), replace(SHORT, error=_Typed(), items=("b",)), False),
        (Raises("truncated", 1), replace(SHORT, error=_Typed(), hang=True), False),
        (Raises("truncated", 2), replace(SHORT, error=_Typed()), False),
        (Raises("stalled", 1), replace(SHORT, error=_Typed()), False),
        (Raises("truncated", 1), replace(SHORT, error=ValueError()), False),
        (Raises("truncated", 1), WHOLE, False),
    ],
)
def test_a_promise_is_kept_by_nothing_less(promise: Whole | Equal | Raises, outcome: Outcome, kept: bool) -> None:
    """Neither silence, nor an error of another kind, nor a request too many keeps a promise."""
    assert promise.kept(outcome, WHOLE) is kept


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Server, openai.OpenAI]]:
    """A server and an SDK client of it, unguarded."""
    with (
        Server() as server,
        openai.DefaultHttpxClient(trust_env=False) as http_client,
        openai.OpenAI(base_url=server.base_url, api_key="x", timeout=1.0, http_client=http_client) as client,
    ):
        yield server, client


SILENT = "silent"
TRANSPORT = {"RemoteProtocolError", "ReadError", "DecodingError", "APIConnectionError"}
TIMEOUT = {"ReadTimeout", "APITimeoutError"}
UNGUARDED: list[tuple[str, int, object]] = [
    *((name, 15, SILENT) for name in MEASURED[:7]),
    ("bom", 14, SILENT),
    ("comments", 15, SILENT),
    ("retry_only", 0, {"JSONDecodeError"}),
    ("id_only", 6, {"JSONDecodeError"}),
    ("id_lines", 15, SILENT),
    ("empty_data", 6, {"JSONDecodeError"}),
    ("ping_event", 16, SILENT),
    ("gzip", 15, SILENT),
    ("huge_event", 16, SILENT),
    ("trailing_after_done", 15, SILENT),
    ("finish_length", 7, SILENT),
    ("missing_blank", 6, {"JSONDecodeError"}),
    ("blank_inside", 6, {"JSONDecodeError"}),
    ("glued_prefix", 6, {"JSONDecodeError"}),
    ("no_final_newline", 15, SILENT),
    ("no_final_blank_no_done", 14, SILENT),
    ("no_done", 15, SILENT),
    ("fin_after_finish", 15, TRANSPORT),
    ("nul_keepalive", 15, SILENT),
    ("space_prefix", 14, SILENT),
    ("garbage_line", 15, SILENT),
    ("garbage_event", 6, {"JSONDecodeError"}),
    ("invalid_utf8", 6, {"UnicodeDecodeError"}),
    ("truncate_clean", 6, SILENT),
    ("truncate_mid_event", 6, SILENT),
    ("truncate_content_length", 6, TRANSPORT),
    ("fin_mid_chunk", 6, TRANSPORT),
    ("rst", 6, TRANSPORT),
    ("stall", 6, TIMEOUT),
    ("stall_before_first", 0, TIMEOUT),
    ("error_event", 6, {"APIError"}),
    ("error_event_named", 6, {"APIError"}),
    ("html_200", 0, SILENT),
    ("json_200", 0, SILENT),
    ("json_page_200", 0, SILENT),
    ("empty_body", 0, SILENT),
    ("early_finish", 16, SILENT),
    ("no_finish", 14, SILENT),
    ("early_finish_cut", 14, SILENT),
    ("early_finish_rst", 14, TRANSPORT),
    ("line_start_lost", 14, SILENT),
    ("error_in_event", 6, {"JSONDecodeError"}),
    ("error_bare", 7, SILENT),
    ("error_after_finish", 15, {"APIError"}),
]


@pytest.mark.parametrize(("name", "items", "ending"), UNGUARDED, ids=[row[0] for row in UNGUARDED])
def test_the_sdk_alone_does_what_was_measured(
    stage: tuple[Server, openai.OpenAI], name: str, items: int, ending: object
) -> None:
    """Every fault strikes the real SDK as it did when it was measured: so many items, then this ending."""
    server, client = stage
    server.reset(fault=name, after=MIDWAY)
    received, raised = 0, SILENT
    stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
    try:
        for _ in stream:
            received += 1
    except Exception as error:
        raised = type(error).__name__
    finally:
        stream.close()
    assert received == items
    assert raised == ending if isinstance(ending, str) else raised in ending
    assert len(server.requests) == 1

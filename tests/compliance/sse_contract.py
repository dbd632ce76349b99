"""The cases of launchdarkly/sse-contract-tests, written down as facts: which reads come, which events they are.

    python -m tests.compliance.sse_contract            compare the results with README.md
    python -m tests.compliance.sse_contract --write    put them there

Of commit 81fc820 (2026-05-08). The suite drives an EventSource client over HTTP; here its parsing cases go to the
package's decoder, and to the SDK's own. README.md says which cases are left out, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from openai._streaming import SSEDecoder

from openai_stream_guard.sse import Decoder

from .judging import report

BOM: Final = "\ufeff"
LARGE: Final = "sse-contract " * 403_300  # 5 MiB
HUNDRED: Final = [f"message {number}" for number in range(100)]


class Received(NamedTuple):
    """An event as the suite compares it; the type is "message" by default."""

    data: str
    type: str = "message"
    id: str = ""


class Case(NamedTuple):
    """What is sent, read by read, and what has to be received."""

    group: str
    name: str
    reads: list[bytes]
    events: list[Received]


def _bytes(reads: tuple[str | bytes, ...]) -> list[bytes]:
    return [read if isinstance(read, bytes) else read.encode() for read in reads]


def _parsing(name: str, *reads: str | bytes, events: list[Received]) -> Case:
    return Case("basic parsing", name, _bytes(reads), events)


def _bom(name: str, *reads: str | bytes, events: list[Received]) -> Case:
    return Case("BOM handling", name, _bytes(reads), events)


def _comment(name: str, *reads: str, events: list[Received]) -> Case:
    return Case("comments", name, _bytes(reads), events)


HELLO: Final = [Received("Hello")]
GREETING: Final = [Received("Hello", "greeting", "abc")]

# fmt: off
WRITTEN: Final = [
    _parsing("one-line message in one chunk", "data: Hello\n\n", events=HELLO),
    _parsing("two messages spanning 3 chunks with shared chunk", "data: test", "test\n\ndata:", "test\n\n",
             events=[Received("testtest"), Received("test")]),
    _parsing("large message in one chunk", f"data: {LARGE}\n\n", events=[Received(LARGE)]),
    _parsing("large message in two chunks", f"data: {LARGE}", f"{LARGE}\n\n", events=[Received(LARGE * 2)]),
    _parsing("one-line message in two chunks", "data: Hel", "lo\n\n", events=HELLO),
    _parsing("two one-line messages in one chunk", "data: Hello\n\ndata: World\n\n",
             events=[Received("Hello"), Received("World")]),
    _parsing("one two-line message in one chunk", "data: Hello\ndata:World\n\n", events=[Received("Hello\nWorld")]),
    _parsing("empty data", "data:\n\n", events=[Received("")]),
    _parsing("event with specific type", "event: greeting\ndata: Hello\n\n", events=[Received("Hello", "greeting")]),
    _parsing("default event type", "data: Hello\n\n", events=[Received("Hello", "message")]),
    _parsing("event with ID", "id: abc\ndata: Hello\n\n", events=[Received("Hello", id="abc")]),
    _parsing("event with type and ID", "event: greeting\nid: abc\ndata: Hello\n\n", events=GREETING),
    _parsing("ID field is ignored if it contains a null", "id: a\x00bc\ndata: Hello\n\n", events=HELLO),
    _parsing("last ID persists if not overridden by later event", "id: abc\ndata: first\n\n", "data: second\n\n",
             events=[Received("first", id="abc"), Received("second", id="abc")]),
    _parsing("last ID can be overridden by an empty value", "id: abc\ndata: first\n\n", "id: \ndata: second\n\n",
             events=[Received("first", id="abc"), Received("second")]),
    _parsing("fields in reverse order", "data: Hello\nid: abc\nevent: greeting\n\n", events=GREETING),
    _parsing("unknown field is ignored", "event: greeting\ncolor: blue\ndata: Hello\n\n",
             events=[Received("Hello", "greeting")]),
    _parsing("fields without leading space", "event:greeting\ndata:Hello\n\n", events=[Received("Hello", "greeting")]),
    _parsing("fields with extra leading space", "event:  greeting\ndata:  Hello\n\n",
             events=[Received(" Hello", " greeting")]),
    _parsing("field with no colon", "data\n\ndata\ndata\n\n", events=[Received(""), Received("\n")]),
    _parsing("multi-byte characters", "data: €豆腐\n\n", events=[Received("€豆腐")]),
    _parsing("many messages in rapid succession", "".join(f"data: {words}\n\n" for words in HUNDRED),
             events=[Received(words) for words in HUNDRED]),
    _parsing("multi-byte characters sent in single-byte pieces",
             *(bytes([byte]) for byte in "data: €豆腐\n\n".encode()), events=[Received("€豆腐")]),

    _bom("BOM at start of stream is stripped", f"{BOM}data: Hello\n\n", events=HELLO),
    _bom("BOM stripped before first event with type and ID", f"{BOM}event: greeting\nid: abc\ndata: Hello\n\n",
         events=GREETING),
    _bom("BOM stripped with multiple messages", f"{BOM}data: First\n\ndata: Second\n\n",
         events=[Received("First"), Received("Second")]),
    _bom("BOM only stripped at stream start, not from later data", "data: First\n\n", f"data: {BOM}Second\n\n",
         events=[Received("First"), Received(f"{BOM}Second")]),
    _bom("BOM split across first two chunks", b"\xef\xbb", b"\xbfdata: Hello\n\n", events=HELLO),
    _bom("BOM split byte by byte across chunks", b"\xef", b"\xbb", b"\xbf", "data: Hello\n\n", events=HELLO),
    _bom("only first BOM at start is stripped", f"{BOM}data: {BOM}Hello\n\n", events=[Received(f"{BOM}Hello")]),
    _bom("no BOM - baseline test", "data: Hello\n\n", events=HELLO),
    _bom("BOM with multi-line data", f"{BOM}data: Line1\ndata: Line2\n\n", events=[Received("Line1\nLine2")]),
    _bom("BOM with comment at start", f"{BOM}:comment\ndata: Hello\n\n", events=HELLO),
    _bom("BOM does not affect empty data field", f"{BOM}data:\n\n", events=[Received("")]),

    _comment("single comment", ":Hello\n", events=[]),
    _comment("two comments in a row", ":Hello\n", ":World\n", events=[]),
    _comment("comment before event", ":Hello\n", "data: Hello\n\n", events=HELLO),
    _comment("comment after event", "data: Hello\n\n", ":Hello\n", events=HELLO),

    Case("linefeeds", "CRLF where CR is end of 1 chunk",
         [b"data: Hello\r", b"\ndata: World\r", b"\n\r\ndata: OK\r", b"\n", b"\r", b"\n"],
         [Received("Hello\nWorld"), Received("OK")]),
    Case("reconnection", "discards partial messages on retry", [b"id: abc\ndata: Hello\n\nid: def\ndata: Goodbye"],
         [Received("Hello", id="abc")]),
]

WITH_EACH_LINE_END: Final[Mapping[str, tuple[str, list[Received]]]] = {
    "one-line event": ("data: event 1||", [Received("event 1")]),
    "one-line event + two-line event": ("data: event 1||data: event 2 line 1|data: event 2 line 2||",
                                        [Received("event 1"), Received("event 2 line 1\nevent 2 line 2")]),
    "3-line event with empty line at beginning": ("data:|data: line2|data: line3||", [Received("\nline2\nline3")]),
    "3-line event with empty line in middle": ("data: line1|data:|data: line3||", [Received("line1\n\nline3")]),
    "ignores 1 extra empty line": ("data: event 1|||data: event 2||", [Received("event 1"), Received("event 2")]),
    "ignores 2 extra empty lines": ("data: event 1||||data: event 2||", [Received("event 1"), Received("event 2")]),
}
# fmt: on


def cases() -> Iterator[Case]:
    """All cases, as the suite sends them: those about line ends with each line end, and in reads of 1 or 2 bytes."""
    yield from WRITTEN
    for label, line_end in (("LF", "\n"), ("CRLF", "\r\n"), ("CR", "\r")):
        for name, (text, events) in WITH_EACH_LINE_END.items():
            body = text.replace("|", line_end).encode()
            for how, size in (("one chunk", len(body)), ("1-character chunks", 1), ("2-character chunks", 2)):
                reads = [body[start : start + size] for start in range(0, len(body), size)]
                yield Case("linefeeds", f"{label} separator/{name}/{how}", reads, events)


def guard_decoder(reads: list[bytes]) -> list[Received]:
    """What the package's decoder makes of the reads."""
    decoder = Decoder()
    events = [event for read in reads for event in decoder.feed(read)] + decoder.finish()
    return [Received(event.data, event.event or "message", event.id) for event in events]


def sdk_decoder(reads: list[bytes]) -> list[Received]:
    """What the SDK's own decoder makes of them."""
    events = SSEDecoder().iter_bytes(iter(reads))
    return [Received(event.data, event.event or "message", event.id or "") for event in events]


def passed(decode: Callable[[list[bytes]], list[Received]], case: Case) -> bool:
    """Whether a decoder receives what the suite wants."""
    try:
        return decode(case.reads) == case.events
    except ValueError:  # bytes that are not UTF-8
        return False


def main() -> None:
    rows = []
    groups: dict[str, list[Case]] = {}
    for case in cases():
        groups.setdefault(case.group, []).append(case)
    for group, members in groups.items():
        ours, theirs = ([case for case in members if passed(decode, case)] for decode in (guard_decoder, sdk_decoder))
        rows.append([group, str(len(members)), str(len(ours)), str(len(theirs))])
    report("sse-contract-tests", ["group", "cases", "passed by `sse.Decoder`", "passed by the SDK's decoder"], rows)
    for case in (case for case in cases() if not passed(guard_decoder, case)):
        print(f"not passed: {case.group}/{case.name}: {guard_decoder(case.reads)}")


if __name__ == "__main__":
    main()

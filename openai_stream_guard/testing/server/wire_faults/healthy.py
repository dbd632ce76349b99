"""Streams that are odd but healthy: the guarded items must equal the unguarded ones, in one request."""

from __future__ import annotations

import re
import zlib

from ..answers.answer import Answer
from ..scripted_response import EVENT_STREAM, End, ScriptedResponse, Send, Step, Wait, healthy, streaming
from .fault import Equal, fault, inserting

PACE = 0.05  # seconds between the events of the slow stream
READ = 65_536  # bytes in which an event too big for one chunk is sent


def _bytes(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


@fault(Equal(), placed=False)
def clean(answer: Answer, at: int) -> ScriptedResponse:
    """Nothing is wrong: one event a chunk."""
    return healthy(answer)


@fault(Equal(), placed=False)
def one_chunk(answer: Answer, at: int) -> ScriptedResponse:
    """Everything comes in one chunk."""
    return streaming([b"".join(answer.encode())])


@fault(Equal(), placed=False)
def byte_by_byte(answer: Answer, at: int) -> ScriptedResponse:
    """Every byte is a chunk and a write of its own."""
    return streaming(_bytes(b"".join(answer.encode())))


@fault(Equal(), placed=False)
def utf8_split(answer: Answer, at: int) -> ScriptedResponse:
    """Chunks end inside characters of several bytes."""
    return streaming(re.findall(rb"[^\x80-\xff]*[\x80-\xff]|[^\x80-\xff]+", b"".join(answer.encode())))


@fault(Equal(), placed=False)
def crlf(answer: Answer, at: int) -> ScriptedResponse:
    """Lines end in CR LF."""
    return streaming(part.replace(b"\n", b"\r\n") for part in answer.encode())


@fault(Equal(), placed=False)
def cr(answer: Answer, at: int) -> ScriptedResponse:
    """Lines end in a lone CR."""
    return streaming(part.replace(b"\n", b"\r") for part in answer.encode())


@fault(Equal(), placed=False)
def crlf_split(answer: Answer, at: int) -> ScriptedResponse:
    """Lines end in CR LF, and every CR and LF is in another chunk than its neighbour."""
    whole = b"".join(answer.encode()).replace(b"\n", b"\r\n")
    return streaming(part for line in whole.split(b"\r\n")[:-1] for part in (line + b"\r", b"\n"))


@fault(Equal(), placed=False)
def comments(answer: Answer, at: int) -> ScriptedResponse:
    """Comments come before, between and inside events."""
    parts = (b": inside\n" + part + b": between\n\n" for part in answer.encode())
    return streaming([b": processing\n\n", *parts])


@fault(Equal(), placed=False)
def blank_lines(answer: Answer, at: int) -> ScriptedResponse:
    """Several blank lines stand between events."""
    return streaming(part + b"\n\n\n" for part in answer.encode())


@fault(Equal(), placed=False)
def id_lines(answer: Answer, at: int) -> ScriptedResponse:
    """Every event carries an `id:` line."""
    return streaming(b"id: %d\n%b" % (number, part) for number, part in enumerate(answer.encode()))


@fault(Equal(), placed=False)
def no_space(answer: Answer, at: int) -> ScriptedResponse:
    """There is no space after `data:`."""
    return streaming(part.replace(b"data: ", b"data:", 1) for part in answer.encode())


@fault(Equal(), placed=False, answer="separators")
def unicode_separators(answer: Answer, at: int) -> ScriptedResponse:
    """The text has unescaped U+2028, U+2029 and U+0085, legal in JSON and no line ends in SSE."""
    return healthy(answer)


@fault(Equal(), placed=False)
def gzip(answer: Answer, at: int) -> ScriptedResponse:
    """The body is compressed, flushed after every event."""
    squeeze = zlib.compressobj(wbits=31)
    parts = [squeeze.compress(part) + squeeze.flush(zlib.Z_SYNC_FLUSH) for part in answer.encode()]
    steps: list[Step] = [*map(Send, parts), Send(squeeze.flush()), End()]
    return ScriptedResponse(tuple(steps), headers=(*EVENT_STREAM, ("content-encoding", "gzip")))


@fault(Equal(), placed=False, answer="huge")
def huge_event(answer: Answer, at: int) -> ScriptedResponse:
    """One event has two million characters and comes in chunks of 64 KiB."""
    whole = b"".join(answer.encode())
    return streaming(whole[start : start + READ] for start in range(0, len(whole), READ))


@fault(Equal(), placed=False)
def slow(answer: Answer, at: int) -> ScriptedResponse:
    """The server takes its time between events."""
    steps = [step for part in answer.encode() for step in (Wait(PACE), Send(part))]
    return ScriptedResponse((*steps, End()))


@fault(Equal(), placed=False)
def content_length(answer: Answer, at: int) -> ScriptedResponse:
    """The body comes with its content-length instead of in chunks."""
    return ScriptedResponse(healthy(answer).steps, framing="length")


@fault(Equal(), placed=False)
def close_delimited(answer: Answer, at: int) -> ScriptedResponse:
    """The body ends with the connection."""
    return ScriptedResponse(healthy(answer).steps, framing="close")


@fault(Equal(), placed=False)
def trailing_after_done(answer: Answer, at: int) -> ScriptedResponse:
    """Junk follows the last event."""
    return streaming([*answer.encode(), b'data: {"junk": \n\n'])


@fault(Equal(), placed=False, answer="length", api="chat")
def finish_length(answer: Answer, at: int) -> ScriptedResponse:
    """`finish_reason` is `length`: short, but not broken."""
    return healthy(answer)


@fault(Equal(), placed=False, answer="tool_calls", api="chat")
def tool_clean(answer: Answer, at: int) -> ScriptedResponse:
    """A healthy stream of tool calls."""
    return healthy(answer)


@fault(Equal(), placed=False, answer="failed", api="responses")
def response_failed(answer: Answer, at: int) -> ScriptedResponse:
    """The API gives up in a `response.failed` event: its word, not a broken stream."""
    return healthy(answer)


@fault(Equal(), placed=False)
def no_final_newline(answer: Answer, at: int) -> ScriptedResponse:
    """The last event, `[DONE]` where there is one, has neither its newline nor its blank line."""
    parts = answer.encode()
    return streaming([*parts[:-1], parts[-1].rstrip(b"\n")])


@fault(Equal(), placed=False)
def no_done(answer: Answer, at: int) -> ScriptedResponse:
    """The answer is finished, but no `[DONE]` follows."""
    return streaming(frame.encode() for frame in answer.frames if frame.data != "[DONE]")


@fault(Equal())
def nul_keepalive(answer: Answer, at: int) -> ScriptedResponse:
    """Lines of NUL bytes and of white space keep the connection alive."""
    return streaming(inserting(answer, at, b"\0\0\0\n\n \n\n\t\n\n"))


@fault(Equal())
def garbage_line(answer: Answer, at: int) -> ScriptedResponse:
    """A line that is no field stands between two events."""
    return streaming(inserting(answer, at, b"7f3a garbage\n\n"))

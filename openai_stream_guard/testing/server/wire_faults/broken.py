"""Streams that lost something: asked for again while that is safe, and otherwise the typed error."""

from __future__ import annotations

import zlib

from ..answers.answer import Answer, Frame, Json, compact
from ..scripted_response import (
    EVENT_STREAM,
    Close,
    End,
    Raw,
    Repeat,
    Reset,
    ScriptedResponse,
    Send,
    Step,
    Wait,
    replying,
    streaming,
)
from .fault import Raises, Whole, fault, halves, inserting, replacing, up_to

RECOVERED = Whole(requests=2)
HEARTBEAT = 0.1  # seconds between the comments of a server that has nothing else to say
READ_FIRST = 0.05  # seconds for the client to read what an RST would throw away

HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n</body>\r\n</html>\r\n"
OVERLOADED: Json = {
    "message": "The server had an error.",
    "type": "server_error",
    "param": None,
    "code": None,
}
INVALID: Json = {**OVERLOADED, "message": "No such tool.", "type": "invalid_request_error", "param": "tools"}


# Ends too early, cleanly.


@fault(RECOVERED, verdict="truncated")
def truncate_clean(answer: Answer, at: int) -> ScriptedResponse:
    """The body ends cleanly between two events, unfinished."""
    return up_to(answer, at, End())


@fault(RECOVERED, verdict="truncated")
def truncate_mid_event(answer: Answer, at: int) -> ScriptedResponse:
    """The body ends cleanly in the middle of an event."""
    frame = answer.frames[at]
    return up_to(answer, at, Send(Frame(halves(frame)[0], frame.event).encode().rstrip(b"\n")), End())


@fault(RECOVERED, verdict="truncated")
def truncate_close_delimited(answer: Answer, at: int) -> ScriptedResponse:
    """The body is to end with the connection, and the connection ends in the middle of the answer."""
    return ScriptedResponse(up_to(answer, at, Close()).steps, framing="close")


@fault(RECOVERED, verdict="truncated", placed=False, answer="tool_calls", api="chat")
def tool_cut(answer: Answer, at: int) -> ScriptedResponse:
    """The body ends cleanly in the middle of a tool call's arguments."""
    return up_to(answer, len(answer.frames) - 4, End())


@fault(RECOVERED, verdict="truncated", placed=False)
def empty_body(answer: Answer, at: int) -> ScriptedResponse:
    """Status 200, `text/event-stream`, and not one byte."""
    return streaming([])


# The connection breaks.


@fault(RECOVERED, verdict="disconnected")
def truncate_content_length(answer: Answer, at: int) -> ScriptedResponse:
    """The connection closes before as many bytes came as the content-length promised."""
    whole = sum(map(len, answer.encode()))
    return ScriptedResponse(up_to(answer, at, Close()).steps, framing="length", length=whole)


@fault(RECOVERED, verdict="disconnected")
def fin_mid_chunk(answer: Answer, at: int) -> ScriptedResponse:
    """The connection closes in the middle of a chunk."""
    part = answer.encode()[at]
    return up_to(answer, at, Send(part[: len(part) // 2], promised=len(part)), Close())


@fault(RECOVERED, verdict="disconnected")
def fin_no_terminator(answer: Answer, at: int) -> ScriptedResponse:
    """The connection closes between two chunks, without the 0-chunk."""
    return up_to(answer, at, Close())


@fault(RECOVERED, verdict="disconnected")
def rst(answer: Answer, at: int) -> ScriptedResponse:
    """The connection is reset."""
    return up_to(answer, at, Wait(READ_FIRST), Reset())


@fault(RECOVERED, verdict="disconnected")
def bad_chunk_header(answer: Answer, at: int) -> ScriptedResponse:
    """A chunk's size is no number."""
    return up_to(answer, at, Raw(b"zz\r\nnonsense\r\n"), Close())


@fault(RECOVERED, verdict="malformed")
def gzip_corrupt(answer: Answer, at: int) -> ScriptedResponse:
    """The compressed body turns into other bytes."""
    squeeze = zlib.compressobj(wbits=31)
    parts = [squeeze.compress(part) + squeeze.flush(zlib.Z_SYNC_FLUSH) for part in answer.encode()[:at]]
    steps: list[Step] = [*map(Send, parts), Send(b"\xff" * 64), End()]
    return ScriptedResponse(tuple(steps), headers=(*EVENT_STREAM, ("content-encoding", "gzip")))


# Nothing more comes.


@fault(RECOVERED, verdict="stalled")
def stall(answer: Answer, at: int) -> ScriptedResponse:
    """Not one byte more comes, and the connection stays open."""
    return up_to(answer, at, Wait())


@fault(RECOVERED, verdict="stalled")
def stall_heartbeat(answer: Answer, at: int) -> ScriptedResponse:
    """Comments keep coming, but never another event."""
    return up_to(answer, at, Repeat((Send(b": keep-alive\n\n"), Wait(HEARTBEAT))))


@fault(RECOVERED, verdict="stalled", placed=False)
def stall_before_first(answer: Answer, at: int) -> ScriptedResponse:
    """The headers arrive, then nothing."""
    return ScriptedResponse((Wait(),))


# What comes is not what was sent.


def _cut(frame: Frame, foreign: bytes) -> bytes:
    """The event, with foreign bytes inside the string in which it says something."""
    before, behind = halves(frame)
    return Frame(before, frame.event).encode().rstrip(b"\n") + foreign + behind.encode() + b"\n\n"


@fault(RECOVERED, verdict="malformed")
def blank_inside(answer: Answer, at: int) -> ScriptedResponse:
    """A blank line cuts one event's JSON into two events."""
    return streaming(replacing(answer, at, _cut(answer.frames[at], b"\n\ndata: ")))


@fault(RECOVERED, verdict="malformed")
def data_line_cut(answer: Answer, at: int) -> ScriptedResponse:
    """One event's JSON is cut inside a string into two data lines, which a newline joins."""
    return streaming(replacing(answer, at, _cut(answer.frames[at], b"\ndata: ")))


@fault(RECOVERED, verdict="malformed")
def garbage_event(answer: Answer, at: int) -> ScriptedResponse:
    """An event whose data is no JSON comes between two events."""
    return streaming(inserting(answer, at, b"data: 7f3a garbage\n\n"))


@fault(RECOVERED, verdict="malformed")
def invalid_utf8(answer: Answer, at: int) -> ScriptedResponse:
    """One byte inside a JSON string is not UTF-8."""
    return streaming(replacing(answer, at, _cut(answer.frames[at], b"\xff")))


# The server says that something is wrong.


def _error_instead(answer: Answer, at: int, error: str, event: str | None = None) -> ScriptedResponse:
    return up_to(answer, at, Send(Frame(error, event).encode()), End())


@fault(RECOVERED, verdict="upstream_error")
def error_event(answer: Answer, at: int) -> ScriptedResponse:
    """An error object of type `server_error` comes in place of the rest."""
    return _error_instead(answer, at, compact({"error": OVERLOADED}))


@fault(RECOVERED, verdict="upstream_error")
def error_event_named(answer: Answer, at: int) -> ScriptedResponse:
    """An event named `error` with such an object comes in place of the rest."""
    return _error_instead(answer, at, compact({"error": OVERLOADED}), "error")


@fault(RECOVERED, verdict="upstream_error")
def error_event_flat(answer: Answer, at: int) -> ScriptedResponse:
    """An event named `error` comes whose payload is the error itself, as Responses write it."""
    return _error_instead(answer, at, compact({**OVERLOADED, "type": "error", "code": "server_error"}), "error")


@fault(RECOVERED, verdict="upstream_error")
def error_event_unterminated(answer: Answer, at: int) -> ScriptedResponse:
    """An error object comes in place of the rest, without the blank line behind it."""
    return up_to(answer, at, Send(f"data: {compact({'error': OVERLOADED})}\n".encode()), End())


@fault(RECOVERED, verdict="upstream_error")
def error_llamacpp_line(answer: Answer, at: int) -> ScriptedResponse:
    """The error comes in an `error:` line, which is no field of SSE, as llama.cpp's server writes it."""
    line = compact({"code": 503, "message": "Loading model", "type": "unavailable_error"})
    return up_to(answer, at, Send(f"error: {line}\n\n".encode()), End())


@fault(Raises("upstream_error", requests=1), verdict="upstream_error", retryable=False)
def error_invalid_request(answer: Answer, at: int) -> ScriptedResponse:
    """An error object of type `invalid_request_error` comes: asking again would not help."""
    return _error_instead(answer, at, compact({"error": INVALID}))


@fault(RECOVERED, verdict="not_a_stream", placed=False)
def html_200(answer: Answer, at: int) -> ScriptedResponse:
    """Status 200 with an HTML page."""
    return ScriptedResponse((Send(HTML), End()), headers=(("content-type", "text/html"),), framing="length")


@fault(RECOVERED, verdict="not_a_stream")
def html_mid_stream(answer: Answer, at: int) -> ScriptedResponse:
    """A proxy's HTML error page comes in place of the rest."""
    return up_to(answer, at, Send(HTML), End())


@fault(RECOVERED, verdict="not_a_stream", placed=False)
def json_200(answer: Answer, at: int) -> ScriptedResponse:
    """Status 200 with the whole answer as plain JSON: something on the way ignored `stream`."""
    return replying(answer.plain)


@fault(RECOVERED, verdict="upstream_error", placed=False)
def json_error_200(answer: Answer, at: int) -> ScriptedResponse:
    """Status 200 with an error object as plain JSON."""
    return replying({"error": OVERLOADED})


@fault(RECOVERED, placed=False)
def status_503(answer: Answer, at: int) -> ScriptedResponse:
    """Status 503 before any stream: the SDK's own retries take care of it."""
    return replying({"error": OVERLOADED}, 503, (("retry-after-ms", "10"),))

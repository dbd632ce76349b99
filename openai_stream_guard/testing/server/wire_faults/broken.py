"""Streams that lost something: requested again while that is safe, otherwise the typed error."""

from __future__ import annotations

from typing import Final

from ...faults import injections
from ..answers.answer import Answer, Frame, Json, compact
from ..scripted_response import Close, End, Raw, Repeat, Reset, ScriptedResponse, Send, Step, Wait, replying, streaming
from .fault import Build, Raises, Whole, defining, ending, halves, injected, inserting, replacing, up_to, without_done
from .healthy import compressed

RECOVERED: Final = Whole(requests=2)
HEARTBEAT: Final = 0.1  # seconds between the comments of a server that sends nothing else
READ_FIRST: Final = 0.05  # seconds for the client to read what an RST would discard

HTML: Final = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n</body>\r\n</html>\r\n"
OVERLOADED: Final[Json] = {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}
INVALID: Final[Json] = {
    **OVERLOADED,
    "message": "No such tool.",
    "type": "invalid_request_error",
    "param": "tools",
}
FLAT: Final[Json] = {**OVERLOADED, "type": "error", "code": "server_error"}
BLOCKED: Final[Json] = {
    **INVALID,
    "message": "Blocked by a guardrail.",
    "param": None,
    "code": "content_policy_violation",
}
BARE: Final[Json] = {"code": 429, "message": "Rate limit reached.", "type": "rate_limit"}
LOADING: Final[Json] = {"code": 503, "message": "Loading model", "type": "unavailable_error"}


def _in_last_text(*then: Step) -> Build:
    """Build a stream that ends so before its last text."""
    return lambda answer, at: up_to(answer, len(answer.frames) - 3, *then)


def _error_after_finish(answer: Answer, at: int) -> ScriptedResponse:
    error = Send(Frame(compact({"error": BLOCKED})).encode())
    return ScriptedResponse((*map(Send, without_done(answer)), error, End()))


def _mid_event(answer: Answer, at: int) -> ScriptedResponse:
    frame = answer.frames[at]
    return up_to(answer, at, Send(Frame(halves(frame)[0], frame.event).encode().rstrip(b"\n")), End())


def _close_delimited(answer: Answer, at: int) -> ScriptedResponse:
    return ScriptedResponse(up_to(answer, at, Close()).steps, framing="close")


def _too_short(answer: Answer, at: int) -> ScriptedResponse:
    length = sum(map(len, answer.encode()))
    return ScriptedResponse(up_to(answer, at, Close()).steps, framing="length", length=length)


def _mid_chunk(answer: Answer, at: int) -> ScriptedResponse:
    part = answer.encode()[at]
    return up_to(answer, at, Send(part[: len(part) // 2], promised=len(part)), Close())


def _with_inside(foreign: bytes) -> Build:
    """Build a stream with foreign bytes inside the string that holds the text of one event."""

    def replace(frame: Frame) -> bytes:
        before, behind = halves(frame)
        return Frame(before, frame.event).encode().rstrip(b"\n") + foreign + behind.encode() + b"\n\n"

    return replacing(replace)


def _error_inside(answer: Answer, at: int) -> ScriptedResponse:
    begun = f"data: {halves(answer.frames[at])[0]}\n"
    return up_to(answer, at, Send(begun.encode() + Frame(compact({"error": OVERLOADED})).encode()), End())


def _error_instead(error: Json, event: str | None = None) -> Build:
    return ending(Send(Frame(compact(error), event).encode()), End())


def _page(answer: Answer, at: int) -> ScriptedResponse:
    return ScriptedResponse((Send(HTML), End()), headers=(("content-type", "text/html"),), framing="length")


_recovered = defining(RECOVERED)
_truncated = defining(RECOVERED, verdict="truncated")
_disconnected = defining(RECOVERED, verdict="disconnected")
_stalled = defining(RECOVERED, verdict="stalled")
_malformed = defining(RECOVERED, verdict="malformed")
_not_a_stream = defining(RECOVERED, verdict="not_a_stream")
_upstream_error = defining(RECOVERED, verdict="upstream_error")
_raised = defining(Raises("upstream_error", requests=1), verdict="upstream_error", retryable=False)

# fmt: off
BROKEN: Final = (
    _truncated("truncate_clean", "The body ends cleanly between two events, unfinished.",
               injected(lambda at: injections.cut(after_events=at))),
    _truncated("truncate_mid_event", "The body ends cleanly in the middle of an event.", _mid_event),
    _truncated("truncate_close_delimited",
               "The body is to end with the connection, and the connection ends in the middle of the answer.",
               _close_delimited),
    _truncated("tool_cut", "The body ends cleanly in the middle of a tool call's arguments.",
               lambda answer, at: up_to(answer, len(answer.frames) - 4, End()),
               placed=False, answer="tool_calls", api="chat"),
    _truncated("early_finish_cut",
               "After a `finish_reason` in mid-answer the text goes on, and the body ends cleanly before its end.",
               _in_last_text(End()), placed=False, answer="early_finish", api="chat"),
    _truncated("empty_body", "Status 200, `text/event-stream`, and not one byte.",
               lambda answer, at: streaming([]), placed=False),

    _disconnected("truncate_content_length",
                  "The connection closes before as many bytes came as the content-length promised.", _too_short),
    _disconnected("fin_mid_chunk", "The connection closes in the middle of a chunk.", _mid_chunk),
    _disconnected("fin_no_terminator", "The connection closes between two chunks, without the 0-chunk.",
                  injected(lambda at: injections.disconnect(after_events=at))),
    _disconnected("rst", "The connection is reset.", ending(Wait(READ_FIRST), Reset())),
    _disconnected("early_finish_rst",
                  "After a `finish_reason` in mid-answer the text goes on, and the connection is reset before its end.",
                  _in_last_text(Wait(READ_FIRST), Reset()), placed=False, answer="early_finish", api="chat"),
    _disconnected("bad_chunk_header", "A chunk's size is no number.", ending(Raw(b"zz\r\nnonsense\r\n"), Close())),
    _malformed("gzip_corrupt", "The compressed body turns into other bytes.",
               lambda answer, at: compressed(answer.encode()[:at], b"\xff" * 64)),

    _stalled("stall", "Not one byte more comes, and the connection stays open.",
             injected(lambda at: injections.stall(after_events=at))),
    _stalled("stall_heartbeat", "Comments keep coming, but never another event.",
             ending(Repeat((Send(b": keep-alive\n\n"), Wait(HEARTBEAT))))),
    _stalled("stall_before_first", "The headers arrive, then nothing.",
             injected(lambda at: injections.stall()), placed=False),

    _malformed("blank_inside", "A blank line cuts one event's JSON into two events.", _with_inside(b"\n\ndata: ")),
    _malformed("data_line_cut",
               "One event's JSON is cut inside a string into two data lines, which a newline joins.",
               _with_inside(b"\ndata: ")),
    _malformed("garbage_event", "An event whose data is no JSON comes between two events.",
               inserting(b"data: 7f3a garbage\n\n")),
    _malformed("line_start_lost", "The first half of one event's line is lost on the way.",
               replacing(lambda frame: halves(frame)[1].encode() + b"\n\n")),
    _malformed("invalid_utf8", "One byte inside a JSON string is not UTF-8.", _with_inside(b"\xff")),

    _upstream_error("error_event", "An error object of type `server_error` comes in place of the rest.",
                    _error_instead({"error": OVERLOADED})),
    _upstream_error("error_event_named", "An event named `error` with such an object comes in place of the rest.",
                    _error_instead({"error": OVERLOADED}, "error")),
    _upstream_error("error_event_flat",
                    "An event named `error` comes whose payload is the error itself, as Responses write it.",
                    _error_instead(FLAT, "error")),
    _upstream_error("error_event_unterminated",
                    "An error object comes in place of the rest, without the blank line behind it.",
                    ending(Send(f"data: {compact({'error': OVERLOADED})}\n".encode()), End())),
    _upstream_error("error_in_event", "An error object is written over the rest of an event that had begun.",
                    _error_inside),
    _upstream_error("error_bare",
                    "An error without the word `error` comes in place of the rest, and `[DONE]` behind it.",
                    ending(Send(Frame(compact(BARE)).encode()), Send(b"data: [DONE]\n\n"), End()),
                    api="chat"),
    _upstream_error("error_llamacpp_line",
                    "The error comes in an `error:` line, which is no field of SSE, as llama.cpp's server writes it.",
                    ending(Send(f"error: {compact(LOADING)}\n\n".encode()), End())),
    _raised("error_invalid_request",
            "An error object of type `invalid_request_error` comes: asking again would not help.",
            _error_instead({"error": INVALID})),
    _raised("error_after_finish",
            "Behind the event that finishes the answer comes an error object: a guardrail has blocked it.",
            _error_after_finish, placed=False, api="chat"),

    _not_a_stream("html_200", "Status 200 with an HTML page.", _page, placed=False),
    _not_a_stream("html_mid_stream", "A proxy's HTML error page comes in place of the rest.",
                  ending(Send(HTML), End())),
    _not_a_stream("json_200", "Status 200 with the whole answer as plain JSON: something on the way ignored `stream`.",
                  lambda answer, at: replying(answer.plain), placed=False),
    _not_a_stream("json_page_200", "Status 200 with a JSON error page, which is no error object of this API.",
                  lambda answer, at: replying({"detail": "Rate limit exceeded"}), placed=False),
    _upstream_error("json_error_200", "Status 200 with an error object as plain JSON.",
                    lambda answer, at: replying({"error": OVERLOADED}), placed=False),
    _recovered("status_503", "Status 503 before any stream: the SDK's own retries take care of it.",
               lambda answer, at: replying({"error": OVERLOADED}, 503, (("retry-after-ms", "10"),)), placed=False),
)
# fmt: on

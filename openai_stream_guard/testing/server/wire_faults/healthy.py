"""Streams that are unusual but healthy: the guarded items must equal the unguarded ones, in one request."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Final, Literal

from ...faults import injections
from ..answers.answer import Answer
from ..scripted_response import EVENT_STREAM, End, ScriptedResponse, Send, Wait, healthy, streaming
from .fault import Build, Equal, changing, defining, injected, inserting, without_done

PACE: Final = 0.05  # seconds between the events of the slow stream
TOOL_RUN: Final = 0.3  # seconds that a gateway's own tool takes
READ: Final = 65_536  # bytes in which an event too big for one chunk is sent
_placed = defining(Equal())
_healthy = defining(Equal(), placed=False)


def unchanged(answer: Answer, at: int) -> ScriptedResponse:
    return healthy(answer)


def _each_line_end_apart(parts: list[bytes]) -> Iterable[bytes]:
    lines = b"".join(parts).split(b"\n")[:-1]
    return (part for line in lines for part in (line + b"\r", b"\n"))


def _with_comments(parts: list[bytes]) -> Iterable[bytes]:
    return [b": processing\n\n", *(b": inside\n" + part + b": between\n\n" for part in parts)]


def _early_finish(answer: Answer, at: int) -> ScriptedResponse:
    sent = [Send(part) for part in answer.encode()]
    resumes = 1 + next(number for number, part in enumerate(sent) if b'"finish_reason":"' in part.data)
    return ScriptedResponse((*sent[:resumes], Wait(TOOL_RUN), *sent[resumes:], End()))


def _framed(framing: Literal["length", "close"]) -> Build:
    return lambda answer, at: ScriptedResponse(healthy(answer).steps, framing=framing)


def compressed(parts: Iterable[bytes], end: bytes | None = None) -> ScriptedResponse:
    """Return a stream of the parts compressed by gzip, which ends as it should or with other bytes."""
    squeeze = zlib.compressobj(wbits=31)
    sent = [Send(squeeze.compress(part) + squeeze.flush(zlib.Z_SYNC_FLUSH)) for part in parts]
    last = Send(squeeze.flush() if end is None else end)
    return ScriptedResponse((*sent, last, End()), headers=(*EVENT_STREAM, ("content-encoding", "gzip")))


# fmt: off
HEALTHY: Final = (
    _healthy("clean", "Nothing is wrong: one event a chunk.", unchanged),
    _healthy("one_chunk", "Everything comes in one chunk.", changing(lambda parts: [b"".join(parts)])),
    _healthy("byte_by_byte", "Every byte is a chunk and a write of its own.",
             injected(lambda at: injections.split(size=1))),
    _healthy("utf8_split", "Chunks end inside characters of several bytes.",
             changing(lambda parts: re.findall(rb"[^\x80-\xff]*[\x80-\xff]|[^\x80-\xff]+", b"".join(parts)))),
    _healthy("crlf", "Lines end in CR LF.", changing(lambda parts: [part.replace(b"\n", b"\r\n") for part in parts])),
    _healthy("cr", "Lines end in a lone CR.", changing(lambda parts: [part.replace(b"\n", b"\r") for part in parts])),
    _healthy("crlf_split", "Lines end in CR LF, and every CR and LF is in another chunk than its neighbour.",
             changing(_each_line_end_apart)),
    _healthy("comments", "Comments come before, between and inside events.", changing(_with_comments)),
    _healthy("blank_lines", "Several blank lines stand between events.",
             changing(lambda parts: [part + b"\n\n\n" for part in parts])),
    _healthy("id_lines", "Every event carries an `id:` line.",
             changing(lambda parts: [b"id: %d\n%b" % (number, part) for number, part in enumerate(parts)])),
    _healthy("no_space", "There is no space after `data:`.",
             changing(lambda parts: [part.replace(b"data: ", b"data:", 1) for part in parts])),
    _healthy("unicode_separators",
             "The text has unescaped U+2028, U+2029 and U+0085, legal in JSON and no line ends in SSE.",
             unchanged, answer="separators"),
    _healthy("gzip", "The body is compressed, flushed after every event.",
             lambda answer, at: compressed(answer.encode())),
    _healthy("huge_event", "One event has two million characters and comes in chunks of 64 KiB.",
             injected(lambda at: injections.split(size=READ)), answer="huge"),
    _healthy("slow", "The server takes its time between events.", injected(lambda at: injections.slow(seconds=PACE))),
    _healthy("content_length", "The body comes with its content-length instead of in chunks.", _framed("length")),
    _healthy("close_delimited", "The body ends with the connection.", _framed("close")),
    _healthy("trailing_after_done", "Junk follows the last event.",
             changing(lambda parts: [*parts, b'data: {"junk": \n\n'])),
    _healthy("finish_length", "`finish_reason` is `length`: short, but not broken.", unchanged,
             answer="length", api="chat"),
    _healthy("early_finish",
             "A `finish_reason` comes in mid-answer; the text goes on after a gateway has run a tool of its own.",
             _early_finish, answer="early_finish", api="chat"),
    _healthy("no_finish", "The server never sends a `finish_reason`, only `[DONE]`.", unchanged,
             answer="no_finish", api="chat"),
    _healthy("tool_clean", "A healthy stream of tool calls.", unchanged, answer="tool_calls", api="chat"),
    _healthy("response_failed", "The API gives up in a `response.failed` event: its word, not a broken stream.",
             unchanged, answer="failed", api="responses"),
    _healthy("no_final_newline",
             "The last event, `[DONE]` where there is one, has neither its newline nor its blank line.",
             changing(lambda parts: [*parts[:-1], parts[-1].rstrip(b"\n")])),
    _healthy("no_done", "The answer is finished, but no `[DONE]` follows.",
             lambda answer, at: streaming(without_done(answer))),
    _placed("nul_keepalive", "Lines of NUL bytes and of white space keep the connection alive.",
            inserting(b"\0\0\0\n\n \n\n\t\n\n")),
    _placed("garbage_line", "A line that is no field stands between two events.", inserting(b"7f3a garbage\n\n")),
)
# fmt: on

"""Framing that is damaged while every payload is there: the stream comes out whole, in the one request."""

from __future__ import annotations

from ..answers.answer import Answer
from ..scripted_response import Close, ScriptedResponse, Send, streaming
from .fault import Whole, fault, inserting

REPAIRED = Whole(requests=1)


def _glued(answer: Answer, at: int, between: str) -> list[bytes]:
    """The frames, with number `at` and the next one run together in one line."""
    at = min(at, len(answer.frames) - 2)
    parts = answer.encode()
    both = answer.frames[at].data + between + answer.frames[at + 1].data
    return [*parts[:at], f"data: {both}\n\n".encode(), *parts[at + 2 :]]


@fault(REPAIRED, placed=False)
def bom(answer: Answer, at: int) -> ScriptedResponse:
    """A byte order mark stands before the first event."""
    return streaming([b"\xef\xbb\xbf", *answer.encode()])


@fault(REPAIRED)
def retry_only(answer: Answer, at: int) -> ScriptedResponse:
    """Blocks of only a `retry:` line come first and between events."""
    return streaming([b"retry: 3000\n\n", *inserting(answer, at, b"retry: 5000\n\n")])


@fault(REPAIRED)
def id_only(answer: Answer, at: int) -> ScriptedResponse:
    """A block of only an `id:` line comes between events."""
    return streaming(inserting(answer, at, b"id: 42\n\n"))


@fault(REPAIRED)
def empty_data(answer: Answer, at: int) -> ScriptedResponse:
    """An event whose data is empty comes between events."""
    return streaming(inserting(answer, at, b"data:\n\n"))


@fault(REPAIRED)
def event_only(answer: Answer, at: int) -> ScriptedResponse:
    """A block of only an `event:` line keeps the connection alive."""
    return streaming(inserting(answer, at, b"event: keepalive\n\n"))


@fault(REPAIRED)
def ping_event(answer: Answer, at: int) -> ScriptedResponse:
    """A ping whose payload is no chunk of the answer comes between events."""
    return streaming(inserting(answer, at, b'event: ping\ndata: {"type":"ping","ts":1767225600}\n\n'))


@fault(REPAIRED)
def wrapped_comment(answer: Answer, at: int) -> ScriptedResponse:
    """A proxy has put `data:` before a keep-alive comment."""
    return streaming(inserting(answer, at, b"data: : PROCESSING\n\n"))


@fault(REPAIRED)
def space_prefix(answer: Answer, at: int) -> ScriptedResponse:
    """A space, sent to keep the connection alive, is glued to the front of the next event."""
    return streaming(inserting(answer, at, b" "))


@fault(REPAIRED)
def missing_blank(answer: Answer, at: int) -> ScriptedResponse:
    """The blank line between two events is missing, so that their data lines join."""
    parts = answer.encode()
    return streaming([*parts[:at], parts[at][:-1], *parts[at + 1 :]])


@fault(REPAIRED)
def glued_objects(answer: Answer, at: int) -> ScriptedResponse:
    """Two JSON objects stand in one data line."""
    return streaming(_glued(answer, at, ""))


@fault(REPAIRED)
def glued_prefix(answer: Answer, at: int) -> ScriptedResponse:
    """The newlines between two events are lost: `data: {...}data: {...}`."""
    return streaming(_glued(answer, at, "data: "))


@fault(REPAIRED, placed=False)
def bare_json_lines(answer: Answer, at: int) -> ScriptedResponse:
    """A proxy has taken off the `data:` prefixes: a line of JSON for each event."""
    return streaming(f"{frame.data}\n\n".encode() for frame in answer.frames)


@fault(REPAIRED, placed=False)
def no_final_blank_no_done(answer: Answer, at: int) -> ScriptedResponse:
    """No `[DONE]`, and the blank line of the last event is missing."""
    parts = [frame.encode() for frame in answer.frames if frame.data != "[DONE]"]
    return streaming([*parts[:-1], parts[-1][:-1]])


@fault(REPAIRED, placed=False)
def fin_after_finish(answer: Answer, at: int) -> ScriptedResponse:
    """After the event that finishes the answer the connection drops: no `[DONE]`, no 0-chunk."""
    parts = [frame.encode() for frame in answer.frames if frame.data != "[DONE]"]
    return ScriptedResponse((*map(Send, parts), Close()))


@fault(REPAIRED, placed=False)
def fin_after_done(answer: Answer, at: int) -> ScriptedResponse:
    """After the last event the connection drops without the 0-chunk."""
    return ScriptedResponse((*map(Send, answer.encode()), Close()))

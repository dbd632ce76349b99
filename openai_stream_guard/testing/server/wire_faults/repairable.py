"""Damaged framing while every payload is there: the stream is complete after one request."""

from __future__ import annotations

from typing import Final

from ..answers.answer import Answer
from ..scripted_response import Close, ScriptedResponse, Send, streaming
from .fault import Build, Whole, changing, defining, inserting, replacing, without_done

_repaired = defining(Whole(requests=1))
_BOM: Final = b"\xef\xbb\xbf"
_PING: Final = b'event: ping\ndata: {"type":"ping","ts":1767225600}\n\n'


def _glued(between: str) -> Build:
    """Build a stream in which one frame and the next are in the same line."""

    def build(answer: Answer, at: int) -> ScriptedResponse:
        at = min(at, len(answer.frames) - 2)
        parts = answer.encode()
        both = answer.frames[at].data + between + answer.frames[at + 1].data
        return streaming([*parts[:at], f"data: {both}\n\n".encode(), *parts[at + 2 :]])

    return build


def _bare(answer: Answer, at: int) -> ScriptedResponse:
    return streaming(f"{frame.data}\n\n".encode() for frame in answer.frames)


def _no_final_blank(answer: Answer, at: int) -> ScriptedResponse:
    *parts, last = without_done(answer)
    return streaming([*parts, last[:-1]])


def _close_after_finish(answer: Answer, at: int) -> ScriptedResponse:
    return ScriptedResponse((*map(Send, without_done(answer)), Close()))


def _close_after_done(answer: Answer, at: int) -> ScriptedResponse:
    return ScriptedResponse((*map(Send, answer.encode()), Close()))


def _retries(answer: Answer, at: int) -> ScriptedResponse:
    return ScriptedResponse((Send(b"retry: 3000\n\n"), *inserting(b"retry: 5000\n\n")(answer, at).steps))


# fmt: off
REPAIRABLE: Final = (
    _repaired("bom", "A byte order mark stands before the first event.",
              changing(lambda parts: [_BOM, *parts]), placed=False),
    _repaired("retry_only", "Blocks of only a `retry:` line come first and between events.", _retries),
    _repaired("id_only", "A block of only an `id:` line comes between events.", inserting(b"id: 42\n\n")),
    _repaired("empty_data", "An event whose data is empty comes between events.", inserting(b"data:\n\n")),
    _repaired("event_only", "A block of only an `event:` line keeps the connection alive.",
              inserting(b"event: keepalive\n\n")),
    _repaired("ping_event", "A ping whose payload is no chunk of the answer comes between events.", inserting(_PING)),
    _repaired("wrapped_comment", "A proxy has put `data:` before a keep-alive comment.",
              inserting(b"data: : PROCESSING\n\n")),
    _repaired("space_prefix", "A space, sent to keep the connection alive, is glued to the front of the next event.",
              inserting(b" ")),
    _repaired("missing_blank", "The blank line between two events is missing, so that their data lines join.",
              replacing(lambda frame: frame.encode()[:-1])),
    _repaired("glued_objects", "Two JSON objects stand in one data line.", _glued("")),
    _repaired("glued_prefix", "The newlines between two events are lost: `data: {...}data: {...}`.", _glued("data: ")),
    _repaired("bare_json_lines", "A proxy has taken off the `data:` prefixes: a line of JSON for each event.", _bare,
              placed=False),
    _repaired("no_final_blank_no_done", "No `[DONE]`, and the blank line of the last event is missing.",
              _no_final_blank, placed=False),
    _repaired("fin_after_finish",
              "After the event that finishes the answer the connection drops: no `[DONE]`, no 0-chunk.",
              _close_after_finish, placed=False),
    _repaired("fin_after_done", "After the last event the connection drops without the 0-chunk.", _close_after_done,
              placed=False),
)
# fmt: on

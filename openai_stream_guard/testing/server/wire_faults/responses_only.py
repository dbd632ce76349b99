"""Faults of the numbered, named events of the Responses API, in which the end of the answer is an event too."""

from __future__ import annotations

from typing import Final

from ...faults import injections
from ..answers.answer import Answer, Frame, Json, compact
from ..scripted_response import End, ScriptedResponse, Send, streaming
from .fault import Build, Equal, Raises, Whole, defining, injected, up_to
from .healthy import unchanged

ERROR: Final[Json] = {"type": "error", "code": "server_error", "message": "The server had an error.", "param": None}
INVALID: Final[Json] = {**ERROR, "code": "invalid_prompt", "message": "No such tool.", "param": "tools"}
_healthy = defining(Equal(), placed=False, api="responses")
_repaired = defining(Whole(requests=1), api="responses")
_recovered = defining(Whole(requests=2), api="responses")
_raised = defining(Raises("upstream_error", requests=1), retryable=False, api="responses")


def _terminal(answer: Answer) -> int:
    """Return the number of the frame that says how the response ended."""
    return max(number for number, frame in enumerate(answer.frames) if frame.data != "[DONE]")


def _unnamed(answer: Answer, at: int) -> ScriptedResponse:
    return streaming(Frame(frame.data).encode() for frame in answer.frames)


def _duplicate(answer: Answer, at: int) -> ScriptedResponse:
    at = min(at, _terminal(answer) - 1)  # no reader reads on after the terminal event
    return injected(lambda at: injections.duplicate(after_events=at))(answer, at)


def _swap(answer: Answer, at: int) -> ScriptedResponse:
    parts = answer.encode()
    at = min(at, _terminal(answer) - 2)
    return streaming([*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :]])


def _error_instead(error: Json) -> Build:
    def build(answer: Answer, at: int) -> ScriptedResponse:
        data = compact({**error, "sequence_number": at})
        return up_to(answer, at, Send(Frame(data, "error").encode()), End())

    return build


# fmt: off
RESPONSES_ONLY: Final = (
    _healthy("named_lost", "The `event:` lines are missing; each payload has its type in it.", _unnamed),
    _healthy("interim_completed",
             "A gateway runs a tool: its first `response.completed` is interim, and a second response answers.",
             unchanged, answer="interim"),
    _healthy("seq_restart", "The same, and `sequence_number` starts again at 0.", unchanged, answer="restarted"),
    _healthy("seq_partial", "A bridge numbers its `output_item.done` only.", unchanged, answer="litellm_bridge"),
    _repaired("seq_duplicate", "One event comes twice, with the same `sequence_number`.", _duplicate),
    _repaired("seq_disorder", "Two neighbours have changed places: `sequence_number` steps back.", _swap),
    _recovered("seq_gap", "One delta is missing: `sequence_number` jumps by two.",
               injected(lambda at: injections.gap(after_events=at)), verdict="gap"),
    _recovered("no_terminal",
               "Everything comes but the event that says how the response ended, and the body ends cleanly.",
               lambda answer, at: up_to(answer, _terminal(answer), End()), verdict="truncated", placed=False),
    _recovered("done_without_terminal", "A gateway ends a stream that broke off upstream with `[DONE]`.",
               lambda answer, at: up_to(answer, min(at, _terminal(answer)), Send(b"data: [DONE]\n\n"), End()),
               verdict="truncated"),
    _recovered("error_flat",
               "The API's own `error` event comes in place of the rest: flat, numbered, and worth another try.",
               _error_instead(ERROR), verdict="upstream_error"),
    _raised("error_flat_invalid",
            "The API's own `error` event comes and finds fault with the request: asking again would not help.",
            _error_instead(INVALID), verdict="upstream_error"),
)
# fmt: on

"""What goes wrong only with the numbered, named events of the Responses API, whose end is an event too."""

from __future__ import annotations

from ..answers.answer import Answer, Frame, Json, compact
from ..scripted_response import End, ScriptedResponse, Send, streaming
from .fault import Equal, Raises, Whole, fault, replacing, up_to

DONE = Send(Frame("[DONE]").encode())
ERROR: Json = {"type": "error", "code": "server_error", "message": "The server had an error.", "param": None}
INVALID: Json = {**ERROR, "code": "invalid_prompt", "message": "No such tool.", "param": "tools"}


def _terminal(answer: Answer) -> int:
    """The number of the frame that says how the response ended."""
    return max(number for number, frame in enumerate(answer.frames) if frame.data != "[DONE]")


@fault(Equal(), placed=False, api="responses")
def named_lost(answer: Answer, at: int) -> ScriptedResponse:
    """The `event:` lines are missing; each payload has its type in it."""
    return streaming(Frame(frame.data).encode() for frame in answer.frames)


@fault(Whole(requests=1), api="responses")
def seq_duplicate(answer: Answer, at: int) -> ScriptedResponse:
    """One event comes twice, with the same `sequence_number`."""
    parts = answer.encode()
    at = min(at, _terminal(answer) - 1)  # nobody reads on behind the terminal event
    return streaming([*parts[: at + 1], *parts[at:]])


@fault(Whole(requests=1), api="responses")
def seq_disorder(answer: Answer, at: int) -> ScriptedResponse:
    """Two neighbours have changed places: `sequence_number` steps back."""
    parts = answer.encode()
    at = min(at, _terminal(answer) - 2)
    return streaming([*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :]])


@fault(Whole(requests=2), verdict="gap", api="responses")
def seq_gap(answer: Answer, at: int) -> ScriptedResponse:
    """One delta is missing: `sequence_number` jumps by two."""
    return streaming(replacing(answer, at, b""))


@fault(Whole(requests=2), verdict="truncated", placed=False, api="responses")
def no_terminal(answer: Answer, at: int) -> ScriptedResponse:
    """Everything comes but the event that says how the response ended, and the body ends cleanly."""
    return up_to(answer, _terminal(answer), End())


@fault(Whole(requests=2), verdict="truncated", api="responses")
def done_without_terminal(answer: Answer, at: int) -> ScriptedResponse:
    """A gateway ends a stream that broke off upstream with `[DONE]`."""
    return up_to(answer, min(at, _terminal(answer)), DONE, End())


def _error_instead(answer: Answer, at: int, error: Json) -> ScriptedResponse:
    data = compact({**error, "sequence_number": at})
    return up_to(answer, at, Send(Frame(data, "error").encode()), End())


@fault(Whole(requests=2), verdict="upstream_error", api="responses")
def error_flat(answer: Answer, at: int) -> ScriptedResponse:
    """The API's own `error` event comes in place of the rest: flat, numbered, and worth another try."""
    return _error_instead(answer, at, ERROR)


@fault(Raises("upstream_error", requests=1), verdict="upstream_error", retryable=False, api="responses")
def error_flat_invalid(answer: Answer, at: int) -> ScriptedResponse:
    """The API's own `error` event comes and finds fault with the request: asking again would not help."""
    return _error_instead(answer, at, INVALID)

"""Responses created in the background: the server stores them, and they can be retrieved any number of times.

Decides what a retrieval returns; faults apply to that as to any other answer. One that is cancelled says no more.

Invariant: however often and from whichever event a stored response is streamed, its events are the same.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from .answers import stored_id
from .answers.answer import Answer, Frame, Json, ServerBehaviour, compact, first_visible
from .scripted_response import ScriptedResponse, replying

NOT_RETAINED = "Background mode requires data retention, which is off for this project (store must be true)."
EXPIRED = "This response can no longer be streamed because it is more than 5 minutes old."


def error_from(message: str) -> Json:
    """Return the body of a refused request."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


@dataclass(slots=True)
class BackgroundResponse:
    """A response that is completed even if nobody streams it; its events are numbered from 0."""

    answer: Answer
    cancelled: bool = False
    _polls: Iterator[int] = field(default_factory=itertools.count)

    @property
    def created(self) -> Json:
        """The response as it was when it was created."""
        created: Json = json.loads(self.answer.frames[0].data)["response"]
        return created

    def after(self, number: int) -> Answer:
        """Return the events after this number."""
        frames = self.answer.frames[number + 1 :]
        if self.cancelled and frames:
            name = "response.cancelled"
            event = {"type": name, "sequence_number": number + 1, "response": self.polled(0)}
            frames = (Frame(compact(event), name),)
        visible = first_visible([(frame.event or "").endswith(".delta") for frame in frames])
        return Answer(frames, visible, self.answer.plain)

    def polled(self, pending: int) -> object:
        """Return the response as it is now: still in progress for the first `pending` calls, unless it is cancelled."""
        if self.cancelled:
            return {**self.created, "status": "cancelled"}
        return {**self.created, "status": "in_progress"} if next(self._polls) < pending else self.answer.plain


class BackgroundResponses:
    """The responses that a server stores, by their ids."""

    def __init__(self) -> None:
        self._stored: dict[str, BackgroundResponse] = {}
        self.cancelled: list[str] = []
        """The id of each response that was to be cancelled, as often as that was asked."""

    def store(self, answer: Answer) -> BackgroundResponse:
        """Store one more."""
        return self._stored.setdefault(answer.plain["id"], BackgroundResponse(answer))

    def find(self, path: str) -> BackgroundResponse | None:
        """Return the stored response that a request path names, or None."""
        return self._stored.get(stored_id(path) or "")

    def cancel(self, response_id: str) -> ScriptedResponse:
        """Cancel a stored response; return what that gets."""
        stored = self._stored.get(response_id)
        if stored is None:
            return replying(error_from(f"Response with id '{response_id}' not found."), 404)
        stored.cancelled = True
        self.cancelled.append(response_id)
        return replying(stored.polled(0))

    def clear(self) -> None:
        """Forget all of them."""
        self._stored.clear()
        self.cancelled = []


def retrieve(stored: BackgroundResponse, path: str, behaviour: ServerBehaviour) -> Answer | ScriptedResponse:
    """Return what a retrieval gets: events to stream, or a response that is not a stream."""
    query = parse_qs(urlsplit(path).query)
    if query.get("stream") != ["true"]:
        return replying(stored.polled(behaviour.pending_polls))
    if not behaviour.streamable:
        return replying(error_from(EXPIRED), 400)
    return stored.after(int(query.get("starting_after", ["-1"])[0]))

"""Responses made in the background: kept by the server, and retrieved from it as often as one likes.

Decides what a retrieval gets. It knows no faults: those strike what is decided here like any other answer.

The law: however often and from wherever a kept response is streamed, its events are the same.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from .answers import stored_id
from .answers.answer import Answer, Json, ServerBehaviour, first_visible
from .scripted_response import ScriptedResponse, replying

EXPIRED = "This response can no longer be streamed because it is more than 5 minutes old."


def error_from(message: str) -> Json:
    """The body of a refused request."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


@dataclass(frozen=True, slots=True)
class Job:
    """A response that goes on being made when nobody listens; its events are numbered from 0."""

    answer: Answer
    _polls: Iterator[int] = field(default_factory=itertools.count)

    @property
    def begun(self) -> Json:
        """The response as it was when it was asked for."""
        begun: Json = json.loads(self.answer.frames[0].data)["response"]
        return begun

    def after(self, number: int) -> Answer:
        """The events behind this number."""
        frames = self.answer.frames[number + 1 :]
        visible = first_visible([(frame.event or "").endswith(".delta") for frame in frames])
        return Answer(frames, visible, self.answer.plain)

    def polled(self, pending: int) -> object:
        """The response as it is now: the first `pending` times it is still in progress."""
        return {**self.begun, "status": "in_progress"} if next(self._polls) < pending else self.answer.plain


class Jobs:
    """The responses that a server keeps, by their ids."""

    def __init__(self) -> None:
        self._kept: dict[str, Job] = {}

    def keep(self, answer: Answer) -> Job:
        """Keep one more."""
        return self._kept.setdefault(answer.plain["id"], Job(answer))

    def asked_for(self, path: str) -> Job | None:
        """The kept response that a path names."""
        return self._kept.get(stored_id(path) or "")

    def forget(self) -> None:
        """Keep none any longer."""
        self._kept.clear()


def retrieved(job: Job, path: str, habits: ServerBehaviour) -> Answer | ScriptedResponse:
    """What a retrieval gets: events to stream, or a reply that is no stream."""
    query = parse_qs(urlsplit(path).query)
    if query.get("stream") != ["true"]:
        return replying(job.polled(habits.pending_polls))
    if not habits.streamable:
        return replying(error_from(EXPIRED), 400)
    return job.after(int(query.get("starting_after", ["-1"])[0]))

"""Which request gets which performance, and the record of what was asked. No sockets.

The law: the parts of the script go to the requests in the order in which these arrive, each part to one
request.
"""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import MIMEPart
from typing import Any, Final, TypeAlias

from .answers import Api, api_from, check_answer, stored_id, take_answer
from .answers.answer import MODEL, Answer, AnswerVariant, ServerBehaviour
from .background import Job, Jobs, error_from, retrieved
from .connection import Incoming
from .prefill import limit_from, objection, prefix_from
from .scripted_response import ScriptedResponse, healthy, replying
from .wire_faults import Fault, find_fault

SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "cookie"})


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request as the server saw it.

    `headers` has lower-case names and no credentials, `body` is the JSON sent, the fields of a form (a file is
    its name), or None where it was neither.
    `connection` numbers the connections from 1; `request_id` is what the answer's `x-request-id` said.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    connection: int
    request_id: str


Part: TypeAlias = str | Fault | ScriptedResponse | Callable[[Request], ScriptedResponse] | None


@dataclass(frozen=True, slots=True)
class _Scene:
    """What one request gets: a part of the script, at which frame it strikes, and the answer it is about."""

    part: Fault | ScriptedResponse | Callable[[Request], ScriptedResponse] | None
    after: int | None
    answer: str


class Script:
    """What is to be performed, request by request. Safe to ask from many threads."""

    def __init__(self, *, sampled: bool, regroup: bool, habits: ServerBehaviour) -> None:
        self.requests: list[Request] = []
        self.habits = habits
        self._jobs = Jobs()
        self._sampled = sampled
        self._regroup = regroup
        self._lock = threading.Lock()
        self._served = 0  # never begins anew: no two answers of a server are alike
        self._next: deque[_Scene] = deque()
        self._afterwards = _Scene(None, None, "text")

    def play(self, answer: str, fault: str | Fault | None, after: int | None, times: int | None) -> None:
        """Forget the requests; damage the answer for so many of the next ones, or all if `times` is None."""
        check_answer(answer)
        struck = None if fault is None else find_fault(fault)
        if struck is not None and struck.answer is not None:
            answer = struck.answer  # also for the healthy requests behind it: they are other tries at the same answer
        scene = _Scene(struck, after, answer)
        with self._lock:
            self.requests = []
            self._jobs.forget()
            self._next = deque([scene] * (times or 0))
            self._afterwards = scene if times is None else _Scene(None, None, answer)

    def play_parts(self, parts: tuple[Part, ...], after: int | None) -> None:
        """Give the parts to the next requests; what comes behind them is healthy."""
        checked = [find_fault(part) if isinstance(part, str) else part for part in parts]
        with self._lock:
            answer = self._afterwards.answer
            self._next = deque(_Scene(part, after, answer) for part in checked)
            self._afterwards = _Scene(None, None, answer)

    def perform(self, incoming: Incoming, connection: int) -> tuple[Request, ScriptedResponse]:
        """Record the request, and choose what it gets."""
        with self._lock:
            self._served += 1
            serial = self._served
            request = _recorded(incoming, connection, f"req_{serial:032x}")
            self.requests.append(request)
            asked = self._asked(request)
            if isinstance(asked, ScriptedResponse):
                return request, asked
            scene = self._next.popleft() if self._next else self._afterwards
        match scene.part:
            case None | Fault() as fault:
                return request, self._answering(asked, request, fault, scene, serial)
            case ScriptedResponse() as performance:
                return request, performance
            case choose:
                return request, choose(request)

    def _asked(self, request: Request) -> Api | Job | ScriptedResponse:
        """What a request is about: an API's answer, one that is kept, or nothing there is, which is a 404."""
        api = api_from(request.path)
        if request.method == "POST" and api is not None:
            return api
        if request.method != "GET" or stored_id(request.path) is None:
            return replying({"error": {"message": f"no such path: {request.path}"}}, 404)
        job = self._jobs.asked_for(request.path)
        return job or replying(error_from(f"Response with id '{stored_id(request.path)}' not found."), 404)

    def _answering(
        self, asked: Api | Job, request: Request, fault: Fault | None, scene: _Scene, serial: int
    ) -> ScriptedResponse:
        """The answer that the scene wants, healthy or damaged; plain where the request asks for no stream."""
        if isinstance(asked, Job):
            answer = retrieved(asked, request.path, self.habits)
        else:
            name = fault.answer if fault is not None and fault.answer is not None else scene.answer
            answer = self._asked_now(asked, request, name, serial)
        if isinstance(answer, ScriptedResponse):
            return answer
        return healthy(answer) if fault is None or not answer.frames else fault.perform(answer, scene.after)

    def _asked_now(self, api: Api, request: Request, name: str, serial: int) -> Answer | ScriptedResponse:
        """A new take of the named answer, as the request wants it: events to stream, or a reply that is no stream."""
        body = request.body if isinstance(request.body, dict) else {}
        take = AnswerVariant(serial, str(body.get("model", MODEL)), self._sampled, self._regroup)
        if api == "chat":
            if problem := objection(body, self.habits.prefill):
                return replying(error_from(problem), 400)
            take.prefix, take.prefill, take.limit = prefix_from(body), self.habits.prefill, limit_from(body)
        take.background = api == "responses" and body.get("background") is True
        answer = take_answer(api, name, take)
        job = self._jobs.keep(answer) if take.background else None
        if body.get("stream") in (True, "true") or body.get("stream_format") == "sse":
            return answer
        return replying(answer.plain if job is None else job.begun)


def _recorded(incoming: Incoming, connection: int, request_id: str) -> Request:
    headers = {name: "[redacted]" if name in SECRET_HEADERS else value for name, value in incoming.headers.items()}
    return Request(incoming.method, incoming.path, headers, _body(incoming), connection, request_id)


def _body(incoming: Incoming) -> Any:
    kind = incoming.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        head = f"content-type: {kind}\r\n\r\n".encode("latin-1")
        form = email.message_from_bytes(head + incoming.body, policy=email.policy.HTTP)
        return {_name(part): part.get_filename() or _text(part) for part in form.iter_parts()}
    try:
        return json.loads(incoming.body)
    except ValueError:  # an upload, or nothing
        return None


def _name(part: MIMEPart) -> str:
    return str(part.get_param("name", header="content-disposition"))


def _text(part: MIMEPart) -> str:
    data = part.get_payload(decode=True)
    return data.decode(errors="replace") if isinstance(data, bytes) else ""

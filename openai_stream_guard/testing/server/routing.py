"""Decides which request gets which response, and records the requests. No sockets.

Invariant: the parts of the script go to the requests in the order in which these arrive, each part to one request.
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

from .answers import ANSWERS, Api, api_from, build_answer, check_answer, stored_id
from .answers.answer import MODEL, Answer, AnswerVariant, ServerBehaviour
from .background import BackgroundResponse, BackgroundResponses, error_from, retrieve
from .connection import ReceivedRequest
from .prefill import anchor_from, begin_anchored, limit_from, prefix_from, refusal_reason
from .scripted_response import ScriptedResponse, healthy, replying
from .wire_faults import Fault, find_fault

SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "cookie"})


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request as the server saw it.

    `headers` has lower-case names and no credentials. `body` is the JSON sent, the fields of a form (a file is
    represented by its name), or None for anything else. `connection` numbers the connections from 1; `request_id` is
    the `x-request-id` of the response.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    connection: int
    request_id: str


Part: TypeAlias = str | Fault | ScriptedResponse | Callable[[Request], ScriptedResponse] | None
"""What one request gets, as `Server.script` takes it."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """What one request gets: a part of the script, the frame at which a fault takes effect, and the answer's name."""

    part: Fault | ScriptedResponse | Callable[[Request], ScriptedResponse] | None
    after: int | None
    answer: str


class Router:
    """Chooses the response for each request. Safe to use from many threads."""

    def __init__(self, *, sampled: bool, regroup: bool, behaviour: ServerBehaviour) -> None:
        self.requests: list[Request] = []
        self.behaviour = behaviour
        self._background = BackgroundResponses()
        self._sampled = sampled
        self._regroup = regroup
        self._lock = threading.Lock()
        self._served = 0  # never reset: no two answers of a server are alike
        self._next: deque[_Planned] = deque()
        self._afterwards = _Planned(None, None, "text")

    def reset(self, answer: str, fault: str | Fault | None, after: int | None, times: int | None) -> None:
        """Forget the requests; apply the fault to so many of the next ones, or to all if `times` is None."""
        check_answer(answer)
        found = None if fault is None else find_fault(fault)
        if found is not None and found.answer is not None:
            answer = found.answer  # for the healthy requests that follow too: they are retries for the same answer
        planned = _Planned(found, after, answer)
        with self._lock:
            self.requests = []
            self._background.clear()
            self._next = deque([planned] * (times or 0))
            self._afterwards = planned if times is None else _Planned(None, None, answer)

    def script(self, parts: tuple[Part, ...], after: int | None) -> None:
        """Give the parts to the next requests; those that follow get healthy answers."""
        with self._lock:
            answer = self._afterwards.answer
            self._next = deque(_planned(part, after, answer) for part in parts)
            self._afterwards = _Planned(None, None, answer)

    def respond(self, received: ReceivedRequest, connection: int) -> tuple[Request, ScriptedResponse]:
        """Record the request, and choose its response."""
        with self._lock:
            self._served += 1
            serial = self._served
            request = _recorded(received, connection, f"req_{serial:032x}")
            self.requests.append(request)
            resource = self._find_resource(request)
            if isinstance(resource, ScriptedResponse):
                return request, resource
            planned = self._next.popleft() if self._next else self._afterwards
        match planned.part:
            case None | Fault() as fault:
                return request, self._answer(resource, request, fault, planned, serial)
            case ScriptedResponse() as response:
                return request, response
            case choose:
                return request, choose(request)

    def _find_resource(self, request: Request) -> Api | BackgroundResponse | ScriptedResponse:
        """Return what the request is about: an API, a stored response, or a 404."""
        api = api_from(request.path)
        if request.method == "POST" and api is not None:
            return api
        if request.method != "GET" or stored_id(request.path) is None:
            return replying({"error": {"message": f"no such path: {request.path}"}}, 404)
        stored = self._background.find(request.path)
        return stored or replying(error_from(f"Response with id '{stored_id(request.path)}' not found."), 404)

    def _answer(
        self, resource: Api | BackgroundResponse, request: Request, fault: Fault | None, planned: _Planned, serial: int
    ) -> ScriptedResponse:
        """Return the planned answer, healthy or with the fault; faults need a stream."""
        if isinstance(resource, BackgroundResponse):
            answer = retrieve(resource, request.path, self.behaviour)
        else:
            name = fault.answer if fault is not None and fault.answer is not None else planned.answer
            answer = self._new_answer(resource, request, name, serial)
        if isinstance(answer, ScriptedResponse):
            return answer
        return healthy(answer) if fault is None or not answer.frames else fault.apply(answer, planned.after)

    def _new_answer(self, api: Api, request: Request, name: str, serial: int) -> Answer | ScriptedResponse:
        """Return a new variant of the named answer: an `Answer` to stream, or a response that is not a stream."""
        body = request.body if isinstance(request.body, dict) else {}
        variant = AnswerVariant(serial, str(body.get("model", MODEL)), self._sampled, self._regroup)
        if api == "chat":
            prefill = self.behaviour.prefill
            if reason := refusal_reason(body, prefill):
                return replying(error_from(reason), 400)
            variant.prefix, variant.prefill, variant.limit = prefix_from(body), prefill, limit_from(body)
            said, anchor = anchor_from(body)
            if anchor:
                begin_anchored(variant, said, anchor, self.behaviour.anchored)
                name = "refusal" if self.behaviour.anchored == "refusing" else name
        variant.background = api == "responses" and body.get("background") is True
        answer = build_answer(api, name, variant)
        stored = self._background.store(answer) if variant.background else None
        if body.get("stream") in (True, "true") or body.get("stream_format") == "sse":
            return answer
        return replying(answer.plain if stored is None else stored.created)


def _planned(part: Part, after: int | None, answer: str) -> _Planned:
    """Return what a part of a script means. Raises `ValueError` for a name of neither an answer nor a fault."""
    if not isinstance(part, str):
        return _Planned(part, after, answer)
    is_answer = any(part in names for names in ANSWERS.values())
    return _Planned(None, None, part) if is_answer else _Planned(find_fault(part), after, answer)


def _recorded(received: ReceivedRequest, connection: int, request_id: str) -> Request:
    headers = {name: "[redacted]" if name in SECRET_HEADERS else value for name, value in received.headers.items()}
    return Request(received.method, received.path, headers, _body(received), connection, request_id)


def _body(received: ReceivedRequest) -> Any:
    kind = received.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        head = f"content-type: {kind}\r\n\r\n".encode("latin-1")
        form = email.message_from_bytes(head + received.body, policy=email.policy.HTTP)
        return {_name(part): part.get_filename() or _text(part) for part in form.iter_parts()}
    try:
        return json.loads(received.body)
    except ValueError:  # an upload, or nothing
        return None


def _name(part: MIMEPart) -> str:
    return str(part.get_param("name", header="content-disposition"))


def _text(part: MIMEPart) -> str:
    data = part.get_payload(decode=True)
    return data.decode(errors="replace") if isinstance(data, bytes) else ""

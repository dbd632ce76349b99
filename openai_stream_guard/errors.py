"""The one error, and the classes that make it catchable wherever the unguarded SDK's error was caught.

The class raised is joined at run time from `OpenAIStreamParseError` and the class of the transport's or parser's own
exception, so that `except httpx.RemoteProtocolError` or `except json.JSONDecodeError` go on working. Joined classes
fill the fields of each base themselves: the SDK's constructors are cooperative, and would call the other base's.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import openai

from .diagnosis.causes import hint
from .engine.decisions import FirstFailure
from .notices import Attempt, FaultKind, StoppedBy, attempt_lines, counted
from .redaction import redact, redact_in_place, redact_tail, redact_tree
from .transport.http import forget_quotes

if TYPE_CHECKING:
    from openai.types import Completion
    from openai.types.chat import ChatCompletion
    from openai.types.responses import Response

_ANSWERS: dict[object, tuple[str, str]] = {
    "chat.completion": ("openai.types.chat", "ChatCompletion"),
    "text_completion": ("openai.types", "Completion"),
    "response": ("openai.types.responses", "Response"),
}
_INCOMPLETE: tuple[FaultKind, ...] = ("disconnected", "truncated", "malformed")


class OpenAIStreamParseError(openai.APIConnectionError):
    """A stream broke, and could not be recovered: the first failure, with everything received so far.

    Also set as `openai.OpenAIStreamParseError`. Survives `pickle` and `copy`, without its request and cause.
    """

    fault: FaultKind
    """What went wrong first."""
    attempts: tuple[Attempt, ...]
    """Every attempt, the failed ones included."""
    stopped_by: StoppedBy
    """Why recovery went no further."""
    partial_text: str
    """The text that was delivered."""
    partial: ChatCompletion | Completion | Response | None
    """The answer object built from what was delivered; None where there is none, or `partial_text` is all."""
    raw_tail: bytes
    """The last bytes of the failed attempt, at most 1,024, secrets masked. Never in `str` or `repr`."""
    request_id: str | None
    """The `x-request-id` of the failed attempt."""
    hint: str
    """Likely cause and remedy."""
    _native: tuple[tuple[Any, tuple[Any, ...]], ...]

    def __init__(self, message: str, **fields: Any) -> None:
        Exception.__init__(self, message)
        self.message = message
        self.__dict__.update(_DEFAULTS | fields)
        for base, arguments in self._native:
            if isinstance(self, base):  # not where its class could not be joined, or is not installed
                base.__init__(self, *arguments)
                self.args = (message,)

    @property
    def request(self) -> Any:
        """The HTTP request of the failed attempt; None once pickled."""
        # A property, since httpx's errors have one by this name that raises where it was not set.
        return self._request

    @request.setter
    def request(self, request: Any) -> None:
        self._request = request

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r})"

    def __reduce__(self) -> Any:
        fields = {name: value for name, value in self.__dict__.items() if name not in ("_request", "__notes__")}
        return _restore, (_path(type(self)), fields, getattr(self, "__notes__", []))


_DEFAULTS: dict[str, Any] = {
    "_request": None,
    "_native": (),
    "body": None,
    "code": None,
    "param": None,
    "type": None,
    "attempts": (),
    "partial_text": "",
    "partial": None,
    "raw_tail": b"",
    "request_id": None,
    "hint": "",
}


def stream_error(
    failure: FirstFailure,
    stopped_by: StoppedBy,
    *,
    attempts: tuple[Attempt, ...],
    partial_text: str,
    partial: dict[str, object] | None,
    request: object,
    credentials: Collection[str] = (),
    keep_cause: bool = True,
) -> OpenAIStreamParseError:
    """The exception for a first failure.

    Args:
        request: the HTTP request of the failed attempt, as the SDK's own errors carry it.
        credentials: what it was authenticated with, which the API may have repeated.
        keep_cause: False where the SDK would unwrap `__cause__` and raise that instead; then it is `__context__`.
    """
    fault = failure.fault
    body = redact_tree(fault.body, credentials)
    forget_quotes(fault.error)
    error = _joined(_classes(fault.kind, fault.error))(
        redact(_message(failure, attempts), credentials),
        fault=fault.kind,
        attempts=attempts,
        stopped_by=stopped_by,
        partial_text=partial_text,
        partial=answer_from(partial),
        raw_tail=redact_tail(failure.raw_tail, credentials),
        request_id=failure.attempt.request_id,
        hint=hint(failure.evidence, stopped_by),
        body=body,
        _request=request,
        _native=_native(fault.error, credentials),
        **_details(body, request),
        **_parser_fields(fault.error, credentials),
    )
    if keep_cause:
        error.__cause__ = fault.error
    else:
        error.__context__ = fault.error
    explain(error, *attempt_lines(attempts)[1:], error.hint)
    return error


def _message(failure: FirstFailure, attempts: tuple[Attempt, ...]) -> str:
    fault = failure.fault
    if fault.kind == "upstream_error":
        said = fault.body.get("message") if isinstance(fault.body, Mapping) else fault.body
        return said if isinstance(said, str) and said else "An error occurred during streaming"
    start = "Incomplete chunk received while parsing SSE stream" if fault.kind in _INCOMPLETE else "Stream broke"
    return f"{start}: {fault.reason} ({failure.attempt}, {counted(len(attempts), 'attempt')})"


def _details(body: object, request: Any) -> dict[str, Any]:
    """`code`, `param` and `type`, as this SDK reads them off an error object."""
    plain = openai.APIError("", request=request, body=body)
    return {"code": plain.code, "param": plain.param, "type": plain.type}


def _classes(fault: FaultKind, error: Exception | None) -> tuple[type[Exception], ...]:
    """The classes that existing `except` clauses may name for this fault."""
    classes: list[type[Exception]] = [openai.APITimeoutError] if fault == "stalled" else []
    if error is not None:
        classes.append(type(error))
    return tuple(classes)


@functools.lru_cache(maxsize=64)
def _joined(classes: tuple[type[Exception], ...]) -> type[OpenAIStreamParseError]:
    """`OpenAIStreamParseError` and all of `classes` in one."""
    joined: type[OpenAIStreamParseError] = OpenAIStreamParseError
    for other in classes:
        if issubclass(joined, other):
            continue
        try:
            joined = type("OpenAIStreamParseError", (joined, other), {"__module__": __name__, "_also": classes})
        except TypeError:  # two C layouts that cannot be one object: the typed error alone is still right
            continue
    return joined


def _native(error: Exception | None, credentials: Collection[str]) -> tuple[tuple[Any, tuple[Any, ...]], ...]:
    """The constructors that fill fields which live in C, where no attribute can stand in for them."""
    if isinstance(error, UnicodeDecodeError):
        encoding, text, *where = error.args
        return ((UnicodeDecodeError, (encoding, redact_in_place(text, credentials), *where)),)
    if isinstance(error, OSError):
        return ((OSError, error.args),)
    return ()


def _parser_fields(error: Exception | None, credentials: Collection[str]) -> dict[str, Any]:
    if isinstance(error, json.JSONDecodeError):
        return {
            "msg": error.msg,
            "doc": redact_in_place(error.doc, credentials),
            "pos": error.pos,
            "lineno": error.lineno,
            "colno": error.colno,
        }
    return {}


def explain(error: Exception, *notes: str) -> None:
    """Add notes to an exception, which a traceback shows below it."""
    if notes:  # PEP 678 says how it is stored; `add_note` itself came with Python 3.11
        error.__notes__ = [*getattr(error, "__notes__", []), *notes]  # type: ignore[attr-defined] # not in 3.10


def _path(joined: type[Exception]) -> list[tuple[str, str]]:
    """Where to find the joined classes again."""
    return [(other.__module__, other.__qualname__) for other in getattr(joined, "_also", ())]


def _restore(paths: list[tuple[str, str]], fields: dict[str, Any], notes: list[str]) -> OpenAIStreamParseError:
    """Rebuild a pickled error; a class that is not installed here is left out."""
    classes = []
    for module, name in paths:
        try:
            classes.append(functools.reduce(getattr, name.split("."), importlib.import_module(module)))
        except (ImportError, AttributeError):
            continue
    error = _joined(tuple(classes))(**fields)
    explain(error, *notes)
    return error


def answer_from(partial: dict[str, object] | None) -> Any:
    """The SDK's own type for an answer as far as it came."""
    if partial is None:
        return None
    module, name = _ANSWERS[partial["object"]]
    return getattr(importlib.import_module(module), name).construct(**partial)

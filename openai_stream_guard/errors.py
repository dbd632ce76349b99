"""The one error of a broken stream. `except` clauses that caught the unguarded SDK's error catch it as well.

Every error is an `OpenAIStreamParseError` and an `openai.APIError`. Further classes are joined at run time:

| fault | classes that are joined |
|---|---|
| `disconnected` | `openai.APIConnectionError`, the class of the transport's exception |
| `stalled` | `openai.APITimeoutError`, the class of the transport's exception |
| `truncated` | `openai.APIConnectionError`, `UnicodeDecodeError` inside a character |
| `malformed` | `openai.APIConnectionError`, `json.JSONDecodeError`, `UnicodeDecodeError` or `DecodingError` |
| `gap` | `openai.APIConnectionError` |
| `not_a_stream` | `openai.APIConnectionError` |
| `oversized` | `openai.APIConnectionError` |
| `diverged` | `openai.APIConnectionError` |
| `upstream_error` | none: the API spoke, and the SDK raises an `openai.APIError` |

The fault is the first one; for it the SDK alone raises the transport's or parser's exception, from openai 3.14 on an
`APIConnectionError` or `APITimeoutError` in place of the transport's, or nothing.
"""

from __future__ import annotations

import functools
import importlib
import pickle
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import openai

from .diagnosis.causes import hint
from .engine.decisions import FirstFailure, StreamFault
from .notices import Attempt, FaultKind, StoppedBy, attempt_lines, counted
from .redaction import redact, redact_in_place, redact_tail, redact_tree
from .transport.exceptions import forget_quotes

if TYPE_CHECKING:
    from openai.types import Completion
    from openai.types.chat import ChatCompletion
    from openai.types.responses import Response

_ANSWER_TYPES: dict[object, tuple[str, str]] = {
    "chat.completion": ("openai.types.chat", "ChatCompletion"),
    "text_completion": ("openai.types", "Completion"),
    "response": ("openai.types.responses", "Response"),
}
_INCOMPLETE: tuple[FaultKind, ...] = ("disconnected", "truncated", "malformed")


class OpenAIStreamParseError(openai.APIError):
    """A stream broke and was not recovered: the first failure, with everything that was received before it.

    Also set as `openai.OpenAIStreamParseError`. Survives `pickle` and `copy`, without its request and cause. The
    module's docstring says of which further classes it is an instance.
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
    stream_id: str
    """The short id of the stream, as on its log records, its notices and its report."""
    _c_constructors: tuple[tuple[Any, tuple[Any, ...]], ...]
    _transport_fields: tuple[str, ...]

    def __init__(self, message: str, **fields: Any) -> None:
        # Each base's fields are set here: the SDK's constructors are cooperative, and would call another base's.
        Exception.__init__(self, message)
        self.message = message
        self.__dict__.update(_DEFAULTS | fields)
        for name in self._transport_fields:
            with suppress(AttributeError):  # of a property that cannot be set
                setattr(self, name, fields[name])  # which may be a slot
        for base, arguments in self._c_constructors:
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
        for name in self._transport_fields:
            if not _can_be_pickled(fields[name]):
                del fields[name]
        fields["_transport_fields"] = tuple(name for name in self._transport_fields if name in fields)
        return _restore, (_joined_names(type(self)), fields, getattr(self, "__notes__", []))


_DEFAULTS: dict[str, Any] = {
    "_request": None,
    "_c_constructors": (),
    "_transport_fields": (),
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
    "stream_id": "",
}
_OWN_FIELDS = frozenset({*_DEFAULTS, "fault", "stopped_by", "message", "request", "args", "__notes__"})
"""The fields that a transport's exception cannot set."""


def stream_error(
    failure: FirstFailure,
    stopped_by: StoppedBy,
    *,
    attempts: tuple[Attempt, ...],
    partial_text: str,
    partial: dict[str, object] | None,
    request: object,
    stream_id: str = "",
    credentials: Collection[str] = (),
    keep_cause: bool = True,
) -> OpenAIStreamParseError:
    """Make the exception for a first failure.

    Args:
        request: the HTTP request of the failed attempt, as the SDK's own errors have it.
        credentials: what it was authenticated with, which the API may have repeated.
        keep_cause: False where the SDK would raise `__cause__` in place of the error; then that is `__context__`.
    """
    fault = failure.fault
    body = redact_tree(fault.body, credentials)
    forget_quotes(fault.error)
    transport_fields = dict(_transport_fields(fault.error, credentials))
    fields = {
        **transport_fields,
        "fault": fault.kind,
        "attempts": attempts,
        "stopped_by": stopped_by,
        "partial_text": partial_text,
        "partial": answer_from(partial),
        "raw_tail": redact_tail(failure.raw_tail, credentials),
        "request_id": failure.attempt.request_id,
        "hint": hint(failure.evidence, stopped_by, attempts),
        "stream_id": stream_id,
        "body": body,
        "_request": request,
        "_c_constructors": _c_constructors(fault.error, credentials),
        "_transport_fields": tuple(transport_fields),
        **_error_details(body, request),
    }
    error = _joined(_classes_for(fault))(redact(_message(failure, attempts), credentials), **fields)
    if keep_cause:
        error.__cause__ = fault.error
    else:
        error.__context__ = fault.error
    add_notes(error, *attempt_lines(attempts)[1:], error.hint)
    return error


def _message(failure: FirstFailure, attempts: tuple[Attempt, ...]) -> str:
    fault = failure.fault
    if fault.kind == "upstream_error":
        said = fault.body.get("message") if isinstance(fault.body, Mapping) else fault.body
        if fault.reported is not None:
            said = fault.reported.message
        return said if isinstance(said, str) and said else "An error occurred during streaming"
    start = "Incomplete chunk received while parsing SSE stream" if fault.kind in _INCOMPLETE else "Stream broke"
    return f"{start}: {fault.reason} ({failure.attempt}, {counted(len(attempts), 'attempt')})"


def _error_details(body: object, request: Any) -> dict[str, Any]:
    """Return `code`, `param` and `type` as this SDK release reads them from an error object."""
    error = openai.APIError("", request=request, body=body)
    return {"code": error.code, "param": error.param, "type": error.type}


def _classes_for(fault: StreamFault) -> tuple[type[Exception], ...]:
    """Return the classes to join for a fault; the table in the module's docstring says them."""
    if fault.kind == "upstream_error":
        return ()
    of_sdk = openai.APITimeoutError if fault.kind == "stalled" else openai.APIConnectionError
    return (of_sdk,) if fault.error is None else (of_sdk, type(fault.error))


@functools.lru_cache(maxsize=64)
def _joined(classes: tuple[type[Exception], ...]) -> type[OpenAIStreamParseError]:
    """Return one class that is a child of `OpenAIStreamParseError` and of all these."""
    joined: type[OpenAIStreamParseError] = OpenAIStreamParseError
    for other in classes:
        if issubclass(joined, other):
            continue
        try:
            joined = type("OpenAIStreamParseError", (joined, other), {"__module__": __name__, "_joined": classes})
        except TypeError:  # two C layouts that cannot be one object: the typed error alone is still right
            continue
    return joined


def _c_constructors(error: Exception | None, credentials: Collection[str]) -> tuple[tuple[Any, tuple[Any, ...]], ...]:
    """Return the constructors that set fields which live in C, where no attribute can replace them."""
    if isinstance(error, UnicodeDecodeError):
        encoding, text, *where = error.args
        return ((UnicodeDecodeError, (encoding, redact_in_place(text, credentials), *where)),)
    if isinstance(error, OSError):
        return ((OSError, error.args),)
    return ()


def _transport_fields(error: Exception | None, credentials: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a transport's or parser's exception that are not also fields of the guard's, masked."""
    slots = [name for kind in type(error).__mro__ for name in getattr(kind, "__slots__", ())]
    for name in (*getattr(error, "__dict__", ()), *slots):
        if name in _OWN_FIELDS or not hasattr(error, name):
            continue
        value = getattr(error, name)
        yield name, redact_in_place(value, credentials) if isinstance(value, str) else value


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # whatever `__reduce__` of somebody else's object raises
        return False
    return True


def add_notes(error: Exception, *notes: str) -> None:
    """Add notes to an exception; a traceback shows them below it."""
    if notes:  # PEP 678 says how they are stored; `add_note` itself came with Python 3.11
        error.__notes__ = [*getattr(error, "__notes__", []), *notes]  # type: ignore[attr-defined] # not in 3.10


def _joined_names(joined: type[Exception]) -> list[tuple[str, str]]:
    """Return module and name of each class that was joined."""
    return [(other.__module__, other.__qualname__) for other in getattr(joined, "_joined", ())]


def _restore(names: list[tuple[str, str]], fields: dict[str, Any], notes: list[str]) -> OpenAIStreamParseError:
    """Rebuild a pickled error; a class that is not installed here is left out."""
    classes = []
    for module, name in names:
        try:
            classes.append(functools.reduce(getattr, name.split("."), importlib.import_module(module)))
        except (ImportError, AttributeError):
            continue
    error = _joined(tuple(classes))(**fields)
    add_notes(error, *notes)
    return error


def answer_from(partial: dict[str, object] | None) -> Any:
    """Return an answer as far as it came as an object of the SDK's own type; None where there is none."""
    if partial is None:
        return None
    module, name = _ANSWER_TYPES[partial["object"]]
    return getattr(importlib.import_module(module), name).construct(**partial)

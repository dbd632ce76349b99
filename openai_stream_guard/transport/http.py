"""What the HTTP libraries under the SDK have in common, and what the guard needs of their requests and responses.

openai 1 and 2 use httpx, 3 uses httpx2; each accepts the other library's client, and aiohttp may be the transport of
both. None of them is imported here: a library that is not loaded has made no response.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from types import ModuleType
from typing import Any, Protocol

from ..diagnosis.evidence import ResponseHead
from ..redaction import credentials, identifier

LIBRARIES = ("httpx", "httpx2")
_READER_MODULES = ("httpx._models", "httpx2._models")
"""Where the readers of the libraries' own responses are."""


class HttpRequest(Protocol):
    """A request of httpx or httpx2."""

    method: str
    url: Any
    headers: Any
    extensions: dict[str, Any]

    @property
    def content(self) -> bytes: ...


class HttpResponse(Protocol):
    """A response of httpx or httpx2, which have no base class in common, or an object that delegates to one."""

    status_code: int
    headers: Any
    request: Any
    extensions: dict[str, Any]
    is_closed: bool
    is_stream_consumed: bool

    @property
    def http_version(self) -> str: ...
    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]: ...
    def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]: ...
    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]: ...
    def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]: ...
    def close(self) -> None: ...
    async def aclose(self) -> None: ...


class MethodOverride:
    """A function that replaces one method of one response, until `remove` is called.

    It is set on the instance, so a method that somebody else has set there before is kept and restored. Pickled or
    deep-copied with the response, it becomes the method that it replaces.
    """

    def __init__(self, response: HttpResponse, name: str, function: Callable[..., Any]) -> None:
        # Weakly, since a response that is in a reference cycle keeps its connection until the next collection.
        self._response = weakref.ref(response)
        self._name = name
        self._function = function
        self._replaced = _instance_attributes(response).get(name)
        setattr(response, name, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __reduce__(self) -> Any:
        return getattr, (self._response(), self._name)

    def remove(self) -> None:
        """Restore the method that was there before; does nothing where somebody has replaced this one since."""
        response = self._response()
        if response is None or _instance_attributes(response).get(self._name) is not self:
            return
        if self._replaced is None:
            delattr(response, self._name)
        else:
            setattr(response, self._name, self._replaced)

    @property
    def original(self) -> Callable[..., Any]:
        """The method that this one replaces, also while somebody else's stands in front of both."""
        if self._replaced is not None:
            return self._replaced  # type: ignore[no-any-return] # whatever was set on the response
        response = self._response()
        method = getattr(type(response), self._name, None)
        if method is None:  # a response that delegates
            return response.__getattr__(self._name)  # type: ignore[no-any-return, union-attr] # so it has one
        return method.__get__(response)  # type: ignore[no-any-return] # as Python binds methods


def body_of(response: HttpResponse, raw: str, decoded: str) -> Any:
    """Read the body of a response.

    By the raw reader where both give the same bytes, which saves two layers for each read: 5 % of the time of reads of
    16 bytes. They differ where the body is encoded, has been read before, or somebody has replaced the reader.

    Args:
        raw, decoded: the names of both readers, synchronous or asynchronous.
    """
    reader = getattr(type(response), decoded, None)
    plain = (
        getattr(reader, "__module__", None) in _READER_MODULES
        and "content-encoding" not in response.headers
        and not response.is_stream_consumed
        and not _has_own_reader(response)
    )
    return getattr(response, raw if plain else decoded)()


def _has_own_reader(response: HttpResponse) -> bool:
    """Whether somebody, such as an event hook, has replaced a reader on this response alone."""
    replaced = _instance_attributes(response)
    return any(name in replaced for name in ("iter_bytes", "iter_raw", "aiter_bytes", "aiter_raw"))


def _instance_attributes(response: object) -> Mapping[str, Any]:
    return getattr(response, "__dict__", {})


def credentials_from(request: HttpRequest) -> frozenset[str]:
    """Return what an HTTP request authenticates itself with."""
    return credentials(request.headers.items(), request.url.params.items())


def response_head(response: HttpResponse, known: Collection[str]) -> ResponseHead:
    """Return the status and headers of a response.

    Args:
        known: the credentials of its request, which are masked in the request id.
    """
    request_id = identifier(response.headers.get("x-request-id"), known)
    return ResponseHead(response.status_code, request_id, response.headers, response.http_version)


def library_from(message: object) -> ModuleType | None:
    """Return the module, httpx or httpx2, that a request or response is from; None where it is from neither."""
    roots = (kind.__module__.partition(".")[0] for kind in type(message).__mro__)
    return next((sys.modules[root] for root in roots if root in LIBRARIES), None)


def read_timeout_error(response: HttpResponse) -> Exception:
    """Make the exception that the library of a response raises after a silence on its socket."""
    request = getattr(response, "request", None)
    library = library_from(request)
    if library is None:
        return TimeoutError()
    timeout: Exception = library.ReadTimeout("", request=request)
    return timeout

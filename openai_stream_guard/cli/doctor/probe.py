"""Requests short answers from a server through the SDK, as a user's program would, and records what comes.

This module decides what is requested, what it may cost, and which failure means a wrong command and which one is a
finding: a refusal of the first request is the command's fault; whatever goes wrong later is a finding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ...capture.recorder import Recorder
from ...capture.recording import Ending, Recording, kept_head
from ...diagnosis.evidence import ResponseHead
from ...redaction import redact
from ..terminal import printable
from .analysis import Stream, analyzed, unanswered
from .target import NO_KEY, Target

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionMessageParam

MAX_TOKENS: Final = 200
MAX_BYTES: Final = 192 << 10
"""Less than a recording keeps."""
QUESTION: Final = "Count from 1 to 50 in English words, separated by commas. Write nothing else."
REQUESTS: Final[Mapping[str, Mapping[str, str]]] = {
    "default headers": {},
    "without compression": {"accept-encoding": "identity"},
}
"""The requests, by title, with their extra headers. There are two, because what happens once may be chance."""
_TRANSIENT_STATUSES = (408, 409, 425, 429)

Progress: TypeAlias = Callable[[str, float, int, int], None]
"""Called for every read: title of the request, seconds since it was sent, events, bytes."""


class Refused(ValueError):
    """A request got no stream, probably because the command is wrong. The message says how."""


@dataclass(frozen=True)
class Visit:
    """Everything that was requested from one server."""

    model: str
    requests: int
    streams: tuple[Stream, ...]
    items: str
    """How their items were built."""


def visit(target: Target, progress: Progress = lambda *read: None) -> Visit:
    """Request the streams, one after the other. Raises `ValueError` if the first request gets no usable answer."""
    from ... import activation

    with _quiet(), activation.restored():
        import openai

        policy = activation.current_policy().replace(
            max_retries=0, recovery=(), delivery="live", on_event=None, capture=None, log_raw=False,
            idle_timeout=target.timeout, first_event_timeout=target.timeout, repair="safe",
        )  # fmt: skip
        activation.enable(policy)
        if missing := activation.unguarded_patch_points():
            raise ValueError(f"cannot watch streams of openai {openai.__version__}: it lacks {', '.join(missing)}")
        timeout = openai.Timeout(target.timeout, connect=min(10.0, target.timeout))

        def new_client() -> openai.OpenAI:
            return openai.OpenAI(base_url=target.url, api_key=target.key, timeout=timeout, max_retries=0)

        model = target.model
        if model is None:
            with new_client() as client:
                model = _first_model(client, target)
        streams: list[Stream] = []
        for title, headers in REQUESTS.items():
            with new_client() as client:  # a new connection each time: the server may have closed the old one
                request = _Request(client, target, model, title, progress)
                try:
                    streams += request.send(headers)
                except Refused as error:
                    if not streams:
                        raise
                    streams.append(request.failed(None, str(error)))
        return Visit(model, len(streams) + (target.model is None), tuple(streams), activation.how_items_are_built())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the guard's own WARNINGs off the terminal that gets the report."""
    logger = logging.getLogger("openai_stream_guard")
    handler, propagate = logging.NullHandler(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)


def _first_model(client: openai.OpenAI, target: Target) -> str:
    """Return the first model that the server lists; a server of one's own often has only one."""
    import openai

    if target.official:
        raise ValueError("name a model with --model: each answer is billed")
    try:
        models = client.models.list().data
    except openai.APIConnectionError as error:
        raise _connection_failed(error, target) from None
    except (openai.OpenAIError, AttributeError, TypeError):  # whatever is there is not the API
        models = []
    name = getattr(models[0], "id", None) if models else None
    if not isinstance(name, str):
        raise ValueError(f"{target.shown} lists no models: give one with --model")
    return name


class _Request:
    """One request, and the recording of its stream."""

    def __init__(self, client: openai.OpenAI, target: Target, model: str, title: str, progress: Progress) -> None:
        from ...transport import clock

        self._clock = clock.current.clock  # that of the sessions
        self._client = client
        self._target = target
        self._model = model
        self._title = title
        self._progress = progress
        self._recorder: _WatchingRecorder | None = None
        self._events = 0

    def send(self, headers: Mapping[str, str]) -> tuple[Stream, ...]:
        """Send the request, and read the answer to its end or to the limits of the doctor.

        Raises:
            Refused: the server refuses the request, or cannot be reached.
        """
        import openai

        from ...sdk import RUNTIME

        self._sent_at = self._clock()
        self._progress(self._title, 0.0, 0, 0)
        try:
            with RUNTIME.observers_from(self._new_recorder):
                self._read(self._create(dict(headers)))
        except openai.APIStatusError as error:
            if self._recorder is None:
                return (self._error_response(error),)
        except openai.APIConnectionError as error:
            if self._recorder is None:
                return (self._no_response(error),)
        except openai.APIError:
            if self._recorder is None:
                raise
        return self._analyzed()

    def failed(self, response: Any, reason: str) -> Stream:
        """Return the stream of a request that got none."""
        from ...transport.http import credentials_from, response_head

        head = ResponseHead()
        if response is not None:
            credentials = credentials_from(response.request)
            head = kept_head(response_head(response, credentials), credentials)
        ending = Ending(round(self._clock() - self._sent_at, 6), "transport")
        return unanswered(self._title, Recording(opened=0.0, way=None, rule="auto", head=head, ending=ending), reason)

    def _analyzed(self) -> tuple[Stream, ...]:
        if self._recorder is None:
            raise ValueError("cannot watch the stream: another library has replaced the SDK's decoder")
        capture = self._recorder.capture
        return analyzed(capture, self._title, headers_at=max(0.0, capture.origin - self._sent_at))

    def _new_recorder(self, credentials: Collection[str]) -> Recorder:
        self._recorder = _WatchingRecorder(credentials, self._report_read)
        return self._recorder

    def _report_read(self, size: int) -> None:
        self._progress(self._title, self._clock() - self._sent_at, self._events, size)

    def _create(self, headers: dict[str, str]) -> openai.Stream[Any]:
        client, model = self._client, self._model
        match self._target.api:
            case "responses":
                if not hasattr(client, "responses"):
                    raise ValueError("this release of openai has no Responses API")
                return client.responses.create(
                    model=model, input=QUESTION, stream=True, store=False,
                    max_output_tokens=MAX_TOKENS, extra_headers=headers,
                )  # fmt: skip
            case "completions":
                return client.completions.create(
                    model=model, prompt=QUESTION, stream=True, max_tokens=MAX_TOKENS, extra_headers=headers
                )
            case "chat":
                # Newer models refuse the older name, and older servers the newer one.
                limit = "max_completion_tokens" if self._target.official else "max_tokens"
                messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
                return client.chat.completions.create(
                    model=model, messages=messages, stream=True, extra_headers=headers, extra_body={limit: MAX_TOKENS}
                )

    def _read(self, stream: openai.Stream[Any]) -> None:
        deadline = self._clock() + self._target.timeout
        with stream:
            for _ in stream:
                self._events += 1
                size = 0 if self._recorder is None else self._recorder.size
                if size > MAX_BYTES or self._clock() > deadline:
                    return

    def _no_response(self, error: openai.APIConnectionError) -> Stream:
        """Return the stream of a request without a response. Raises `Refused` if the server cannot be reached."""
        import openai

        cause = error.__cause__
        if isinstance(error, openai.APITimeoutError) and type(cause).__name__ != "ConnectTimeout":
            return self.failed(None, f"nothing came within {self._target.timeout:g} s, not even headers")
        if type(cause).__name__ == "RemoteProtocolError" and "disconnected" in str(cause):
            return self.failed(None, "the connection was closed before it")
        raise _connection_failed(error, self._target) from None

    def _error_response(self, error: openai.APIStatusError) -> Stream:
        """Return the stream of a request that got an error which may pass, or which is not the API's own.

        Raises:
            Refused: for any other error.
        """
        status, target = error.status_code, self._target
        if status >= 500 or status in _TRANSIENT_STATUSES:
            return self.failed(error.response, "an error")
        if status in (401, 403):
            raise Refused(f"{target.shown} refuses the key with status {status}: {target.key_advice}")
        if status == 404:
            raise Refused(
                f"{target.shown} has no such path or model (status 404): check --base-url, which for most servers "
                f"ends in /v1, --api {target.api} and --model {printable(self._model)}"
            )
        message = _safe_text(error.message, target)
        raise Refused(f"{target.shown} refuses the request with status {status}: {message}")


class _WatchingRecorder(Recorder):
    """Reports every read as it comes."""

    def __init__(self, credentials: Collection[str], report_read: Callable[[int], None]) -> None:
        super().__init__(credentials)
        self.size = 0
        self._report_read = report_read

    def bytes_received(self, data: bytes, now: float, waiting_since: float) -> None:
        """Keep the read, and report it."""
        super().bytes_received(data, now, waiting_since)
        self.size += len(data)
        self._report_read(self.size)


def _safe_text(text: str, target: Target) -> str:
    """Return an error's text, fit for a terminal and without the key."""
    credentials = () if target.key == NO_KEY else (target.key,)
    return printable(redact(text, credentials))[:300]


def _connection_failed(error: openai.APIConnectionError, target: Target) -> Refused:
    """Return the error for a server that cannot be connected to, or does not speak HTTP."""
    cause = error.__cause__
    name = type(cause).__name__
    message = _safe_text(str(cause or error), target)
    proxy = f" (through the proxy {target.proxy} of the environment)" if target.proxy else ""
    if name in ("ConnectError", "ConnectTimeout"):
        return Refused(f"no connection to {target.shown}{proxy}: {message or 'it timed out'}")
    if name in ("RemoteProtocolError", "LocalProtocolError", "ReadError"):
        return Refused(f"the server at {target.shown}{proxy} does not speak HTTP, or not this way ({name})")
    return Refused(f"cannot reach {target.shown}{proxy}: {message or name}")

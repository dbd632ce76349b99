"""Asks a server for short answers through the SDK, as a user's program would, and keeps what comes.

Decides what is asked, what it may cost, and which failure is a wrong command and which is news of the way: what is
refused outright at the first request is the command's; whatever goes wrong later is a finding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from ...capture.recorder import RecordedSession
from ...capture.recording import Ending, Recording, kept_head
from ...diagnosis.evidence import ResponseHead
from ...redaction import redact
from ..terminal import harmless
from .analysis import Stream, examined, unanswered
from .target import NO_KEY, Target

if TYPE_CHECKING:
    import openai

MAX_TOKENS: Final = 200
MAX_BYTES: Final = 192 << 10  # less than a recording keeps
QUESTION: Final = "Count from 1 to 50 in English words, separated by commas. Write nothing else."
REQUESTS: Final[Mapping[str, Mapping[str, str]]] = {
    "as programs ask": {},
    "asking for no compression": {"accept-encoding": "identity"},
}
"""What is asked for, by its extra headers. Twice, since what happens once may be chance."""

Progress: TypeAlias = Callable[[str, float, int, int], None]
"""Told of every read: which request, seconds since it was sent, events, bytes."""
_PASSING = (408, 409, 425, 429)


class Refused(ValueError):
    """A request got no stream, likely since the command is wrong; the message says how."""


@dataclass(frozen=True)
class Visit:
    """All that was asked of one server."""

    model: str
    requests: int
    streams: tuple[Stream, ...]


def visit(target: Target, progress: Progress = lambda *told: None) -> Visit:
    """Ask for the streams, one after the other. Raises `ValueError` where the first gets no answer to speak of."""
    from ... import activation as switch

    with _silent(), switch.restored():
        import openai

        policy = switch.current_policy().replace(
            max_retries=0, recovery=(), delivery="live", on_event=None, capture=None, log_raw=False,
            idle_timeout=target.timeout, first_event_timeout=target.timeout, repair="safe",
        )  # fmt: skip
        switch.enable(policy)
        if missing := switch.unguarded_patch_points():
            raise ValueError(f"openai {openai.__version__} cannot be watched: it lacks {', '.join(missing)}")
        timeout = openai.Timeout(target.timeout, connect=min(10.0, target.timeout))

        def new_client() -> openai.OpenAI:
            return openai.OpenAI(base_url=target.url, api_key=target.key, timeout=timeout, max_retries=0)

        model = target.model
        if model is None:
            with new_client() as client:
                model = _first_model(client, target)
        streams: list[Stream] = []
        for title, headers in REQUESTS.items():
            with new_client() as client:  # each has a connection of its own: one that was kept may be closed by now
                asker = _Asker(client, target, model, title, progress)
                try:
                    streams += asker.ask(headers)
                except Refused as error:
                    if not streams:
                        raise
                    streams.append(asker.failed(None, str(error)))
        return Visit(model, len(streams) + (target.model is None), tuple(streams))


@contextmanager
def _silent() -> Iterator[None]:
    """The guard's own WARNINGs are kept from the terminal, where the report will stand."""
    logger = logging.getLogger("openai_stream_guard")
    nowhere, propagate = logging.NullHandler(), logger.propagate
    logger.addHandler(nowhere)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(nowhere)


def _first_model(client: openai.OpenAI, target: Target) -> str:
    """The first model that the server names: where it is a server of one's own, there often is but one."""
    import openai

    if target.official:
        raise ValueError("name a model with --model: each answer is billed")
    try:
        models = client.models.list().data
    except openai.APIConnectionError as error:
        raise _refusal(error, target) from None
    except (openai.OpenAIError, AttributeError, TypeError):  # whatever else there is in the API's place
        models = []
    name = getattr(models[0], "id", None) if models else None
    if not isinstance(name, str):
        raise ValueError(f"{target.shown} names no models: give one with --model")
    return name


class _Asker:
    """One request."""

    def __init__(self, client: openai.OpenAI, target: Target, model: str, title: str, progress: Progress) -> None:
        from ...transport import clock as timing

        self._clock = timing.current.clock  # the one that the session runs by
        self._client = client
        self._target = target
        self._model = model
        self._title = title
        self._progress = progress
        self._session: _Watched | None = None

    def ask(self, headers: Mapping[str, str]) -> tuple[Stream, ...]:
        """Read the answer to its end, or as far as the bounds allow."""
        import openai

        from ...sdk import RUNTIME

        self._sent = self._clock()
        self._progress(self._title, 0.0, 0, 0)
        try:
            with RUNTIME.sessions_from(self._open):
                self._read(self._create(dict(headers)))
        except openai.APIStatusError as error:
            if self._session is None:
                return (self._status(error),)
        except openai.APIConnectionError as error:
            if self._session is None:
                if isinstance(error, openai.APITimeoutError) and type(error.__cause__).__name__ != "ConnectTimeout":
                    return (self.failed(None, f"nothing came within {self._target.timeout:g} s, not even headers"),)
                if type(error.__cause__).__name__ == "RemoteProtocolError" and "disconnected" in str(error.__cause__):
                    return (self.failed(None, "the connection was closed before it"),)
                raise _refusal(error, self._target) from None
        except openai.APIError:
            if self._session is None:
                raise
        return self._examined()

    def failed(self, response: Any, reason: str) -> Stream:
        """The stream of a request that got none."""
        from ...transport.http import credentials_from, response_head

        head = ResponseHead()
        if response is not None:
            known = credentials_from(response.request)
            head = kept_head(response_head(response, known), known)
        recording = Recording(
            opened=0.0,
            way=None,
            rule="auto",
            head=head,
            ending=Ending(round(self._clock() - self._sent, 6), "transport"),
        )
        return unanswered(self._title, recording, reason)

    def _examined(self) -> tuple[Stream, ...]:
        if self._session is None:
            raise ValueError("the stream could not be watched: another library has replaced the SDK's decoder")
        capture = self._session.capture
        return examined(capture, self._title, headers_at=max(0.0, capture.origin - self._sent))

    def _open(self, *arguments: Any, **options: Any) -> RecordedSession:
        self._session = _Watched(self._tell, *arguments, **options)
        return self._session

    def _tell(self, events: int, size: int) -> None:
        self._progress(self._title, self._clock() - self._sent, events, size)

    def _create(self, headers: dict[str, str]) -> Any:
        client, model = self._client, self._model
        message: Any = [{"role": "user", "content": QUESTION}]
        limit: dict[str, Any] = {"max_tokens": MAX_TOKENS}
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
                    model=model, prompt=QUESTION, stream=True, extra_headers=headers, **limit
                )
            case "chat":
                if self._target.official:  # newer models refuse the older name, and older servers the newer
                    limit = {"max_completion_tokens": MAX_TOKENS}
                return client.chat.completions.create(
                    model=model, messages=message, stream=True, extra_headers=headers, **limit
                )

    def _read(self, stream: Any) -> None:
        until = self._clock() + self._target.timeout
        with stream:
            for _ in stream:
                size = 0 if self._session is None else self._session.size
                if size > MAX_BYTES or self._clock() > until:
                    return

    def _status(self, error: openai.APIStatusError) -> Stream:
        """An error in the answer's place: one that may pass, or is not the API's own, is news of the way."""
        status, target = error.status_code, self._target
        if status >= 500 or status in _PASSING:
            return self.failed(error.response, "an error")
        if status in (401, 403):
            raise Refused(f"{target.shown} refuses the key with status {status}: {target.about_key}")
        if status == 404:
            raise Refused(
                f"{target.shown} has no such path or model (status 404): look at --base-url, which for most servers "
                f"ends in /v1, at --api {target.api} and at --model {harmless(self._model)}"
            )
        said = _words(error.message, target)
        raise Refused(f"{target.shown} refuses the request with status {status}: {said}")


class _Watched(RecordedSession):
    """Tells of every read as it comes."""

    def __init__(self, tell: Callable[[int, int], None], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.size = 0
        self._told = tell
        self._events = 0

    def receive(self, data: bytes, now: float) -> Any:
        """Take a read."""
        items = super().receive(data, now)
        self.size += len(data)
        self._events += len(items)
        self._told(self._events, self.size)
        return items


def _words(said: str, target: Target) -> str:
    """What an error says, fit for a terminal and without the key."""
    known = () if target.key == NO_KEY else (target.key,)
    return harmless(redact(said, known))[:300]


def _refusal(error: openai.APIConnectionError, target: Target) -> Refused:
    """No connection, or none that speaks HTTP."""
    cause = error.__cause__
    kind: Literal["ConnectError", "ConnectTimeout"] | str = type(cause).__name__
    said = _words(str(cause or error), target)
    if kind in ("ConnectError", "ConnectTimeout"):
        return Refused(f"no connection to {target.shown}: {said or 'it timed out'}")
    if kind in ("RemoteProtocolError", "LocalProtocolError", "ReadError"):
        return Refused(f"what listens at {target.shown} does not speak HTTP, or not this way ({kind})")
    return Refused(f"{target.shown} could not be asked: {said or kind}")

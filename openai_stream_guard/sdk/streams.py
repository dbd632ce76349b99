"""What the guard knows of one stream: its request, its session, and how it is reported."""

from __future__ import annotations

import math
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import openai

from ..engine.decisions import Fail, Refusal, Reissue
from ..engine.session import Session
from ..errors import OpenAIStreamParseError, add_notes, stream_error
from ..items import NOT_BUILT
from ..notices import CancelSent, Ended, FaultSeen, Notice, StreamReport
from ..observability.publish import publish, publish_raw
from ..transport import clock as timing
from ..transport.http import HttpResponse, MethodOverride, credentials_from, response_head
from ..transport.timeouts import stream_timeouts
from .background import acancel, account_from, cancel
from .items import StreamItems, left_to_sdk
from .requests import OriginalRequest, areissue, refusal_from, reissue, stream_request_from
from .runtime import RUNTIME

if TYPE_CHECKING:
    from ..engine.observer import SessionObserver
    from ..transport.cancelling import Canceller

KEY = "openai_stream_guard"
"""Under this name the `extensions` of a response hold its `GuardedStream`."""


class GuardedStream:
    """What the guard knows of one stream. It is kept by the stream's first response, and serves its exchange.

    Args:
        retries_taken: how often the SDK has sent the request before this response came.
    """

    __slots__ = (
        "__weakref__", "_canceller", "_http_request", "_refusal_is_news", "_retries_taken", "_stream_id",
        "is_decoded", "items", "notifying", "one_identity", "reader_overrides", "request", "session", "stream",
    )  # fmt: skip

    def __init__(self, request: OriginalRequest, response: HttpResponse, retries_taken: int) -> None:
        self.request = request
        self.session: Session | None = None
        self.one_identity = False
        """The `responses.stream()` helper reads it, which refuses a response whose id changes (openai 3)."""
        self.items: StreamItems | None = None
        """How its items are built; None before the first one."""
        self.notifying = False
        self.stream: Callable[[], Any] = lambda: None
        """Returns the SDK's stream, if there is one."""
        self.is_decoded = False
        """Its events are decoded by the guard, so that its bytes need not be watched as well."""
        self.reader_overrides: Sequence[MethodOverride] = ()
        self._http_request = response.request
        self._retries_taken = retries_taken
        self._stream_id = f"{random.getrandbits(32):08x}"
        self._canceller: Canceller | None = None
        self._refusal_is_news = request.background_refused and self._record_refusal()

    def credentials(self) -> frozenset[str]:
        """What the request was authenticated with."""
        return credentials_from(self._http_request)

    @property
    def observe(self) -> bool:
        """Whether it is only observed."""
        return self.request.guarding.observe

    @property
    def against_plans(self) -> str | None:
        """Why its items are not to be built by plans, whatever plans there are."""
        if self.observe:
            return "streams are only observed"
        return None if self.request.guarding.policy.items == "auto" else "the policy has items='sdk'"

    def _record_refusal(self) -> bool:
        """Remember that this API makes no background responses of this model for this account."""
        request = stream_request_from(self.request, self._http_request, one_identity=False)
        return RUNTIME.hosts.record_keeps_nothing(request.host, request.model, account_from(self.request.client))

    def items_for(self, client: Any, item_type: Any) -> StreamItems:
        """Return how items of this type are built."""
        if self.items is None or self.items.item_type is not item_type:
            reason = self.against_plans
            plans = RUNTIME.item_plans
            self.items = left_to_sdk(item_type, reason) if reason else plans.for_stream(client, item_type)
        return self.items

    def complete(self, report: StreamReport) -> StreamReport:
        """Add to a report of the session what only the SDK's side knows."""
        return report if self.items is None else replace(report, items=str(self.items.status))

    def open_session(self, response: HttpResponse, *, raw: bool = False) -> Session:
        """Open the session of the first response.

        Args:
            raw: the consumer reads the bytes as they are, so the request cannot be sent again.
        """
        request, policy = self.request, self.request.guarding.policy
        linger = math.inf if raw else policy.linger_timeout  # a reader of bytes gets all of them
        if raw:
            policy = policy.replace(recovery=(), delivery="live", retry_budget=None)
        observer: SessionObserver | None = None
        if RUNTIME.new_observer is not None:
            observer = RUNTIME.new_observer(self.credentials())
        elif policy.capture is not None:
            from ..capture.folder import FolderRecorder  # a quarter of the time of `enable()`, and rarely asked for

            observer = FolderRecorder(policy.capture, self.credentials())
        self.session = Session(
            stream_request_from(request, self._http_request, one_identity=self.one_identity),
            policy,
            RUNTIME.hosts,
            now=timing.current.clock(),
            max_retries=request.max_retries if policy.max_retries is None else policy.max_retries,
            timeouts=stream_timeouts(response, policy.first_event_timeout, policy.idle_timeout, linger),
            requests=1 + self._retries_taken,
            head=response_head(response, self.credentials()),
            jitter=timing.current.jitter,
            notify=self._notify,
            stream_id=self._stream_id,
            requested_at=request.sent_at,
            observer=observer,
            credentials=self.credentials,
        )
        if request.background_options is not None:
            from ..transport.cancelling import canceller_for  # few programs ask for that

            self._canceller = canceller_for(is_async=isinstance(request.client, openai.AsyncOpenAI))
            self._canceller.opened(self)
        for note in request.notes:
            self.session.note(note)
        if request.background_refused:
            self.session.report_not_kept(is_news=self._refusal_is_news)
        return self.session

    def _notify(self, notice: Notice) -> None:
        if isinstance(notice, Ended):
            notice = replace(notice, report=self.complete(notice.report))
        self.notifying = True
        try:
            publish(notice, self.request.listeners)
        finally:
            self.notifying = False
        if isinstance(notice, Ended) and self._canceller is not None and self.session is not None:
            self._canceller.ended(self, due=self.session.response_to_cancel is not None)
        if self.request.guarding.policy.log_raw and isinstance(notice, FaultSeen) and self.session is not None:
            publish_raw(self.session.raw_tail, self.credentials(), notice.stream_id)

    # What a canceller asks for, see `transport.cancelling.BackgroundStream`.

    def leave(self) -> None:
        """End it as left by its consumer, if it has not ended."""
        if self.session is not None:
            self.session.abandon(timing.current.clock())

    def cancel(self) -> None:
        """Ask the API to cancel the response. Raises what the SDK raises."""
        cancel(self.request, self._response_to_cancel)

    async def acancel(self) -> None:
        """The same by an asynchronous client."""
        await acancel(self.request, self._response_to_cancel)

    @property
    def _response_to_cancel(self) -> str:
        found = None if self.session is None else self.session.response_to_cancel
        assert found is not None
        return found

    def report_cancel(self, error: BaseException | None) -> None:
        """Report what became of the request to cancel."""
        session = self.session
        assert session is not None
        status = None if error is None else getattr(error, "status_code", None)
        name = None if error is None else type(error).__name__
        host, model = session.request.host, session.request.model
        notice = CancelSent(self._response_to_cancel, status, name, host, model, self._stream_id)
        session.note(notice.outcome)
        publish(notice, self.request.listeners)

    # What its exchange asks for, see `transport.exchange.SdkSide`.

    def reissue(self, decision: Reissue) -> HttpResponse:
        """Send the request again by a synchronous client. Raises what the SDK raises."""
        return reissue(self.request, self._http_request, decision)

    async def areissue(self, decision: Reissue) -> HttpResponse:
        """Send the request again by an asynchronous client. Raises what the SDK raises."""
        return await areissue(self.request, self._http_request, decision)

    def refusal(self, error: Exception) -> Refusal | None:
        """Return what an exception of a re-issue means; None where it is the program's own."""
        return refusal_from(error)

    def error(self, session: Session, decision: Fail) -> OpenAIStreamParseError:
        """Make the exception to raise for the first failure."""
        report = session.report()
        return stream_error(
            decision.first_failure,
            decision.stopped_by,
            attempts=report.attempts,
            stream_id=report.stream_id,
            partial_text=session.adapter.partial_text(session.transcript),
            partial=session.adapter.partial(session.transcript),
            request=self._http_request,
            credentials=self.credentials(),
            keep_cause="threads" not in session.request.steps,  # the SDK's handler of these raises the cause instead
        )

    def closed_error(self) -> Exception:
        """Make the exception that the SDK raises in a reader whose stream somebody else closes."""
        return openai.APIConnectionError(
            message="The stream was closed while it recovered.", request=self._http_request
        )

    async def cancel_in_call(self) -> None:
        """Cancel the response of an asynchronous stream that was left, where nobody else does."""
        canceller, session = self._canceller, self.session
        if canceller is not None and canceller.in_call and session is not None and session.response_to_cancel:
            from ..transport.cancelling import acancel_in_call

            self._canceller = None  # once
            await acancel_in_call(self)

    def add_note(self, error: Exception, note: str) -> None:
        """Add a line to the traceback of an exception."""
        add_notes(error, note)


class Opening:
    """Opens the session of a stream and its exchange, when a driver calls it at the first read.

    Args:
        chunks: makes the iterator over the body, where that is not the response's own reader.
        raw: see `GuardedStream.open_session`.
    """

    def __init__(
        self,
        guarded: GuardedStream,
        response: HttpResponse,
        exchange_type: Any,
        *,
        chunks: Callable[[], Any] = lambda: None,
        raw: bool = False,
    ) -> None:
        self._guarded = guarded
        self._response = response
        self._exchange_type = exchange_type
        self._chunks = chunks
        self._raw = raw
        self._driver: Callable[[], Any] = lambda: None

    def __call__(self) -> Any:
        session = self._guarded.open_session(self._response, raw=self._raw)
        exchange = self._exchange_type(
            self._response,
            session,
            self._guarded,
            chunks=self._chunks(),
            has_deadlines=not self._guarded.observe,
        )
        exchange.driven_by(self._driver)
        return exchange

    def by(self, driver: Callable[..., Any], **options: Any) -> Any:
        """Start a driver with this as its `open_exchange`, and return its generator."""
        generator = driver(self, **options)
        self._driver = weakref.ref(generator)  # else the generator would be in a reference cycle
        return generator


def guarded_stream_of(response: object) -> GuardedStream | None:
    """Return what the guard knows of a response's stream; None where it is not guarded."""
    extensions = getattr(response, "extensions", None)
    guarded = extensions.get(KEY) if isinstance(extensions, dict) else None
    return guarded if isinstance(guarded, GuardedStream) else None


def build_item(wrapped: Callable[..., Any], client: Any, args: Any, kwargs: Any) -> Any:
    """Wraps `_process_response_data`: build the item of a guarded stream by a plan, or leave it to the SDK."""
    guarded = guarded_stream_of(kwargs["response"])
    if guarded is None:
        return wrapped(*args, **kwargs)
    item = guarded.items_for(client, kwargs["cast_to"]).build(kwargs["data"])
    return wrapped(*args, **kwargs) if item is NOT_BUILT else item


def report_from(handed_out: object) -> StreamReport | None:
    """Return the report of a stream, helper stream or raw response; None where it is not guarded."""
    for response in _responses_in(handed_out):
        guarded = guarded_stream_of(response)
        if guarded is not None:
            return guarded.complete(StreamReport("open") if guarded.session is None else guarded.session.report())
    return None


def _responses_in(handed_out: object) -> Iterator[object]:
    yield handed_out
    for name in ("response", "http_response", "_response", "_raw_stream"):
        held = getattr(handed_out, name, None)
        if held is not None:
            yield held
            yield getattr(held, "response", None)

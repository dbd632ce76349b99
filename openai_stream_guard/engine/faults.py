"""What a payload that is none of the answer's, or a body that cannot be decoded, means at its place in the stream."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..apis.adapter import FaultEvent, api_error
from ..apis.error_shapes import ReportedError
from ..decoding.payload import DecodeFault, Payload
from .decisions import StreamFault

if TYPE_CHECKING:
    from ..apis.adapter import ApiAdapter


def fault_from(event: FaultEvent, *, begun: bool, complete: bool) -> StreamFault | None:
    """
    Return the fault of an event that is an error of the API, or a page.

    A page before any event is no stream. In the middle of an answer it damages that, unless it has the shape of an
    error. After a complete answer it means nothing: None.

    Args:
        begun: whether events of the answer came before it.
        complete: whether the answer was complete before it.
    """
    if event.fault == "not_a_stream" and begun:
        if event.reported is not None:
            event = api_error(event.reported)
        elif complete:
            return None
        else:
            event = replace(event, fault="malformed", reason=f"{event.reason}, in the middle of the answer")
    return StreamFault(event.fault, event.reason, body=event.body, reported=event.reported)


def failure_from(payload: Payload, failure: ReportedError) -> StreamFault | None:
    """Return the fault of an answer that ended as failed, if its error may pass: nothing of it is visible yet."""
    reason = "the answer ended as failed"
    fault = StreamFault("upstream_error", reason, body=failure.body, reported=failure, last_event=payload)
    return fault if fault.verdict.retryable else None


def damage_from(fault: DecodeFault, adapter: ApiAdapter, *, begun: bool, complete: bool) -> StreamFault:
    """Return the fault of a body that cannot be decoded, unless the API wrote an error or a page in its place."""
    event = None if fault.payload is None else adapter.fault_in(fault.payload)
    found = None if event is None else fault_from(event, begun=begun, complete=complete)
    return found or StreamFault(fault.kind, f"{fault.reason}, at byte {fault.offset}", fault.error)

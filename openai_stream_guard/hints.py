"""From a fault to its likely cause and remedy, in one sentence."""

from __future__ import annotations

from .notices import FaultKind, StoppedBy

_CAUSES: dict[FaultKind, str] = {
    "disconnected": "The connection broke in the middle of the answer: look for a proxy or load balancer with a short "
    "read or idle timeout, or a server that was restarted.",
    "truncated": "The body ended in good order but without its end mark, as when a proxy's upstream died; if this "
    "server never sends a finish_reason nor [DONE], name it in lenient_hosts.",
    "malformed": "Something between the model and here damages the events: look for a gateway that splits, joins or "
    "re-wraps server-sent events, or two writers on one connection.",
    "stalled": "The connection was open but nothing came: look for a server that hangs behind keep-alives; if the "
    "model only thinks that long, raise idle_timeout.",
    "upstream_error": "The API itself reported an error inside the stream; its code and body are on this exception.",
    "gap": "Events are missing in the middle: look for a proxy that drops or reorders what it relays.",
    "not_a_stream": "The answer is no event stream: look at the base URL, and for a proxy or gateway that answers in "
    "the API's place or ignores `stream`.",
    "oversized": "More than max_event_bytes or max_held_bytes would have to be kept in memory.",
    "diverged": "The model did not repeat itself, so the second answer could not be joined to the first.",
}

_STOPS: dict[StoppedBy, str] = {
    "retries": "max_retries was reached.",
    "time": "max_elapsed was reached.",
    "budget": "The retry budget of this host is spent.",
    "policy": "The recovery policy allows no way on from here.",
    "unsafe": "Sending this request again could repeat an effect.",
    "diverged": "This model does not repeat itself, so a second answer cannot be joined to what was delivered; "
    'delivery="atomic" makes every stream restartable.',
    "not_retryable": "Asking again would not help.",
}


def hint(fault: FaultKind, stopped_by: StoppedBy) -> str:
    """Likely cause and remedy, and why the guard went no further."""
    return f"{_CAUSES[fault]} {_STOPS[stopped_by]}"

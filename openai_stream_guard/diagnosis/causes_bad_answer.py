"""Causes that lie in the answer itself: it is no event stream, an error, or damaged."""

from __future__ import annotations

from .cause import Cause, always, names

BAD_ANSWER: tuple[Cause, ...] = (
    # No event stream.
    Cause(
        "page_mid_stream", ("not_a_stream",), lambda e: e.events > 0 and e.opening == "other",
        "A proxy's or gateway's page stands in the middle of the stream, likely because the server behind it failed",
        "check the log of what stands in front of the model",
    ),
    Cause(
        "html_page", ("not_a_stream",), lambda e: e.clues.media == "html" or e.opening == "html",
        "The answer is an HTML page, likely of a web server, a login or a proxy that answers in the API's place",
        "check `base_url`, which ends in /v1 for most servers, and what listens there",
    ),
    Cause(
        "compressed_unnoticed", ("not_a_stream",), lambda e: e.opening == "compressed",
        "The body is compressed and its headers do not say so, likely because a proxy removed `content-encoding`",
        "switch compression off for text/event-stream (nginx `gzip off`), or send `accept-encoding: identity`",
    ),
    Cause(
        "json_answer", ("not_a_stream",),
        lambda e: e.opening == "json" or (e.clues.media == "json" and e.events > 0),
        "The answer is one JSON document, likely because the server or a gateway before it ignores `stream`",
        "check `base_url` and the gateway's streaming setting, or ask this server without `stream=True`",
    ),
    Cause(
        "not_a_stream", ("not_a_stream",), always,
        "The answer is no event stream, likely because something else answers in the API's place",
        "check `base_url` and the proxies in front of the server",
    ),
    # An error that the API reports.
    Cause(
        "out_of_memory", ("upstream_error",), lambda e: e.complaint == "memory",
        "The server reports that it ran out of memory",
        "shorten the request, let it serve fewer at a time, or give it less context (vLLM `--max-model-len` and "
        "`--max-num-seqs`, llama.cpp `--ctx-size` and `--parallel`)",
    ),
    Cause(
        "context_exceeded", ("upstream_error",), lambda e: e.complaint == "context",
        "The server reports that the request does not fit the model's context",
        "shorten it, ask for fewer tokens, or raise the context where the model allows it (vLLM `--max-model-len`, "
        "llama.cpp `--ctx-size`)",
    ),
    Cause(
        "quota_spent", ("upstream_error",), lambda e: e.complaint == "quota",
        "The API reports that the account's quota is spent",
        "check the plan and the billing of this key's project",
    ),
    Cause(
        "rate_limited", ("upstream_error",), lambda e: e.complaint == "rate",
        "The API reports that a rate limit was exceeded",
        "send fewer or smaller requests at a time, or have the limit raised",
    ),
    Cause(
        "overloaded", ("upstream_error",), lambda e: e.complaint == "overloaded",
        "The server reports that it is overloaded or not ready",
        "ask again later, and check its load",
    ),
    Cause(
        "unterminated_error", ("upstream_error",), lambda e: e.unterminated,
        "The server reports an error in an event that it did not finish, as LitServe does when the model's code raises",
        "check the server's log for the exception",
    ),
    Cause(
        "upstream_error_litellm", ("upstream_error",), lambda e: names(e, "litellm"),
        "LiteLLM's proxy reports an error inside the stream, likely of the server behind it",
        "check its log, which has that server's own message",
    ),
    Cause(
        "upstream_error", ("upstream_error",), always,
        "The API itself reports an error inside the stream",
        "check `code`, `type` and `body` of this exception",
    ),
    # Damaged.
    Cause(
        "damaged_compression", ("malformed",), lambda e: e.ending == "decoding",
        "The compressed body is damaged, likely by a proxy that cut, joined or compressed it again",
        "switch compression off for text/event-stream (nginx `gzip off`), or send `accept-encoding: identity`",
    ),
    Cause(
        "not_utf8", ("malformed",), lambda e: e.not_utf8,
        "A character of the answer is not UTF-8, likely because a server cut it or a proxy re-encoded it",
        "find what rewrites the body: ask the server without the proxies and compare",
    ),
    Cause(
        "malformed", ("malformed",), always,
        "Something between the model and this client damages the events, likely a gateway that splits, joins or "
        "re-wraps them, or two writers on one connection",
        "ask the server without the gateway and compare",
    ),
    Cause(
        "gap", ("gap",), always,
        "Events are missing in the middle, likely because a proxy drops or reorders them",
        "ask the server without the proxies and compare",
    ),
    Cause(
        "oversized", ("oversized",), always,
        "More than `max_event_bytes` or `max_held_bytes`, or more parts than any answer has, would have had to be held",
        "raise that limit if such answers are expected",
    ),
    Cause(
        "diverged", ("diverged",), always,
        "The model did not repeat itself, so the second answer could not be joined to the first",
        'use `delivery="atomic"`, or a temperature of 0 and a seed',
    ),
)  # fmt: skip

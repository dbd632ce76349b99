"""Causes that lie in what was answered: no stream, an error, damage."""

from __future__ import annotations

from .cause import Row, always, names

ANSWERS: tuple[Row, ...] = (
    # It is no stream.
    Row(
        "page_mid_stream", ("not_a_stream",), lambda e: e.events > 0 and e.opening == "other",
        "A proxy's or gateway's page stands in the middle of the stream, likely since the server behind it failed",
        "look into the log of what stands in front of the model",
    ),
    Row(
        "html_page", ("not_a_stream",), lambda e: e.clues.media == "html" or e.opening == "html",
        "The answer is an HTML page, likely of a web server, a login or a proxy that answers in the API's place",
        "look at `base_url`, which for most servers ends in /v1, and at what listens there",
    ),
    Row(
        "compressed_unnoticed", ("not_a_stream",), lambda e: e.opening == "compressed",
        "The body is compressed and its headers do not say so, likely since a proxy removed `content-encoding`",
        "switch compression off for text/event-stream (nginx `gzip off`), or send `accept-encoding: identity`",
    ),
    Row(
        "json_answer", ("not_a_stream",), lambda e: e.clues.media == "json" or e.opening == "json",
        "The answer is one JSON document, likely since the server or a gateway before it ignores `stream`",
        "look at `base_url` and at the gateway's streaming setting, or ask this server without `stream=True`",
    ),
    Row(
        "not_a_stream", ("not_a_stream",), always,
        "The answer is no event stream, likely since something else answers in the API's place",
        "look at `base_url` and at the proxies before the server",
    ),
    # The API says so itself.
    Row(
        "out_of_memory", ("upstream_error",), lambda e: e.complaint == "memory",
        "The server reports that it ran out of memory",
        "shorten the request, let it serve fewer at a time, or give it less context (vLLM `--max-model-len` and "
        "`--max-num-seqs`, llama.cpp `--ctx-size` and `--parallel`)",
    ),
    Row(
        "context_exceeded", ("upstream_error",), lambda e: e.complaint == "context",
        "The server reports that the request does not fit the model's context",
        "shorten it, ask for fewer tokens, or raise the context where the model allows it (vLLM `--max-model-len`, "
        "llama.cpp `--ctx-size`)",
    ),
    Row(
        "quota_spent", ("upstream_error",), lambda e: e.complaint == "quota",
        "The API reports that the account's quota is spent",
        "look at the plan and the billing of this key's project",
    ),
    Row(
        "rate_limited", ("upstream_error",), lambda e: e.complaint == "rate",
        "The API reports that too much is asked of it",
        "send less at a time, or have the limit raised",
    ),
    Row(
        "overloaded", ("upstream_error",), lambda e: e.complaint == "overloaded",
        "The server reports that it is overloaded or not ready",
        "ask again later, and look at its load",
    ),
    Row(
        "unterminated_error", ("upstream_error",), lambda e: e.unterminated,
        "The server reports an error and did not end that event, as LitServe does where the model's code raises",
        "look into the server's log for the exception",
    ),
    Row(
        "upstream_error_litellm", ("upstream_error",), lambda e: names(e, "litellm"),
        "LiteLLM's proxy reports an error inside the stream, likely of the server behind it",
        "look into its log, which has that server's own words",
    ),
    Row(
        "upstream_error", ("upstream_error",), always,
        "The API itself reports an error inside the stream",
        "look at `code`, `type` and `body` of this exception",
    ),
    # What came is damaged.
    Row(
        "damaged_compression", ("malformed",), lambda e: e.ending == "decoding",
        "The compressed body is damaged, likely by a proxy that cut, joined or compressed it again",
        "switch compression off for text/event-stream (nginx `gzip off`), or send `accept-encoding: identity`",
    ),
    Row(
        "not_utf8", ("malformed",), lambda e: e.not_utf8,
        "A character of the answer is not UTF-8, likely since a server cut or a proxy re-encoded it",
        'look for what rewrites the body; `repair="lenient"` puts U+FFFD in its place',
    ),
    Row(
        "malformed", ("malformed",), always,
        "Something between the model and here damages the events, likely a gateway that splits, joins or re-wraps "
        "them, or two writers on one connection",
        "ask the server without the gateway and compare",
    ),
    Row(
        "gap", ("gap",), always,
        "Events are missing in the middle, likely since a proxy drops or reorders what it relays",
        "ask the server without the proxies and compare",
    ),
    Row(
        "oversized", ("oversized",), always,
        "More than `max_event_bytes` or `max_held_bytes`, or more parts than any answer has, would have to be held",
        "raise that limit if such answers are meant to come",
    ),
    Row(
        "diverged", ("diverged",), always,
        "The model did not repeat itself, so the second answer could not be joined to the first",
        'use `delivery="atomic"`, or a temperature of 0 and a seed',
    ),
)  # fmt: skip

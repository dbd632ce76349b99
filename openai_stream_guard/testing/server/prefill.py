"""How a chat answer continues a beginning that the request contains, and ends at a token limit.

The beginning is a last message of the assistant's (a prefill), or the user asks for the rest of one, which is to begin
with its last words (the anchor).

Selects from the chunks of the complete answer, see `answers.chat`. A token is a delta here.

Invariant: the beginning and its continuation are the complete answer, up to the limit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Final

from .answers.answer import Anchored, AnswerVariant, Json, Prefill

Chunks = list[Json]
MIN_ANCHOR: Final = 20
"""Characters that a user repeats of an answer when asking for its rest; fewer may be chance."""
_INTRODUCTION: Final = "Sure, here is the rest of my answer: "


def prefix_from(body: Mapping[str, object]) -> str:
    """
    Return the beginning of the answer that a request contains, or "".

    It is a last message with the role of the assistant, whether that is marked by `prefix` (DeepSeek, Mistral), by
    `continue_final_message` (vLLM), or not at all (llama.cpp).
    """
    match body:
        case {"continue_final_message": False}:
            return ""
        case {"messages": [*_, {"role": "assistant", "content": str() as content}]}:
            return content
        case {"messages": [*_, {"role": "assistant", "content": [*parts]}]}:
            return "".join(part.get("text", "") for part in parts)
    return ""


def anchor_from(body: Mapping[str, object]) -> tuple[str, str]:
    """Return the beginning of the answer of which the user wants the rest, up to the anchor's end, and the anchor."""
    match body:
        case {
            "messages": [
                *_,
                {"role": "assistant", "content": str() as said},
                {"role": "user", "content": str() as asks},
            ]
        }:
            said, asks = said.rstrip(), asks.rstrip()
            pairs = zip(reversed(said), reversed(asks), strict=False)
            length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            if length >= min(MIN_ANCHOR, len(said)):
                return said, said[len(said) - length :].lstrip()
    return "", ""


def begin_anchored(variant: AnswerVariant, said: str, anchor: str, anchored: Anchored) -> None:
    """Make a variant the answer of such a model to the user who asks for the rest of what it said."""
    openings = {"compliant": anchor, "chatty": _INTRODUCTION + anchor, "fenced": f"```\n{anchor}"}
    variant.opening = openings.get(anchored, "")
    if anchored != "restarting":
        variant.prefix = said


def limit_from(body: Mapping[str, object]) -> int | None:
    """Return the maximum number of tokens that the request sets, or None."""
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return limit if isinstance(limit, int) else None


def refusal_reason(body: Mapping[str, object], prefill: Prefill) -> str | None:
    """Return why a server refuses the request with status 400, or None if it does not."""
    if body.get("continue_final_message") and body.get("add_generation_prompt", True):
        return "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
    if prefill == "refused" and prefix_from(body):
        return "This model does not support assistant message prefill."
    return None


def is_visible(choice: Json) -> bool:
    """Whether an entry of `choices` shows the reader anything."""
    return any(value for key, value in choice.get("delta", {}).items() if key != "role")


def adjusted(chunks: Chunks, variant: AnswerVariant) -> tuple[Chunks, Json]:
    """Return the chunks that answer this request, and their usage."""
    if variant.prefix:
        chunks = _after_prefix(chunks, len(variant.prefix), stripped=variant.prefill == "stripped")
    if variant.opening:
        chunks = _behind(chunks, variant.split(variant.opening))
    if variant.limit is not None:
        chunks = _up_to_limit(chunks, variant.limit)
    completion = sum(is_visible(choice) for chunk in chunks for choice in chunk["choices"])
    prompt = 19 + len(variant.split(variant.prefix))
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    for chunk in chunks:
        if chunk.get("usage"):
            chunk["usage"] = usage
    if variant.prefill == "echoed":
        chunks = _behind(chunks, variant.split(variant.prefix))
    return chunks, usage


def _after_prefix(chunks: Chunks, characters: int, *, stripped: bool) -> Chunks:
    """Return the chunks without so many characters of each choice's content, and without the reasoning before it."""
    to_skip: defaultdict[int, int] = defaultdict(lambda: characters)
    started = set()

    def rest_from(index: int, content: str) -> str:
        rest = content[to_skip[index] :]
        to_skip[index] -= len(content) - len(rest)
        if stripped and index not in started:
            rest = rest.lstrip()
        if rest:
            started.add(index)
        return rest

    kept = []
    for chunk in chunks:
        visible = any(map(is_visible, chunk["choices"]))
        for choice in chunk["choices"]:
            delta = choice.get("delta", {})
            delta.pop("reasoning_content", None)
            if delta.get("content"):
                delta["content"] = rest_from(choice["index"], delta["content"])
        if not visible or _is_relevant(chunk["choices"]):
            kept.append(chunk)
    return kept


def _up_to_limit(chunks: Chunks, limit: int) -> Chunks:
    """Return the chunks with at most so many deltas in each choice; choices that are cut short finish with `length`."""
    tokens: Counter[int] = Counter()
    kept = []
    for chunk in chunks:
        visible = any(map(is_visible, chunk["choices"]))
        for choice in chunk["choices"]:
            tokens[choice["index"]] += is_visible(choice)
            if tokens[choice["index"]] > limit:
                choice["delta"], choice["logprobs"] = {}, None
                choice["finish_reason"] = choice["finish_reason"] and "length"
        if not visible or _is_relevant(chunk["choices"]):
            kept.append(chunk)
    return kept


def _is_relevant(choices: Iterable[Json]) -> bool:
    return any(is_visible(choice) or choice["finish_reason"] for choice in choices)


def _behind(chunks: Chunks, pieces: list[str]) -> Chunks:
    """Return the chunks with these pieces of text in front."""
    first = next(place for place, chunk in enumerate(chunks) if _is_relevant(chunk["choices"]))
    indices = sorted({choice["index"] for chunk in chunks for choice in chunk["choices"]})
    plain = {"logprobs": None, "finish_reason": None}
    said = [
        {**chunks[first], "choices": [{"index": index, "delta": {"content": piece}, **plain}]}
        for index in indices
        for piece in pieces
    ]
    return [*chunks[:first], *said, *chunks[first:]]

"""How a chat answer goes on after a beginning that the request brings along, and ends at a token limit.

Decides what of an answer's chunks is said; what they would say in full is `chat_answers`'. A token is a delta.

The law: a beginning and what continues it are the whole answer, cut where it may.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from .answers.answer import AnswerVariant, Json, Prefill

Chunks = list[Json]


def prefix_from(body: Mapping[str, object]) -> str:
    """
    The beginning of the answer that a request brings along, empty where it has none.

    That is a last message of the assistant's, whether marked by `prefix` (DeepSeek, Mistral), asked to be
    continued by `continue_final_message` (vLLM), or neither (llama.cpp).
    """
    match body:
        case {"continue_final_message": False}:
            return ""
        case {"messages": [*_, {"role": "assistant", "content": str() as content}]}:
            return content
        case {"messages": [*_, {"role": "assistant", "content": [*parts]}]}:
            return "".join(part.get("text", "") for part in parts)
    return ""


def limit_from(body: Mapping[str, object]) -> int | None:
    """The most tokens that the request allows, None for no limit."""
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return limit if isinstance(limit, int) else None


def objection(body: Mapping[str, object], prefill: Prefill) -> str | None:
    """Why a server refuses the request with status 400, None if it does not."""
    if body.get("continue_final_message") and body.get("add_generation_prompt", True):
        return "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
    if prefill == "refused" and prefix_from(body):
        return "This model does not support assistant message prefill."
    return None


def shows(one: Json) -> bool:
    """Whether an entry of `choices` shows the reader anything."""
    return any(value for key, value in one.get("delta", {}).items() if key != "role")


def adjusted(chunks: Chunks, take: AnswerVariant) -> tuple[Chunks, Json]:
    """What of the answer is said to this request, and its usage."""
    if take.prefix:
        chunks = _behind(chunks, len(take.prefix), stripped=take.prefill == "stripped")
    if take.limit is not None:
        chunks = _limited(chunks, take.limit)
    said = sum(shows(one) for chunk in chunks for one in chunk["choices"])
    asked = 19 + len(take.split(take.prefix))
    usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    for chunk in chunks:
        if chunk.get("usage"):
            chunk["usage"] = usage
    if take.prefill == "echoed":
        chunks = _echoed(chunks, take.split(take.prefix))
    return chunks, usage


def _behind(chunks: Chunks, characters: int, *, stripped: bool) -> Chunks:
    """The chunks without so many characters of each choice's content, and without what was thought before it."""
    ahead: defaultdict[int, int] = defaultdict(lambda: characters)
    begun = set()

    def kept(index: int, content: str) -> str:
        rest = content[ahead[index] :]
        ahead[index] -= len(content) - len(rest)
        if stripped and index not in begun:
            rest = rest.lstrip()
        if rest:
            begun.add(index)
        return rest

    left = []
    for chunk in chunks:
        shown = any(map(shows, chunk["choices"]))
        for one in chunk["choices"]:
            delta = one.get("delta", {})
            delta.pop("reasoning_content", None)
            if delta.get("content"):
                delta["content"] = kept(one["index"], delta["content"])
        if not shown or _says(chunk["choices"]):
            left.append(chunk)
    return left


def _limited(chunks: Chunks, limit: int) -> Chunks:
    """The chunks with at most so many deltas in each choice; what is cut short finishes with `length`."""
    spent: Counter[int] = Counter()
    left = []
    for chunk in chunks:
        shown = any(map(shows, chunk["choices"]))
        for one in chunk["choices"]:
            spent[one["index"]] += shows(one)
            if spent[one["index"]] > limit:
                one["delta"], one["logprobs"] = {}, None
                one["finish_reason"] = one["finish_reason"] and "length"
        if not shown or _says(chunk["choices"]):
            left.append(chunk)
    return left


def _says(choices: Iterable[Json]) -> bool:
    return any(shows(one) or one["finish_reason"] for one in choices)


def _echoed(chunks: Chunks, pieces: list[str]) -> Chunks:
    """The chunks, with the beginning itself said before anything else is."""
    first = next(place for place, chunk in enumerate(chunks) if _says(chunk["choices"]))
    indices = sorted({one["index"] for chunk in chunks for one in chunk["choices"]})
    plain = {"logprobs": None, "finish_reason": None}
    echo = [
        {**chunks[first], "choices": [{"index": index, "delta": {"content": piece}, **plain}]}
        for index in indices
        for piece in pieces
    ]
    return [*chunks[:first], *echo, *chunks[first:]]

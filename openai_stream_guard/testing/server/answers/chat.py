"""Recorded answers of `/chat/completions`: healthy ones, and odd but healthy ones.

Decides what each answer says and in which chunks; the envelopes are those of OpenAI and of servers that speak
its protocol. It knows nothing of faults.

The law: the deltas of a stream add up to the message of the same answer asked for with `stream: false`.

The recorded answer of the legacy `/completions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain, zip_longest
from typing import Final

from ..prefill import Chunks, adjusted, shows
from .answer import TEXT, Answer, AnswerVariant, Frame, Json, compact, first_visible

CREATED: Final = 1_767_225_600
USAGE: Final[Json] = {"prompt_tokens": 19, "completion_tokens": 14, "total_tokens": 33}
REASONING: Final = "Trams first, then the graffiti; naïve but fine."
REFUSAL: Final = "I’m sorry, but I can’t help with that — ask me about trams instead."
SEPARATORS: Final = "one\u2028two \u2029three \x85four \x0bfive"
HUGE: Final = 2_000_000  # characters of the one long delta in the `huge` answer


def choice(delta: Json, finish: str | None = None, *, index: int = 0, **more: object) -> Json:
    """One entry of `choices`."""
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **more}


def _role(index: int = 0) -> Json:
    return choice({"role": "assistant", "content": "", "refusal": None}, index=index)


def _said(deltas: Iterable[Json], finish: str = "stop", index: int = 0) -> list[Json]:
    """A whole choice: the role, the deltas, the reason to finish."""
    return [_role(index), *(choice(delta, index=index) for delta in deltas), choice({}, finish, index=index)]


def _each(take: AnswerVariant, recorded: str, field: str = "content") -> list[Json]:
    return [{field: piece} for piece in take.split(take.say(recorded))]


def text(take: AnswerVariant) -> Chunks:
    """Plain text."""
    return [{"choices": [one]} for one in _said(_each(take, TEXT))]


def tool_calls(take: AnswerVariant) -> Chunks:
    """Two parallel tool calls, their arguments in several deltas."""
    return _calling(take, ("get_weather", "Zürich"), ("get_timetable", "東京 🚋"))


def one_call(take: AnswerVariant) -> Chunks:
    """One tool call, its arguments in several deltas."""
    return _calling(take, ("get_weather", "Zürich"))


def _calling(take: AnswerVariant, *wanted: tuple[str, str]) -> Chunks:
    calls = []
    for index, (name, city) in enumerate(wanted):
        function = {"name": name, "arguments": ""}
        calls.append({"index": index, "id": take.id("call_"), "type": "function", "function": function})
        arguments = compact({"city": take.say(city), "unit": "celsius", "days": [1, 2, 3]})
        pieces = [arguments[start : start + 12] for start in range(0, len(arguments), 12)]
        calls += [{"index": index, "function": {"arguments": piece}} for piece in pieces]
    return [{"choices": [one]} for one in _said([{"tool_calls": [call]} for call in calls], "tool_calls")]


def function_call(take: AnswerVariant) -> Chunks:
    """The legacy `function_call`."""
    arguments = compact({"city": take.say("Zürich"), "unit": "celsius", "days": [1, 2, 3, 4, 5]})
    pieces = [arguments[start : start + 6] for start in range(0, len(arguments), 6)]
    deltas = [{"name": "get_weather", "arguments": ""}, *({"arguments": piece} for piece in pieces)]
    return [{"choices": [one]} for one in _said([{"function_call": delta} for delta in deltas], "function_call")]


def n2(take: AnswerVariant) -> Chunks:
    """Two choices, their chunks interleaved."""
    first = _said(_each(take, "Trams climb past cafés 🚋 and go."))
    second = _said(_each(take, "東京 postcards — naïve, blue and cheap."), "length", index=1)
    both = chain.from_iterable(zip_longest(first, second))
    return [{"choices": [one]} for one in both if one is not None]


def reasoning(take: AnswerVariant) -> Chunks:
    """The `reasoning_content` deltas of OpenAI-compatible servers, then the answer."""
    thoughts = _each(take, REASONING, "reasoning_content")
    return [{"choices": [one]} for one in _said([*thoughts, *_each(take, "Blue trams 🚋 climb.")])]


def refusal(take: AnswerVariant) -> Chunks:
    """A refusal instead of content."""
    return [{"choices": [one]} for one in _said(_each(take, REFUSAL, "refusal"))]


def logprobs(take: AnswerVariant) -> Chunks:
    """Text with the log probability of each token; a delta is a token."""
    chunks = text(take)
    for rank, chunk in enumerate(chunks):
        if token := chunk["choices"][0]["delta"].get("content"):
            entry = {
                "token": token,
                "logprob": -0.25 * rank,
                "bytes": list(token.encode()),
                "top_logprobs": [],
            }
            chunk["choices"][0]["logprobs"] = {"content": [entry], "refusal": None}
    return chunks


def usage(take: AnswerVariant) -> Chunks:
    """`stream_options.include_usage`: a last chunk without choices carries the counts."""
    return [*({**chunk, "usage": None} for chunk in text(take)), {"choices": [], "usage": USAGE}]


def length(take: AnswerVariant) -> Chunks:
    """Cut short by the token limit: not broken."""
    return [{"choices": [one]} for one in _said(_each(take, "Zürich’s blue trams 🚋 climb"), "length")]


def content_filter(take: AnswerVariant) -> Chunks:
    """Ended by the content filter: the API's word, not a fault."""
    return [{"choices": [one]} for one in _said(_each(take, "Zürich’s blue trams"), "content_filter")]


def azure(take: AnswerVariant) -> Chunks:
    """Azure: prompt filter results before the role, filter results after the finish, both without text."""
    results = {"hate": {"filtered": False, "severity": "safe"}}
    late = {
        "index": 0,
        "finish_reason": None,
        "content_filter_results": results,
        "content_filter_offsets": {},
    }
    before = {
        "choices": [],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": results}],
    }
    return [before, *text(take), {"choices": [late]}]


def compatible(take: AnswerVariant) -> Chunks:
    """A compatible server's habits: role and usage in every chunk, null and empty texts, extra fields."""
    chunks = text(take)
    chunks.insert(3, {"choices": [choice({"content": None})]})
    chunks.insert(5, {"choices": [choice({"content": ""})]})
    for chunk in chunks:
        chunk["choices"][0]["delta"]["role"] = "assistant"
        chunk |= {"usage": USAGE, "timings": {"predicted_ms": 12.5}, "provider": "Elsewhere"}
    return chunks


def merged_finish(take: AnswerVariant) -> Chunks:
    """The last text and the reason to finish come in one chunk."""
    chunks = text(take)
    chunks[-2]["choices"][0]["finish_reason"] = "stop"
    return chunks[:-1]


def separators(take: AnswerVariant) -> Chunks:
    """U+2028, U+2029 and U+0085 unescaped in the text: legal JSON, and no line ends in SSE."""
    return [{"choices": [one]} for one in _said([{"content": piece} for piece in take.say(SEPARATORS).split(" ")])]


def huge(take: AnswerVariant) -> Chunks:
    """One delta of two million characters among small ones."""
    chunks = text(take)
    chunks.insert(len(chunks) // 2, {"choices": [choice({"content": " 0123456789abcdef" * (HUGE // 17)})]})
    return chunks


_USUAL = (text, tool_calls, one_call, function_call, n2, reasoning, refusal, logprobs, usage)
_ODD = (length, content_filter, azure, compatible, merged_finish, separators, huge)
CHAT: Final[Mapping[str, Callable[[AnswerVariant], Chunks]]] = {build.__name__: build for build in _USUAL + _ODD}


def chat_answer(name: str, take: AnswerVariant) -> Answer:
    """The named answer of `/chat/completions`."""
    envelope = {
        "id": take.id("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": take.model,
        "service_tier": "default",
        "system_fingerprint": "fp_6a1c0e9b2d",
    }
    chunks, usage = CHAT[name](take), USAGE
    if take.prefix or take.limit is not None:
        chunks, usage = adjusted(chunks, take)
    frames = [Frame(compact({**envelope, **chunk})) for chunk in chunks]
    plain = {**envelope, "object": "chat.completion", "choices": _added_up(chunks), "usage": usage}
    visible = first_visible([any(map(shows, chunk["choices"])) for chunk in chunks])
    return Answer((*frames, Frame("[DONE]")), visible, plain)


def _added_up(chunks: Chunks) -> list[Json]:
    """The choices of the same answer without streaming."""
    choices: dict[int, Json] = {}
    for one in chain.from_iterable(chunk["choices"] for chunk in chunks):
        message: Json = {"role": "assistant", "content": None}
        whole = choices.setdefault(one["index"], {"index": one["index"], "message": message, "logprobs": None})
        _add(whole["message"], one.get("delta", {}))
        whole["finish_reason"] = one["finish_reason"] or whole.get("finish_reason")
        if one.get("logprobs"):
            whole["logprobs"] = whole["logprobs"] or {"content": [], "refusal": None}
            whole["logprobs"]["content"] += one["logprobs"]["content"]
    return [choices[index] for index in sorted(choices)]


def _add(message: Json, delta: Json) -> None:
    for key, value in delta.items():
        match key, value:
            case ("role" | "id" | "type" | "index", _):
                message[key] = value
            case ("tool_calls", [call]):
                calls = message.setdefault("tool_calls", [])
                if call["index"] == len(calls):
                    calls.append({})
                _add(calls[call["index"]], call)
            case (_, dict()):
                _add(message.setdefault(key, {}), value)
            case (_, str()) if value or key == "arguments":
                message[key] = (message.get(key) or "") + value


def completions_answer(take: AnswerVariant) -> Answer:
    """The text answer of the legacy `/completions`."""
    envelope = {
        "id": take.id("cmpl-"),
        "object": "text_completion",
        "created": CREATED,
        "model": take.model,
        "system_fingerprint": "fp_6a1c0e9b2d",
    }
    said = take.say(TEXT)
    pieces = [*((piece, None) for piece in take.split(said)), ("", "stop")]
    choices = [{"text": piece, "index": 0, "logprobs": None, "finish_reason": finish} for piece, finish in pieces]
    frames = [Frame(compact({**envelope, "choices": [one]})) for one in choices]
    whole = {"text": said, "index": 0, "logprobs": None, "finish_reason": "stop"}
    return Answer((*frames, Frame("[DONE]")), 0, {**envelope, "choices": [whole], "usage": USAGE})

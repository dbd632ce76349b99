"""Recorded answers of `/chat/completions`, usual and unusual ones, and that of the legacy `/completions`.

Decides what each answer says and in which chunks. The envelopes are those of OpenAI and of servers that speak its
protocol. All answers are healthy.

Invariant: the deltas of a stream add up to the message of the same answer without streaming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain, zip_longest
from typing import Final

from ..prefill import Chunks, adjusted, is_visible
from .answer import TEXT, Answer, AnswerVariant, Frame, Json, compact, first_visible

CREATED: Final = 1_767_225_600
USAGE: Final[Json] = {"prompt_tokens": 19, "completion_tokens": 14, "total_tokens": 33}
REASONING: Final = "Trams first, then the graffiti; naïve but fine."
REFUSAL: Final = "I’m sorry, but I can’t help with that — ask me about trams instead."
SEPARATORS: Final = "one\u2028two \u2029three \x85four \x0bfive"
HUGE: Final = 2_000_000  # characters of the one long delta in the `huge` answer


def choice(delta: Json, finish: str | None = None, *, index: int = 0, **more: object) -> Json:
    """Return one entry of `choices`."""
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **more}


def _role(index: int = 0) -> Json:
    return choice({"role": "assistant", "content": "", "refusal": None}, index=index)


def _whole_choice(deltas: Iterable[Json], finish: str = "stop", index: int = 0) -> list[Json]:
    """Return the entries of a complete choice: the role, the deltas, the finish reason."""
    return [_role(index), *(choice(delta, index=index) for delta in deltas), choice({}, finish, index=index)]


def _chunks(choices: Iterable[Json]) -> Chunks:
    return [{"choices": [entry]} for entry in choices]


def _deltas(variant: AnswerVariant, recorded: str, field: str = "content") -> list[Json]:
    return [{field: piece} for piece in variant.split(variant.say(recorded))]


def text(variant: AnswerVariant) -> Chunks:
    """Plain text."""
    return _chunks(_whole_choice(_deltas(variant, TEXT)))


def tool_calls(variant: AnswerVariant) -> Chunks:
    """Two parallel tool calls, their arguments in several deltas."""
    return _tool_calls(variant, ("get_weather", "Zürich"), ("get_timetable", "東京 🚋"))


def one_call(variant: AnswerVariant) -> Chunks:
    """One tool call, its arguments in several deltas."""
    return _tool_calls(variant, ("get_weather", "Zürich"))


def _tool_calls(variant: AnswerVariant, *wanted: tuple[str, str]) -> Chunks:
    calls = []
    for index, (name, city) in enumerate(wanted):
        function = {"name": name, "arguments": ""}
        calls.append({"index": index, "id": variant.id("call_"), "type": "function", "function": function})
        arguments = compact({"city": variant.say(city), "unit": "celsius", "days": [1, 2, 3]})
        pieces = [arguments[start : start + 12] for start in range(0, len(arguments), 12)]
        calls += [{"index": index, "function": {"arguments": piece}} for piece in pieces]
    return _chunks(_whole_choice([{"tool_calls": [call]} for call in calls], "tool_calls"))


def function_call(variant: AnswerVariant) -> Chunks:
    """A call in the legacy field `function_call`."""
    arguments = compact({"city": variant.say("Zürich"), "unit": "celsius", "days": [1, 2, 3, 4, 5]})
    pieces = [arguments[start : start + 6] for start in range(0, len(arguments), 6)]
    deltas = [{"name": "get_weather", "arguments": ""}, *({"arguments": piece} for piece in pieces)]
    return _chunks(_whole_choice([{"function_call": delta} for delta in deltas], "function_call"))


def n2(variant: AnswerVariant) -> Chunks:
    """Two choices, their chunks interleaved."""
    first = _whole_choice(_deltas(variant, "Trams climb past cafés 🚋 and go."))
    second = _whole_choice(_deltas(variant, "東京 postcards — naïve, blue and cheap."), "length", index=1)
    both = chain.from_iterable(zip_longest(first, second))
    return _chunks(entry for entry in both if entry is not None)


def reasoning(variant: AnswerVariant) -> Chunks:
    """Deltas of `reasoning_content`, as OpenAI-compatible servers send them, then the answer."""
    thoughts = _deltas(variant, REASONING, "reasoning_content")
    return _chunks(_whole_choice([*thoughts, *_deltas(variant, "Blue trams 🚋 climb.")]))


def refusal(variant: AnswerVariant) -> Chunks:
    """A refusal instead of content."""
    return _chunks(_whole_choice(_deltas(variant, REFUSAL, "refusal")))


def logprobs(variant: AnswerVariant) -> Chunks:
    """Text with the log probability of each token; a delta is a token."""
    chunks = text(variant)
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


def usage(variant: AnswerVariant) -> Chunks:
    """`stream_options.include_usage`: a last chunk without choices carries the counts."""
    return [*({**chunk, "usage": None} for chunk in text(variant)), {"choices": [], "usage": USAGE}]


def length(variant: AnswerVariant) -> Chunks:
    """Cut short by the token limit: not broken."""
    return _chunks(_whole_choice(_deltas(variant, "Zürich’s blue trams 🚋 climb"), "length"))


def content_filter(variant: AnswerVariant) -> Chunks:
    """Ended by the content filter: a decision of the API, not a fault."""
    return _chunks(_whole_choice(_deltas(variant, "Zürich’s blue trams"), "content_filter"))


def azure(variant: AnswerVariant) -> Chunks:
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
    return [before, *text(variant), {"choices": [late]}]


def compatible(variant: AnswerVariant) -> Chunks:
    """What compatible servers add: role and usage in every chunk, null and empty texts, extra fields."""
    chunks = text(variant)
    chunks.insert(3, {"choices": [choice({"content": None})]})
    chunks.insert(5, {"choices": [choice({"content": ""})]})
    for chunk in chunks:
        chunk["choices"][0]["delta"]["role"] = "assistant"
        chunk |= {"usage": USAGE, "timings": {"predicted_ms": 12.5}, "provider": "Elsewhere"}
    return chunks


def merged_finish(variant: AnswerVariant) -> Chunks:
    """The last text and the finish reason come in one chunk."""
    chunks = text(variant)
    chunks[-2]["choices"][0]["finish_reason"] = "stop"
    return chunks[:-1]


def early_finish(variant: AnswerVariant) -> Chunks:
    """A `finish_reason` in the middle of the text, as gateways send one before each tool of their own."""
    chunks = text(variant)
    chunks.insert(len(chunks) // 2, {"choices": [choice({}, "stop")]})
    return chunks


def no_finish(variant: AnswerVariant) -> Chunks:
    """No `finish_reason` at all: only `[DONE]` says that the answer is whole."""
    return text(variant)[:-1]


def separators(variant: AnswerVariant) -> Chunks:
    """U+2028, U+2029 and U+0085 unescaped in the text: legal JSON, and no line ends in SSE."""
    return _chunks(_whole_choice([{"content": piece} for piece in variant.say(SEPARATORS).split(" ")]))


def huge(variant: AnswerVariant) -> Chunks:
    """One delta of two million characters among small ones."""
    chunks = text(variant)
    chunks.insert(len(chunks) // 2, {"choices": [choice({"content": " 0123456789abcdef" * (HUGE // 17)})]})
    return chunks


_COMMON = (text, tool_calls, one_call, function_call, n2, reasoning, refusal, logprobs, usage)
_UNUSUAL = (length, content_filter, azure, compatible, merged_finish, early_finish, no_finish, separators, huge)
CHAT: Final[Mapping[str, Callable[[AnswerVariant], Chunks]]] = {build.__name__: build for build in _COMMON + _UNUSUAL}


def chat_answer(name: str, variant: AnswerVariant) -> Answer:
    """Return the named answer of `/chat/completions`. Raises `KeyError` for an unknown name."""
    envelope = {
        "id": variant.id("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": variant.model,
        "service_tier": "default",
        "system_fingerprint": "fp_6a1c0e9b2d",
    }
    chunks, usage = CHAT[name](variant), USAGE
    if variant.prefix or variant.opening or variant.limit is not None:
        chunks, usage = adjusted(chunks, variant)
    frames = [Frame(compact({**envelope, **chunk})) for chunk in chunks]
    plain = {**envelope, "object": "chat.completion", "choices": _complete_choices(chunks), "usage": usage}
    visible = first_visible([any(map(is_visible, chunk["choices"])) for chunk in chunks])
    return Answer((*frames, Frame("[DONE]")), visible, plain)


def _complete_choices(chunks: Chunks) -> list[Json]:
    """Return the choices of the same answer without streaming."""
    choices: dict[int, Json] = {}
    for entry in chain.from_iterable(chunk["choices"] for chunk in chunks):
        message: Json = {"role": "assistant", "content": None}
        whole = choices.setdefault(entry["index"], {"index": entry["index"], "message": message, "logprobs": None})
        _add(whole["message"], entry.get("delta", {}))
        whole["finish_reason"] = entry["finish_reason"] or whole.get("finish_reason")
        if entry.get("logprobs"):
            whole["logprobs"] = whole["logprobs"] or {"content": [], "refusal": None}
            whole["logprobs"]["content"] += entry["logprobs"]["content"]
    for whole in choices.values():
        whole["finish_reason"] = whole["finish_reason"] or "stop"  # servers that stream none say it here
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


def completions_answer(variant: AnswerVariant) -> Answer:
    """Return the text answer of the legacy `/completions`."""
    envelope = {
        "id": variant.id("cmpl-"),
        "object": "text_completion",
        "created": CREATED,
        "model": variant.model,
        "system_fingerprint": "fp_6a1c0e9b2d",
    }
    words = variant.say(TEXT)
    pieces = [*((piece, None) for piece in variant.split(words)), ("", "stop")]
    choices = [{"text": piece, "index": 0, "logprobs": None, "finish_reason": finish} for piece, finish in pieces]
    frames = [Frame(compact({**envelope, "choices": [entry]})) for entry in choices]
    whole = {"text": words, "index": 0, "logprobs": None, "finish_reason": "stop"}
    return Answer((*frames, Frame("[DONE]")), 0, {**envelope, "choices": [whole], "usage": USAGE})

"""A loop of tool calls in which no tool is ever run with half of its arguments, nor run twice.

With `delivery="tool_calls"` text arrives as it is written, and each call when all of it is there. A stream that breaks
in a call is asked for again before the program has seen any of that call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from openai import OpenAI

import openai_stream_guard

MAX_ROUNDS = 5


def answer(client: OpenAI, messages: list[Any], tools: Mapping[str, Callable[..., str]], schemas: list[Any]) -> str:
    """What the model says in the end. A stream that cannot be saved raises, and its calls are not run."""
    with openai_stream_guard.guarding(delivery="tool_calls"):
        for _ in range(MAX_ROUNDS):
            text = ""
            calls: dict[int, Any] = {}
            stream = client.chat.completions.create(model="gpt-4.1", messages=messages, tools=schemas, stream=True)
            for chunk in stream:
                for delta in (choice.delta for choice in chunk.choices):
                    text += delta.content or ""
                    for part in delta.tool_calls or ():
                        call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                        call["id"] = part.id or call["id"]
                        if part.function is not None:
                            call["name"] = part.function.name or call["name"]
                            call["arguments"] += part.function.arguments or ""
            if not calls:
                return text
            asked = [{"id": call.pop("id"), "type": "function", "function": call} for call in calls.values()]
            messages.append({"role": "assistant", "content": text or None, "tool_calls": asked})
            for call in asked:  # only here: the stream has ended without an exception
                result = tools[call["function"]["name"]](**json.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    raise RuntimeError(f"the model still asks for tools after {MAX_ROUNDS} rounds")

"""A small chat service: the browser posts a question, and shows the model's answer while it is written.

    OPENAI_STREAM_GUARD=1 OPENAI_API_KEY=… uvicorn --factory tests.examples.chat_service:create_app

The browser gets server-sent events: `token` for each piece of text, `tool` for each tool that is asked, and at the end
`done` with the whole answer, or `error` with what there is of it. Of the guard it knows the import.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, StreamingResponse
from openai import AsyncOpenAI, OpenAIError
from pydantic import BaseModel

import openai_stream_guard  # noqa: F401 - at startup; this is all that the service does about it

PAGE = Path(__file__).with_name("chat.html")
MODEL = "gpt-5.2"
MAX_ROUNDS = 5  # of asking for tools
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city for some days",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"enum": ["celsius", "fahrenheit"]},
                    "days": {"type": "array", "items": {"type": "integer"}},
                },
                "required": ["city", "unit", "days"],
            },
        },
    }
]


class Question(BaseModel):
    """What the browser posts."""

    question: str


@dataclass
class ToolCall:
    """A call as it comes in, piece by piece."""

    id: str
    name: str
    arguments: str = ""

    def run(self) -> str:
        """What the tool answers."""
        wanted = json.loads(self.arguments)
        return f"{wanted['city']}: sunny for {len(wanted['days'])} days"


def create_app(client: AsyncOpenAI | None = None) -> FastAPI:
    """The service. `app.state.answers` keeps the answers that were given whole."""
    client = client or AsyncOpenAI()
    app = FastAPI()
    app.state.answers = []

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(PAGE)

    @app.post("/chat")
    async def chat(asked: Question) -> StreamingResponse:
        events = answer(client, asked.question, app.state.answers)
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return app


async def answer(client: AsyncOpenAI, question: str, answers: list[str]) -> AsyncIterator[str]:
    """The events of one answer, whatever tools the model asks for on the way."""
    messages: list[Any] = [{"role": "user", "content": question}]
    text = ""
    try:
        for _ in range(MAX_ROUNDS):
            calls: dict[int, ToolCall] = {}
            stream = await client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, stream=True)
            async with stream:
                async for chunk in stream:
                    for delta in (choice.delta for choice in chunk.choices):
                        if delta.content:
                            text += delta.content
                            yield event("token", text=delta.content)
                        for part in delta.tool_calls or ():
                            if part.id:
                                calls[part.index] = ToolCall(part.id, part.function.name)
                            calls[part.index].arguments += part.function.arguments or ""
            if not calls:
                break
            for call in calls.values():
                yield event("tool", name=call.name)
                messages += [asking_for(call), {"role": "tool", "tool_call_id": call.id, "content": call.run()}]
    except OpenAIError:
        yield event("error", message="The answer broke off. Please ask again.", partial=text)
    else:
        answers.append(text)
        yield event("done", answer=text)


def asking_for(call: ToolCall) -> Any:
    """The model's message that asked for a tool."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": function}]}


def event(kind: str, /, **data: str) -> str:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"

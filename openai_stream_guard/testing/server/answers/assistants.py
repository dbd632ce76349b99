"""The recorded answer of `/threads/runs` and `/threads/{id}/runs`: one run that writes one message.

Invariant: every event is named, `done` is the last, and the deltas add up to the completed message.
"""

from __future__ import annotations

from typing import Final

from .answer import TEXT, Answer, AnswerVariant, Frame, Json, compact, first_visible
from .chat import CREATED, USAGE

DONE: Final = Frame("[DONE]", "done")


def assistants_answer(variant: AnswerVariant) -> Answer:
    """Return a run of an assistant, from `thread.run.created` to `done`."""
    ids = {"run_id": variant.id("run_"), "thread_id": variant.id("thread_"), "assistant_id": variant.id("asst_")}
    run = _run(variant, ids)
    step, message = _step(variant, ids), _message(variant, ids)
    step["step_details"]["message_creation"]["message_id"] = message["id"]
    words = variant.say(TEXT)
    content = [{"type": "text", "text": {"value": words, "annotations": []}}]
    ended: Json = {"status": "completed", "completed_at": CREATED}
    completed = {**run, **ended, "usage": USAGE}
    events = [
        *((f"thread.run.{kind}", {**run, "status": "queued"}) for kind in ("created", "queued")),
        ("thread.run.in_progress", run),
        *((f"thread.run.step.{kind}", step) for kind in ("created", "in_progress")),
        *((f"thread.message.{kind}", message) for kind in ("created", "in_progress")),
        *(("thread.message.delta", _delta(message, piece)) for piece in variant.split(words)),
        ("thread.message.completed", {**message, **ended, "content": content}),
        ("thread.run.step.completed", {**step, **ended, "usage": USAGE}),
        ("thread.run.completed", completed),
    ]
    frames = [Frame(compact(data), name) for name, data in events]
    visible = first_visible([name.endswith(".delta") for name, _ in events])
    return Answer((*frames, DONE), visible, completed)


def _run(variant: AnswerVariant, ids: Json) -> Json:
    return {
        "id": ids["run_id"],
        "object": "thread.run",
        "created_at": CREATED,
        "assistant_id": ids["assistant_id"],
        "thread_id": ids["thread_id"],
        "status": "in_progress",
        "instructions": "",
        "model": variant.model,
        "tools": [],
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "response_format": "auto",
        "usage": None,
    }


def _step(variant: AnswerVariant, ids: Json) -> Json:
    return {
        "id": variant.id("step_"),
        "object": "thread.run.step",
        "created_at": CREATED,
        **ids,
        "type": "message_creation",
        "status": "in_progress",
        "step_details": {"type": "message_creation", "message_creation": {}},
        "usage": None,
    }


def _message(variant: AnswerVariant, ids: Json) -> Json:
    return {
        "id": variant.id("msg_"),
        "object": "thread.message",
        "created_at": CREATED,
        **ids,
        "role": "assistant",
        "status": "in_progress",
        "content": [],
        "attachments": [],
        "metadata": {},
    }


def _delta(message: Json, piece: str) -> Json:
    content = [{"index": 0, "type": "text", "text": {"value": piece}}]
    return {"id": message["id"], "object": "thread.message.delta", "delta": {"content": content}}

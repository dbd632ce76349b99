"""The recorded answer of `/threads/runs` and `/threads/{id}/runs`: one run that writes one message.

The law: every event is named, `done` is the last, and the deltas add up to the message as it is completed.
"""

from __future__ import annotations

from typing import Final

from .answer import TEXT, Answer, AnswerVariant, Frame, Json, compact, first_visible
from .chat import CREATED, USAGE

DONE: Final = Frame("[DONE]", "done")


def assistants_answer(take: AnswerVariant) -> Answer:
    """A run of an assistant, from `thread.run.created` to `done`."""
    ids = {"run_id": take.id("run_"), "thread_id": take.id("thread_"), "assistant_id": take.id("asst_")}
    run = _run(take, ids)
    step, message = _step(take, ids), _message(take, ids)
    step["step_details"]["message_creation"]["message_id"] = message["id"]
    said = take.say(TEXT)
    content = [{"type": "text", "text": {"value": said, "annotations": []}}]
    ended: Json = {"status": "completed", "completed_at": CREATED}
    completed = {**run, **ended, "usage": USAGE}
    events = [
        *((f"thread.run.{kind}", {**run, "status": "queued"}) for kind in ("created", "queued")),
        ("thread.run.in_progress", run),
        *((f"thread.run.step.{kind}", step) for kind in ("created", "in_progress")),
        *((f"thread.message.{kind}", message) for kind in ("created", "in_progress")),
        *(("thread.message.delta", _delta(message, piece)) for piece in take.split(said)),
        ("thread.message.completed", {**message, **ended, "content": content}),
        ("thread.run.step.completed", {**step, **ended, "usage": USAGE}),
        ("thread.run.completed", completed),
    ]
    frames = [Frame(compact(data), name) for name, data in events]
    visible = first_visible([name.endswith(".delta") for name, _ in events])
    return Answer((*frames, DONE), visible, completed)


def _run(take: AnswerVariant, ids: Json) -> Json:
    return {
        "id": ids["run_id"],
        "object": "thread.run",
        "created_at": CREATED,
        "assistant_id": ids["assistant_id"],
        "thread_id": ids["thread_id"],
        "status": "in_progress",
        "instructions": "",
        "model": take.model,
        "tools": [],
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "response_format": "auto",
        "usage": None,
    }


def _step(take: AnswerVariant, ids: Json) -> Json:
    return {
        "id": take.id("step_"),
        "object": "thread.run.step",
        "created_at": CREATED,
        **ids,
        "type": "message_creation",
        "status": "in_progress",
        "step_details": {"type": "message_creation", "message_creation": {}},
        "usage": None,
    }


def _message(take: AnswerVariant, ids: Json) -> Json:
    return {
        "id": take.id("msg_"),
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

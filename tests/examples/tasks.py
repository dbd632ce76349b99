"""A Celery task that asks a model.

    OPENAI_STREAM_GUARD=1 celery -A tests.examples.tasks worker

Nobody watches the text come in, so the task takes whole answers only: `delivery="atomic"`. Then every break can be
recovered from, even if the model answers differently the second time. What lasts longer than the guard may wait is left
to Celery's own retry.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from openai import OpenAI

import openai_stream_guard

app = Celery("tasks")  # broker and backend: CELERY_BROKER_URL, CELERY_RESULT_BACKEND
LATER = 60
"""Seconds until a stream is tried once more that the guard gave up."""


@app.task(bind=True, max_retries=5, acks_late=True)
def summarise(task: Any, text: str) -> str:
    """One sentence about a text."""
    question: Any = [{"role": "user", "content": f"In one sentence: {text}"}]
    try:
        with openai_stream_guard.guarding(delivery="atomic"), OpenAI() as client:
            stream = client.chat.completions.create(model="gpt-4.1", messages=question, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    except openai_stream_guard.OpenAIStreamParseError as error:
        if error.stopped_by in ("retries", "time", "budget"):  # the server may be well again later
            raise task.retry(exc=error, countdown=LATER) from error
        raise

"""Sessions of agents, whose errors are values: how they are asked for, and some events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openai_stream_guard.testing import Frame

from .streams import VERSION

has_agents = pytest.mark.skipif(VERSION < (3, 52), reason="this SDK has no stream_mode")


def session_events(client: Any) -> Any:
    return client.beta.agents.sessions.events.stream("sess_1")


def new_session(client: Any) -> Any:
    return client.beta.agents.sessions.create(environment={"type": "auto"}, stream=True)


EVENTS = [
    Frame(json.dumps({"type": "session.created", "event_id": "1", "session": {"id": "sess_1"}}), "session.created"),
    Frame(json.dumps({"type": "error", "event_id": "2", "error": {"message": "no", "code": "x"}}), "error"),
    Frame(json.dumps({"type": "session.idle", "event_id": "3"}), "session.idle"),
]

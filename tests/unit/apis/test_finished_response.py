"""The laws: a finished response reads like a stream, sync and async; one still being made is `Unfinished`."""

from __future__ import annotations

import json

import pytest

from openai_stream_guard.apis.polled_response import Unfinished, events_from, finished_response
from openai_stream_guard.decoding.reader import Reader
from openai_stream_guard.testing import AnswerVariant, build_answer

from .test_responses import told

WHOLE = build_answer("responses", "several", AnswerVariant(1)).plain


@pytest.mark.parametrize("response", [{"status": "queued"}, {"status": "in_progress"}, {"status": None}, {}, "x", None])
def test_what_is_not_at_its_end_is_unfinished(response: object) -> None:
    """Also what is no response at all."""
    with pytest.raises(Unfinished):
        finished_response(response)


async def test_both_colours_read_the_events_one_a_read() -> None:
    """They are server-sent events, named by their types, whole in themselves."""
    response = finished_response(WHOLE)
    reads = list(response.iter_bytes())
    assert [data async for data in finished_response(WHOLE).aiter_bytes()] == reads
    reader = Reader("off", 1 << 20)
    payloads = [payload for data in reads for payload in reader.feed(data)]
    assert [payload.value for payload in payloads] == events_from(WHOLE) == json.loads(json.dumps(events_from(WHOLE)))
    assert [payload.event for payload in payloads] == [event["type"] for event in events_from(WHOLE)]
    assert {payload.event for payload in payloads} == {event["type"] for event in told("several")}
    assert not reader.unfinished


async def test_it_passes_for_an_http_response() -> None:
    """What an exchange looks at is there, and closing it does nothing."""
    response = finished_response(WHOLE)
    response.close()
    await response.aclose()
    assert (response.status_code, response.headers, response.extensions) == (200, {}, {})
    assert list(response.iter_bytes())

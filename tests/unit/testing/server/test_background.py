"""A response made in the background can be streamed again from any number, and retrieved until it is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from openai_stream_guard.testing import ANSWERS, End, ScriptedResponse, Send, Server, ServerBehaviour, replying
from tests.support.streams import VERSION, client_for

pytestmark = pytest.mark.skipif(VERSION < (1, 109), reason="this SDK retrieves no streams")

EVENTS = 22
NAMES = [name for name in ANSWERS["responses"] if name not in {"llamacpp", "interim", "restarted"}]
"""Those of servers that number their events, and keep one response under one id."""


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """An unguarded client of the server."""
    with client_for(server, max_retries=0) as made:
        yield made


def begin(client: Any, **body: Any) -> list[Any]:
    """The events of a new response made in the background, as far as they come."""
    return list(client.responses.create(model="m", input="", stream=True, background=True, **body))


def resume(client: Any, response_id: str, after: int) -> list[Any]:
    """The events behind a number."""
    return list(client.responses.retrieve(response_id, stream=True, starting_after=after))


def dumped(events: list[Any]) -> list[Any]:
    """The events as plain values."""
    return [event.model_dump() for event in events]


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_response_is_streamed_from_any_number(name: str) -> None:
    """What comes behind number N is what the first stream had there: the same ids, text and numbers."""
    with Server(answer=name, regroup=True, sampled=True) as server, client_for(server) as client:
        whole = begin(client)
        for after in range(len(whole)):
            assert dumped(resume(client, whole[0].response.id, after)) == dumped(whole[after + 1 :])
        again = list(client.responses.retrieve(whole[0].response.id, stream=True))
    assert dumped(again) == dumped(whole)


def test_the_helper_picks_a_kept_response_up(server: Server, client: Any) -> None:
    """`responses.stream(response_id=…)` comes to the same final response, whatever it has been given before."""
    [*_, last] = begin(client)
    with client.responses.stream(response_id=last.response.id, starting_after=9) as stream:
        numbers = [event.sequence_number for event in stream]
        final = stream.get_final_response()
    assert numbers == list(range(10, EVENTS))
    assert final.output_text == last.response.output_text


def test_faults_strike_a_resumption_like_any_request(server: Server, client: Any) -> None:
    """Parts of the script go to POST and GET alike; a fault's place is counted from the resumption's first event."""
    server.script("truncate_clean", "truncate_clean", None, after=8)
    first = begin(client)
    second = resume(client, first[0].response.id, first[-1].sequence_number)
    third = resume(client, first[0].response.id, second[-1].sequence_number)
    assert (len(first), len(second)) == (8, 8)
    assert [event.sequence_number for event in first + second + third] == list(range(EVENTS))


def test_a_fault_without_a_place_strikes_the_first_delta_that_is_left(server: Server, client: Any) -> None:
    """By default a fault strikes at the first event that shows something, in a resumption too."""
    server.script(None, "truncate_clean", "truncate_clean")
    response_id = begin(client)[0].response.id
    assert [event.sequence_number for event in resume(client, response_id, 1)] == [2, 3, 4]
    assert resume(client, response_id, 10) == []


def test_own_performances_are_given_to_resumptions(server: Server, client: Any) -> None:
    """A script's own part answers a GET as it would a POST."""
    server.script(
        None, replying({"error": {"message": "later"}}, 503), ScriptedResponse((Send(b"data: [DONE]\n\n"), End()))
    )
    response_id = begin(client)[0].response.id
    with pytest.raises(openai.InternalServerError):
        resume(client, response_id, 3)
    assert resume(client, response_id, 3) == []


def test_nothing_is_behind_the_last_event(server: Server, client: Any) -> None:
    """A stream that starts after its end is empty, whatever fault is due."""
    server.script(None, "truncate_mid_event")
    response_id = begin(client)[0].response.id
    assert resume(client, response_id, EVENTS - 1) == []


def test_polls_say_in_progress_as_often_as_asked(server: Server, client: Any) -> None:
    """The first polls find a response without output, those behind them the whole one; each job counts its own."""
    server.behaviour = ServerBehaviour(pending_polls=2)
    for _ in range(2):
        whole = begin(client)
        polls = [client.responses.retrieve(whole[0].response.id) for _ in range(4)]
        assert [poll.status for poll in polls] == ["in_progress", "in_progress", "completed", "completed"]
        assert polls[0].output == []
        assert polls[0].id == whole[0].response.id
        assert polls[2].model_dump() == whole[-1].response.model_dump()


def test_a_failed_job_is_polled_as_failed() -> None:
    """A response that came to no good end says so when it is retrieved."""
    with Server(answer="failed") as server, client_for(server) as client:
        assert client.responses.retrieve(begin(client)[0].response.id).status == "failed"


def test_a_response_may_be_too_old_to_be_streamed(server: Server, client: Any) -> None:
    """With `streamable` off the stream is refused with status 400, and the response can still be retrieved."""
    response_id = begin(client)[0].response.id
    server.behaviour = ServerBehaviour(streamable=False)
    with pytest.raises(openai.BadRequestError, match="can no longer be streamed because it is more than 5 minutes"):
        resume(client, response_id, 3)
    assert client.responses.retrieve(response_id).status == "completed"
    server.behaviour = ServerBehaviour()
    assert len(resume(client, response_id, 3)) == EVENTS - 4


def test_only_what_was_made_in_the_background_is_kept(server: Server, client: Any) -> None:
    """An unknown id, another server's response and one made in the foreground are a 404 that names the id."""
    [*_, last] = client.responses.create(model="m", input="", stream=True)
    for response_id in ("resp_unknown", last.response.id):
        with pytest.raises(openai.NotFoundError, match=response_id):
            resume(client, response_id, 3)
        with pytest.raises(openai.NotFoundError, match=response_id):
            client.responses.retrieve(response_id)


def test_a_reset_forgets_what_was_kept(server: Server, client: Any) -> None:
    """A server that begins anew knows no older response."""
    response_id = begin(client)[0].response.id
    server.reset()
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response_id)


def test_a_response_asked_for_without_a_stream_is_queued(server: Server, client: Any) -> None:
    """In the background the plain answer comes at once, with nothing said yet; it is retrieved later."""
    queued = client.responses.create(model="m", input="", background=True)
    assert (queued.status, queued.output) == ("queued", [])
    assert client.responses.retrieve(queued.id).output_text
    assert json.loads(queued.model_dump_json())["background"] is True

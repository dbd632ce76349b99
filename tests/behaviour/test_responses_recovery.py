"""The law: however a Responses stream breaks, its consumer gets one response, whole and once, with one identity where
he needs one, or a true prefix and the first error; nothing is asked for twice where that could do something twice.
"""

from __future__ import annotations

from typing import Any

import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.testing import Server, ServerBehaviour, replying
from tests.support.responses import (
    NAMES,
    asking,
    consume,
    cut_at,
    has_background,
    has_helper,
    has_responses,
    help_along,
    ids_in,
    nameless,
    offsets,
    plain,
    unbroken,
    unbroken_help,
)
from tests.support.streams import CLIENT_KINDS, VERSION

pytestmark = [pytest.mark.usefixtures("guarded"), has_responses]

WAYS: dict[str, dict[str, Any]] = {"repeated": {"store": False}, "resumed": {"background": True}}
ENDS = ("clean", "reset")
BUSY = replying({"error": {"message": "busy"}}, 503)


def cuts_of(name: str, way: str, stride: int, start: int) -> list[int]:
    """The ends of all events, and some bytes between them."""
    ends, length = offsets(name, background=way == "resumed")
    return sorted({*ends, *range(start, length - 1, stride)})


def check_numbers(numbers: list[int]) -> None:
    """They go up by one."""
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


# Cut anywhere.


@has_background
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_a_response_cut_anywhere_comes_out_whole_and_once(server: Server, name: str, way: str) -> None:
    """Through `create`: the unbroken events, in two requests, numbered without a seam, one id for each item."""
    background = way == "resumed"
    whole, ids = unbroken(name, background=background)
    for place, offset in enumerate(cuts_of(name, way, 2003, 997)):
        server.reset(answer=name)
        server.script(cut_at(offset, ENDS[place % 2]))
        seen = consume(server, "asyncio" if place % 5 == 0 else "sync", asking(**WAYS[way]))
        assert seen.error is None, offset
        assert plain(seen) == whole, offset
        items = [item for _, item in seen.items]
        check_numbers([item["sequence_number"] for item in items])
        assert len(ids_in(items)) == ids, offset
        assert [request.method for request in server.requests] == ["POST", "GET" if background else "POST"]
        assert seen.report is not None
        assert seen.report.recoveries in ([["resume"]] if background else [["restart"], ["replay"]])


@pytest.mark.slow
@has_helper
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_the_helper_comes_to_the_same_final_response(server: Server, name: str, way: str) -> None:
    """Through `.stream()`: the same events and snapshot as from the unbroken stream, wherever it was cut."""
    events, final = unbroken_help(name, background=way == "resumed")
    for place, offset in enumerate(cuts_of(name, way, 3001, 1013)[:: 2 if name in ("several", "reasoning") else 1]):
        server.reset(answer=name)
        server.script(cut_at(offset, ENDS[place % 2]))
        seen = help_along(server, "asyncio" if place % 5 == 1 else "sync", **WAYS[way])
        assert seen.error is None, offset
        assert nameless(seen.events) == events, offset
        assert nameless(seen.final.model_dump(warnings=False)) == final, offset
        check_numbers(seen.numbers)
        assert len(server.requests) == 2


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("name", ["text", "refusal"])
def test_a_message_that_is_stored_is_repeated_too(server: Server, name: str, client_kind: str) -> None:
    """By default the API stores: the final response of `create` is the real one, with the id that was stored."""
    for offset in offsets(name)[0][3::4]:
        server.reset(answer=name)
        server.script(cut_at(offset))
        seen = consume(server, client_kind)
        assert seen.error is None
        assert plain(seen) == unbroken(name)[0]
        items = [item for _, item in seen.items]
        assert items[-1]["response"]["id"] != items[0]["response"]["id"]
        items_ids = {item["item_id"] for item in items if item.get("item_id")}
        assert items_ids == {items[2]["item"]["id"]}


@has_helper
def test_the_helper_needs_one_identity(server: Server) -> None:
    """It refuses a response whose id changes, so the first id stays, in the items of the final response too."""
    server.script(cut_at(offsets("text")[0][8]))
    seen = help_along(server)
    assert seen.error is None
    assert seen.final.id == seen.events[0]["response"]["id"]
    assert seen.final.output[0].id == seen.events[2]["item"]["id"]


def texts_of(items: Any) -> dict[tuple[Any, ...], str]:
    """What the deltas say, by their place."""
    said: dict[tuple[Any, ...], str] = {}
    for item in items:
        if item["type"].endswith(".delta"):
            place = tuple(item.get(name) for name in ("output_index", "content_index", "summary_index", "type"))
            said[place] = said.get(place, "") + item["delta"]
    return said


def structure(items: Any) -> list[str]:
    """All that is no text; whether a job that is over had to wait for its turn is not known."""
    return [item["type"] for item in items if not item["type"].endswith((".delta", ".queued"))]


# Vetoes.


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("name", ["function_call", "reasoning", "several"])
def test_what_the_api_has_stored_is_not_repeated(server: Server, name: str, client_kind: str) -> None:
    """Once a call or a thought was seen a second answer would be stored under other ids: the error, a true prefix."""
    whole, _ = unbroken(name)
    deed = [item.get("item", {}).get("type") in ("function_call", "reasoning") for item in whole].index(True)
    for place in (deed + 1, deed + 3, len(whole) - 1):
        server.reset(answer=name)
        server.script(cut_at(offsets(name)[0][place - 1], "reset"))
        seen = consume(server, client_kind)
        assert isinstance(seen.error, OpenAIStreamParseError)
        assert (seen.error.fault, seen.error.stopped_by) == ("disconnected", "unsafe")
        assert plain(seen) == whole[:place]
        assert len(server.requests) == 1
        assert seen.error.partial.status == "incomplete"
    server.reset(answer=name)
    server.script(cut_at(offsets(name)[0][deed - 1]))
    assert consume(server, client_kind).error is None, "nothing was seen yet"


STATEFUL: list[dict[str, Any]] = [
    {"previous_response_id": "resp_0"},
    {"conversation": "conv_1"},
    {"extra_body": {"conversation": {"id": "conv_1"}}},
    {"tools": [{"type": "web_search"}]},
    {"tools": [{"type": "function", "name": "f"}, {"type": "code_interpreter"}], "store": True},
]


@pytest.mark.skipif(VERSION < (1, 109), reason="this SDK has no conversations")
@pytest.mark.parametrize("body", STATEFUL, ids=lambda body: "-".join(body))
def test_requests_whose_state_is_the_servers_fail_closed(server: Server, body: dict[str, Any]) -> None:
    """Not even a restart, unless the policy names `stateful`."""
    for fault in ("empty_body", "truncate_clean"):
        server.reset(fault=fault)
        seen = consume(server, "sync", asking(**body))
        assert isinstance(seen.error, OpenAIStreamParseError)
        assert (seen.error.stopped_by, len(server.requests)) == ("unsafe", 1)
    configure(recovery=("restart", "replay", "stateful"))
    server.reset(fault="truncate_clean", after=9)
    seen = consume(server, "sync", asking(**body))
    assert seen.error is None
    assert plain(seen) == unbroken("text")[0]


@pytest.mark.parametrize(
    "body", [{"tools": [{"type": "web_search"}], "store": False}, {"tools": [{"type": "custom", "name": "f"}]}]
)
def test_hosted_tools_matter_where_the_answer_is_stored(server: Server, body: dict[str, Any]) -> None:
    """Without `store`, or with the caller's own tools, asking again leaves nothing behind."""
    server.script("truncate_clean", after=9)
    seen = consume(server, "sync", asking(**body))
    assert (seen.error, len(server.requests)) == (None, 2)


# Resuming.


@has_background
def test_a_job_of_which_no_id_is_known_is_not_begun_again(server: Server) -> None:
    """A restart would start a second one."""
    server.script(cut_at(300))
    seen = consume(server, "sync", asking(background=True))
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert (seen.error.stopped_by, len(server.requests), seen.items) == ("unsafe", 1, [])


@has_background
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_resumption_may_fail_like_any_request(server: Server, client_kind: str) -> None:
    """Refused or broken, it costs a retry; when they are spent the first error is raised."""
    server.script("truncate_clean", BUSY, "rst", after=6)
    seen = consume(server, client_kind, asking(background=True), max_retries=3)
    assert seen.error is None
    assert plain(seen) == unbroken("text", background=True)[0]
    server.reset()
    server.script("truncate_clean", BUSY, BUSY, after=6)
    seen = consume(server, client_kind, asking(background=True))
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert (seen.error.fault, seen.error.stopped_by, len(server.requests)) == ("truncated", "retries", 3)
    assert plain(seen) == unbroken("text", background=True)[0][:6]
    server.reset()
    server.script("truncate_clean", replying({"error": {"message": "gone"}}, 404), after=6)
    seen = consume(server, client_kind, asking(background=True))
    assert (seen.error.stopped_by, len(server.requests)) == ("not_retryable", 2)


@has_background
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_can_no_longer_be_streamed_is_polled(server: Server, name: str, client_kind: str) -> None:
    """Until it is complete; then the rest comes as the events the consumer would have had, under the same ids."""
    whole, ids = unbroken(name, background=True)
    server.behaviour = ServerBehaviour(streamable=False, pending_polls=2)
    for offset in offsets(name, background=True)[0][:: 7 if client_kind == "sync" else 20]:
        server.reset(answer=name)
        server.script(cut_at(offset))
        seen = consume(server, client_kind, asking(background=True))
        assert seen.error is None, offset
        items = [item for _, item in seen.items]
        assert texts_of(items) == texts_of(whole)
        assert structure(items) == structure(whole)
        assert nameless(items[-1]["response"]) == whole[-1]["response"]
        check_numbers([item["sequence_number"] for item in items])
        assert len(ids_in(items)) == ids
        assert [request.method for request in server.requests] == ["POST", *["GET"] * 4]
        assert server.requests[-1].path.endswith(items[0]["response"]["id"])


@has_helper
@pytest.mark.parametrize("name", NAMES)
def test_the_helper_reads_what_was_polled(server: Server, name: str) -> None:
    """It comes to the same final response."""
    server.behaviour = ServerBehaviour(streamable=False)
    server.reset(answer=name)
    server.script(cut_at(offsets(name, background=True)[0][9]))
    seen = help_along(server, background=True)
    assert seen.error is None
    assert nameless(seen.final.model_dump(warnings=False)) == unbroken_help(name, background=True)[1]


@has_background
@pytest.mark.parametrize("after", [None, 5])
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_retrieved_stream_is_resumed(server: Server, client_kind: str, after: int | None) -> None:
    """`retrieve(stream=True)` reads what is stored: from the start or a number, it is picked up where it broke."""
    whole, _ = unbroken("text", background=True)

    def retrieve(client: Any) -> Any:
        more = {} if after is None else {"starting_after": after}
        return client.responses.retrieve(response_id, stream=True, **more)

    for place in (0, 1, 7):
        server.reset()
        response_id = consume(server, "sync", asking(background=True)).items[0][1]["response"]["id"]
        server.script(cut_at(400) if place == 0 else "rst", "truncate_clean" if place else None, after=place)
        seen = consume(server, client_kind, retrieve)
        assert seen.error is None, place
        assert plain(seen) == whole[0 if after is None else after + 1 :]
        assert {request.method for request in server.requests[1:]} == {"GET"}


@has_background
def test_the_rest_that_can_no_longer_be_streamed_cannot_be_told_from_the_start(server: Server) -> None:
    """Who asked for what comes after a number has not shown what came before it: the error."""
    response_id = consume(server, "sync", asking(background=True)).items[0][1]["response"]["id"]
    server.script("truncate_clean", replying({"error": {"message": "It can no longer be streamed."}}, 400), after=3)
    seen = consume(server, "sync", lambda client: client.responses.retrieve(response_id, stream=True, starting_after=5))
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert seen.error.stopped_by == "not_retryable"

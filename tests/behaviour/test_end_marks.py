"""The law: a stream is over when its server says so by the marks it is known to use; where none came it was cut."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from openai_stream_guard import configure
from openai_stream_guard.testing import AnswerVariant, End, ScriptedResponse, Send, Server, StreamGuard, build_answer
from tests.support.ported import HTTP
from tests.support.streams import Seen, completions, consume

pytestmark = pytest.mark.usefixtures("guarded")

CLIENT_KINDS = ("sync", "asyncio")
DONE = b"data: [DONE]\n\n"


def play(server: Server, *frames: bytes, ask: Any = None, client_kind: str = "sync", **options: Any) -> Seen:
    """What becomes of a stream of these events, whatever is asked for again."""
    server.reset()
    server.script(*[ScriptedResponse((*map(Send, frames), End()))] * 5)
    return consume(server, client_kind, *([] if ask is None else [ask]), **options)


def frames_of(answer: str = "text", api: Any = "chat") -> list[bytes]:
    """The events of a whole answer."""
    return build_answer(api, answer, AnswerVariant(1)).encode()


def outcome(seen: Seen) -> str:
    """How it ended, in a word."""
    return seen.report.outcome if seen.error is None and seen.report is not None else str(seen.error.fault)


FRAMES = frames_of()
FINISHED = FRAMES[:-1]
FORGED = (*FRAMES[:6], DONE)
"""Cut, but with the mark that a gateway has appended."""
UNMARKED = FRAMES[:6]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize(
    ("rule", "frames", "whole"),
    [
        ("auto", FRAMES, True),
        ("auto", FINISHED, True),
        ("auto", FORGED, True),
        ("auto", UNMARKED, False),
        ("auto", [DONE], False),
        ("auto", [], False),
        ("strict", FRAMES, True),
        ("strict", FINISHED, True),
        ("strict", FORGED, False),
        ("strict", UNMARKED, False),
        ("lenient", FORGED, True),
        ("lenient", FINISHED, True),
        ("lenient", UNMARKED, False),
        ("lenient", [DONE], False),
    ],
)
def test_which_marks_end_a_stream_of_an_unknown_server(
    server: Server, rule: Any, frames: list[bytes], whole: bool, client_kind: str
) -> None:
    """Either mark will do, unless `strict` wants the finish_reason; none will never do."""
    configure(end_rule=rule, max_retries=1)
    assert outcome(play(server, *frames, client_kind=client_kind)) == ("complete" if whole else "truncated")
    assert len(server.requests) == (1 if whole else 2)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_server_is_held_to_the_finish_reason_it_has_sent(server: Server, client_kind: str) -> None:
    """By host and port, path and model; what is learnt, from five answers in a row, is only that it sends one."""
    configure(max_retries=0)
    assert outcome(play(server, *FORGED, client_kind=client_kind)) == "complete"
    for _ in range(4):
        assert outcome(play(server, *FRAMES, client_kind=client_kind)) == "complete"
    assert outcome(play(server, *FORGED, client_kind=client_kind)) == "complete", "four prove nothing"
    for _ in range(5):
        assert outcome(play(server, *FINISHED, client_kind=client_kind)) == "complete"
    assert outcome(play(server, *FORGED, client_kind=client_kind)) == "truncated", "the same server and model"
    assert outcome(play(server, *FORGED, client_kind=client_kind)) == "complete", "nothing could disprove the miss"
    for _ in range(5):
        assert outcome(play(server, *FINISHED, client_kind=client_kind)) == "complete"

    def other_model(client: Any) -> Any:
        return client.chat.completions.create(model="other", messages=[], stream=True)

    assert outcome(play(server, *FORGED, ask=other_model, client_kind=client_kind)) == "complete"
    legacy = frames_of(api="completions")
    assert outcome(play(server, *legacy[:4], DONE, ask=completions, client_kind=client_kind)) == "complete", (
        "another path"
    )
    with Server() as elsewhere:
        assert outcome(play(elsewhere, *FORGED, client_kind=client_kind)) == "complete"

    configure(end_rule="lenient")
    assert outcome(play(server, *FORGED, client_kind=client_kind)) == "complete", "what is learnt is only for `auto`"


def test_what_is_learnt_is_told_once_and_can_be_forgotten(server: Server, stream_guard: StreamGuard) -> None:
    """In the notes of the stream from which it was learnt, and of the one from which it was unlearnt."""
    stream_guard.configure(max_retries=0)
    notes = [play(server, *FRAMES).report.notes for _ in range(6)]
    assert [len(each) for each in notes] == [0, 0, 0, 0, 1, 0]
    assert notes[4][0].startswith("learnt: ")
    stream_guard.forget()
    assert outcome(play(server, *FORGED)) == "complete"
    for _ in range(5):
        play(server, *FRAMES)
    seen = play(server, *FORGED)
    assert outcome(seen) == "truncated"
    assert seen.report is not None
    assert seen.report.notes[0].startswith("unlearnt: ")


def test_nothing_is_learnt_from_a_broken_stream(server: Server) -> None:
    """One choice of two has finished when the stream breaks: that says nothing of whole answers."""
    configure(max_retries=0)
    frames = frames_of("n2")
    finish = next(place for place, frame in enumerate(frames) if b'"finish_reason":"' in frame)

    def two(client: Any) -> Any:
        return client.chat.completions.create(model="m", messages=[], stream=True, n=2)

    for _ in range(6):
        assert outcome(play(server, *frames[: finish + 1], ask=two)) == "truncated"
    assert outcome(play(server, *FORGED)) == "complete"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("form", ["name", "name:port"])
def test_lenient_hosts_may_end_without_any_mark(server: Server, form: str, client_kind: str, warned: Any) -> None:
    """It is accepted and reported, but no end inside an event, no empty body, and no broken connection."""
    port = server.base_url.rpartition(":")[2].removesuffix("/v1")
    configure(lenient_hosts=("127.0.0.1" if form == "name" else f"127.0.0.1:{port}",), max_retries=0)
    seen = play(server, *UNMARKED, client_kind=client_kind)
    assert outcome(seen) == "complete"
    assert seen.report is not None
    assert seen.report.notes == ("the stream ended without any mark, as lenient_hosts allows",)
    assert warned() == []
    assert outcome(play(server, *UNMARKED, FRAMES[6][:60], client_kind=client_kind)) == "truncated"
    assert outcome(play(server, client_kind=client_kind)) == "truncated"
    server.reset(fault="rst", after=6)
    assert consume(server, client_kind).error.fault == "disconnected"


def test_another_host_is_not_lenient(server: Server) -> None:
    """Only the hosts that are named, and the error says how to name one."""
    configure(lenient_hosts=("127.0.0.1:1", "localhost"), max_retries=0)
    error = play(server, *UNMARKED).error
    assert error.fault == "truncated"
    assert "lenient_hosts" in error.hint


def test_openais_own_hosts_are_strict_without_being_told() -> None:
    """There a `[DONE]` without a finish_reason was appended by somebody else."""
    configure(max_retries=0)
    hosts = {
        "https://api.openai.com/v1": False,
        "https://x.openai.azure.com/openai": False,
        "https://example.test/v1": True,
    }
    for base_url, whole in hosts.items():
        transport = HTTP.MockTransport(
            lambda request: HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(FORGED))
        )
        with openai.OpenAI(base_url=base_url, api_key="none", http_client=HTTP.Client(transport=transport)) as client:
            stream = client.chat.completions.create(model="m", messages=[], stream=True)
            if whole:
                assert len(list(stream)) == 6
            else:
                with pytest.raises(openai.OpenAIStreamParseError, match="before the answer was complete"):
                    list(stream)

"""The error of a broken stream is caught where the SDK's was, carries what it knows, and gives nothing away."""

from __future__ import annotations

import json
import pickle
import warnings
from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.testing import End, ScriptedResponse, Send, Server, streaming
from openai_stream_guard.testing.server.answers.answer import TEXT
from openai_stream_guard.transport.exceptions import fault_from
from tests.support.ported import HTTP
from tests.support.streams import CLIENT_KINDS, alone, client_for, consume, scripted

PLANTED = "planted-answer-text"
PREFIX = "Incomplete chunk received while parsing SSE stream"

pytestmark = pytest.mark.usefixtures("guarded")


@pytest.fixture(autouse=True)
def no_retries(guarded: None) -> None:
    configure(max_retries=0)


def broken(server: Server, fault: str, client_kind: str = "sync", **options: Any) -> Any:
    """The error of a stream on which this fault strikes for good, in the middle of its text."""
    server.reset(fault=fault, after=4, times=None)
    error = consume(server, client_kind, **options).error
    assert isinstance(error, OpenAIStreamParseError)
    return error


# Fault → class that the unguarded SDK let out, in old releases and new ones.
DROP_IN = {
    "fin_mid_chunk": (HTTP.RemoteProtocolError, openai.APIConnectionError),
    "fin_no_terminator": (HTTP.RemoteProtocolError, openai.APIConnectionError),
    "truncate_content_length": (HTTP.RemoteProtocolError, openai.APIConnectionError),
    "bad_chunk_header": (HTTP.RemoteProtocolError, openai.APIConnectionError),
    "rst": (HTTP.ReadError, openai.APIConnectionError),
    "gzip_corrupt": (HTTP.DecodingError, openai.APIConnectionError),
    "garbage_event": (json.JSONDecodeError, ValueError),
    "blank_inside": (json.JSONDecodeError,),
    "data_line_cut": (json.JSONDecodeError,),
    "invalid_utf8": (UnicodeDecodeError, ValueError),
    "error_event": (openai.APIError,),
    "error_invalid_request": (openai.APIError,),
    "truncate_clean": (openai.APIConnectionError,),
}


@pytest.mark.parametrize("fault", DROP_IN)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_what_caught_the_error_before_catches_it_now(server: Server, fault: str, client_kind: str) -> None:
    """The error is one of the guard's, of the transport's or parser's class, and whatever the SDK alone raises."""
    error = broken(server, fault, client_kind)
    for expected in DROP_IN[fault]:
        assert isinstance(error, expected)
    server.reset(fault=fault, after=4, times=None)
    plain = alone(server, client_kind, max_retries=0).error
    assert plain is None or isinstance(error, type(plain))


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_an_end_inside_a_character_is_what_the_sdk_calls_it(server: Server, client_kind: str) -> None:
    """The SDK decodes the last line even where it drops its event."""
    server.script(*[ScriptedResponse((Send('data: {"choices": [], "note": "é'.encode()[:-1]), End()))] * 2)
    assert type(alone(server, client_kind, max_retries=0).error) is UnicodeDecodeError
    error = consume(server, client_kind).error
    assert isinstance(error, OpenAIStreamParseError)
    assert isinstance(error, UnicodeDecodeError)
    assert error.fault == "truncated"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
@pytest.mark.parametrize("fault", ["stall", "stall_before_first"])
def test_a_stall_is_a_timeout_in_the_words_of_both(server: Server, fault: str, client_kind: str) -> None:
    """`except APITimeoutError`, which came with openai 3.14, and `except httpx.ReadTimeout` both catch a stall."""
    error = broken(server, fault, client_kind, timeout=0.1)
    assert isinstance(error, openai.APITimeoutError)
    assert isinstance(error, HTTP.ReadTimeout)
    assert error.fault == "stalled"


def test_a_stall_behind_heartbeats_is_a_timeout(server: Server) -> None:
    """Also where bytes keep coming, and no transport has timed out."""
    configure(idle_timeout=0.1)
    assert isinstance(broken(server, "stall_heartbeat"), openai.APITimeoutError)


def test_the_transports_error_is_the_cause(server: Server) -> None:
    """`__cause__` is what broke, and only that: nothing is chained where nothing was raised."""
    error = broken(server, "rst")
    assert type(error.__cause__) is HTTP.ReadError
    assert broken(server, "truncate_clean").__cause__ is None


@pytest.mark.parametrize("fault", ["rst", "stall"])
def test_the_handler_of_assistants_lets_the_error_through(server: Server, fault: str) -> None:
    """From openai 3 on it raises the cause of an APIConnectionError bare: there, the transport's error is context."""
    server.reset(fault=fault, times=None)
    handler = Listening()
    with client_for(server, timeout=0.1) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        runs = client.beta.threads.runs
        with (
            runs.stream(thread_id="t", assistant_id="a", event_handler=handler) as stream,
            pytest.raises(OpenAIStreamParseError) as raised,
        ):
            stream.until_done()
    error: Any = raised.value
    assert error.__cause__ is None
    assert isinstance(error.__context__, HTTP.ReadTimeout if fault == "stall" else HTTP.ReadError)
    assert isinstance(error, type(error.__context__))
    assert handler.raised is error
    assert handler.timed_out == (fault == "stall")


class Listening(openai.AssistantEventHandler):
    """Keeps what the SDK tells a handler of failures."""

    raised: Exception | None = None
    timed_out = False

    def on_exception(self, exception: Exception) -> None:
        self.raised = exception

    def on_timeout(self) -> None:
        self.timed_out = True


def test_the_words_of_the_transport_are_in_the_message(server: Server) -> None:
    """Programs look for them: a retry that was begun by such a text is begun by it still."""
    error = broken(server, "fin_mid_chunk")
    assert "incomplete chunked read" in str(error.__cause__)
    assert str(error.__cause__) in str(error)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"illegal chunk header: bytearray(b'{PLANTED}')", "illegal chunk header: bytearray"),
        (f"payload is not completed: <TransferEncodingError: 400, message={PLANTED!r}>", "400, message"),
        ("[Errno 104] Connection reset by peer", "[Errno 104] Connection reset by peer"),
        ("", "(ReadError)"),
    ],
)
def test_what_a_transport_quotes_of_the_body_is_not_repeated(said: str, kept: str) -> None:
    """h11 and aiohttp quote the bytes they cannot read, which are answer text: the reason ends before them."""
    fault = fault_from(HTTP.ReadError(said))
    assert fault is not None
    assert fault.reason.removesuffix(")").endswith(kept.removesuffix(")"))
    assert PLANTED not in fault.reason


def test_a_real_error_survives_a_process_boundary(server: Server) -> None:
    """What a worker raises can be sent to its parent: the answer so far included."""
    again = pickle.loads(pickle.dumps(broken(server, "fin_mid_chunk")))
    assert isinstance(again, HTTP.RemoteProtocolError)
    assert TEXT.startswith(again.partial_text)
    assert again.partial.choices[0].message.content == again.partial_text


@pytest.mark.parametrize("fault", ["rst", "truncate_clean", "truncate_mid_event", "garbage_event"])
def test_the_message_begins_as_promised(server: Server, fault: str) -> None:
    """Disconnected, truncated and malformed streams begin with the words that people search for, and say where."""
    error = broken(server, fault)
    assert str(error).startswith(PREFIX)
    attempt = error.attempts[0]
    assert f"({error.fault} after {attempt.events:,} event" in str(error)
    assert f"({attempt}, 1 attempt)" in str(error)


@pytest.mark.parametrize("fault", ["stall", "html_200", "html_mid_stream"])
def test_other_faults_do_not_claim_an_incomplete_chunk(server: Server, fault: str) -> None:
    """A stall or a page of HTML is called what it is."""
    assert not str(broken(server, fault, timeout=0.1)).startswith(PREFIX)


@pytest.mark.parametrize("fault", DROP_IN)
def test_the_error_knows_what_happened(server: Server, fault: str) -> None:
    """Attempts, the reason to stop, the delivered text and answer, the request and a hint are on it."""
    error = broken(server, fault)
    assert error.fault == error.attempts[0].fault
    assert error.stopped_by in ("retries", "not_retryable")
    assert len(error.attempts) == len(server.requests)
    assert error.request_id == error.attempts[0].request_id == server.requests[0].request_id
    assert error.attempts[0].status == 200
    assert TEXT.startswith(error.partial_text)
    assert error.partial_text
    assert type(error.partial) is openai.types.chat.ChatCompletion
    assert error.partial.choices[0].message.content == error.partial_text
    assert error.partial.choices[0].finish_reason is None
    assert isinstance(error.request, HTTP.Request)
    assert str(error.request.url) == f"{server.base_url}/chat/completions"
    assert error.hint.endswith(".")


SECRETS = f'data: {{"id":"1","choices":[{{"index":0,"delta":{{"content":"{PLANTED}"}}}}]}}\n\n'


def test_an_error_in_the_stream_keeps_the_words_of_the_api(server: Server) -> None:
    """`code`, `type`, `param`, `body` and the message are as the SDK alone gives them."""
    body = {"message": "No such tool.", "type": "invalid_request_error", "param": "tools", "code": 7}
    play = streaming([SECRETS.encode(), b"data: " + json.dumps({"error": body}).encode() + b"\n\n"])
    server.script(play, play)
    plain: Any = alone(server).error
    error: Any = consume(server).error
    assert error.body == plain.body == body
    for field in ("code", "type", "param", "message"):
        assert getattr(error, field) == getattr(plain, field)
    assert str(error) == "No such tool."
    assert error.stopped_by == "not_retryable"


@pytest.mark.parametrize("said", ['{"error": "just a string"}', '{"error": {"type": "server_error"}}'])
def test_an_error_without_a_message_is_raised_in_the_words_of_the_sdk(server: Server, said: str) -> None:
    """The message is what the SDK says where the API says nothing fit."""
    play = streaming([SECRETS.encode(), f"data: {said}\n\n".encode()])
    server.script(play, play)
    plain, error = alone(server).error, consume(server).error
    assert isinstance(error, OpenAIStreamParseError)
    assert error.body == plain.body
    if "type" in said:
        assert str(error) == str(plain) == "An error occurred during streaming"


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_later_failures_are_notes_on_the_first(server: Server, client_kind: str) -> None:
    """The first failure is raised; each later attempt and the hint is a note, on Python 3.10 too."""
    configure(max_retries=2)
    server.script(scripted("truncate_clean"), scripted("rst"), scripted("html_200"))
    error: Any = consume(server, client_kind).error
    assert error.fault == "truncated"
    assert [attempt.fault for attempt in error.attempts] == ["truncated", "disconnected", "not_a_stream"]
    first, second, hint = error.__notes__
    assert first.startswith("attempt 2 (restart): disconnected")
    assert second.startswith("attempt 3 (restart): not_a_stream")
    assert hint == error.hint
    assert "3 attempts" in str(error)

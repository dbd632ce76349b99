"""The loopback server does on the wire what it is told, keeps its record, and leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from openai_stream_guard.sse import Decoder
from openai_stream_guard.testing import (
    Close,
    End,
    Raw,
    Repeat,
    Request,
    Reset,
    ScriptedResponse,
    Send,
    Server,
    Wait,
    replying,
)

PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses"]


def connect(server: Server) -> http.client.HTTPConnection:
    """A connection that reads the wire with nothing but the standard library."""
    host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").partition(":")
    return http.client.HTTPConnection(host, int(port), timeout=5)


def ask(connection: http.client.HTTPConnection, path: str = PATHS[0], **body: object) -> http.client.HTTPResponse:
    """Send a request for a stream, or for what `body` says."""
    headers = {"content-type": "application/json", "Authorization": "Bearer sk-secret", "X-Trace": "7"}
    connection.request("POST", path, json.dumps({"model": "m", "stream": True, **body}), headers)
    return connection.getresponse()


def body_of(server: Server, path: str = PATHS[0], **body: object) -> bytes:
    """The whole body of one answer."""
    with closing(connect(server)) as connection:
        return ask(connection, path, **body).read()


def payloads(body: bytes) -> list[Any]:
    """The JSON payloads of a healthy body, without `[DONE]`."""
    decoder = Decoder()
    events = decoder.feed(body) + decoder.finish()
    return [json.loads(event.data) for event in events if event.data != "[DONE]"]


def content(chunks: list[Any]) -> str:
    """What the first choice of chat chunks says."""
    return "".join(one["delta"].get("content") or "" for chunk in chunks for one in chunk["choices"])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def test_a_healthy_stream_is_one_chunk_an_event_and_ends_with_the_empty_chunk(server: Server) -> None:
    """The bytes on the wire are a chunked HTTP/1.1 response whose chunks are exactly the events."""
    with closing(connect(server)) as connection:
        connection.connect()
        assert connection.sock is not None
        body = json.dumps({"model": "m", "stream": True})
        request = f"POST {PATHS[0]} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        connection.sock.sendall(request.encode())
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += connection.sock.recv(65_536)
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/event-stream" in head
    sizes = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        sizes.append(int(size, 16))
        chunk, rest = rest[: sizes[-1]], rest[sizes[-1] + 2 :]
        assert chunk == b"" or (chunk.startswith(b"data: ") and chunk.endswith(b"\n\n"))
    assert len(sizes) == 17
    assert sizes[-1] == 0


@pytest.mark.parametrize("path", PATHS)
def test_each_path_serves_its_api(server: Server, path: str) -> None:
    """The path decides the envelope: chunks, completions, or numbered events of the Responses API."""
    answered = payloads(body_of(server, path))
    kinds = {"/v1/chat/completions": "chat.completion.chunk", "/v1/completions": "text_completion"}
    assert 10 <= len(answered) <= 24
    if path in kinds:
        assert {one["object"] for one in answered} == {kinds[path]}
        assert body_of(server, path).endswith(b"data: [DONE]\n\n")
    else:
        assert [one["sequence_number"] for one in answered] == list(range(len(answered)))
        assert answered[-1]["type"] == "response.completed"
        said = "".join(one["delta"] for one in answered if one["type"].endswith("text.delta"))
        assert answered[-1]["response"]["output"][0]["content"][0]["text"] == said


def test_a_path_with_a_prefix_is_served_and_an_unknown_one_is_not(server: Server) -> None:
    """Azure's deployments are found; anything else is a 404 that names the path."""
    assert payloads(body_of(server, "/openai/deployments/m/chat/completions?api-version=1"))
    with closing(connect(server)) as connection:
        response = ask(connection, "/v1/models")
        assert response.status == 404
        assert b"/v1/models" in response.read()
        connection.request("GET", PATHS[0])
        response = connection.getresponse()
        assert response.status == 404
        assert b"no such path" in response.read()


def test_a_connection_serves_request_after_request(server: Server) -> None:
    """Keep-alive: healthy answers share one connection, and the record says which."""
    with closing(connect(server)) as connection:
        for _ in range(3):
            ask(connection).read()
    assert server.connections == 1
    assert [request.connection for request in server.requests] == [1, 1, 1]


def test_every_answer_has_ids_of_its_own_and_the_same_text(server: Server) -> None:
    """Two answers differ in chunk ids and request ids, as a real server's do, and in nothing else."""
    with closing(connect(server)) as connection:
        first, second = ask(connection), None
        bodies = [first.read()]
        second = ask(connection)
        bodies.append(second.read())
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert [one.request_id for one in server.requests] == [
        first.headers["x-request-id"],
        second.headers["x-request-id"],
    ]
    chunks = [payloads(body) for body in bodies]
    ids = [{chunk.pop("id") for chunk in answer} for answer in chunks]
    assert len(ids[0]) == len(ids[1]) == 1
    assert ids[0] != ids[1]
    assert chunks[0] == chunks[1]


def test_tool_call_ids_are_fresh() -> None:
    """Each answer gives its tool calls ids that no other answer gave."""
    with Server(answer="tool_calls") as server:
        calls = [
            call["id"]
            for chunk in payloads(body_of(server)) + payloads(body_of(server))
            for call in chunk["choices"][0]["delta"].get("tool_calls", [])
            if "id" in call
        ]
    assert len(calls) == len(set(calls)) == 4


def test_a_sampled_server_never_repeats_an_answer() -> None:
    """With `sampled` no two texts are equal, and two in a row differ from the first words on."""
    with Server(sampled=True) as server:
        texts = [content(payloads(body_of(server))) for _ in range(30)]
    assert len(set(texts)) == 30
    assert all(one.split(" ")[0] != other.split(" ")[0] for one, other in pairwise(texts))


def test_a_regrouping_server_says_the_same_in_other_deltas() -> None:
    """With `regroup` the text is the same and is cut elsewhere."""
    with Server(regroup=True) as server:
        answers = [payloads(body_of(server)) for _ in range(2)]
    assert content(answers[0]) == content(answers[1])
    assert [one["choices"] for one in answers[0]] != [one["choices"] for one in answers[1]]


def test_the_model_asked_for_is_the_model_that_answers(server: Server) -> None:
    """The envelope names the request's model."""
    assert {one["model"] for one in payloads(body_of(server, model="other"))} == {"other"}


def test_the_record_keeps_no_credentials(server: Server) -> None:
    """A recorded request has its method, path, JSON and headers, but never what authorises it."""
    body_of(server, temperature=0.5)
    [request] = server.requests
    assert (request.method, request.path) == ("POST", PATHS[0])
    assert request.body == {"model": "m", "stream": True, "temperature": 0.5}
    assert request.headers["x-trace"] == "7"
    assert "sk-secret" not in repr(request)


def test_a_body_that_is_no_json_is_recorded_as_none(server: Server) -> None:
    """An upload is answered like any request, and recorded without a body."""
    with closing(connect(server)) as connection:
        connection.request("POST", "/v1/chat/completions", b"\xff\x00")
        assert connection.getresponse().read()
    assert server.requests[0].body is None


def test_a_body_may_be_sent_in_chunks(server: Server) -> None:
    """A request whose length its sender did not know is read whole, and the connection serves the next."""
    with closing(connect(server)) as connection:
        for _ in range(2):
            body = json.dumps({"model": "m", "stream": True, "user": "é" * 99}).encode()
            parts = (body[start : start + 40] for start in range(0, len(body), 40))
            connection.request("POST", PATHS[0], parts, {"transfer-encoding": "chunked"}, encode_chunked=True)
            assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
    assert [request.body["user"] for request in server.requests] == ["é" * 99] * 2
    assert server.connections == 1


def test_a_chunked_body_that_breaks_off_is_no_request(server: Server) -> None:
    """A client that goes away in the middle of its body has asked nothing, and harms nobody."""
    with closing(connect(server)) as connection:
        connection.connect()
        assert connection.sock is not None
        connection.sock.sendall(f"POST {PATHS[0]} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab".encode())
    assert payloads(body_of(server))
    assert len(server.requests) == 1


def test_a_fault_strikes_as_many_times_as_asked() -> None:
    """`times` requests are damaged, the next is healthy; with None all are; a reset begins anew."""
    with Server(fault="empty_body", times=2) as server:
        assert [bool(body_of(server)) for _ in range(3)] == [False, False, True]
        server.reset(fault="empty_body", times=None)
        assert server.requests == []
        assert [bool(body_of(server)) for _ in range(3)] == [False, False, False]
        server.reset(answer="length")
        assert payloads(body_of(server))[-1]["choices"][0]["finish_reason"] == "length"


def test_a_script_is_played_in_order() -> None:
    """Each request takes the next part: healthy, a fault's name, own bytes, a function of the request."""
    own = ScriptedResponse((Send(b"data: own\n\n"), End()))
    asked: list[Request] = []

    def choose(request: Request) -> ScriptedResponse:
        asked.append(request)
        return replying({"model": request.body["model"]}, 429)

    with Server() as server:
        server.script(None, "empty_body", own, choose)
        assert len(payloads(body_of(server))) == 15
        assert body_of(server) == b""
        assert body_of(server) == b"data: own\n\n"
        assert json.loads(body_of(server, model="mine")) == {"model": "mine"}
        assert len(payloads(body_of(server))) == 15
    assert asked == [server.requests[3]]


def test_a_script_says_where_its_faults_strike(server: Server) -> None:
    """`after` is the number of healthy frames before the fault."""
    server.script("truncate_clean", after=4)
    assert len(payloads(body_of(server))) == 4


def test_a_request_for_no_stream_gets_the_same_answer_in_one_piece() -> None:
    """What the deltas add up to is the message that `stream: false` gives."""
    with Server() as server:
        streamed = content(payloads(body_of(server)))
        plain = json.loads(body_of(server, stream=False))
    assert plain["object"] == "chat.completion"
    assert plain["choices"][0]["message"]["content"] == streamed
    assert plain["choices"][0]["finish_reason"] == "stop"


def test_a_body_may_come_with_its_length_or_end_with_the_connection(server: Server) -> None:
    """The framings other than chunks are real: a true content-length, or none and a close."""
    server.script("content_length", "close_delimited")
    with closing(connect(server)) as connection:
        response = ask(connection)
        assert int(response.headers["content-length"]) == len(response.read())
    with closing(connect(server)) as connection:
        response = ask(connection)
        assert "content-length" not in response.headers
        assert "transfer-encoding" not in response.headers
        assert payloads(response.read())


def test_a_compressed_body_is_compressed(server: Server) -> None:
    """The gzip fault sends gzip, which unpacks to the healthy stream."""
    server.script("gzip")
    with closing(connect(server)) as connection:
        response = ask(connection)
        assert response.headers["content-encoding"] == "gzip"
        assert len(payloads(zlib.decompress(response.read(), wbits=31))) == 15


def test_a_close_ends_the_body_without_its_last_chunk(server: Server) -> None:
    """`Close` is a FIN in the middle: the reader has what was sent, and no end of the body."""
    server.script(ScriptedResponse((Send(b"data: 1\n\n"), Raw(b"ff\r\nhalf"), Close())))
    with closing(connect(server)) as connection, pytest.raises(http.client.IncompleteRead):
        ask(connection).read()


def test_a_chunk_that_promises_more_is_unfinished(server: Server) -> None:
    """`promised` is the size that the chunk says it has."""
    server.script(ScriptedResponse((Send(b"data: 1\n\n"), Send(b"half", promised=255), Close())))
    with closing(connect(server)) as connection:
        assert ask(connection).fp.read() == b"9\r\ndata: 1\n\n\r\nff\r\nhalf"


def test_who_knows_no_chunks_is_sent_none(server: Server) -> None:
    """A request of HTTP/1.0, as nginx makes it, is answered by a body that ends with the connection."""
    server.script(ScriptedResponse((Send(b"data: 1\n\n"), Send(b"half", promised=255), Close())))
    with closing(connect(server)) as connection:
        connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"
        response = ask(connection)
        assert (response.headers["transfer-encoding"], response.headers["connection"]) == (None, "close")
        assert response.read() == b"data: 1\n\nhalf"


def test_a_reset_is_an_rst(server: Server) -> None:
    """`Reset` breaks the connection as a crashed host does."""
    server.script(ScriptedResponse((Send(b"data: 1\n\n"), Wait(0.05), Reset())))
    with closing(connect(server)) as connection:
        response = ask(connection)
        assert response.read(9) == b"data: 1\n\n"
        with pytest.raises(ConnectionResetError):
            response.read()


def test_a_repeat_with_a_number_ends(server: Server) -> None:
    """Steps are repeated as often as asked, then the script goes on."""
    server.script(ScriptedResponse((Repeat((Send(b":\n"), Wait(0.001)), times=3), End())))
    assert body_of(server) == b":\n:\n:\n"


@pytest.mark.parametrize("steps", [(Wait(),), (Repeat((Send(b": on\n\n"), Wait(0.02))),), (Wait(60.0),)])
def test_leaving_a_stalled_server_takes_no_time_and_leaves_no_thread(steps: tuple[Any, ...]) -> None:
    """Whatever the server waits for, leaving it ends every wait, thread and connection at once."""
    before = set(threading.enumerate())
    with Server() as server:
        server.script(*[ScriptedResponse(steps)] * 20)
        connections = [connect(server) for _ in range(20)]
        for connection in connections:
            ask(connection)
        started = time.monotonic()
    assert time.monotonic() - started < 0.5
    assert set(threading.enumerate()) == before
    assert server.open_connections == 0
    for connection in connections:
        connection.close()


def test_a_client_that_goes_away_ends_the_wait(server: Server) -> None:
    """A stalled connection is given up as soon as its client closes it."""
    server.script(ScriptedResponse((Wait(),)))
    with closing(connect(server)) as connection:
        response = ask(connection)
        assert server.open_connections == 1
        response.close()
    deadline = time.monotonic() + 2
    while server.open_connections and time.monotonic() < deadline:
        time.sleep(0.005)
    assert server.open_connections == 0


def test_disconnect_hangs_up_and_serves_on(server: Server) -> None:
    """`disconnect` ends what is open; the next connection finds the server as before."""
    server.script("stall_before_first")
    with closing(connect(server)) as connection:
        response = ask(connection)
        server.disconnect()
        with pytest.raises(http.client.IncompleteRead):
            response.read()
    assert len(payloads(body_of(server))) == 15
    assert server.connections == 2


def test_many_connections_at_once_are_all_served(server: Server) -> None:
    """Three hundred clients that connect before any is answered all get their answer."""
    connections = [connect(server) for _ in range(300)]
    for connection in connections:
        connection.connect()
    bodies = []
    for connection in connections:
        bodies.append(ask(connection).read())
        connection.close()
    assert all(body.endswith(b"data: [DONE]\n\n") for body in bodies)
    assert server.connections == 300


def test_a_port_in_use_is_told_in_one_sentence(server: Server) -> None:
    """A second server on a taken port says which port, and what to do."""
    port = int(server.base_url.split(":")[2].removesuffix("/v1"))
    with pytest.raises(OSError, match=rf"port {port} of 127\.0\.0\.1 is already in use: .* 0 for a free one"):
        Server(port=port).__enter__()


def test_a_port_can_be_chosen() -> None:
    """The port asked for is the port served."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with Server(port=free) as server:
        assert server.base_url == f"http://127.0.0.1:{free}/v1"
        assert payloads(body_of(server))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"fault": "truncate_claen"}, "unknown fault 'truncate_claen'; did you mean 'truncate_clean'"),
        ({"answer": "tol_calls"}, "unknown answer 'tol_calls'; did you mean 'tool_calls'"),
        ({"answer": "zzzz"}, "unknown answer 'zzzz'; must be one of azure, "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong: dict[str, Any], sentence: str) -> None:
    """A wrong name is refused at once, in one sentence that helps."""
    with pytest.raises(ValueError, match=sentence):
        Server(**wrong)


def test_a_script_part_of_unknown_name_is_refused(server: Server) -> None:
    """A script is checked when it is given, not when it is played."""
    with pytest.raises(ValueError, match="did you mean 'rst'"):
        server.script("rsst")


def fail(request: Request) -> ScriptedResponse:
    """A response that cannot be made."""
    raise LookupError("nothing to perform")


def ask_for_failure(error: Exception | None = None) -> None:
    """Have a server fail, then fail oneself where asked to."""
    with Server() as server:
        server.script(fail)
        with closing(connect(server)) as connection, pytest.raises(http.client.RemoteDisconnected):
            ask(connection)
        if error is not None:
            raise error


def test_a_performance_that_fails_is_not_swallowed() -> None:
    """What a function of one's own raises comes out when the server is left."""
    with pytest.raises(RuntimeError, match="could not respond") as caught:
        ask_for_failure()
    assert isinstance(caught.value.__cause__, LookupError)


def test_an_error_of_the_test_itself_is_not_hidden() -> None:
    """A failure inside the block wins over one of the server."""
    with pytest.raises(ZeroDivisionError):
        ask_for_failure(ZeroDivisionError())

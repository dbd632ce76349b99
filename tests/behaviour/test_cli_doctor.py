"""The law: `doctor` asks a real server through the real SDK, tells what the way does to its answer, and exits by it."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openai_stream_guard import activation
from openai_stream_guard.capture.ssecap import dump
from openai_stream_guard.cli import main
from openai_stream_guard.cli.doctor import probe, text_view
from openai_stream_guard.cli.doctor.report import Report
from openai_stream_guard.cli.doctor.target import target_from
from openai_stream_guard.testing import (
    AnswerVariant,
    Close,
    End,
    Repeat,
    Reset,
    ScriptedResponse,
    Send,
    Server,
    Wait,
    build_answer,
    replying,
)
from tests.support import commands
from tests.support.examined import CHUNKED, DONE, HEALTHY, SECRET, STOP, WORDS, paced, recorded, seen
from tests.support.streams import KEY, VERSION

ROOT = Path(__file__).parents[2]
STREAM = ("content-type", "text/event-stream")
EVENTS = [*WORDS, STOP, DONE]
Run = Callable[..., tuple[int, Any]]


def playing(*steps: Any, headers: tuple[tuple[str, str], ...] = (), **options: Any) -> ScriptedResponse:
    """A response of these steps; bytes are sent as they are."""
    sent = tuple(Send(step) if isinstance(step, bytes) else step for step in steps)
    return ScriptedResponse(sent, headers=(STREAM, *headers), **options)


def one_by_one(pause: float = 0.002, **options: Any) -> ScriptedResponse:
    """Each event by itself."""
    return playing(*(step for event in EVENTS for step in (Wait(pause), event)), End(), **options)


BURST = (Wait(0.55), b"".join(EVENTS), End())


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no URL but those of the test."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def examine(server: Server, capsys: pytest.CaptureFixture[str]) -> Run:
    """Examine the server as it is scripted: the exit code, and the report as JSON."""

    def run(*parts: Any, options: tuple[str, ...] = ()) -> tuple[int, Any]:
        server.script(*parts)
        code = main(["doctor", "--base-url", server.base_url, "--model", "m", "--json", *options])
        output = capsys.readouterr()
        assert output.err == ""
        assert SECRET not in output.out
        return code, json.loads(output.out)

    return run


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence of a command that exits with 2."""
    said = commands.refused("doctor", *arguments, capsys=capsys).strip().splitlines()[-1]
    assert said.startswith("openai-stream-guard doctor: ")
    return said.partition(": ")[2]


def found(told: Any) -> dict[str, str]:
    """The names of what was found, and how bad it is."""
    return {one["name"]: one["severity"] for one in told["findings"]}


def test_a_healthy_server_is_healthy(examine: Run, server: Server) -> None:
    """Two requests, all told in figures, and nothing found."""
    code, told = examine(one_by_one(), one_by_one())
    assert (code, told["verdict"], found(told), told["requests"]) == (0, "healthy", {}, 2)
    assert told["items"] == "built by plans"
    assert [request.body["stream"] for request in server.requests] == [True, True]
    assert server.requests[0].body["max_tokens"] == probe.MAX_TOKENS
    assert server.requests[1].headers["accept-encoding"] == "identity"
    assert server.requests[0].headers["accept-encoding"] != "identity"
    for stream in told["streams"]:
        assert (stream["fault"], stream["status"], stream["http_version"]) == (None, 200, "HTTP/1.1")
        assert stream["figures"]["events"] == len(EVENTS) - 1
        assert sum(read["bytes"] for read in stream["reads"]) == stream["figures"]["bytes"] == len(b"".join(EVENTS))
        assert stream["figures"]["headers_seconds"] <= stream["figures"]["first_event_seconds"]


def test_the_json_has_the_documented_fields(examine: Run) -> None:
    """And no others: programs may rely on these."""
    _, told = examine(playing(*BURST), one_by_one())
    assert set(told) == {
        "version", "verdict", "subject", "api", "model", "requests", "proxy", "written", "items", "findings", "streams",
    }  # fmt: skip
    assert set(told["findings"][0]) == {"name", "severity", "what", "remedy", "lines", "streams"}
    assert set(told["streams"][0]) == {
        "title", "status", "http_version", "request_id", "headers", "named", "fault", "reason", "error", "repairs",
        "figures", "reads",
    }  # fmt: skip
    assert set(told["streams"][0]["reads"][0]) == {"at", "bytes", "events", "repairs"}
    assert told["version"] == 1
    assert told["findings"][0]["streams"] == [1]


CLOSED = one_by_one(framing="close")
CASES: dict[str, tuple[Any, int, dict[str, str]]] = {
    "a burst": (playing(*BURST), 1, {"buffered": "problem"}),
    "a burst by nginx": (playing(*BURST, headers=(("server", "nginx"),)), 1, {"buffered_nginx": "problem"}),
    "a length": (
        playing(b"".join(EVENTS), End(), framing="length"),
        1,
        {"collected_whole": "problem", "too_little_to_tell": "note"},
    ),
    "the end of the connection": (CLOSED, 0, {"close_delimited": "warning"}),
    "keep-alives": (playing(b": wait\n\n", *one_by_one().steps), 0, {"keep_alives": "note"}),
    "no finish_reason": (playing(*one_by_one().steps[:40], DONE, End()), 0, {"no_finish_reason": "warning"}),
    "no [DONE]": (playing(*one_by_one().steps[:42], End()), 0, {"no_done": "note"}),
    "a clean end": (playing(*one_by_one().steps[:20], End()), 1, {"truncated": "problem"}),
    "a cut": (playing(*one_by_one().steps[:20], Close()), 1, {"unterminated": "problem"}),
    "a reset": (playing(*one_by_one().steps[:20], Reset()), 1, {"reset": "problem"}),
    "a cut after the end": (
        playing(*one_by_one().steps[:42], Close()),
        0,
        {"broke_after_end": "warning", "no_done": "note"},
    ),
    "gzip": ("gzip", 0, {"compressed": "warning"}),
    "glued": ("glued_objects", 0, {"repaired": "warning"}),
    "HTML": ("html_200", 1, {"html_page": "problem"}),
    "JSON": ("json_200", 1, {"json_answer": "problem"}),
    "an error": ("error_event", 1, {"upstream_error": "problem"}),
    "an error in its place": ("status_503", 1, {"http_error": "problem"}),
    "nothing": ("empty_body", 1, {"empty_stream": "problem"}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_way_does_is_found(examine: Run, case: str) -> None:
    """In both requests, with its exit code; a reset may be seen as a cut by whoever reads late."""
    part, exit_code, expected = CASES[case]
    code, told = examine(part, part)
    names = found(told)
    names.pop("too_little_to_tell", None)
    expected = {name: severity for name, severity in expected.items() if name != "too_little_to_tell"}
    assert names == expected
    assert code == exit_code
    assert all(one["streams"] == [1, 2] for one in told["findings"] if one["name"] in expected)


def test_a_silent_server_is_given_up(examine: Run) -> None:
    """Before the headers, behind them, and behind keep-alives that never end."""
    silent = playing(WORDS[0], Wait())
    code, told = examine(silent, playing(Repeat((Send(b": wait\n\n"), Wait(0.02)))), options=("--timeout", "1"))
    assert code == 1
    assert found(told) == {"client_timeout": "problem", "keepalives_only": "problem", "keep_alives": "note"}
    with _listening(lambda peer: threading.Event().wait(0.5)) as url:
        code, told = _json(url, "--timeout", "0.2")
    assert (code, found(told)) == (1, {"no_answer": "problem"})
    assert "not even headers" in told["findings"][0]["what"]


def test_a_stream_without_end_is_left(examine: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many bytes, or so many seconds, and its connection is closed."""
    endless = playing(Repeat((Send(WORDS[0]), Wait(0.001))))
    monkeypatch.setattr(probe, "MAX_BYTES", 4000)
    code, told = examine(endless, endless)
    assert (code, found(told)) == (1, {"not_ended": "problem"})
    assert told["streams"][0]["figures"]["bytes"] < 3 * 4000
    monkeypatch.setattr(probe, "MAX_BYTES", 1 << 20)
    code, told = examine(endless, endless, options=("--timeout", "0.6"))
    assert (code, found(told)) == (1, {"not_ended": "problem"})


def test_a_server_that_dies_is_a_finding() -> None:
    """What the first request showed is not lost because the second found nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_once() -> None:
            peer, _ = listener.accept()
            listener.close()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + b"".join(EVENTS))

        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread = threading.Thread(target=serve_once, daemon=True)
        thread.start()
        code, told = _json(url)
        thread.join(5)
    assert code == 1
    assert found(told)["no_answer"] == "problem"
    assert told["streams"][0]["fault"] is None
    assert next(one for one in told["findings"] if one["name"] == "no_answer")["streams"] == [2]


def test_each_api_is_asked_in_its_own_words(examine: Run, server: Server) -> None:
    """Chat, completions and Responses; a stored response is not left behind."""
    for api, path in (("completions", "/v1/completions"), ("responses", "/v1/responses")):
        if api == "responses" and VERSION < (1, 66):
            continue
        code, told = examine(None, None, options=("--api", api))
        assert code == 0, told
        assert {request.path for request in server.requests[-2:]} == {path}
        assert told["api"] == api
    if VERSION >= (1, 66):
        assert server.requests[-1].body["store"] is False


def test_the_first_model_is_taken(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Where none is given, and the server names some; it is one request more."""

    def serve(peer: socket.socket) -> None:
        request = peer.recv(65536)
        if b"GET /v1/models " in request:
            body = b'{"object": "list", "data": [{"id": "tiny", "object": "model", "created": 1, "owned_by": "me"}]}'
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        else:
            head, body = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", b"".join(EVENTS)
        peer.sendall(head + body)

    with _listening(serve, times=3) as url:
        assert main(["doctor", "--base-url", url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["requests"]) == ("tiny", 3)
    said = refused("--base-url", server.base_url, capsys=capsys)
    assert said == f"{server.base_url} lists no models: give one with --model"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (replying({"error": {"message": f"bad key {KEY}"}}, 401), "refuses the key with status 401: none was sent"),
        (replying({"error": {"message": "no such model"}}, 404), "has no such path or model (status 404): check"),
        (replying({"error": {"message": "\x1b[2J n_ctx"}}, 400), "refuses the request with status 400: "),
    ],
)
def test_a_refusal_is_one_sentence(server: Server, part: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to look at, and without the key that a server may quote."""
    server.script(part)
    error = refused("--base-url", server.base_url, "--model", "m", capsys=capsys)
    assert said in error
    assert KEY not in error
    assert "\x1b" not in error
    assert len(server.requests) == 1


def test_a_wrong_command_is_one_sentence(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names what is wrong, and nothing is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    folder = tmp_path / "none"
    cases: list[tuple[list[str], str]] = [
        ([], "give the server's URL with --base-url"),
        (["--base-url", "localhost:8000"], "is not a URL such as"),
        (["--base-url", "http://[::1/v1"], "is not a URL"),
        (["--base-url", "http://h:99999/v1"], "is not a URL"),
        (["--base-url", "http://h/v1", "--timeout", "0"], "--timeout 0 is not"),
        (["--base-url", "http://h/v1", "--timeout", "nan"], "--timeout nan is not"),
        (["--base-url", "https://api.openai.com/v1"], "needs a key: set OPENAI_API_KEY"),
        (
            ["--base-url", "http://h/v1", "--api-key-env", "NOPE"],
            "the variable 'NOPE', named by --api-key-env, is not set",
        ),
        (["--base-url", f"http://127.0.0.1:{free}/v1", "--model", "m"], "no connection to http://127.0.0.1"),
        (["--base-url", f"http://127.0.0.1:{free}/v1"], "no connection to http://127.0.0.1"),
        (["--base-url", server.base_url, "--html", f"{folder}/x.html"], "there is no folder"),
        (["--base-url", server.base_url, "--html", str(tmp_path)], "not a file"),
        (["--from-capture", str(tmp_path / "none.ssecap")], "No such file"),
    ]
    for arguments, said in cases:
        error = refused(*arguments, capsys=capsys)
        assert said in error, error
        assert error.count("\n") == 0
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "name a model with --model" in refused("--base-url", "https://api.openai.com/v1", capsys=capsys)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a\nb")
    assert "cannot be a key" in refused("--base-url", "http://h/v1", capsys=capsys)
    assert server.requests == []


@pytest.mark.slow
def test_what_speaks_no_http_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The wrong port is the likeliest mistake of all."""

    def greet(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(b"220 mail.example ESMTP\r\n\r\n")

    with _listening(greet) as url:
        assert "does not speak HTTP" in refused("--base-url", url, "--model", "m", capsys=capsys)


def test_a_proxy_of_the_environment_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In each view and in the sentence of a failure, without its password; one that is bypassed is not."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", server.base_url.removesuffix("/v1").replace("http://", "http://me:pw@"))
    told = server.base_url.removesuffix("/v1")  # which answers whatever name is asked for
    server.script(one_by_one(), one_by_one(), one_by_one(), one_by_one(), one_by_one(), one_by_one())
    page = tmp_path / "x.html"
    assert main(["doctor", "--base-url", "http://llm.invalid/v1", "--model", "m", "--html", str(page)]) == 0
    shown = capsys.readouterr().out
    assert f"2 requests, through the proxy {told} of the environment" in shown
    assert told in page.read_text(encoding="utf-8")
    assert "pw" not in shown + page.read_text(encoding="utf-8")
    assert main(["doctor", "--base-url", "http://llm.invalid/v1", "--model", "m", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["proxy"] == told
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert main(["doctor", "--base-url", server.base_url, "--model", "m", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["proxy"] is None
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:9")
    said = refused("--base-url", "http://llm.invalid/v1", "--model", "m", capsys=capsys)
    assert said.startswith("no connection to http://llm.invalid/v1 (through the proxy http://127.0.0.1:9 of the")


def test_the_key_goes_to_nobody_else(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server on this machine gets one only if its variable is named; none is ever shown."""
    keys: list[str] = []

    def serve(peer: socket.socket) -> None:
        head = peer.recv(65536).decode().lower()
        keys.append(head.partition("authorization: bearer ")[2].partition("\r\n")[0])
        peer.sendall(b"HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\n{}")

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("MINE", "sk-mine0123456789ab")
    with _listening(serve, times=2) as url:
        refused("--base-url", url, "--model", "m", capsys=capsys)
        said = refused("--base-url", url, "--model", "m", "--api-key-env", "MINE", capsys=capsys)
    assert keys == ["none", "sk-mine0123456789ab"]
    assert "check the variable MINE" in said
    target = target_from("http://user:pw@example.com/v1?key=x", "chat", None, None, 1.0)
    assert (target.key, target.shown) == (KEY, "http://example.com/v1")
    assert KEY not in repr(target)


def test_nothing_stays_switched_on(examine: Run) -> None:
    """What the program's own policy was, it is again; another's recorder is not left in the SDK."""
    from openai_stream_guard.sdk import RUNTIME

    activation.configure(max_retries=7)
    examine(one_by_one(), one_by_one())
    assert RUNTIME.new_observer is None
    assert not activation.is_enabled()
    assert activation.current_policy().max_retries == 7


def test_a_capture_is_examined_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same report, without a request, and where openai is not installed."""
    path = tmp_path / "x.ssecap"
    path.write_bytes(dump(recorded(paced(WORDS), "reset")))
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "from openai_stream_guard.cli import main; sys.exit(main(['doctor', '--from-capture', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, "")
    assert "disconnected: it broke" in done.stdout
    assert SECRET not in done.stdout
    bare = recorded([], "left").attempts[0]
    path.write_bytes(dump(replace(recorded([]), attempts=(replace(bare, head=replace(bare.head, status=None)),))))
    assert main(["doctor", "--from-capture", str(path), "--json"]) == 1
    assert found(json.loads(capsys.readouterr().out)) == {"not_ended": "problem"}
    path.write_bytes(dump(replace(recorded([]), attempts=())))
    assert "there is no attempt in this capture" in refused("--from-capture", str(path), capsys=capsys)


def a_report(*streams: Any) -> Report:
    """A report of these streams, or of a broken one."""
    reset = seen(paced(WORDS), "reset", headers={**CHUNKED, "server": "nginx"})
    return Report("http://h/v1", "chat", "m\x1b[2J", 2, streams or (reset, seen(HEALTHY)))


def test_the_text_is_complete_and_harmless() -> None:
    """Every finding with its remedy and the lines for the proxies; nothing of a server's moves the cursor."""
    text = "\n".join(text_view.lines(a_report()))
    assert "\x1b" not in text
    assert "stream 1, t: disconnected: it broke" in text
    assert "problem  reset (stream 1)" in text
    assert "Remedy: check for a restart" in text
    assert "unhealthy: the stream did not come through as it should" in text
    assert SECRET not in text
    burst = a_report(seen([(2.0, b"".join(EVENTS))]))
    assert all(product in "\n".join(text_view.lines(burst)) for product in ("nginx:", "HAProxy:", "Caddy:"))


def test_the_strips_show_when_what_came() -> None:
    """As many columns as were asked for; a burst is one high column, and every event is in some column."""
    (_, reads), (_, events), (_, axis) = text_view.timeline(
        seen([(1.0, WORDS[0]), (2.0, b"".join(EVENTS))]), " 123456789", 11
    )
    assert (reads, events) == ("     1    1", "     1    9") or (reads, events) == ("     1     1", "     1     9")
    assert axis.endswith("2.000 s")
    assert text_view.timeline(seen([])) == [] or text_view.timeline(seen([]))[0][1] == ""


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "█"), ("ascii", "%"), (None, "%"), ("no such", "%")])
def test_a_terminal_without_blocks_gets_letters(
    encoding: str | None, bar: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal's encoding decides; one that is unknown is taken for a poor one."""
    path = tmp_path / "x.ssecap"
    path.write_bytes(dump(recorded(HEALTHY)))
    monkeypatch.setattr(Terminal, "encoding", encoding)
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["doctor", "--from-capture", str(path)]) == 0
    assert bar in out.getvalue()


class Terminal(io.StringIO):
    """Somebody looks on."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_person_sees_progress_and_color(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal only; `NO_COLOR` is heeded, and the line of progress is wiped out."""
    monkeypatch.setenv("TERM", "xterm")
    for no_color in (False, True):
        if no_color:
            monkeypatch.setenv("NO_COLOR", "1")
        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        server.script(one_by_one(), one_by_one())
        assert main(["doctor", "--base-url", server.base_url, "--model", "m"]) == 0
        assert ("\x1b[" in out.getvalue()) is not no_color
        assert "healthy" in out.getvalue()
        assert "default headers" in err.getvalue()
        assert "events" in err.getvalue()


def test_an_interrupt_leaves_nothing_behind(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C while it streams: exit code 130, no file, no open stream."""

    def interrupt(self: Any, data: bytes, now: float, waiting_since: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(probe._WatchingRecorder, "bytes_received", interrupt)
    server.script(one_by_one())
    page = tmp_path / "x.html"
    assert main(["doctor", "--base-url", server.base_url, "--model", "m", "--html", str(page)]) == 130
    assert list(tmp_path.iterdir()) == []


def test_help_says_what_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """How many requests, and that they may be billed."""
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"{len(probe.REQUESTS)} short answers from a server (at most {probe.MAX_TOKENS} tokens each" in said


def test_chat_is_one_answer(examine: Run) -> None:
    """The loopback server's own recorded answer is healthy too, though too short to tell of buffering."""
    part = playing(
        *(step for event in build_answer("chat", "text", AnswerVariant(1)).encode() for step in (Wait(0.01), event)),
        End(),
    )
    assert examine(part, part)[1]["verdict"] == "healthy"


@contextmanager
def _listening(serve: Callable[[socket.socket], object], times: int = 2) -> Iterator[str]:
    """A socket whose first connections are served so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def accept() -> None:
            for _ in range(times):
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    serve(peer)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    thread.join(5)


def _json(url: str, *options: str) -> tuple[int, Any]:
    """The exit code and the report of a server elsewhere."""
    told, before = io.StringIO(), sys.stdout
    sys.stdout = told
    try:
        code = main(["doctor", "--base-url", url, "--model", "m", "--json", *options])
    finally:
        sys.stdout = before
    return code, json.loads(told.getvalue())

"""The law: where nothing broke, a guarded program behaves as it does unguarded; what is its own goes through.

Each program is run in a process of its own, without the guard, with it and observed, and what it prints is compared.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import ROOT, needs, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # each test starts up to three programs

PREAMBLE = """
import asyncio, errno, json, os, pickle, signal, sys, time, warnings
if "before" in globals():
    before()
import openai_stream_guard, openai
from openai import _streaming
from openai_stream_guard.testing import Server, build_answer, healthy
from openai_stream_guard.testing.server.answers.answer import TEXT, AnswerVariant
warnings.simplefilter("error")
http = __import__("httpx2" if int(openai.__version__.partition(".")[0]) >= 3 else "httpx")
FRAMES = build_answer("chat", "text", AnswerVariant(1)).encode()
BODY = b"".join(FRAMES)
HEADERS = {"content-type": "text/event-stream"}

def tell(*values):
    print(json.dumps(values, default=str), flush=True)

def client_of(server=None, **options):
    defaults = {"base_url": server.base_url if server else "http://host", "api_key": "none", "max_retries": 2}
    return openai.OpenAI(**{**defaults, **options})

def mocked(*bodies, **options):
    requests = []
    def answer(request):
        requests.append(request)
        return http.Response(200, headers=HEADERS, stream=bodies[min(len(requests), len(bodies)) - 1])
    client = client_of(http_client=http.Client(transport=http.MockTransport(answer), **options))
    return client, requests

class Body(http.SyncByteStream):
    def __init__(self, *parts):
        self.parts, self.closed = parts, 0
    def __iter__(self):
        for part in self.parts:
            if isinstance(part, BaseException):
                raise part
            yield part
    def close(self):
        self.closed += 1

def ask(client, **more):
    return client.chat.completions.create(model="m", messages=[], stream=True, **more)

def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

def outcome(chunks):
    text = []
    try:
        for chunk in chunks:
            text.append(text_of([chunk]))
    except Exception as error:
        openai_names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "openai"]
        return "".join(text), sorted({type(error).__name__, *openai_names} - {"OpenAIStreamParseError"})
    return "".join(text), None
"""

MODES = ("0", "observe", "1")


def said(program: str, tmp_path: Path, mode: str, **environment: str) -> list[Any]:
    """What a program prints in this mode of the guard."""
    path = tmp_path / f"program_{mode}.py"
    path.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n" + textwrap.dedent(program))
    done = run(path, cwd=tmp_path, OPENAI_STREAM_GUARD=mode, **environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def alike(program: str, tmp_path: Path, modes: tuple[str, ...] = MODES, before: str = "") -> list[Any]:
    """What a program prints, which has to be the same in every mode; `before` defines a function `before`."""
    whole = textwrap.dedent(before) + PREAMBLE + textwrap.dedent(program)
    plain, *others = [said(whole, tmp_path, mode) for mode in modes]
    for other in others:
        assert other == plain
    return plain


AGENT = """
counts = {"streams": 0, "events": 0, "ended": 0, "errors": 0, "closed": 0}

class Proxy:
    def __init__(self, events):
        self.events = events
        counts["streams"] += 1
    def __iter__(self):
        return self
    def __next__(self):
        try:
            event = next(self.events)
        except StopIteration:
            counts["ended"] += 1
            raise
        except Exception:
            counts["errors"] += 1
            raise
        counts["events"] += bool(event.data)
        return event
    def close(self):
        counts["closed"] += 1
        self.events.close()

class AsyncProxy(Proxy):
    def __aiter__(self):
        return self
    async def __anext__(self):
        event = await anext(self.events)
        counts["events"] += bool(event.data)
        return event

def wrap():
    from openai import _streaming
    def put(owner, proxy):
        original = owner._iter_events
        owner._iter_events = lambda self: proxy(original(self))
    put(_streaming.Stream, Proxy)
    put(_streaming.AsyncStream, AsyncProxy)
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_wrapper_around_the_events_is_called_once_a_stream(order: str, tmp_path: Path) -> None:
    """As that of an agent which counts events, put there before this package came, or after."""
    program = f"""
    if {order == "after"}:
        wrap()
    with Server() as server, client_of(server) as client:
        tell(text_of(ask(client)) == TEXT, counts)
        stream = ask(client)
        next(stream)
        stream.close()
        tell(stream.response.is_closed, counts)
        server.reset(fault="error_invalid_request", after=4)
        tell(outcome(ask(client)), counts["streams"])
        counts.update(events=0, errors=0)  # the SDK raises that of the event, and the guard in its place

        async def main():
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
                chunks = [chunk async for chunk in await ask(client)]
                tell(text_of(chunks) == TEXT, counts)
        server.reset()
        asyncio.run(main())
    """
    lines = alike(program, tmp_path, before=AGENT + f"\nif {order == 'before'}:\n    before = wrap\n")
    assert lines[0][0] is lines[3][0] is True
    assert lines[0][1]["streams"] == 1
    assert lines[0][1]["events"] > 10


def test_a_reader_that_an_event_hook_has_replaced_is_read(tmp_path: Path) -> None:
    """It decodes what the server has encoded; afterwards it is on the response again."""
    program = """
    def hook(response):
        original = response.iter_bytes
        def decoded(chunk_size=None):
            for chunk in original(chunk_size):
                yield bytes(byte ^ 1 for byte in chunk)
        response.iter_bytes = decoded
        hooked.append(decoded)
    hooked = []
    client, requests = mocked(Body(bytes(byte ^ 1 for byte in BODY)), event_hooks={"response": [hook]})
    stream = ask(client)
    tell(text_of(stream) == TEXT, stream.response.iter_bytes is hooked[0], len(requests))
    """
    assert alike(program, tmp_path) == [[True, True, 1]]


def test_a_reader_that_is_replaced_afterwards_is_read(tmp_path: Path) -> None:
    """On the response of a stream, before the stream is read."""
    program = """
    client, requests = mocked(Body(*FRAMES))
    stream, sizes = ask(client), []
    original = stream.response.iter_bytes
    def counted(*args):
        for chunk in original(*args):
            sizes.append(len(chunk))
            yield chunk
    stream.response.iter_bytes = counted
    tell(text_of(stream) == TEXT, sum(sizes) > 1000, stream.response.iter_bytes is counted)
    """
    assert alike(program, tmp_path) == [[True, True, True]]


PATCHES = {
    "decode": """
        original = _streaming.SSEDecoder.decode
        _streaming.SSEDecoder.decode = lambda self, line: original(self, line.replace("DATA", "data", 1))
        body = BODY.replace(b"data: {", b"DATA: {")
    """,
    "iter_bytes": """
        def iter_bytes(self, body):
            for line in b"".join(body).split(b"~"):
                yield _streaming.ServerSentEvent(data=line.decode())
        _streaming.SSEDecoder.iter_bytes = iter_bytes
        body = b"~".join(frame.removeprefix(b"data: ").strip() for frame in FRAMES)
    """,
    "json": """
        original = _streaming.ServerSentEvent.json
        def parsed(self):
            self._data = self._data.replace("'", '"')
            return original(self)
        _streaming.ServerSentEvent.json = parsed
        body = BODY.replace(b'"model"', b"'model'")
    """,
}


@pytest.mark.parametrize("name", PATCHES)
def test_a_stream_is_left_to_an_sdk_whose_decoding_is_patched(name: str, tmp_path: Path) -> None:
    """What the program's own function makes of the bytes is what it gets, and there is no word of the guard."""
    program = f"""
    if True:
        {PATCHES[name].strip()}
        client, requests = mocked(Body(body))
        stream = ask(client)
        tell(text_of(stream) == TEXT, len(requests), openai_stream_guard.report(stream))
    """
    assert alike(program, tmp_path) == [[True, 1, None]]


@pytest.mark.parametrize("fault", ["error_invalid_request", "error_event", "rst", "stall"])
def test_the_error_matches_no_class_of_openai_that_the_sdks_would_not(fault: str, tmp_path: Path) -> None:
    """A retry for connections does not catch what the API refused."""
    program = f"""
    openai_stream_guard.configure(max_retries=0)
    with Server(fault={fault!r}, after=4, times=None) as server, client_of(server, timeout=0.5) as client:
        stream = ask(client)
        try:
            list(stream)
        except openai.APIError as error:
            tell(sorted(name for name in dir(openai) if name.endswith("Error") and name != "OpenAIStreamParseError"
                and isinstance(error, getattr(openai, name))), error.body, getattr(error, "code", None))
        except http.TransportError as error:  # before openai 3.14
            tell(type(error).__name__)
        stream.response.close()
    """
    whole = PREAMBLE + textwrap.dedent(program)
    alone, guarded = said(whole, tmp_path, "0"), said(whole, tmp_path, "1")
    assert len(alone) == len(guarded) == 1
    assert guarded == alone or isinstance(alone[0][0], str)


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="this system has no alarm signal")
@pytest.mark.parametrize("client_kind", ["sync", "async"])
def test_a_deadline_of_the_program_ends_a_stream(client_kind: str, tmp_path: Path) -> None:
    """The signal's handler raises inside `recv`: no silence of the network, and nothing is sent again."""
    program = """
    def late(signum, frame):
        raise TimeoutError("the program's own")
    signal.signal(signal.SIGALRM, late)
    with Server(fault="stall", after=3, times=None) as server, client_of(server, timeout=20) as client:
        text_of([])
        stream = ask(client)
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        try:
            list(stream)
        except Exception as error:
            while error.__cause__ is not None:
                error = error.__cause__
            tell(type(error).__name__, str(error), time.monotonic() - started < 5, len(server.requests))
        stream.response.close()
    """
    if client_kind == "async":
        program = """
        async def main(server):
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", timeout=20) as client:
                stream = await ask(client)
                with fail_after(0.4):
                    async for chunk in stream:
                        pass
        from anyio import fail_after
        with Server(fault="stall", after=3, times=None) as server:
            started = time.monotonic()
            try:
                asyncio.run(main(server))
            except TimeoutError as error:
                tell(type(error).__name__, "the program's own", time.monotonic() - started < 5, len(server.requests))
        """
    assert alike(program, tmp_path) == [["TimeoutError", "the program's own", True, 1]]


def test_a_timeout_of_gevent_ends_a_stream(tmp_path: Path) -> None:
    """It is thrown into the greenlet that waits for the socket, whose own timeout comes the same way."""
    needs("gevent")
    program = """
    import gevent, threading
    server = Server(fault="stall", after=3, times=None)
    with server, client_of(server, timeout=20) as client:
        for thrown in (None, TimeoutError, ConnectionResetError):
            server.reset(fault="stall", after=3, times=None)
            stream = ask(client)
            try:
                with gevent.Timeout(0.5, thrown):
                    list(stream)
            except (Exception, gevent.Timeout) as error:
                while error.__cause__ is not None:
                    error = error.__cause__
                tell(type(error).__name__, len(server.requests))
            stream.response.close()
    """
    lines = alike(program, tmp_path, before="from gevent import monkey\nmonkey.patch_all()\n")
    assert [line[0] for line in lines] == ["Timeout", "TimeoutError", "ConnectionResetError"]
    assert all(line[1] == 1 for line in lines)


@pytest.mark.parametrize("moment", ["read", "request"])
def test_a_soft_time_limit_of_billiard_ends_a_stream(moment: str, tmp_path: Path) -> None:
    """The handler of a signal raises it, as in Celery's tasks: in a read, or while a request is sent again."""
    needs("billiard")
    program = f"""
    import billiard.pool
    def work(url):
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=2, timeout=20)
        stream = ask(client)
        started = time.monotonic()
        try:
            list(stream)
        except Exception as error:
            while error.__cause__ is not None:
                error = error.__cause__
            return type(error).__name__, time.monotonic() - started < 10
    pool = billiard.pool.Pool(1, soft_timeout=1)  # before there are threads, since it forks
    with Server() as server:
        late = lambda request: (time.sleep(15), healthy(build_answer("chat", "text", AnswerVariant(1))))[1]
        server.script(*["stall"] if {moment == "read"} else ["rst", late], after=3)
        tell(*pool.apply_async(work, (server.base_url,)).get(30), len(server.requests))
    pool.terminate()
    pool.join()
    """
    requests = 1 if moment == "read" else 2
    whole = PREAMBLE + textwrap.dedent(program)
    assert said(whole, tmp_path, "1") == [["SoftTimeLimitExceeded", True, requests]]
    if moment == "read":
        assert said(whole, tmp_path, "0") == [["SoftTimeLimitExceeded", True, requests]]


def test_what_the_program_raises_in_a_transport_is_its_own(tmp_path: Path) -> None:
    """A full disk behind a transport that keeps what passes is no broken connection."""
    program = """
    for error in (OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "no"), ValueError("mine")):
        client, requests = mocked(Body(*FRAMES[:3], error))
        stream = ask(client)
        try:
            list(stream)
        except Exception as raised:
            tell(type(raised).__name__, raised is error, len(requests))
        stream.response.close()
    """
    kinds = ("OSError", "PermissionError", "ValueError")
    assert alike(program, tmp_path) == [[kind, True, 1] for kind in kinds]


def test_what_a_mock_raises_is_the_networks(tmp_path: Path) -> None:
    """However early it comes, and whoever raises it: such streams are recovered."""
    program = """
    import ssl, socket
    for error in (http.ReadError("x"), http.ReadTimeout("x"), ConnectionResetError(104, "x"), TimeoutError("x"),
                  OSError(errno.EHOSTUNREACH, "x"), ssl.SSLError(1, "x"), http.RemoteProtocolError("x")):
        client, requests = mocked(Body(*FRAMES[:5], error), Body(*FRAMES))
        tell(text_of(ask(client)) == TEXT, len(requests))
    """
    assert said(PREAMBLE + textwrap.dedent(program), tmp_path, "1") == [[True, 2]] * 7


def test_what_a_program_raises_while_a_request_is_sent_again_is_its_own(tmp_path: Path) -> None:
    """A hook's error is raised as it is, with the first fault as its context; a refusal of the transport is not."""
    program = """
    class Mine(Exception):
        pass
    def hook(request):
        if "x-stainless-retry-count" in request.headers and request.headers["x-stainless-retry-count"] != "0":
            hooked.append(request)
            raise kinds[0]
    hooked = []
    for kinds in ([Mine("own")], [OSError(errno.ENOSPC, "own")], [http.ConnectError("refused")]):
        hooked.clear()
        client, requests = mocked(Body(*FRAMES[:5]), event_hooks={"request": [hook]})
        try:
            list(ask(client))
        except Exception as error:
            chain = error
            while chain.__cause__ is not None:
                chain = chain.__cause__
            context = chain.__context__
            tell(chain is kinds[0], type(context).__name__, getattr(context, "fault", None), len(hooked))
    """
    lines = said(PREAMBLE + textwrap.dedent(program), tmp_path, "1")
    assert lines[:2] == [[True, "OpenAIStreamParseError", "truncated", 1]] * 2
    assert lines[2][0] is False
    assert lines[2][3] > 1


def test_the_fields_of_a_transports_exception_are_kept(tmp_path: Path) -> None:
    """Those of its class too, and of a pickled error what can be pickled."""
    program = """
    class Metered(http.ReadError):
        __slots__ = ("quota",)
        def __init__(self, message, left):
            super().__init__(message)
            self.left, self.quota, self.lock = left, 7, __import__("threading").Lock()
    openai_stream_guard.configure(max_retries=0)
    client, requests = mocked(Body(*FRAMES[:3], Metered("x", 3)))
    try:
        list(ask(client))
    except Metered as error:
        again = pickle.loads(pickle.dumps(error))
        tell(error.left, error.quota, error.lock.locked(), again.left, hasattr(again, "lock"), error.fault)
    """
    assert said(PREAMBLE + textwrap.dedent(program), tmp_path, "1") == [[3, 7, False, 3, False, "disconnected"]]


def test_a_response_that_delegates_is_read(tmp_path: Path) -> None:
    """A client's `send` may return an object of its own in front of the response."""
    program = """
    class Delegating:
        def __init__(self, response):
            self._inner = response
        def __getattr__(self, name):
            return getattr(self._inner, name)
    class Client(http.Client):
        def send(self, *args, **kwargs):
            return Delegating(super().send(*args, **kwargs))
    def answer(request):
        return http.Response(200, headers=HEADERS, stream=Body(*FRAMES))
    client = client_of(http_client=Client(transport=http.MockTransport(answer)))
    stream = ask(client)
    tell(text_of(stream) == TEXT, type(stream.response).__name__)
    raw = client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True)
    tell(b"".join(raw.http_response.iter_bytes()) == BODY)
    """
    assert alike(program, tmp_path) == [[True, "Delegating"], [True]]


def test_responses_can_be_pickled(tmp_path: Path) -> None:
    """Before they are read, in the middle, and at the end."""
    program = """
    client, requests = mocked(Body(*FRAMES), Body(*FRAMES))
    raw = client.chat.completions.with_raw_response.create(model="m", messages=[], stream=True).http_response
    tell(type(pickle.loads(pickle.dumps(raw))).__name__, pickle.loads(pickle.dumps(raw)).status_code)
    raw.read()
    tell(pickle.loads(pickle.dumps(raw)).content == BODY)
    stream = ask(client)
    next(stream)
    again = pickle.loads(pickle.dumps(stream.response))
    tell(again.is_closed)
    again.close()
    stream.close()
    """
    assert alike(program, tmp_path) == [["Response", 200], [True], [True]]


def test_openai_imported_anew_is_guarded_anew(tmp_path: Path) -> None:
    """Whoever purges `sys.modules`, of this package too, ends with a guarded SDK and the error of that SDK."""
    program = """
    def whole():
        with Server(fault="truncate_clean", after=4) as server:
            client = sys.modules["openai"].OpenAI(base_url=server.base_url, api_key="none")
            return text_of(ask(client)) == TEXT
    tell(whole(), openai_stream_guard.is_enabled())
    for purged in ("openai", "openai", "openai_stream_guard"):
        for name in [name for name in sys.modules if name == purged or name.startswith(purged + ".")]:
            if name.partition(".")[0] != "openai_stream_guard" or ".testing" not in name:
                del sys.modules[name]
        if purged == "openai_stream_guard":
            for name in [name for name in sys.modules if name == "openai" or name.startswith("openai.")]:
                del sys.modules[name]
            import openai_stream_guard
        import openai
        tell(whole(), openai_stream_guard.is_enabled(), issubclass(openai.OpenAIStreamParseError, openai.APIError),
             openai.OpenAIStreamParseError is openai_stream_guard.OpenAIStreamParseError)
    """
    lines = said(PREAMBLE + textwrap.dedent(program), tmp_path, "1")
    assert lines == [[True, True]] + [[True, True, True, True]] * 3


ENVIRONMENT_FILE = """
import os, sys
sys.path.insert(0, {root!r})
import openai_stream_guard, openai
base = openai._base_client.BaseClient
wrapped = [hasattr(vars(base)["__init__"], "__wrapped__")]
{between}
try:
    openai.OpenAI(api_key="k").close()
    openai.OpenAI(api_key="k").close()
except Exception as error:
    print(type(error).__name__)
wrapped.append(hasattr(vars(base)["__init__"], "__wrapped__"))
print(wrapped, openai_stream_guard.is_enabled(), openai_stream_guard.Policy.__name__)
os.environ["OPENAI_STREAM_GUARD"] = "1"
openai.OpenAI(api_key="k").close()
print(openai_stream_guard.is_enabled(), openai_stream_guard.configure().max_retries)
"""


@pytest.mark.parametrize(
    ("start", "between", "expected"),
    [
        ("", "", ["[True, False] False Policy", "False None"]),
        (
            "",
            "os.environ.update(OPENAI_STREAM_GUARD='on', OPENAI_STREAM_GUARD_MAX_RETRIES='7')",
            ["[True, False] True Policy", "True 7"],
        ),
        (
            "",
            "openai_stream_guard.configure(max_retries=3); os.environ.update(OPENAI_STREAM_GUARD='observe')",
            ["[True, False] True Policy", "True 3"],
        ),
        (
            "",
            "openai_stream_guard.disable(); os.environ.update(OPENAI_STREAM_GUARD='on')",
            ["[True, False] False Policy", "False None"],
        ),
        (
            "",
            "os.environ.update(OPENAI_STREAM_GUARD='maybe')",
            ["StreamGuardConfigError", "[True, True] False Policy", "True None"],
        ),
        ("0", "os.environ.update(OPENAI_STREAM_GUARD='on')", ["[False, False] False Policy", "False None"]),
        ("1", "", ["[False, False] True Policy", "True None"]),
    ],
)
def test_the_variable_is_read_again_when_a_client_is_first_made(
    start: str, between: str, expected: list[str], tmp_path: Path
) -> None:
    """Where it was unset at import, as before `load_dotenv()`; what the program says itself has the last word."""
    path = tmp_path / "program.py"
    path.write_text(ENVIRONMENT_FILE.format(root=str(ROOT), between=between))
    done = run(path, cwd=tmp_path, **({"OPENAI_STREAM_GUARD": start} if start else {}))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected


def test_help_shows_no_value_of_the_environment(tmp_path: Path) -> None:
    """Of any public name: `help()` prints defaults, and a default may not be the environment."""
    program = """
    import pydoc
    names = [*openai_stream_guard.__all__]
    text = "".join(pydoc.render_doc(getattr(openai_stream_guard, name), renderer=pydoc.plaintext) for name in names)
    text += pydoc.render_doc(openai_stream_guard, renderer=pydoc.plaintext)
    for module in ("activation", "config.environment", "config.policy", "errors", "testing", "sse"):
        text += pydoc.render_doc("openai_stream_guard." + module, renderer=pydoc.plaintext)
    tell(len(names) > 10, "planted-in-the-environment" in text, "from_env" in text)
    """
    lines = said(PREAMBLE + textwrap.dedent(program), tmp_path, "0", PLANTED="planted-in-the-environment")
    assert lines == [[True, False, True]]


def test_speech_that_is_read_whole_is_judged_at_once(tmp_path: Path) -> None:
    """Half a body does not pass; a whole one does, with its report."""
    program = """
    audio = [b'data: {"type":"speech.audio.delta","audio":"AAAA"}\\n\\n', b'data: {"type":"speech.audio.done"}\\n\\n']
    for count in (2, 1):
        client, requests = mocked(Body(*audio[:count]))
        try:
            speech = client.audio.speech.create(model="m", voice="v", input="x", stream_format="sse")
            tell(len(speech.content) > 50, openai_stream_guard.report(speech).outcome)
        except openai_stream_guard.OpenAIStreamParseError as error:
            tell(error.fault)
    """
    whole = PREAMBLE + textwrap.dedent(program)
    assert said(whole, tmp_path, "1") == [[True, "complete"], ["truncated"]]


def test_a_body_of_bytes_can_be_sent_again(tmp_path: Path) -> None:
    """`post(content=…)`, from the release on that takes it."""
    program = """
    import inspect
    if "content" not in inspect.signature(openai.OpenAI.post).parameters:
        tell("none")
    else:
        client, requests = mocked(Body(*FRAMES[:5]), Body(*FRAMES))
        chunk = openai.types.chat.ChatCompletionChunk
        body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
        stream = client.post("/chat/completions", cast_to=chunk, content=body, stream=True,
            options={"headers": {"content-type": "application/json"}}, stream_cls=openai.Stream[chunk])
        tell(text_of(stream) == TEXT, len(requests), requests[0].content == requests[1].content == body)
    """
    assert said(PREAMBLE + textwrap.dedent(program), tmp_path, "1") in ([[True, 2, True]], [["none"]])

"""Faults are met whatever stands in for the server: mocks, cassettes, another transport. Each where it works at all.

respx and pytest-httpx see httpx, which openai speaks before 3.0; pytest-httpx2 sees httpx2; vcrpy and aiohttp see both.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from openai_stream_guard import activation as switch
from openai_stream_guard import report
from openai_stream_guard.testing import AnswerVariant, Server, build_answer, cut, disconnect, faults, split
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.ported import unported
from tests.support.streams import CLIENT_KINDS, VERSION, chat, opened, run

URL = "https://api.mock.test/v1"
READ_ERRORS = tuple(
    importlib.import_module(name).ReadError for name in ("httpx", "httpx2") if importlib.util.find_spec(name)
)
BODY = b"".join(build_answer("chat", "text", AnswerVariant(1)).encode())
HEADERS = {"content-type": "text/event-stream"}


def has(module: str, *, legacy: bool | None = None) -> pytest.MarkDecorator:
    """Run only where this library is installed, and sees the HTTP library that this SDK speaks."""
    if importlib.util.find_spec(module) is None:
        return pytest.mark.skip(reason=f"{module} is not installed")
    wrong = legacy is not None and legacy != (VERSION < (3, 0))
    return pytest.mark.skipif(wrong, reason=f"{module} does not see what openai {openai.__version__} speaks")


def ask(client_kind: str, base_url: str = URL, **options: Any) -> tuple[str, Any]:
    """What one stream says, and its report."""

    async def body() -> tuple[str, Any]:
        async with opened(None, client_kind, base_url=base_url, **{"http_client": None, **options}) as client:
            stream = await chat(client)
            chunks = [one async for one in stream]
            return "".join(one.choices[0].delta.content or "" for one in chunks), report(unported(stream))

    answer: tuple[str, Any] = run(client_kind, body)
    return answer


def meets_faults(asking: Callable[[], tuple[str, Any]]) -> None:
    """A cut and a break are met, and recovered from; reads in pieces change nothing."""
    with faults(cut(after_events=3), disconnect(after_bytes=900)):
        said, told = asking()
    assert said == TEXT
    assert [attempt.fault for attempt in told.attempts] == ["truncated", "disconnected", None]
    with faults(split(size=11)):
        assert asking()[0] == TEXT


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("guarded")]


@has("respx", legacy=True)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_respx(client_kind: str) -> None:
    """Which patches the connection pool below httpx."""
    import respx

    with respx.mock:
        route = respx.post(f"{URL}/chat/completions")
        route.respond(content=BODY, headers=HEADERS)
        meets_faults(lambda: ask(client_kind))
        assert route.call_count == 4


@has("pytest_httpx", legacy=True)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_pytest_httpx(client_kind: str, request: pytest.FixtureRequest) -> None:
    """Which patches httpx's transports."""
    mock = request.getfixturevalue("httpx_mock")
    mock.add_response(content=BODY, headers=HEADERS, is_reusable=True)
    meets_faults(lambda: ask(client_kind))
    assert len(mock.get_requests()) == 4


@has("pytest_httpx2", legacy=False)
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_pytest_httpx2(client_kind: str, request: pytest.FixtureRequest) -> None:
    """respx's way for httpx2."""
    route = request.getfixturevalue("httpx2_mock").post(f"{URL}/chat/completions")
    route.respond(content=BODY, headers=HEADERS)
    meets_faults(lambda: ask(client_kind))
    assert route.call_count == 4


@has("vcr")
@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_cassette(client_kind: str, tmp_path: Path, server: Server) -> None:
    """Recorded whole while the stream that the application saw was broken, and played back broken."""
    import vcr

    cassette = str(tmp_path / "stream.yaml")
    with vcr.use_cassette(cassette, record_mode="once"), faults(cut(after_events=3)):
        assert ask(client_kind, server.base_url)[0] == TEXT
    asked = len(server.requests)
    with vcr.use_cassette(cassette, record_mode="none", allow_playback_repeats=True):
        meets_faults(lambda: ask(client_kind, server.base_url))
    assert len(server.requests) == asked


@pytest.fixture
def aiohttp_client() -> Callable[[], Any]:
    """The SDK's other transport for asyncio, where it has one and what that needs is installed."""
    if not hasattr(openai, "DefaultAioHttpClient"):
        pytest.skip("this SDK has no aiohttp client")
    try:
        openai.DefaultAioHttpClient()
    except (ImportError, RuntimeError) as missing:
        pytest.skip(str(missing))
    return openai.DefaultAioHttpClient


@has("aiohttp")
def test_aiohttp(server: Server, aiohttp_client: Callable[[], Any]) -> None:
    """It meets them as every other transport does."""
    meets_faults(lambda: ask("aiohttp", server.base_url, http_client=aiohttp_client()))
    assert len(server.requests) == 4


@has("aiohttp")
def test_a_break_is_the_error_that_aiohttp_makes_of_one(server: Server, aiohttp_client: Callable[[], Any]) -> None:
    """Injected or real, the SDK alone raises the same: not the error of httpx's own transport."""

    def broken() -> list[tuple[type, str]]:
        with pytest.raises((openai.APIConnectionError, *READ_ERRORS)) as caught:
            ask("aiohttp", server.base_url, http_client=aiohttp_client())
        errors = [caught.value, caught.value.__cause__]
        return [(type(one), str(one)) for one in errors if isinstance(one, READ_ERRORS)]

    switch.disable()
    server.script("fin_mid_chunk")
    real = broken()
    with faults(disconnect(after_events=1)):
        assert broken() == real
    assert len(real) == 1

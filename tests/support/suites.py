"""Test suites of applications, each run by a pytest of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = "openai_stream_guard.pytest_plugin"
HEAD = """
import asyncio
import openai
import pytest
import openai_stream_guard
from openai_stream_guard import activation
from openai_stream_guard.testing import Server

@pytest.fixture
def server():
    with Server() as running:
        yield running

QUICK = {"verify": False, "trust_env": False}  # no certificates are loaded

def client_for(server):
    return openai.OpenAI(base_url=server.base_url, api_key="k", http_client=openai.DefaultHttpxClient(**QUICK))

def aclient_for(server):
    http_client = openai.DefaultAsyncHttpxClient(**QUICK)
    return openai.AsyncOpenAI(base_url=server.base_url, api_key="k", http_client=http_client)

def read(server):
    with client_for(server) as client:
        stream = client.chat.completions.create(model="m", messages=[], stream=True)
        with stream:
            return "".join(one.choices[0].delta.content or "" for one in stream)

async def aread(server):
    async with aclient_for(server) as client:
        async with await client.chat.completions.create(model="m", messages=[], stream=True) as stream:
            return "".join([one.choices[0].delta.content or "" async for one in stream])
"""
"""What the tests of every suite have at hand."""

Run = Callable[..., pytest.RunResult]


def runner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs tests, warnings as errors, with nothing but our plugin unless named."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("CI", "BUILD_NUMBER"):  # where pytest sees one of them its summary says failures in full once more
        monkeypatch.delenv(name, raising=False)

    def run(tests: str, *options: str, plugins: tuple[str, ...] = (), **outcomes: int) -> pytest.RunResult:
        pytester.makepyfile(HEAD + tests)
        loaded = [word for plugin in (PLUGIN, *plugins) for word in ("-p", plugin)]
        result = pytester.runpytest_subprocess(*loaded, "-p", "no:cacheprovider", "-W", "error", *options)
        if outcomes:
            result.assert_outcomes(**outcomes)
        return result

    return run

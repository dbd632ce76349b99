"""The law: llama.cpp's real server, healthy, is left alone; killed, its streams are repeated or end in the typed error.

Runs where REAL_PROGRAMS is set, as test_proxies.py says. The model's weights are random, and its answers nonsense;
asked with a temperature of 0 it repeats itself word for word.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError, Policy, report
from openai_stream_guard import activation as switch
from tests.support.running import Program, free_port, require, require_real_programs, running
from tests.support.streams import awaited, client_for, run

from . import tiny_model

pytestmark = pytest.mark.slow

require_real_programs()

SERVER = Path(__file__).with_name("llama_server.py")
MISSING = "llama.cpp's server is not installed: pip install xllamacpp gguf"
PING = 1
"""Seconds between keep-alives, the fewest that the server takes."""
LONG = 800
"""Tokens of an answer that is not over before another request has come in, or the server is killed."""
FEW = 100
"""The same, of a model that is slow to read."""
LAYERS = 6
READING = 5.0 * PING
POLICY = Policy(max_retries=5, backoff_initial=0.2, backoff_max=1.0, retry_budget=None)
FRESH = frozenset({"id", "item_id", "created", "created_at", "completed_at", "timings", "response_id"})
"""What differs between two answers that say the same."""


def chat(client: Any, tokens: int = 40) -> Any:
    """A chat of so many tokens, without chance; `cache_prompt` would let one request change the sums of the next."""
    return client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "climb the hill"}],
        stream=True,
        max_tokens=tokens,
        temperature=0,
        seed=1,
        extra_body={"cache_prompt": False},
    )


def responses(client: Any, tokens: int = 40) -> Any:
    """The same by the Responses API."""
    return client.responses.create(
        model="tiny",
        input="climb the hill",
        stream=True,
        max_output_tokens=tokens,
        temperature=0,
        extra_body={"cache_prompt": False},
    )


ASKS = pytest.mark.parametrize("ask", [chat, responses])


def said(item: Any) -> str:
    """The text that an item adds to the answer."""
    if getattr(item, "type", None) == "response.output_text.delta":
        return str(item.delta)
    choices = getattr(item, "choices", None)
    return (choices[0].delta.content or "") if choices else ""


def settled(value: Any) -> Any:
    """A dumped item without what is fresh in every answer."""
    if isinstance(value, dict):
        return {name: settled(one) for name, one in value.items() if name not in FRESH}
    return [settled(one) for one in value] if isinstance(value, list) else value


def nothing() -> None:
    """What is done in the middle of most streams."""


class Llama:
    """The server, with one model."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.base_url = f"http://127.0.0.1:{program.port}/v1"

    def restart(self) -> None:
        """Kill it, as the kernel does for want of memory, and start it again."""
        self.program.kill()
        self.program.start()

    def ask(
        self, ask: Any, client_kind: str = "sync", tokens: int = 40, at_the_first_word: Callable[[], None] = nothing
    ) -> tuple[list[Any], Any]:
        """The items of one stream, and the guard's report."""
        return run("asyncio", self._ask, ask, client_kind, tokens, at_the_first_word)

    async def _ask(self, ask: Any, client_kind: str, tokens: int, act: Callable[[], None]) -> tuple[list[Any], Any]:
        client = client_for(self, client_kind, timeout=30.0)
        stream = await awaited(ask(client, tokens))
        items: list[Any] = []
        async for item in _any_colour(stream):
            items.append(item)
            if said(item):
                act()
                act = nothing
        await awaited(client.close())
        return items, report(stream)


async def _any_colour(stream: Any) -> AsyncIterator[Any]:
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[Llama]:
    """Run the server."""
    port = free_port()
    with running([sys.executable, str(SERVER), str(model), str(port), str(PING)], port, folder) as program:
        yield Llama(program)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes some milliseconds for a token."""
    there = importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("gguf")
    require(there, "xllamacpp", MISSING)
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    tiny_model.write(path, width=256, layers=LAYERS)
    return path


@pytest.fixture(scope="module")
def llama(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """A server that many tests ask."""
    with serving(model, tmp_path_factory.mktemp("llama")) as running_server:
        yield running_server


@ASKS
@pytest.mark.parametrize("client_kind", ["sync", "asyncio"])
def test_a_healthy_stream_is_untouched(llama: Llama, ask: Any, client_kind: str) -> None:
    """The same items with the guard as without, in one request, with nothing to repair or to note."""
    by_itself, _ = llama.ask(ask, client_kind)
    switch.enable(POLICY)
    items, told = llama.ask(ask, client_kind)
    assert [settled(item.model_dump()) for item in items] == [settled(item.model_dump()) for item in by_itself]
    assert "".join(map(said, items))
    assert (told.outcome, len(told.attempts), told.repairs, told.notes) == ("complete", 1, {}, ())


def read_a_long_prompt(llama: Llama) -> None:
    """Give the server something to read in which no other request gets a token."""
    new = uuid.uuid4().hex  # at the beginning, since the server remembers what it has read
    asked = {"model": "tiny", "prompt": new + " tram" * 700, "max_tokens": 1}
    request = urllib.request.Request(f"{llama.base_url}/completions", json.dumps(asked).encode())
    urllib.request.urlopen(request, timeout=120).close()


def busy(llama: Llama) -> threading.Thread:
    """The same beside whatever else is asked."""
    thread = threading.Thread(target=read_a_long_prompt, args=(llama,))
    thread.start()
    return thread


@pytest.fixture(scope="module")
def slow_reader(llama: Llama, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """A server that takes `READING` for a long prompt, however fast the machine: its model has as many layers."""
    started = time.perf_counter()
    read_a_long_prompt(llama)
    layers = math.ceil(LAYERS * READING / (time.perf_counter() - started))
    path = tmp_path_factory.mktemp("deep") / "tiny.gguf"
    tiny_model.write(path, width=256, layers=max(LAYERS, min(layers, 20 * LAYERS)))
    with serving(path, path.parent) as running_server:
        yield running_server


def kept_comments(stream: Any, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The comments among what is read from the socket of a stream, as they come."""
    comments: list[bytes] = []
    socket = type(stream.response.extensions["network_stream"])
    read = socket.read

    def reading(*arguments: Any, **options: Any) -> bytes:
        data: bytes = read(*arguments, **options)
        comments.extend(line for line in data.splitlines() if line.startswith(b":"))
        return data

    monkeypatch.setattr(socket, "read", reading)
    return comments


def test_keep_alives_are_no_items(slow_reader: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server has no token to send it sends comments; the items are those of any other day."""
    expected, _ = slow_reader.ask(chat, tokens=FEW)
    switch.enable(POLICY)
    with client_for(slow_reader, timeout=30.0) as client:
        stream = chat(client, FEW)
        comments = kept_comments(stream, monkeypatch)
        items = [next(stream)]
        other = busy(slow_reader)
        items += stream
        other.join()
    assert comments
    assert "".join(map(said, items)) == "".join(map(said, expected))
    told = report(stream)
    assert (told.outcome, len(told.attempts), told.repairs) == ("complete", 1, {})


def test_keep_alives_are_no_progress(slow_reader: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    """They start the SDK's own timeout anew, for ever; the guard's `idle_timeout` they do not."""
    switch.enable(POLICY.replace(idle_timeout=2.5 * PING, max_retries=0))
    with client_for(slow_reader, timeout=30.0) as client:
        stream = chat(client, FEW)
        comments = kept_comments(stream, monkeypatch)
        next(stream)
        other = busy(slow_reader)
        with pytest.raises(OpenAIStreamParseError) as raised:
            list(stream)
        other.join()
    assert (raised.value.fault, bool(comments)) == ("stalled", True)


@pytest.fixture
def mortal(model: Path, tmp_path: Path) -> Iterator[Llama]:
    """A server that may be killed."""
    with serving(model, tmp_path) as running_server:
        yield running_server


@ASKS
@pytest.mark.parametrize("client_kind", ["sync", "asyncio"])
def test_killed_and_restarted_it_is_healed(mortal: Llama, ask: Any, client_kind: str) -> None:
    """kill -9 in the middle of an answer, as for want of memory: the text comes whole, and nothing of it twice."""
    expected, _ = mortal.ask(ask, tokens=LONG)
    switch.enable(POLICY)
    items, told = mortal.ask(ask, client_kind, tokens=LONG, at_the_first_word=mortal.restart)
    assert "".join(map(said, items)) == "".join(map(said, expected))
    assert (told.outcome, told.recoveries) == ("recovered", ["replay"])


@ASKS
def test_killed_for_good_it_is_the_typed_error(mortal: Llama, ask: Any) -> None:
    """With the text that came, and as the exception that the SDK alone raises."""
    switch.enable(POLICY.replace(max_retries=1))
    with client_for(mortal, timeout=30.0) as client:
        stream = ask(client, LONG)
        items = [next(item for item in stream if said(item))]
        mortal.program.kill()
        with pytest.raises(OpenAIStreamParseError) as raised:
            items.extend(stream)  # keeps what comes before it raises
    assert raised.value.fault == "disconnected"
    assert isinstance(raised.value, openai.APIConnectionError)
    assert raised.value.partial_text == "".join(map(said, items))


def test_the_sdk_alone_loses_a_killed_stream(mortal: Llama) -> None:
    """What the guard is for: an exception half way, and no way on."""
    with client_for(mortal, timeout=30.0) as client, chat(client, LONG) as stream:
        next(stream)
        mortal.program.kill()
        with pytest.raises(openai.APIConnectionError):
            list(stream)

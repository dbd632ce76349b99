"""The law: through LiteLLM's real proxy a healthy stream is left alone, and what it makes of a broken one is retried.

Runs where REAL_PROGRAMS is set, as test_proxies.py says. LiteLLM's own client is one of the frameworks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from openai_stream_guard import OpenAIStreamParseError
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import Server
from tests.support.pages import ROOT
from tests.support.running import Program, find, free_port, require, require_real_programs, running
from tests.support.streams import Seen, consume

from .cases import CLOSES, ENDS, HEALTHY, RESETS, SILENT, TEXT, Case
from .trial import POLICY

pytestmark = pytest.mark.slow

require_real_programs()

MISSING = "litellm is not installed: pip install 'litellm[proxy]'"
KEY = "sk-of-a-test-on-this-machine-only"
MOCKED = "The blue tram climbs past the old clock, and nobody is on board."
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "DO_NOT_TRACK": "1"}


class Gateway(NamedTuple):
    """LiteLLM's proxy, and the server behind its second model."""

    base_url: str
    server: Server
    program: Program


def installed() -> str:
    """Where the program is; skips the test where it is not."""
    program = find("litellm")
    require(program, "litellm", MISSING)
    return program or ""


@contextmanager
def serving(folder: Path, *before: str, **variables: str) -> Iterator[Gateway]:
    """With a model that it answers for itself, and one that it asks a server for. `before` is what starts it."""
    program = installed()
    port = free_port()
    with Server() as server:
        behind = {"model": "openai/m", "api_key": "none", "api_base": server.base_url, "timeout": 3, "max_retries": 0}
        models = [
            {
                "model_name": "mocked",
                "litellm_params": {"model": "openai/m", "mock_response": MOCKED, "api_key": "none"},
            },
            {"model_name": "behind", "litellm_params": behind},
        ]
        settings = {
            "model_list": models,
            "general_settings": {"master_key": KEY},
            "router_settings": {"num_retries": 0},
        }
        config = folder / "config.yaml"
        config.write_text(json.dumps(settings), encoding="utf-8")  # which is YAML too
        command = [*before, str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        with running(command, port, folder, {**QUIET, **variables}) as process:
            yield Gateway(f"http://127.0.0.1:{port}/v1", server, process)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """LiteLLM's proxy as it is installed."""
    with serving(tmp_path_factory.mktemp("litellm")) as gateway:
        yield gateway


def ask(gateway: Gateway, model: str, client_kind: str = "sync") -> Seen:
    """One stream of a model."""

    def chat(client: Any) -> Any:
        return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}], stream=True)

    return consume(gateway.server, client_kind, chat, base_url=gateway.base_url, api_key=KEY, timeout=20.0)


def shown(seen: Seen) -> list[Any]:
    """What the items say, without what is fresh in every answer."""
    return [item["choices"] for _, item in seen.items]


@pytest.mark.parametrize("client_kind", ["sync", "asyncio"])
@pytest.mark.parametrize(("model", "text"), [("mocked", MOCKED), ("behind", TEXT)])
def test_a_healthy_stream_is_untouched(gateway: Gateway, model: str, text: str, client_kind: str) -> None:
    """The same items with the guard as without, in one attempt."""
    HEALTHY.prepare(gateway.server)
    switch.disable()
    by_itself = ask(gateway, model, client_kind)
    switch.enable(POLICY)
    HEALTHY.prepare(gateway.server)
    seen = ask(gateway, model, client_kind)
    assert (shown(seen), seen.text, seen.error) == (shown(by_itself), text, None)
    assert (seen.report.outcome, len(seen.report.attempts), seen.report.repairs) == ("complete", 1, {})
    assert len(gateway.server.requests) == (model == "behind")


@pytest.mark.parametrize("case", [CLOSES, RESETS, SILENT], ids=lambda case: case.name)
def test_what_breaks_behind_it_is_healed(gateway: Gateway, case: Case) -> None:
    """It passes the failure on as an error inside the stream, which the SDK alone raises; the guard retries."""
    switch.enable(POLICY)
    case.prepare(gateway.server)
    seen = ask(gateway, "behind")
    assert (seen.text, seen.error, len(gateway.server.requests)) == (TEXT, None, 2)


def test_what_breaks_every_time_is_the_typed_error(gateway: Gateway) -> None:
    """And the hint says in whose log to look."""
    switch.enable(POLICY)
    RESETS.prepare(gateway.server, times=9)
    seen = ask(gateway, "behind")
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert (seen.error.fault, seen.error.partial_text) == ("upstream_error", seen.text)
    assert seen.error.hint.startswith("LiteLLM's proxy reports an error")


def test_a_stop_that_it_makes_up_cannot_be_seen_through(gateway: Gateway) -> None:
    """Many releases end an answer that was cut in good order with `finish_reason: stop`; later ones with an error."""
    switch.enable(POLICY)
    ENDS.prepare(gateway.server)
    seen = ask(gateway, "behind")
    made_up = seen.items[-1][1]["choices"][0]["finish_reason"] == "stop" and len(gateway.server.requests) == 1
    assert seen.error is None
    assert seen.text == TEXT or (made_up and TEXT.startswith(seen.text))


def test_killed_it_is_the_typed_error(gateway: Gateway) -> None:
    """kill -9 in the middle of an answer. The last test: it does not come back."""
    switch.enable(POLICY)
    SILENT.prepare(gateway.server)

    def chat(client: Any) -> Any:
        stream = client.chat.completions.create(model="behind", messages=[], stream=True)
        gateway.program.kill()
        return stream

    seen = consume(gateway.server, "sync", chat, base_url=gateway.base_url, api_key=KEY, max_retries=1)
    assert isinstance(seen.error, OpenAIStreamParseError)
    assert seen.error.fault == "disconnected"
    assert TEXT.startswith(seen.text)


@pytest.mark.parametrize("case", [ENDS, CLOSES, RESETS], ids=lambda case: case.name)
def test_guarded_itself_it_passes_on_whole_answers(tmp_path: Path, case: Case) -> None:
    """The recipe of tests/examples: to a client without the guard, an answer that its server cut comes whole."""
    python = str(Path(installed()).with_name("python"))
    settings = {"OPENAI_STREAM_GUARD_MAX_RETRIES": "2", "PYTHONPATH": str(ROOT)}
    switch.disable()
    with serving(tmp_path, python, "-m", "openai_stream_guard", "run", **settings) as gateway:
        case.prepare(gateway.server)
        seen = ask(gateway, "behind")
        assert (seen.text, seen.error, len(gateway.server.requests)) == (TEXT, None, 2)

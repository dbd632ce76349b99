"""The law: through every real proxy that is here a guarded stream comes whole, exactly once, or as the typed error.

They run where REAL_PROGRAMS is set: it names the programs that must not be missing; what else is missing is skipped.
`nox -f .ci/noxfile.py -s proxies` installs some and sets it, `-s proxies_more` installs all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from openai_stream_guard import OpenAIStreamParseError
from openai_stream_guard import activation as switch
from openai_stream_guard.testing import Server
from tests.support.running import Program, find, require, require_real_programs
from tests.support.streams import alone, chat, client_for, consume

from .cases import BROKEN, CLOSES, ENDS, EXAMINED, HEALTHY, PACED, RESETS, SILENT, TEXT, Case
from .roster import FINDS, MOSTLY, PROXIES, Proxy
from .trial import POLICY, before, doctor, stream

pytestmark = pytest.mark.slow

require_real_programs()


def by_name(cases: Iterable[Case], *more: str) -> list[Any]:
    """The cases as parameters, with names."""
    return [pytest.param(case, *more, id="-".join([case.name.replace(" ", "_"), *more])) for case in cases]


HEALED = by_name(BROKEN, "sync") + by_name([ENDS, CLOSES, RESETS], "asyncio")  # in silence only the client waits
LIMITED = [pytest.param(proxy, id=proxy.name) for proxy in PROXIES if proxy.limit]


@dataclass(frozen=True)
class Path:
    """A proxy that runs before a server."""

    proxy: Proxy
    server: Server
    url: str
    program: Program


@pytest.fixture(scope="module", params=[pytest.param(proxy, id=proxy.name) for proxy in PROXIES])
def path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Each proxy in turn."""
    proxy: Proxy = request.param
    require(find(proxy.program), proxy.program, proxy.missing)
    with Server() as server, before(server, proxy) as (program, url):
        yield Path(proxy, server, url, program)


@pytest.mark.parametrize("client_kind", ["sync", "asyncio"])
def test_a_healthy_stream_is_untouched(path: Path, client_kind: str) -> None:
    """The same items with the guard as without, for one request each."""
    HEALTHY.prepare(path.server, times=2)
    by_itself = alone(path.server, client_kind, base_url=path.url)
    switch.enable(POLICY)
    seen = consume(path.server, client_kind, base_url=path.url)
    assert (seen.items, seen.text, len(path.server.requests)) == (by_itself.items, TEXT, 2)


@pytest.mark.parametrize("case", by_name(BROKEN))
def test_the_sdk_alone_sees_what_is_known(path: Path, case: Case) -> None:
    """Whether half an answer looks whole is the proxy's doing."""
    expected = {**MOSTLY, **path.proxy.alone}[case]
    got = stream(path.server, path.url, case, guard=False)
    assert (got.words, got.requests) == (expected, 2 if expected == "whole" else 1)


@pytest.mark.parametrize(("case", "client_kind"), HEALED)
def test_the_guard_heals_it(path: Path, case: Case, client_kind: str) -> None:
    """Whole and exactly once, for one request more."""
    got = stream(path.server, path.url, case, client_kind, guard=True)
    assert (got.words, got.requests) == ("whole", 2)


def test_what_breaks_every_time_is_the_typed_error(path: Path) -> None:
    """With the half that came, after as many requests as the SDK's own `max_retries` says."""
    got = stream(path.server, path.url, ENDS, guard=True, times=4)
    assert (got.words, got.requests) == ("OpenAIStreamParseError", 3)
    assert got.text
    assert TEXT.startswith(got.text)


def test_the_hint_names_the_proxy_that_hides_it(path: Path) -> None:
    """What ends in good order is laid at nginx's door where the headers name it, and else at no one's."""
    got = stream(path.server, path.url, ENDS, guard=True)
    assert ("nginx hides that its upstream died" in got.hint) == (path.proxy.program == "nginx")


@pytest.mark.parametrize("path", LIMITED, indirect=True)
def test_the_second_time_the_hint_names_the_limit(path: Path) -> None:
    """Once may be chance; twice after the same time is a timeout, and whose it is the headers tell."""
    assert path.proxy.limit is not None
    case, said = path.proxy.limit
    switch.enable(POLICY)
    hints = []
    for _ in range(2):
        case.prepare(path.server)
        seen = consume(path.server, base_url=path.url, timeout=case.timeout)
        assert seen.text == TEXT
        hints.append(seen.report.hint or "")
    assert [said in hint for hint in hints] == [False, True]


WORTH_A_VISIT = [
    pytest.param(proxy, case, id=f"{proxy.name}-{case.name.replace(' ', '_')}")
    for proxy in PROXIES
    for case in EXAMINED
    if case is not SILENT or SILENT in proxy.finds  # that the client waits is told of the others by the table
]


@pytest.mark.parametrize(("path", "case"), WORTH_A_VISIT, indirect=["path"])
def test_the_doctor_names_it(path: Path, case: Case) -> None:
    """From outside, by what comes."""
    visit = doctor(path.server, path.url, case)
    expected = {**FINDS, **path.proxy.finds}[case]
    assert next(iter(visit.findings), None) == expected
    assert visit.verdict == ("unhealthy" if expected else "healthy")


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("name", ["nginx, both", "HAProxy", "Envoy", "Caddy"])
def test_a_proxy_that_is_killed_is_no_end(name: str, guard: bool) -> None:
    """kill -9 in the middle of an answer: the SDK alone says that the connection broke, and so does the guard."""
    proxy = next(proxy for proxy in PROXIES if proxy.name == name)
    require(find(proxy.program), proxy.program, proxy.missing)
    with Server() as server, before(server, proxy) as (program, url):
        PACED.prepare(server)
        if guard:
            switch.enable(POLICY)
        with client_for(server, base_url=url, max_retries=1) as client:
            stream = chat(client)
            next(stream)
            program.kill()
            with pytest.raises(OpenAIStreamParseError if guard else openai.APIConnectionError):
                list(stream)


def test_stock_nginx_loses_what_it_collected() -> None:
    """Where its server resets the connection, not a word of the half it had reaches the program."""
    proxy = PROXIES[0]
    require(find(proxy.program), proxy.program, proxy.missing)
    with Server() as server, before(server, proxy) as (_, url):
        got = stream(server, url, RESETS, guard=False)
    assert (got.words, got.text) == ("APIConnectionError", "")

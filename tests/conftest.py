"""What every test is held to: no response is left open, and the guard is as it was. And what many tests share."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import signal
import ssl
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings

from openai_stream_guard import Policy
from openai_stream_guard import activation as switch
from openai_stream_guard.engine import recovery
from openai_stream_guard.testing import Server
from tests.support.logs import logged
from tests.support.suites import Run, runner

pytest_plugins = ["pytester"]

settings.register_profile("untimed", deadline=None)  # a loaded machine is no fault of the code
settings.load_profile("untimed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a script has put into the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # so that programs under test can be interrupted


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for each core: half of the time a test waits for a socket or for another program."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what lives as long as the session: modules and thousands of tests.

    A third of the time to collect them, and most of that of each `gc.collect()` in a test, was spent on these.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_certificates() -> Iterator[None]:
    """No client here looks at a certificate, and loading the system's costs each of them some 40 ms."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_verify_locations", "load_default_certs"):
            patch.setattr(ssl.SSLContext, name, lambda *args, **kwargs: None)
        yield


@pytest.fixture(autouse=True)
def nothing_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test that leaves a response open, with the address it came from.

    Every response made during the test is held on to, so that none can hide by being collected; what reads them is
    not, so that a dropped stream is finalised as it would be in a program.
    """
    made: list[Any] = []
    for name in ("httpx", "httpx2"):
        if importlib.util.find_spec(name) is None:
            continue
        library = importlib.import_module(name)
        original = library.Response.__init__

        def remember(response: Any, *args: Any, _original: Any = original, **kwargs: Any) -> None:
            _original(response, *args, **kwargs)
            made.append(response)

        monkeypatch.setattr(library.Response, "__init__", remember)
    yield
    if any(not response.is_closed for response in made):
        gc.collect()
    left = [str(response.request.url) for response in made if not response.is_closed]
    assert not left, f"responses left open: {left}"


@pytest.fixture(autouse=True)
def guard_restored() -> Iterator[None]:
    """Whatever a test switches is switched back."""
    with switch.restored():
        yield


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the tests of an application."""
    return runner(pytester, monkeypatch)


@pytest.fixture
def server() -> Iterator[Server]:
    """A loopback server, healthy until told otherwise."""
    with Server() as running:
        yield running


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are guarded: no waiting between attempts nor polls nor for a host, no budget."""
    monkeypatch.setattr(recovery, "MIN_POLL", 0.0)
    switch.enable(Policy(backoff_initial=0.0, backoff_max=0.0, outage_timeout=0.0, retry_budget=None))


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What the guard logs, at every level."""
    with logged(logging.DEBUG) as records:
        yield records


@pytest.fixture
def warned(records: list[logging.LogRecord]) -> Callable[[], list[str]]:
    """What the guard has logged at WARNING and above."""
    return lambda: [record.getMessage() for record in records if record.levelno == logging.WARNING]

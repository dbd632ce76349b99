"""The fixture `stream_guard`: what an application's own tests say that its streams must survive.

    fixture        stream_guard                               see `openai_stream_guard.testing.StreamGuard`
    marker         @pytest.mark.stream_guard(max_retries=0)   the fixture, with these fields of the policy
    ini option     stream_guard = max_retries=0 …             the same for all tests, a line each
    command line   --stream-guard max_retries=0               the same; it goes before the ini option
                   --stream-guard-chaos SEED                  a fault by chance for every test

Pytest loads this through an entry point in every run that it is installed for, and the package with it, as if the
application had imported it. Neither openai nor the fault kit is imported before a test asks for the fixture.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .config.policy import Policy
    from .testing.chaos import Chaos
    from .testing.stream_guard import StreamGuard

_GUARD = pytest.StashKey[Any]()
_NAME = pytest.StashKey[str]()
_CHAOS = pytest.StashKey[Any]()
_POLICY = pytest.StashKey[Any]()
_WATCH = "openai_stream_guard_watch"
_MODES = ("on", "off", "observe")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of this plugin."""
    group = parser.getgroup("stream-guard", "openai-stream-guard")
    group.addoption(
        "--stream-guard",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        dest="stream_guard",
        help="a field of the policy of tests that use the fixture stream_guard; may be given several times",
    )
    group.addoption(
        "--stream-guard-chaos",
        metavar="SEED",
        dest="stream_guard_chaos",
        help="guard every test, and let its first stream suffer a fault chosen by chance and survivable; "
        "the same seed chooses the same faults",
    )
    parser.addini("stream_guard", "fields of the policy, FIELD=VALUE, a line each", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker, and refuse bad options before any test runs."""
    config.addinivalue_line(
        "markers",
        "stream_guard(mode='on', chaos=True, **fields): use the fixture stream_guard, with these fields of the policy",
    )
    if lines := [*config.getini("stream_guard"), *config.getoption("stream_guard")]:
        config.stash[_POLICY] = _parsed(lines)
    if config.getoption("stream_guard_chaos") is not None:
        _watch(config)


def pytest_report_header(config: pytest.Config) -> str | None:
    """The seed, for whoever wants to run the same again."""
    seed = config.getoption("stream_guard_chaos")
    return None if seed is None else f"stream_guard chaos: seed {seed}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked uses the fixture; and pytest-xdist may yet put its groups into the names of tests."""
    for item in items:
        item.stash[_NAME] = item.nodeid
        names = getattr(item, "fixturenames", None)
        if names is not None and "stream_guard" not in names and item.get_closest_marker("stream_guard"):
            names.append("stream_guard")


class _Watch:
    """What is done about every test, once there is one whose streams are watched: no other run pays for it."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Let chance strike, and let no test pass that leaves a response open."""
        with ExitStack() as undo:
            seed = item.config.getoption("stream_guard_chaos")
            if seed is not None and _marked(item).get("chaos", True):
                item.stash[_CHAOS] = undo.enter_context(_chaos(seed, item))
            result = yield
            guard: StreamGuard | None = item.stash.get(_GUARD, None)
            left = [] if guard is None else guard.close_left_open()
        if left:
            places = ", and at ".join(left)
            pytest.fail(
                f"the test leaves open the response of the stream made at {places}; "
                "read a stream to its end, close it, or put it into a `with` block",
                pytrace=False,
            )
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell of every failure what was done to its streams, and how to see it again."""
        report = yield
        if report.failed and call.excinfo is not None:
            guard: StreamGuard | None = item.stash.get(_GUARD, None)
            if guard is not None and guard.requests and guard.explain() not in str(call.excinfo.value):
                report.sections.append(("stream_guard", guard.explain()))
            chaos: Chaos | None = item.stash.get(_CHAOS, None)
            if chaos is not None and chaos.told is not None:
                seed = item.config.getoption("stream_guard_chaos")
                words = f"seed {seed}: {chaos.told}\nsee it again: {_command(item, seed)}"
                report.sections.append(("stream_guard chaos", words))
        return report


def _watch(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin(_WATCH):
        config.pluginmanager.register(_Watch(), _WATCH)


@pytest.fixture
def stream_guard(request: pytest.FixtureRequest) -> Iterator[StreamGuard]:
    """Guard the streams of this test: no waiting, no budget, no response left open, everything restored afterwards."""
    from . import Policy
    from . import activation as switch
    from .testing.clock import Clock
    from .testing.harness import Harness, staged
    from .testing.stream_guard import StreamGuard

    _watch(request.config)
    fields = _marked(request.node)
    fields.pop("chaos", None)
    mode = fields.pop("mode", "on")
    if mode not in _MODES:
        raise pytest.UsageError(f"the marker stream_guard was given mode={mode!r}; allowed are 'on', 'off', 'observe'")
    clock = Clock()
    rehearsal = Harness(clock)
    with switch.restored(), staged(rehearsal):
        policy: Policy = request.config.stash.get(_POLICY, Policy(retry_budget=None))
        switch.enable(policy.replace(**fields))
        guard = StreamGuard(rehearsal, clock)
        guard.switch(mode)
        request.node.stash[_GUARD] = guard
        try:
            yield guard
        finally:
            guard.close_left_open()  # of a test that failed, which is not told so as well


def _marked(item: pytest.Item) -> dict[str, Any]:
    """What the markers of a test say, the nearest one last."""
    fields: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("stream_guard"))):
        if marker.args:
            raise pytest.UsageError(f"the marker stream_guard takes fields by name only, not {marker.args[0]!r}")
        fields |= marker.kwargs
    return fields


def _parsed(lines: list[str]) -> Policy:
    """The policy that these lines describe. Raises `UsageError`."""
    from . import Policy, StreamGuardConfigError
    from .config.fields import checked
    from .config.policy import SETTINGS

    policy = Policy(retry_budget=None)
    try:
        for line in lines:
            name, equals, text = (part.strip() for part in line.partition("="))
            if not equals:
                raise StreamGuardConfigError(f"stream_guard is {line!r}; must be FIELD=VALUE.")
            setting = SETTINGS.get(name)
            value: Any = text
            if setting is not None:
                value = checked(setting.parse, text, f"stream_guard {name}", setting.expected)
            policy = policy.replace(**{name: value})
    except StreamGuardConfigError as error:
        raise pytest.UsageError(str(error)) from None
    return policy


def _chaos(seed: str, item: pytest.Item) -> Any:
    """Guard this test, if it does not do so by itself, and let chance strike it."""
    from .testing.chaos import chaos

    return chaos(seed, item.stash.get(_NAME, item.nodeid), guarded=item.stash.get(_GUARD, None) is not None)


def _command(item: pytest.Item, seed: str) -> str:
    """What runs this test alone, and strikes it again in the same way."""
    fields = [word for field in item.config.getoption("stream_guard") for word in ("--stream-guard", field)]
    path, *names = item.stash.get(_NAME, item.nodeid).split("::")
    here = os.path.relpath(item.config.rootpath / path, item.config.invocation_params.dir)
    return shlex.join(["pytest", *fields, "--stream-guard-chaos", seed, "::".join([here, *names])])

"""The pytest fixture `stream_guard`: break the streams of a test, and check what the application makes of them.

    fixture        stream_guard                               see `openai_stream_guard.testing.StreamGuard`
    marker         @pytest.mark.stream_guard(max_retries=0)   the fixture, with these fields of the policy
    ini option     stream_guard = max_retries=0 …             the same for all tests, one field a line
                   stream_guard_assert_all_faults_struck      false: a planned fault need not strike
    command line   --stream-guard max_retries=0               the same as `stream_guard`; it overrides the ini option
                   --stream-guard-chaos SEED                  a random fault for every test

Pytest loads this module through an entry point in every run, and with it the package, as if the application had
imported it. Neither openai nor the testing kit is imported before a test uses the fixture.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .config.policy import Policy
    from .testing.chaos import Chaos
    from .testing.stream_guard import StreamGuard

_GUARD: pytest.StashKey[StreamGuard] = pytest.StashKey()
_TEST_ID: pytest.StashKey[str] = pytest.StashKey()
_CHAOS: pytest.StashKey[Chaos] = pytest.StashKey()
_POLICY: pytest.StashKey[Policy] = pytest.StashKey()
_WATCHER = "openai_stream_guard_watcher"
_MODES = ("on", "off", "observe")
_ALL_FAULTS = "assert_all_faults_struck"
_HOW_TO_ALLOW = (
    f"If that is meant: @pytest.mark.stream_guard({_ALL_FAULTS}=False), or stream_guard_{_ALL_FAULTS} = false for all "
    "tests."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this plugin."""
    group = parser.getgroup("stream-guard", "openai-stream-guard")
    group.addoption(
        "--stream-guard",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        dest="stream_guard",
        help="a field of the policy for tests that use the fixture stream_guard; may be repeated",
    )
    group.addoption(
        "--stream-guard-chaos",
        metavar="SEED",
        dest="stream_guard_chaos",
        help="guard every test, and break its first stream with a random fault that the guard recovers from; "
        "the same seed chooses the same faults",
    )
    parser.addini("stream_guard", "fields of the policy, FIELD=VALUE, one a line", type="linelist", default=[])
    parser.addini(
        f"stream_guard_{_ALL_FAULTS}", "fail a test whose planned faults did not all strike", type="bool", default=True
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and reject bad options before any test runs."""
    config.addinivalue_line(
        "markers",
        f"stream_guard(mode='on', chaos=True, {_ALL_FAULTS}=True, **fields): use the fixture stream_guard, with these "
        "fields of the policy",
    )
    if lines := [*config.getini("stream_guard"), *config.getoption("stream_guard")]:
        config.stash[_POLICY] = _policy_from(lines)
    if config.getoption("stream_guard_chaos") is not None:
        _start_watching(config)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Print the seed, so that the run can be repeated."""
    seed = config.getoption("stream_guard_chaos")
    return None if seed is None else f"stream_guard chaos: seed {seed}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let marked tests use the fixture, and keep their ids: pytest-xdist may append its groups to them later."""
    for item in items:
        item.stash[_TEST_ID] = item.nodeid
        names = getattr(item, "fixturenames", None)
        if names is not None and "stream_guard" not in names and item.get_closest_marker("stream_guard"):
            names.append("stream_guard")


class _Watcher:
    """Hooks around every test. They are registered when the first test needs them, so that other runs pay nothing."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run the test with chaos, if that is on, and fail it if it leaves a response open."""
        with ExitStack() as undo:
            seed = item.config.getoption("stream_guard_chaos")
            if seed is not None and _marker_fields(item).get("chaos", True):
                item.stash[_CHAOS] = undo.enter_context(_chaos(seed, item))
            guard, places = item.stash.get(_GUARD, None), []
            if guard is None:
                result = yield
            else:
                with _on_return(_code_of_function(item), lambda: places.extend(guard.close_left_open())):
                    result = yield
                places += guard.close_left_open()
        if guard is not None and not places and _expects_all_faults(item):
            try:
                guard.assert_all_faults_struck()
            except AssertionError as error:
                pytest.fail(f"{error}\n{_HOW_TO_ALLOW}", pytrace=False)
        if places:
            pytest.fail(
                f"the test leaves open the response of the stream made at {', and at '.join(places)}; "
                "read a stream to its end, close it, or put it into a `with` block",
                pytrace=False,
            )
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to the report of a failure what happened to its streams, and how to repeat it."""
        report = yield
        if report.failed and call.excinfo is not None:
            guard = item.stash.get(_GUARD, None)
            if guard is not None and guard.requests and guard.explain() not in str(call.excinfo.value):
                report.sections.append(("stream_guard", guard.explain()))
            chaos = item.stash.get(_CHAOS, None)
            if chaos is not None and chaos.description is not None:
                seed = item.config.getoption("stream_guard_chaos")
                text = f"seed {seed}: {chaos.description}\nrepeat it with: {_command(item, seed)}"
                report.sections.append(("stream_guard chaos", text))
        return report


def _start_watching(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin(_WATCHER):
        config.pluginmanager.register(_Watcher(), _WATCHER)


@pytest.fixture
def stream_guard(request: pytest.FixtureRequest) -> Iterator[StreamGuard]:
    """Guard the streams of this test: no waiting, no budget, no response left open, everything restored afterwards."""
    from . import Policy, activation
    from .testing.clock import Clock
    from .testing.harness import Harness, installed
    from .testing.stream_guard import StreamGuard

    _start_watching(request.config)
    fields = _marker_fields(request.node)
    fields.pop("chaos", None)
    fields.pop(_ALL_FAULTS, None)
    mode = fields.pop("mode", "on")
    if mode not in _MODES:
        raise pytest.UsageError(f"the marker stream_guard was given mode={mode!r}; must be 'on', 'off' or 'observe'")
    clock = Clock()
    harness = Harness(clock)
    with activation.restored(), installed(harness):
        policy: Policy = request.config.stash.get(_POLICY, Policy(retry_budget=None))
        activation.enable(policy.replace(**fields))
        guard = StreamGuard(harness, clock)
        guard.switch(mode)
        request.node.stash[_GUARD] = guard
        try:
            yield guard
        finally:
            guard.close_left_open()  # of a test that failed, which is not told so as well


def _code_of_function(item: pytest.Item) -> CodeType | None:
    """Return the code of the test, if that is an ordinary function, which runs from its call to its return."""
    code = getattr(getattr(item, "function", None), "__code__", None)
    return None if code is None or code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR | CO_GENERATOR) else code


@contextmanager
def _on_return(code: CodeType | None, action: Callable[[], None]) -> Iterator[None]:
    """Do something when this function returns, while its local variables still exist. Leaves a profiler alone."""
    if code is None or sys.getprofile() is not None:
        yield
        return

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is code:
            action()

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def _expects_all_faults(item: pytest.Item) -> bool:
    return bool(_marker_fields(item).get(_ALL_FAULTS, item.config.getini(f"stream_guard_{_ALL_FAULTS}")))


def _marker_fields(item: pytest.Item) -> dict[str, Any]:
    """Return the fields in the markers of a test; the nearest marker wins."""
    fields: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("stream_guard"))):
        if marker.args:
            raise pytest.UsageError(f"the marker stream_guard takes fields by name only, not {marker.args[0]!r}")
        fields |= marker.kwargs
    return fields


def _policy_from(lines: list[str]) -> Policy:
    """Return the policy that the lines describe. Raises `UsageError`."""
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


def _chaos(seed: str, item: pytest.Item) -> AbstractContextManager[Chaos]:
    """Return what guards this test, if it does not do so itself, and breaks its first stream."""
    from .testing.chaos import chaos

    return chaos(seed, item.stash.get(_TEST_ID, item.nodeid), guarded=item.stash.get(_GUARD, None) is not None)


def _command(item: pytest.Item, seed: str) -> str:
    """Return the command that runs this test alone with the same fault."""
    options = [word for field in item.config.getoption("stream_guard") for word in ("--stream-guard", field)]
    path, *names = item.stash.get(_TEST_ID, item.nodeid).split("::")
    file = os.path.relpath(item.config.rootpath / path, item.config.invocation_params.dir)
    return shlex.join(["pytest", *options, "--stream-guard-chaos", seed, "::".join([file, *names])])

"""The law: the pytest plugin does in an application's tests what README says. Most tests here are a pytest run."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.support.suites import HEAD, PLUGIN, ROOT, Run

pytestmark = pytest.mark.slow


def test_a_cut_is_survived_and_reported(suite: Run) -> None:
    """The example of the README: configure, cut, and the report says how the stream came out whole."""
    suite("""
def test_survives(stream_guard, server):
    stream_guard.configure(max_retries=2)
    whole = read(server)
    stream_guard.faults.cut(after_events=3)
    stream_guard.assert_whole(read(server), whole)
    stream_guard.assert_recovered(by="replay")
    assert [report.outcome for report in stream_guard.reports] == ["complete", "recovered"]
    assert stream_guard.reports[-1].recoveries == ["replay"]
    assert [sent.way for sent in stream_guard.requests] == [None, None, "replay"]
    assert stream_guard.sleeps == [0.5]
    assert len(server.requests) == 3

def test_fails(stream_guard, server):
    stream_guard.configure(max_retries=0)
    stream_guard.faults.cut(after_events=3)
    with pytest.raises(openai_stream_guard.OpenAIStreamParseError):
        read(server)
    stream_guard.assert_failed(fault="truncated")

def test_without(stream_guard, server):
    stream_guard.switch("off")
    whole = read(server)
    stream_guard.faults.cut(after_events=3)
    assert len(read(server)) < len(whole), "a silent loss"
    assert stream_guard.reports == []
""", passed=3)  # fmt: skip


def test_everything_is_restored(suite: Run) -> None:
    """After the test, a failed one too, the guard is off again, its policy untouched, and nothing is left to strike."""
    suite("""
from openai_stream_guard.observability import publish as logs
from openai_stream_guard.sdk import RUNTIME
from openai_stream_guard.transport import clock as timing

def test_first(stream_guard, server):
    assert openai_stream_guard.is_enabled()
    stream_guard.configure(max_retries=9, delivery="atomic")
    stream_guard.faults.cut(times=5)
    assert 0, "fails"

@pytest.mark.parametrize("again", range(2))
def test_second(server, again):
    assert not openai_stream_guard.is_enabled()
    assert activation.current_policy() == openai_stream_guard.Policy()
    assert (RUNTIME.test_hooks, logs.attached) == ([], [])
    assert type(timing.current) is timing.RealTime
    assert len(read(server)) > 50

def test_third(stream_guard, server):
    assert activation.current_policy().max_retries is None
    assert read(server)
    assert len(stream_guard.reports) == 1

def test_nested(stream_guard, server):
    with openai_stream_guard.guarding(max_retries=0):
        stream_guard.faults.cut()
        with pytest.raises(openai_stream_guard.OpenAIStreamParseError):
            read(server)
    stream_guard.faults.cut()
    assert read(server)
    openai_stream_guard.configure(on_event=None)
    openai_stream_guard.enable(openai_stream_guard.Policy(max_retries=7))
    assert read(server)
    assert len(stream_guard.reports) == 3, "an application that sets a policy of its own is reported too"
""", passed=4, failed=1)  # fmt: skip


def test_nothing_waits_and_hooks_are_kept(suite: Run) -> None:
    """No waiting and no budget in tests; an `on_event` of the test's own hears everything too."""
    suite("""
import time

def test_fast(stream_guard, server):
    heard = []
    stream_guard.configure(max_retries=20, on_event=heard.append, max_elapsed=1000)
    stream_guard.faults.cut(times=15)
    started = time.monotonic()
    read(server)
    took = time.monotonic() - started
    assert len(server.requests) == 16
    assert len(heard) == 15 + 15 + 1
    assert len(stream_guard.reports) == 1
    assert sum(stream_guard.sleeps) > 60 > 2 * took
""", passed=1)  # fmt: skip


def test_the_marker(suite: Run) -> None:
    """It brings the fixture along; the nearest one decides; what is wrong with it is told."""
    result = suite("""
@pytest.mark.stream_guard(max_retries=0)
def test_marked(server):
    assert activation.current_policy().max_retries == 0
    assert openai_stream_guard.is_enabled()

@pytest.mark.stream_guard(max_retries=3, repair="off")
class TestOfAClass:
    @pytest.mark.stream_guard(max_retries=1)
    def test_nearest(self, stream_guard):
        policy = activation.current_policy()
        assert (policy.max_retries, policy.repair, policy.retry_budget) == (1, "off", None)

@pytest.mark.stream_guard(mode="off")
def test_off():
    assert not openai_stream_guard.is_enabled()

@pytest.mark.stream_guard(max_retry=1)
def test_unknown(): pass

@pytest.mark.stream_guard(mode="maybe")
def test_mode(): pass

@pytest.mark.stream_guard(3)
def test_positional(): pass
""", "--strict-markers", passed=3, errors=3)  # fmt: skip
    result.stdout.fnmatch_lines_random(
        [
            "*Unknown setting 'max_retry'; did you mean 'max_retries'?*",
            "*the marker stream_guard was given mode='maybe'; must be 'on', 'off' or 'observe'*",
            "*the marker stream_guard takes fields by name only, not 3*",
        ]
    )


def test_defaults(suite: Run, pytester: pytest.Pytester) -> None:
    """Of the ini file, of the command line before it, of the marker before both."""
    pytester.makeini("[pytest]\nstream_guard =\n    max_retries = 5\n    delivery = atomic\n    backoff_initial=3")
    suite("""
def test_defaults(stream_guard):
    policy = activation.current_policy()
    assert (policy.max_retries, policy.delivery, policy.backoff_initial) == (4, "atomic", 3.0)

@pytest.mark.stream_guard(max_retries=1)
def test_marked():
    assert activation.current_policy().max_retries == 1
""", "--stream-guard", "max_retries=4", passed=2)  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("max_retries=-1", "stream_guard max_retries is '-1'; must be a whole number, 0 or more, or none."),
        ("max_retry=1", "Unknown setting 'max_retry'; did you mean 'max_retries'?"),
        ("atomic", "stream_guard is 'atomic'; must be FIELD=VALUE."),
    ],
)
def test_bad_options(suite: Run, bad: str, said: str) -> None:
    """One sentence, before any test has run."""
    result = suite("def test_it(): pass", "--stream-guard", bad)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])


def test_a_failure_tells_what_was_done(suite: Run) -> None:
    """The report of a failing test has a section with requests, attempts and faults."""
    result = suite("""
def test_fails(stream_guard, server):
    stream_guard.faults.cut(after_events=3)
    read(server)
    assert 0
""", failed=1)  # fmt: skip
    result.stdout.fnmatch_lines(
        [
            "* stream_guard *",
            "request 1: POST */chat/completions: status 200, cut(after_events=3)",
            "request 2: POST */chat/completions, sent again to replay: status 200",
            "stream 1: recovered by replay; 2 attempts, * events delivered",
            "*attempt 1: truncated after 3 events*",
        ]
    )


def test_a_response_left_open_fails_the_test(suite: Run) -> None:
    """With the line that asked for the stream; it is closed, and the tests after it are not troubled."""
    result = suite("""
kept = []

def ask(server):
    client = client_for(server)
    stream = client.chat.completions.create(model="m", messages=[], stream=True)  # the place
    kept.append((client, stream))
    return stream

def test_left_open(stream_guard, server):
    next(ask(server))

def test_left_open_without_the_guard(stream_guard, server):
    stream_guard.switch("off")
    ask(server)

def test_they_were_closed():
    assert [stream.response.is_closed for _, stream in kept] == [True, True]
    for client, _ in kept:
        client.close()

def test_a_failure_is_not_told_twice(stream_guard, server):
    next(ask(server))
    assert 0, "its own reason"
""", passed=1, failed=3)  # fmt: skip
    line = HEAD.count("\n") + 5
    result.stdout.fnmatch_lines(
        [f"*leaves open the response of the stream made at *.py:{line}; read a stream to its end*"]
    )
    assert result.stdout.str().count("leaves open the response") == 2


LEFT_IN_VARIABLES = """
def ask(server):
    return client_for(server).chat.completions.create(model="m", messages=[], stream=True)  # the place

@pytest.mark.parametrize("mode", ["on", "off", "observe"])
class TestEach:
    def test_read_in_part(self, stream_guard, server, mode):
        stream_guard.switch(mode)
        stream = ask(server)
        next(stream)

    def test_not_read(self, stream_guard, server, mode):
        stream_guard.switch(mode)
        stream = ask(server)

    def test_in_a_cycle(self, stream_guard, server, mode):
        stream_guard.switch(mode)
        stream = ask(server)
        stream.itself = stream
"""


def test_a_stream_left_in_a_local_variable_is_left_open(suite: Run) -> None:
    """The variable goes with the test: what it held is looked at before."""
    ignored = ("-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning")
    result = suite(LEFT_IN_VARIABLES, *ignored, failed=9)
    line = HEAD.count("\n") + 2
    told = re.findall(r"leaves open the response of the stream made at \S+\.py:(\d+); read", result.stdout.str())
    assert told == [str(line)] * 9


NEVER_STRUCK = """
def test_no_request(stream_guard, server):
    stream_guard.faults.cut(after_events=3)

def test_one_request_too_few(stream_guard, server):
    stream_guard.faults.cut(after_events=3)
    stream_guard.faults.refuse(status=503)
    stream_guard.configure(max_retries=0)
    with pytest.raises(openai_stream_guard.OpenAIStreamParseError):
        read(server)

def test_over_before(stream_guard, server):
    stream_guard.faults.cut(after_events=300)
    read(server)

@pytest.mark.stream_guard(assert_all_faults_struck=False)
def test_allowed(stream_guard, server):
    stream_guard.faults.cut(after_events=300)
    read(server)

def test_struck(stream_guard, server):
    stream_guard.faults.cut(after_events=3, times=9)
    stream_guard.faults.split(size=7, times=None)
    stream_guard.configure(max_retries=0)
    with pytest.raises(openai_stream_guard.OpenAIStreamParseError):
        read(server)

def test_its_own_reason(stream_guard, server):
    stream_guard.faults.cut(after_events=3)
    assert 0, "its own reason"
"""


@pytest.mark.timeout(240)
def test_a_planned_fault_that_never_struck_fails_the_test(suite: Run) -> None:
    """It says which and why, and how to allow it; a marker and an option do."""
    shown = suite(NEVER_STRUCK, passed=2, failed=4).stdout.str()
    assert "a planned fault never struck: cut(after_events=3): there was no request for it" in shown
    assert "a planned fault never struck: refuse(status=503): there was no request for it" in shown
    assert "a planned fault never struck: cut(after_events=300): the stream of request 1 was over, or left" in shown
    assert "its own reason" in shown
    assert "@pytest.mark.stream_guard(assert_all_faults_struck=False)" in shown
    suite(NEVER_STRUCK, "-o", "stream_guard_assert_all_faults_struck=false", passed=5, failed=1)


def test_an_earlier_stream_can_be_asserted_about(suite: Run) -> None:
    """By its place among the streams that have ended; the last one is meant where none is given."""
    result = suite("""
def test_two(stream_guard, server):
    stream_guard.faults.cut(after_events=3)
    read(server)
    read(server)
    stream_guard.assert_recovered(stream=0, by="replay")
    for stream, words in ((1, "stream 1 should have recovered, but it came out whole"), (-1, "the last stream"),
            (2, "stream 2 should have recovered, but only 2 have ended")):
        with pytest.raises(AssertionError, match=words):
            stream_guard.assert_recovered(stream=stream)
    stream_guard.configure(max_retries=0)
    stream_guard.faults.cut(after_events=3)
    with pytest.raises(openai_stream_guard.OpenAIStreamParseError):
        read(server)
    stream_guard.assert_failed(stream=2, fault="truncated")
    with pytest.raises(AssertionError, match="stream 0 should have failed, but it recovered"):
        stream_guard.assert_failed(stream=0)

def test_a_call_then_text(stream_guard, server):
    server.script("one_call", "text")
    client = client_for(server)
    reasons = []
    for _ in range(2):
        with client.chat.completions.create(model="m", messages=[], stream=True) as stream:
            reasons += [one.choices[0].finish_reason for one in stream if one.choices and one.choices[0].finish_reason]
    assert reasons == ["tool_calls", "stop"]
    client.close()
""", passed=2)  # fmt: skip
    assert result.ret == 0


NO_FALSE_ALARM = """
import gc

def ask(server, **options):
    client = client_for(server)
    return client.chat.completions.create(model="m", messages=[], stream=True, **options), client

@pytest.mark.parametrize("mode", ["on", "off", "observe"])
class TestEach:
    def test_read(self, stream_guard, server, mode):
        stream_guard.switch(mode)
        assert read(server)

    def test_closed(self, stream_guard, server, mode):
        stream_guard.switch(mode)
        stream, client = ask(server)
        next(stream)
        stream.close()
        client.close()

    def test_refused(self, stream_guard, server, mode):
        stream_guard.switch(mode)
        stream_guard.faults.refuse(status=400)
        with pytest.raises(openai.BadRequestError):
            ask(server)

    def test_dropped(self, stream_guard, server, mode):
        stream_guard.switch(mode)
        if mode == "off" and openai.__version__ < "3":
            pytest.skip("this SDK alone leaves a dropped stream open")
        stream, client = ask(server)
        next(stream)
        del stream
        client.close()

    def test_dropped_in_asyncio(self, stream_guard, server, mode):
        stream_guard.switch(mode)

        async def main():
            async with aclient_for(server) as client:
                async for one in await client.chat.completions.create(model="m", messages=[], stream=True):
                    break

        asyncio.run(main())
"""


def test_no_false_alarm(suite: Run) -> None:
    """Streams that were read, closed, refused or dropped are not left open."""
    result = suite(
        NO_FALSE_ALARM, "-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning"
    )
    assert result.ret == 0, result.stdout.str()


CHAOS = """
import hashlib

@pytest.mark.parametrize("number", range(6))
def test_healthy(server, number):
    assert read(server).endswith("graffiti.")

@pytest.mark.parametrize("number", range(2))
def test_with_the_fixture(stream_guard, server, number):
    assert read(server).endswith("graffiti.")
    assert stream_guard.reports[-1].outcome in ("complete", "recovered")

def test_with_faults_of_its_own(stream_guard, server):
    stream_guard.faults.cut(after_events=3)
    assert read(server)
    assert len(stream_guard.requests) == 2

@pytest.mark.stream_guard(chaos=False)
def test_without(stream_guard, server):
    assert read(server)
    assert len(stream_guard.requests) == 1
    assert stream_guard.requests[0].faults == ()
"""


def test_chaos(suite: Run) -> None:
    """A whole suite under faults by chance: what is healthy passes, and what is not is told with seed and fault."""
    result = suite(CHAOS, "--stream-guard-chaos", "autumn", passed=10)
    result.stdout.fnmatch_lines(["stream_guard chaos: seed autumn"])
    result = suite("def test_fails(server):\n    read(server)\n    assert 0", "--stream-guard-chaos", "7", failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- stream_guard chaos -*",
            "seed 7: *(*) on POST /v1/chat/completions",
            "repeat it with: pytest --stream-guard-chaos 7 test_chaos.py::test_fails",
        ]
    )


def test_chaos_needs_a_guard(suite: Run) -> None:
    """It is switched on for the test, and off after it; a test that switches it off is left alone."""
    suite("""
def test_on():
    assert openai_stream_guard.is_enabled()

def test_off(server):
    openai_stream_guard.disable()
    assert read(server).endswith("graffiti.")

@pytest.mark.stream_guard(chaos=False)
def test_not_at_all(stream_guard, server):
    stream_guard.switch("off")
    assert read(server).endswith("graffiti.")
""", "--stream-guard-chaos", "3", passed=3)  # fmt: skip


def test_chaos_is_told_of_failures_only(suite: Run) -> None:
    """A test that passes has nothing to say of it, whatever was done to its stream."""
    result = suite("def test_passes(server):\n    read(server)", "--stream-guard-chaos", "7", "-rA", passed=1)
    result.stdout.no_fnmatch_line("*stream_guard chaos -*")
    result.stdout.no_fnmatch_line("*repeat it with*")


def test_a_failing_assertion_tells_its_story_once(suite: Run) -> None:
    """The section of the report repeats nothing that the assertion has said."""
    result = suite("""
def test_fails(stream_guard, server):
    read(server)
    stream_guard.assert_recovered()
""", failed=1)  # fmt: skip
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: the last stream should have recovered, but it came out whole in one attempt",
            "E *request 1: POST http://*/chat/completions: status 200",
            "E *stream 1: complete; 1 attempt, * events delivered",
            "E *  attempt 1: no fault in * events and * bytes",
        ]
    )
    assert result.stdout.str().count("request 1: ") == 1


@pytest.mark.parametrize("mode", ["", "1"])
def test_a_plugin_that_is_not_used_only_does_what_the_environment_says(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """As if the application had imported the package: neither openai nor the fault kit comes with it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("OPENAI_STREAM_GUARD", mode)
    pytester.makepyfile(f"""
import sys

def test_it():
    assert "openai" not in sys.modules
    assert "openai_stream_guard.testing" not in sys.modules
    assert sys.modules["openai_stream_guard"].is_enabled() is {mode == "1"}
""")
    pytester.runpytest_subprocess("-p", PLUGIN).assert_outcomes(passed=1)


def test_the_package_may_be_imported_before_pytest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a start-up hook. Pytest, which rewrites the asserts of packages that bring a plugin, does not complain."""
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path}:{ROOT}")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    installed = pytester.mkdir("guard_as_a_wheel-1.dist-info")
    installed.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: guard-as-a-wheel\nVersion: 1\n")
    installed.joinpath("RECORD").write_text("openai_stream_guard/__init__.py,,\n")
    entry = f"[pytest11]\n{PLUGIN} = {PLUGIN}\n"
    installed.joinpath("entry_points.txt").write_text(entry)
    pytester.makepyfile("def test_it(stream_guard): pass")
    options = ["-W", "error::pytest.PytestAssertRewriteWarning", "-o", "asyncio_default_fixture_loop_scope=function"]
    code = f"import sys, openai_stream_guard, pytest; sys.exit(pytest.main({options!r}))"
    result = pytester.run(sys.executable, "-c", code)
    assert result.ret == 0, result.stderr.str()


def test_the_plugin_can_be_named_and_is_loaded_once(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `-p`, by `pytest_plugins`, or by both; and left out."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    test = "def test_it(stream_guard): pass"
    pytester.makepyfile(test)
    pytester.runpytest_subprocess("-p", PLUGIN).assert_outcomes(passed=1)
    pytester.makeconftest(f"pytest_plugins = [{PLUGIN!r}]")
    pytester.runpytest_subprocess("-p", PLUGIN).assert_outcomes(passed=1)
    pytester.makeconftest("")
    pytester.runpytest_subprocess("-p", f"no:{PLUGIN}").assert_outcomes(errors=1)


@pytest.mark.timeout(240)
def test_the_plugin_is_left_out_by_the_name_of_the_package(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is installed: loaded without being named, once where it is named too, and left out by either name."""
    installed = {entry.name: entry.value for entry in importlib.metadata.entry_points(group="pytest11")}
    if installed.get("openai_stream_guard") != "openai_stream_guard.pytest_entry":
        pytest.skip("the package is not installed, or from older sources: pip install -e . again")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    pytester.makepyfile("def test_it(stream_guard): pass")
    others = ("-p", "no:xdist", "-p", "no:randomly", "-p", "no:cacheprovider")
    for named in ((), ("-p", PLUGIN)):
        pytester.runpytest_subprocess(*others, *named).assert_outcomes(passed=1)
    for name in ("openai_stream_guard", PLUGIN):
        pytester.runpytest_subprocess(*others, "-p", f"no:{name}").assert_outcomes(errors=1)


def test_a_plugin_that_is_not_used_imports_little() -> None:
    """Loaded in every pytest run, it imports the package's switch and wrapt, and nothing else that is installed."""
    loaded = loaded_by(PLUGIN)
    strangers = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert strangers <= {"openai_stream_guard", "wrapt"}
    assert not any(
        name.startswith(("openai_stream_guard.testing", "openai_stream_guard.s")) for name in loaded - SWITCH
    )


SWITCH = {"openai_stream_guard.config.environment", "openai_stream_guard.activation"}


def loaded_by(module: str) -> set[str]:
    """What importing a module adds to what pytest has loaded."""
    code = (
        "import sys, pytest; before = set(sys.modules); "
        f"import {module}; print(*sorted(set(sys.modules) - before))"
    )  # fmt: skip
    command: list[Any] = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return set(done.stdout.split())

"""The law: the pytest plugin works beside others, whichever runs, orders, spreads or repeats the tests."""

from __future__ import annotations

import importlib.util
import shlex

import pytest

from tests.support.suites import Run

pytestmark = pytest.mark.slow


def has(module: str) -> pytest.MarkDecorator:
    """Run only beside a plugin that is installed."""
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed")


ASYNC = """
{head}
async def test_recovers(stream_guard, server):
    stream_guard.faults.cut(after_events=3)
    stream_guard.faults.refuse(retry_after=9)
    assert "Zürich" in await aread(server)
    stream_guard.assert_recovered(by="replay")
    assert stream_guard.sleeps == [0.5, 9.0]

{head}
async def test_left_open(stream_guard, server):
    client = aclient_for(server)
    global kept
    kept = await client.chat.completions.create(model="m", messages=[], stream=True)
"""
DROPPED = """
{head}
async def test_dropped(stream_guard, server):
    client = aclient_for(server)
    async for one in await client.chat.completions.create(model="m", messages=[], stream=True):
        break
    await client.close()
"""
CLOSED = """
def test_it_was_closed():
    assert kept.response.is_closed
"""


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_under_pytest_asyncio(suite: Run, mode: str) -> None:
    """In both of its modes; what was left open is closed in the loop that it belongs to."""
    tests = (ASYNC + DROPPED).format(head="@pytest.mark.asyncio" if mode == "strict" else "") + CLOSED
    options = ("-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function")
    result = suite(tests, *options, plugins=("pytest_asyncio.plugin",), passed=3, failed=1)
    result.stdout.fnmatch_lines(["*leaves open the response of the stream made at *"])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_under_anyios_plugin(suite: Run, backend: str) -> None:
    """On both of its backends. What is left open cannot be closed in a loop that is over, and is told all the same."""
    tests = ASYNC.format(head="@pytest.mark.anyio")
    fixture = f"\n@pytest.fixture\ndef anyio_backend(): return {backend!r}\n"
    # Trio tells of generators that the SDK drops half-read, see test_sdk_closing.py.
    quiet = ("-W", "ignore::ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning")
    result = suite(fixture + tests, *quiet, plugins=("anyio.pytest_plugin",), passed=1, failed=1)
    result.stdout.fnmatch_lines(["*leaves open the response of the stream made at *"])


def test_strictness(suite: Run, pytester: pytest.Pytester) -> None:
    """Nothing of the plugin is unknown to a pytest that is strict about markers and options."""
    pytester.makeini("[pytest]\nstream_guard = max_retries = 5\nxfail_strict = true")
    suite("""
@pytest.mark.stream_guard(max_retries=1)
def test_marked(server):
    assert read(server)

def test_plain(stream_guard):
    assert activation.current_policy().max_retries == 5
""", "--strict-markers", "--strict-config", passed=2)  # fmt: skip


def test_wider_fixtures(suite: Run) -> None:
    """It lasts for one test: pytest says so to a fixture that lasts longer; one that does not may build on it."""
    result = suite("""
@pytest.fixture(scope="module")
def of_the_module(stream_guard): pass

@pytest.fixture(scope="class")
def of_the_class(stream_guard): pass

@pytest.fixture
def impatient(stream_guard):
    stream_guard.configure(max_retries=0)
    return stream_guard

def test_module(of_the_module): pass

class TestClass:
    def test_class(self, of_the_class): pass

    def test_function(self, impatient, server):
        impatient.faults.cut(after_events=3)
        with pytest.raises(openai_stream_guard.OpenAIStreamParseError):
            read(server)
""", passed=1, errors=2)  # fmt: skip
    result.stdout.fnmatch_lines(
        [
            "ScopeMismatch: *function scoped fixture stream_guard with a module scoped request*",
            "ScopeMismatch: *function scoped fixture stream_guard with a class scoped request*",
        ]
    )


UNITTEST = """
import unittest

class TestReading(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def prepare(self, stream_guard, server):
        self.guard, self.server = stream_guard, server

    def test_recovers(self):
        self.guard.faults.cut(after_events=3)
        self.assertTrue(read(self.server).endswith("graffiti."))
        self.guard.assert_recovered()

    @pytest.mark.stream_guard(max_retries=0)
    def test_marked(self):
        self.guard.faults.cut(after_events=3)
        with self.assertRaises(openai.OpenAIStreamParseError):
            read(self.server)

    def test_healthy(self):
        self.assertTrue(read(self.server).endswith("graffiti."))

class TestPlain(unittest.TestCase):
    def test_by_itself(self):
        with Server() as server:
            self.assertTrue(read(server).endswith("graffiti."))

    def test_fails(self):
        with Server() as server:
            self.assertEqual(read(server), "")
"""


def test_of_unittest(suite: Run) -> None:
    """A `TestCase` is guarded, marked and struck by chance like any other test."""
    suite(UNITTEST, passed=4, failed=1)
    for seed in ("1", "2"):
        result = suite(UNITTEST, "--stream-guard-chaos", seed, passed=4, failed=1)
        result.stdout.fnmatch_lines([f"repeat it with: pytest --stream-guard-chaos {seed} *::TestPlain::test_fails"])


FAILING = """
@pytest.mark.parametrize("number", range(4))
def test_it(server, number):
    read(server)
    assert 0

@pytest.mark.xdist_group("one's own")
@pytest.mark.parametrize("name", ["a b", "it's", '$HOME "x"'])
class TestNamed:
    def test_it(self, server, name):
        read(server)
        assert 0
"""
OPTIONS = ("--stream-guard-chaos", "rainy day", "--stream-guard", "max_retries=3", "--strict-markers")


def told(result: pytest.RunResult) -> dict[str, str]:
    """What was done to each test that failed, by the command that shows it again."""
    lines = [line for line in result.outlines if line.startswith(("seed rainy day: ", "repeat it with: "))]
    assert [line[:9] for line in lines] == ["seed rain", "repeat it"] * (len(lines) // 2)
    return dict(zip(lines[1::2], lines[::2], strict=True))


@has("xdist")
@pytest.mark.timeout(240)
def test_chance_is_the_same_under_xdist(suite: Run) -> None:
    """In whatever process a test runs, and whatever group is put into its name; reports cross processes."""
    alone = told(suite(FAILING, *OPTIONS, plugins=("xdist",), failed=7))
    assert len(alone) == 7
    for spread in ("load", "loadfile", "loadgroup"):
        among = told(suite(FAILING, *OPTIONS, "-n", "2", "--dist", spread, plugins=("xdist",), failed=7))
        assert among == alone, spread


@has("pytest_randomly")
def test_chance_is_the_same_in_any_order(suite: Run) -> None:
    """Nor does pytest-randomly's seed matter, which it sets before each test."""
    plugins = ("xdist", "pytest_randomly")
    first, second = (
        told(suite(FAILING, *OPTIONS, "-p", "no:none", f"--randomly-seed={seed}", plugins=plugins, failed=7))
        for seed in "12"
    )
    assert list(first) != list(second), "another order"
    assert first == second


@has("pytest_rerunfailures")
def test_a_test_that_is_run_again(suite: Run) -> None:
    """Is struck again in the same way; its fixture begins anew."""
    result = suite("""
def test_unlucky(server):
    read(server)
    assert 0

def test_lucky_the_second_time(stream_guard, server, tmp_path_factory):
    stream_guard.faults.cut(after_events=3)
    read(server)
    assert len(stream_guard.reports) == 1
    mark = tmp_path_factory.getbasetemp() / "mark"
    seen = mark.exists()
    mark.touch()
    assert seen
""", *OPTIONS, "--reruns", "1", "-rR", plugins=("pytest_rerunfailures",))  # fmt: skip
    result.assert_outcomes(failed=1, passed=1)
    assert result.stdout.str().count("RERUN") >= 2
    assert len(told(result)) == 1


@has("xdist")
def test_what_is_told_can_be_pasted(suite: Run, pytester: pytest.Pytester) -> None:
    """Also from a folder below, with names and seeds that a shell would take apart."""
    pytester.makeini("[pytest]")
    first = told(suite(FAILING, *OPTIONS, plugins=("xdist",), failed=7))
    below = pytester.mkdir("below")
    loaded = ["-p", "openai_stream_guard.pytest_plugin", "-p", "xdist", "-p", "no:cacheprovider"]
    for command, fault in list(first.items())[-2:]:
        pytest_, *words = shlex.split(command.removeprefix("repeat it with: "))
        assert pytest_ == "pytest"
        again = pytester.runpytest_subprocess(*loaded, *words)
        again.assert_outcomes(failed=1)
        assert told(again) == {command: fault}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(below)
        from_below = pytester.runpytest_subprocess(*loaded, *OPTIONS, "../test_what_is_told_can_be_pasted.py")
        words = shlex.split(list(told(from_below))[-1].removeprefix("repeat it with: "))[1:]
        assert words[-1].startswith("../")
        pytester.runpytest_subprocess(*loaded, *words).assert_outcomes(failed=1)

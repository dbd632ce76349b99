"""The law: importing the guard does what its variable says and nothing else, in each order. Each test is a process."""

from __future__ import annotations

import os
import pickle
import re
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from openai_stream_guard import OpenAIStreamParseError

ROOT = Path(__file__).parents[2]
MAX_MILLISECONDS = 40.0
"""What the import may cost over wrapt's own."""
PATCHED = """
from openai._streaming import Stream, AsyncStream
from openai._base_client import SyncAPIClient, AsyncAPIClient
patched = [hasattr(vars(owner)[name], "__wrapped__") for owner, name in (
    (Stream, "__init__"), (AsyncStream, "__init__"), (SyncAPIClient, "request"),
    (AsyncAPIClient, "request"), (SyncAPIClient, "_process_response"), (AsyncAPIClient, "_process_response"))]
assert len(set(patched)) == 1
print("patched" if patched[0] else "stock")
"""


def python(code: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own; warnings are errors there too, unless options say otherwise."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_STREAM_GUARD")}
    return subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", textwrap.dedent(code)],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(code: str, *options: str, **environment: str) -> str:
    """What a program prints that must succeed and have nothing to complain of."""
    done = python(code, *options, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


ORDERS = {"guard first": "import openai_stream_guard, openai", "guard last": "import openai, openai_stream_guard"}


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("value", "state", "enabled"),
    [("1", "patched", True), ("observe", "patched", True), ("", "stock", False), ("off", "stock", False)],
)
def test_the_variable_decides_whichever_import_comes_first(order: str, value: str, state: str, enabled: bool) -> None:
    """With the guard asked for the SDK is patched, without it is untouched, and no warning is heard."""
    program = f"{ORDERS[order]}\n{PATCHED}\nprint(openai_stream_guard.is_enabled())"
    assert said(program, OPENAI_STREAM_GUARD=value).split() == [state, str(enabled)]


def test_an_unset_variable_leaves_the_sdk_alone() -> None:
    """Installed and imported but not asked for, the guard patches nothing."""
    assert said(f"import openai_stream_guard, openai\n{PATCHED}") == "stock"


@pytest.mark.parametrize("order", ORDERS)
def test_enabling_later_patches(order: str) -> None:
    """`enable()` works before and after `import openai`."""
    first, second = ORDERS[order].removeprefix("import ").split(", ")
    program = f"import openai_stream_guard\nimport {first}\nopenai_stream_guard.enable()\nimport {second}\n{PATCHED}"
    assert said(program) == "patched"


FIRST = (
    "from openai_stream_guard import OpenAIStreamParseError",
    "import openai_stream_guard; openai_stream_guard.OpenAIStreamParseError",
    "import openai_stream_guard; assert openai_stream_guard.report(object()) is None",
    "import openai_stream_guard; openai_stream_guard.enable()",
    "import openai; import openai_stream_guard",
    "import openai_stream_guard; import openai",
    "import openai; from openai_stream_guard import OpenAIStreamParseError",
    "from openai_stream_guard.errors import OpenAIStreamParseError",
    "import pickle; assert pickle.loads(%r).fault == 'truncated'",
)
AFTERWARDS = """
import openai, openai_stream_guard
from openai_stream_guard import activation
assert openai.OpenAIStreamParseError is openai_stream_guard.OpenAIStreamParseError
assert activation.unguarded_patch_points() == []
assert openai_stream_guard.is_enabled()
assert hasattr(openai._streaming.Stream.__init__, "__wrapped__")
"""
PICKLED = pickle.dumps(OpenAIStreamParseError("cut", fault="truncated"))


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST)
def test_the_first_import_does_not_matter(first: str) -> None:
    """The error's module imports openai, whose import names the error: neither may meet the other half made."""
    assert said(f"{first.replace('%r', repr(PICKLED))}\n{AFTERWARDS}", OPENAI_STREAM_GUARD="1") == ""


@pytest.mark.slow
@pytest.mark.parametrize("value", ["0", "1"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_error_can_be_imported_from_openai(order: str, value: str) -> None:
    """Switching the guard off never breaks an import that worked while it was on."""
    program = f"""
        {ORDERS[order]}
        from openai import OpenAI, OpenAIStreamParseError
        print(OpenAIStreamParseError is openai_stream_guard.OpenAIStreamParseError)
    """
    assert said(program, OPENAI_STREAM_GUARD=value) == "True"


@pytest.mark.parametrize("value", ["", "1"])
def test_importing_the_guard_imports_neither_openai_nor_an_http_library(value: str) -> None:
    """A program that never talks to OpenAI pays for nothing of it."""
    program = """
        import sys, openai_stream_guard
        print([name for name in ("openai", "httpx", "httpx2", "anyio", "pydantic") if name in sys.modules])
    """
    assert said(program, OPENAI_STREAM_GUARD=value) == "[]"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_STREAM_GUARD", "maybe"),
        ("OPENAI_STREAM_GUARD_MAX_RETRIES", "many"),
        ("OPENAI_STREAM_GUARD_DELIVERY", "x"),
    ],
)
def test_a_bad_value_stops_the_import_and_is_named(variable: str, value: str) -> None:
    """The error is a StreamGuardConfigError that names the variable, the value and what is allowed."""
    done = python("import openai_stream_guard", **{"OPENAI_STREAM_GUARD": "1", variable: value})
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "StreamGuardConfigError" in last
    for word in (variable, repr(value), "must be "):
        assert word in last


def test_a_bad_value_stops_a_command_with_one_sentence_and_exit_code_2() -> None:
    """Where the package is called as a command there is nobody to catch the exception."""
    done = subprocess.run(
        [sys.executable, "-m", "openai_stream_guard", "status"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_STREAM_GUARD": "maybe"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "OPENAI_STREAM_GUARD is 'maybe'" in done.stderr


def test_a_bad_value_is_no_matter_while_the_guard_is_off() -> None:
    """A mistake in a setting cannot stop a program that does not use the guard."""
    assert said("import openai_stream_guard; print('ok')", OPENAI_STREAM_GUARD_MAX_RETRIES="many") == "ok"


PATCH_POINTS = [
    "_base_client.SyncAPIClient.request", "_base_client.AsyncAPIClient.request",
    "_base_client.SyncAPIClient._process_response", "_base_client.AsyncAPIClient._process_response",
    "_streaming.Stream.__init__", "_streaming.AsyncStream.__init__",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("patch_point", PATCH_POINTS)
def test_a_removed_patch_point_leaves_a_working_unguarded_sdk(patch_point: str) -> None:
    """One warning names the SDK's version and what is missing, and `import openai` works."""
    module, owner, method = patch_point.split(".")
    program = f"""
        import warnings
        import openai, openai._base_client, openai._streaming
        del openai.{module}.{owner}.{method}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import openai_stream_guard
            openai_stream_guard.enable()
            openai_stream_guard.enable()
        (warning,) = caught
        told = str(warning.message)
        print(warning.category.__name__, openai.__version__ in told, "{patch_point}" in told)
        print(openai_stream_guard.is_enabled())
        from openai import OpenAI, OpenAIStreamParseError
        print(OpenAI(api_key="k").api_key)
        patched = [vars(owner).get(name) for owner, name in (
            (openai.Stream, "__init__"), (openai._base_client.SyncAPIClient, "request"))]
        print([hasattr(patch_point, "__wrapped__") for patch_point in patched])
    """
    lines = said(program, OPENAI_STREAM_GUARD="1")
    assert lines.splitlines() == ["StreamGuardWarning True True", "False", "k", "[False, False]"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("removal", "missing"),
    [
        ("del openai._streaming.Stream._iter_events", ["_streaming.Stream._iter_events"]),
        ("del openai._streaming.Stream", ["_streaming.Stream.__init__", "_streaming.Stream._iter_events"]),
        ("del openai._streaming.SSEDecoder.iter_bytes", ["_streaming.SSEDecoder.iter_bytes"]),
    ],
)
def test_status_tells_of_a_removed_patch_point(removal: str, missing: list[str]) -> None:
    """`openai-stream-guard status` names what is missing, and fails."""
    code, states = status(f"import openai._streaming; {removal}", "-W", "ignore", OPENAI_STREAM_GUARD="1")
    assert (code, states) == (
        1,
        {**dict.fromkeys(PATCH_POINTS, "not guarded"), **dict.fromkeys(missing, "missing")},
    )


@pytest.mark.slow
def test_status_tells_of_a_removed_module() -> None:
    """Not even the module of the patch point has to be there for the command to say so."""
    gone = 'import openai, sys; sys.modules["openai._streaming"] = None'
    code, states = status(gone, "-W", "ignore", OPENAI_STREAM_GUARD="1")
    assert (code, list(states.values())) == (1, ["not guarded"] * 4 + ["missing"] * 8)


@pytest.mark.parametrize(
    ("value", "state"), [("1", "guarded"), ("observe", "observed"), ("0", "not guarded"), ("", "not guarded")]
)
def test_status_of_a_healthy_install(value: str, state: str) -> None:
    """The command as a user types it: every patch point is in the state that the variable asks for, and all is well."""
    done = subprocess.run(
        [sys.executable, "-m", "openai_stream_guard", "status"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_STREAM_GUARD": value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert states_in(done.stdout) == dict.fromkeys(PATCH_POINTS, state)


@pytest.mark.slow
def test_status_sees_the_guard_under_other_wrappers() -> None:
    """Those of `wrapt` and of `functools.wraps`, and both on one method."""
    others = """
        import functools, openai_stream_guard, openai, wrapt
        def pass_on(wrapped, instance, args, kwargs):
            return wrapped(*args, **kwargs)
        for owner, name in ((openai.Stream, "__init__"), (openai._base_client.SyncAPIClient, "request")):
            wrapt.wrap_function_wrapper(owner, name, pass_on)
        for owner, name in ((openai.Stream, "__init__"), (openai.AsyncStream, "__init__")):
            def other(*args, inner=vars(owner)[name], **kwargs):
                return inner(*args, **kwargs)
            setattr(owner, name, functools.wraps(vars(owner)[name])(other))
    """
    assert status(others, OPENAI_STREAM_GUARD="1") == (0, dict.fromkeys(PATCH_POINTS, "guarded"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    ["lambda stream, **given: None", "functools.wraps(original)(lambda *args, **given: original(*args, **given))"],
)
def test_status_tells_where_other_code_replaced_the_guard(other: str) -> None:
    """Whether or not it calls the SDK's own method, and looks like a wrapper around it."""
    program = f"""
        import functools, openai
        original = openai.Stream.__init__
        import openai_stream_guard
        openai.Stream.__init__ = {other}
    """
    expected = {**dict.fromkeys(PATCH_POINTS, "guarded"), "_streaming.Stream.__init__": "replaced"}
    assert status(program, OPENAI_STREAM_GUARD="1") == (1, expected)


def test_status_says_what_the_process_does_and_not_what_its_environment_asks_for() -> None:
    """What has been patched and switched off is not guarded."""
    program = "import openai_stream_guard, openai; openai_stream_guard.disable()"
    assert status(program, OPENAI_STREAM_GUARD="1") == (0, dict.fromkeys(PATCH_POINTS, "not guarded"))


@pytest.mark.slow
@pytest.mark.parametrize("module", ["openai", "openai_stream_guard.sdk"])
@pytest.mark.parametrize(("value", "code"), [("1", 1), ("0", 0)])
def test_status_where_nothing_can_be_guarded(module: str, value: str, code: int) -> None:
    """One line says so, and no traceback: openai is not installed, or lacks what the guard imports from it."""
    program = f'import sys, warnings\nwarnings.simplefilter("ignore")\nsys.modules["{module}"] = None\n{STATUS}'
    done = python(program, OPENAI_STREAM_GUARD=value)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith("openai cannot be guarded (")
    assert states_in(done.stdout) == {}
    assert ("NOT guarded" in done.stdout) is bool(code)


STATUS = "from openai_stream_guard.cli import main\nraise SystemExit(main(['status']))"


def status(before: str, *options: str, **environment: str) -> tuple[int, dict[str, str]]:
    """The exit code of the command and the states it tells, in a process that has run other code before."""
    done = python(f"{textwrap.dedent(before)}\n{STATUS}", *options, **environment)
    assert done.stderr == ""
    assert ("NOT guarded" in done.stdout) is (done.returncode == 1)
    return done.returncode, states_in(done.stdout)


def states_in(printed: str) -> dict[str, str]:
    """Patch point → state."""
    lines = printed.partition("patch points\n")[2].partition("policy\n")[0].splitlines()
    return {name.removeprefix("openai."): state for state, name in (re.split(r"  +", line.strip()) for line in lines)}


def test_a_hook_that_fails_does_not_stop_the_import() -> None:
    """Whatever goes wrong in the guard's own hook, `import openai` succeeds with one warning."""
    program = """
        import sys, warnings
        import openai_stream_guard
        sys.modules["openai_stream_guard.sdk"] = None  # as if it could not be imported
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import openai
        print([one.category.__name__ for one in caught], openai.OpenAI(api_key="k").api_key)
        print(openai_stream_guard.is_enabled())
    """
    assert said(program, OPENAI_STREAM_GUARD="1").splitlines() == ["['StreamGuardWarning'] k", "False"]


def test_the_import_is_cheap() -> None:
    """
    The guard's own import costs less than 40 ms over wrapt's.

    The median of seven processes, each of which measures both; what a busy machine adds is no cost of ours.
    """
    program = """
        import time
        start = time.process_time()
        import wrapt
        between = time.process_time()
        import openai_stream_guard
        print((time.process_time() - between) * 1000)
    """
    costs = [float(said(program, OPENAI_STREAM_GUARD="1")) for _ in range(7)]
    assert statistics.median(costs) < MAX_MILLISECONDS, costs

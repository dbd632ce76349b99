"""The law: plans step aside for another SDK or pydantic, a replaced function, and a client that validates."""

from __future__ import annotations
import __future__

import functools
import logging
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import Any

import openai
import pydantic
import pytest
from openai import BaseModel, OpenAI
from openai.types.chat import ChatCompletionChunk

from openai_stream_guard.items import NOT_BUILT
from openai_stream_guard.sdk import items, known_functions
from openai_stream_guard.sdk.items import ItemPlans
from openai_stream_guard.sdk.known_functions import FUNCTIONS, KnownFunction

PACKAGE = Path(__file__).parents[3]
MODELS: Any = openai._models
PROCESS = KnownFunction("openai._base_client", known_functions.PROCESS_RESPONSE_DATA, frozenset()).find()
CLIENT = OpenAI(api_key="none")


def plans() -> ItemPlans:
    """Plans as a process that has just begun would have them."""
    fresh = ItemPlans()
    fresh.process_response_data = getattr(PROCESS, "__wrapped__", PROCESS)
    return fresh


def test_plans_are_in_use_on_every_release_of_the_matrix() -> None:
    """This one, with this pydantic, has nothing against them."""
    status = plans().status()
    assert (status.in_use, status.reason, status.differences) == (True, None, ())
    assert plans().for_stream(CLIENT, ChatCompletionChunk).status.in_use


def test_looking_at_the_sdk_takes_two_milliseconds_at_most() -> None:
    """It happens in the first guarded request of a process."""

    def seconds() -> float:
        fresh, started = plans(), time.process_time()
        fresh.look()
        return time.process_time() - started

    assert min(seconds() for _ in range(9)) < 0.002


@pytest.fixture(
    params=[function for function in FUNCTIONS if function.find() is not None], ids=lambda known: known.path
)
def function(request: pytest.FixtureRequest) -> KnownFunction:
    """Each function that plans stand for."""
    known: KnownFunction = request.param
    return known


def put(patch: pytest.MonkeyPatch, fresh: ItemPlans, function: KnownFunction, instead: Any) -> None:
    """Put another function in the place of one of the SDK's."""
    owner, _, name = function.path.rpartition(".")
    module = sys.modules[function.module]
    if function.path == known_functions.PROCESS_RESPONSE_DATA:
        fresh.process_response_data = instead
    else:
        method = isinstance(vars(getattr(module, owner)).get(name), classmethod) if owner else False
        patch.setattr(getattr(module, owner) if owner else module, name, classmethod(instead) if method else instead)


def original(fresh: ItemPlans, function: KnownFunction) -> Any:
    """The SDK's own."""
    return fresh._find(function)


def test_a_wrapper_is_no_function_of_the_sdk(function: KnownFunction, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though Python shows the source of the wrapped function for its own."""
    fresh = plans()
    put(
        monkeypatch,
        fresh,
        function,
        functools.wraps(found := original(fresh, function))(lambda *a, **k: found(*a, **k)),
    )
    status = fresh.status()
    assert not status.in_use
    assert function.path in str(status.reason)
    assert not fresh.for_stream(CLIENT, ChatCompletionChunk).status.in_use


def test_the_same_code_in_another_module_is_no_function_of_the_sdk(
    function: KnownFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may look up other names."""
    fresh = plans()
    found = original(fresh, function)
    put(monkeypatch, fresh, function, FunctionType(found.__code__, {}, found.__name__, found.__defaults__))
    assert function.path in str(fresh.status().reason)


def test_a_function_that_says_what_it_wraps_is_no_function_of_the_sdk(
    function: KnownFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it the very same code in the very same module."""
    fresh = plans()
    found = original(fresh, function)
    wrapping = FunctionType(found.__code__, found.__globals__, found.__name__, found.__defaults__, found.__closure__)
    wrapping.__wrapped__ = found  # type: ignore[attr-defined] # as `functools.wraps` sets it
    put(monkeypatch, fresh, function, wrapping)
    assert function.path in str(fresh.status().reason)


class Posing:
    """An object with all attributes of a function, as some mocks have."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def test_an_object_that_poses_as_a_function_is_none_of_the_sdk(
    function: KnownFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it says of its code."""
    fresh = plans()
    put(monkeypatch, fresh, function, Posing(original(fresh, function)))
    assert function.path in str(fresh.status().reason)


def test_code_of_another_file_is_none_of_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it was run in the SDK's module, and says the same, line for line."""
    function = next(known for known in FUNCTIONS if known.path == "build")
    fresh = plans()
    copied = tmp_path / "_models.py"
    copied.write_text(Path(MODELS.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    whole = compile(copied.read_text(encoding="utf-8"), str(copied), "exec", flags=__future__.annotations.compiler_flag)
    (code,) = [part for part in whole.co_consts if getattr(part, "co_name", None) == "build"]
    found = original(fresh, function)
    assert code.co_code == found.__code__.co_code
    put(monkeypatch, fresh, function, FunctionType(code, found.__globals__, "build", found.__defaults__))
    assert function.path in str(fresh.status().reason)


def test_a_function_that_a_release_has_not_is_known_where_it_was_not_there_before() -> None:
    """And in its place nothing else is."""
    absent = known_functions.known("_models", "never_there", known_functions.ABSENT)
    assert absent.knows(absent.find(), {})
    gone = known_functions.known("_models", "never_there", "0123456789ab")
    assert not gone.knows(gone.find(), {})


def test_a_function_that_is_replaced_later_ends_plans(function: KnownFunction, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the next stream on, until it is put back."""
    fresh = plans()
    assert fresh.status().in_use
    with monkeypatch.context() as patch:
        stock = original(fresh, function)
        put(patch, fresh, function, lambda *a, **k: None)
        assert fresh.status().reason == f"{function.name} has been replaced"
        assert not fresh.for_stream(CLIENT, ChatCompletionChunk).status.in_use
    put(monkeypatch, fresh, function, stock)
    assert fresh.status().in_use


def test_the_name_that_the_client_calls_counts_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """`_base_client` has imported `construct_type` under its own name."""
    fresh = plans()
    assert fresh.status().in_use
    monkeypatch.setattr(openai._base_client, "construct_type", lambda **k: None)
    assert fresh.status().reason == "openai._base_client.construct_type has been replaced"


def test_a_function_that_says_something_else_is_not_known(
    function: KnownFunction, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A release that nobody has tested is named, with what it changed, and logged once."""
    table = tuple(replace(known, digests=frozenset()) if known == function else known for known in FUNCTIONS)
    monkeypatch.setattr(items, "FUNCTIONS", table)
    fresh = plans()
    with caplog.at_level(logging.DEBUG, "openai_stream_guard"):
        reasons = {fresh.status().reason for _ in range(3)}
    assert reasons == {f"openai {openai.__version__}, as it is here, was not tested: {function.path}"}
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_a_digest_tells_any_change_but_that_of_a_comment(tmp_path: Path) -> None:
    """Also one in the last line, and none in what follows the function."""

    def told(text: str) -> str:
        path = tmp_path / "module.py"
        path.write_text(text, encoding="utf-8")
        found: dict[str, Any] = {}
        exec(compile(text, str(path), "exec"), found)
        return known_functions.digest(found["work"], {})

    first = (
        "import abc\n\n@abc.abstractmethod\ndef work(\n    a: int,\n) -> int:\n    b = a\n\n    return b\n\n\nc = 1\n"
    )
    same = [
        first.replace("    b = a\n", "    # why\n    b = a  # type: ignore[assignment]\n"),
        first.replace("c = 1", "c = 2"),
        first.replace("import abc\n", "import abc\n\n\n"),
    ]
    other = [
        first.replace("return b", "return a"),
        first.replace("b = a\n", "b = a  # a string's '#' is no comment\n"),
        first.replace("a: int,\n", "a: int,\n    d: int = 1,\n"),
        first.replace("    return b\n", "    return b\n    return 1\n"),
    ]
    assert {told(text) for text in same} == {told(first)}
    assert told(first) not in {told(text) for text in other}


@pytest.mark.parametrize("error", [FileNotFoundError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "")])
def test_an_sdk_without_source_is_left_alone(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program that was frozen, or protected."""

    def missing(*arguments: Any, **named: Any) -> Any:
        raise error

    monkeypatch.setattr(known_functions, "open", missing, raising=False)
    reason = plans().status().reason
    assert reason == f"the functions of openai {openai.__version__} cannot be read ({type(error).__name__})"


@pytest.mark.parametrize(("module", "path"), [("_models", "Gone.construct"), ("_gone", "build")])
def test_an_sdk_of_another_shape_is_left_alone(module: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class or a module that a release to come may not have any more."""
    monkeypatch.setattr(items, "FUNCTIONS", (*FUNCTIONS, known_functions.known(module, path, "0123456789ab")))
    assert "cannot be read" in str(plans().status().reason)


@pytest.mark.parametrize("version", ["1.10.21", "2.3.0", "2.15.0a1", "2.15.0", "3.0"])
def test_a_pydantic_that_was_not_tested_is_left_alone(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older or newer, pre-releases included."""
    monkeypatch.setattr(pydantic, "VERSION", version)
    assert plans().status().reason == f"pydantic {version} was not tested, only 2.4 to 2.14"


def test_a_pydantic_that_does_not_tell_its_plugins_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no public way to ask for them."""
    monkeypatch.setitem(sys.modules, "pydantic.plugin._loader", None)
    assert plans().status().reason == f"pydantic {pydantic.VERSION} does not say whether it has plugins"


def test_a_pydantic_plugin_is_not_passed_by(tmp_path: Path) -> None:
    """It sees every validation: a real one, found by its entry point, in a process of its own."""
    plugin = """
        class Plugin:
            def new_schema_validator(self, *arguments, **named):
                return None, None, None
        plugin = Plugin()
    """
    (tmp_path / "looker.py").write_text(textwrap.dedent(plugin))
    folder = tmp_path / "looker-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: looker\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[pydantic]\nlooker = looker:plugin\n")
    program = """
        import openai
        from openai_stream_guard.sdk.items import ItemPlans
        print(ItemPlans().status().reason)
    """
    environment = {"PYTHONPATH": f"{tmp_path}:{PACKAGE}"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "a pydantic plugin looks on\n"


def test_a_client_that_validates_gets_the_sdks_items() -> None:
    """It asked to be told where a response is not as it should be."""
    strict = OpenAI(api_key="none", _strict_response_validation=True)
    assert plans().for_stream(strict, ChatCompletionChunk).status.reason == "the client validates responses strictly"


class Built(BaseModel):
    """A class that builds its items itself, as the SDK allows."""

    @classmethod
    def build(cls, **arguments: Any) -> Any:
        """Its own."""


@pytest.mark.parametrize("item_type", [Built, object, str, dict[str, int], int | str, [], None, "Later"])
def test_items_of_another_type_are_left_to_the_sdk(item_type: Any) -> None:
    """Whatever a program casts its streams to."""
    fresh = plans()
    for _ in range(2):
        assert fresh.for_stream(CLIENT, item_type).build({"x": 1}) is NOT_BUILT


def test_a_program_that_makes_classes_as_it_goes_fills_no_memory() -> None:
    """Beyond so many types of items the SDK builds, as before."""
    fresh = plans()
    types = [pydantic.create_model(f"Made{number}", __base__=BaseModel) for number in range(items.MAX_ITEM_TYPES + 9)]
    built = [fresh.for_stream(CLIENT, item_type).status.in_use for item_type in types]
    assert built == [True] * items.MAX_ITEM_TYPES + [False] * 9
    assert fresh.for_stream(CLIENT, types[0]).status.in_use


@pytest.mark.parametrize("data", [None, [], "text", 1, {}, {"type": 1}, {"type": "unknown"}, {"type": ["x"]}])
def test_data_that_no_plan_is_for_is_left_to_the_sdk(data: Any) -> None:
    """It may be no object at all, or of a kind that this SDK does not know."""
    union = getattr(openai.types, "responses", None) or openai.types.beta
    event = getattr(union, "ResponseStreamEvent", None) or getattr(union, "AssistantStreamEvent")  # noqa: B009 - mypy knows one of them
    build = plans().for_stream(CLIENT, event).build
    assert [build(data) for _ in range(3)] == [NOT_BUILT] * 3


def test_a_difference_is_one_warning_and_in_the_status(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It names the place and the versions, and no word of the answer."""
    fresh = plans()
    build = fresh.for_stream(CLIENT, ChatCompletionChunk).build
    construct_type = MODELS.construct_type
    planner: Any = fresh._planner
    monkeypatch.setattr(
        planner, "plan", lambda _: lambda value: construct_type(value={**value, "id": 1}, type_=ChatCompletionChunk)
    )
    items_built = [build({"id": "secret", "choices": []}) for _ in range(5)]
    assert items_built[1].id == "secret"
    assert items_built[2:] == [NOT_BUILT] * 3
    (record,) = caplog.records
    place = "ChatCompletionChunk.id is a int and not a str"
    assert record.levelname == "WARNING"
    assert place in record.getMessage()
    assert f"openai {openai.__version__} and pydantic {pydantic.VERSION}" in record.getMessage()
    assert "secret" not in caplog.text
    assert fresh.status().differences == (place,)

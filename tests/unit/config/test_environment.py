"""The law: every field can be set by its variable, and a variable that sets nothing is told about."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import warnings
from pathlib import Path

import pytest

from openai_stream_guard.config import environment
from openai_stream_guard.config import policy as policy_module
from openai_stream_guard.config.environment import StreamGuardWarning, read_mode, read_settings
from openai_stream_guard.config.policy import SETTINGS, Policy, StreamGuardConfigError

README = Path(__file__).parents[3] / "README.md"


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        *[(text, "on") for text in ("1", "true", "on", "yes", "YES", " On ")],
        *[(text, "off") for text in ("0", "false", "off", "no", "No", "", " ")],
        ("observe", "observe"),
        ("Observe", "observe"),
    ],
)
def test_mode_is_read(text: str, mode: str) -> None:
    """The variable has three meanings, each in the words people use for it."""
    assert read_mode({"OPENAI_STREAM_GUARD": text}) == mode


def test_unset_is_off() -> None:
    """Nobody is guarded who has not asked for it."""
    assert read_mode({}) == "off"


@pytest.mark.parametrize("text", ["2", "enabled", "on,off", "sk-0123456789"])
def test_bad_mode_is_refused(text: str) -> None:
    """A mode that is none is an error that names the variable, and shows no key put there by mistake."""
    with pytest.raises(StreamGuardConfigError, match=r"^OPENAI_STREAM_GUARD is '.*'; must be 1, true,") as caught:
        read_settings({"OPENAI_STREAM_GUARD": text})
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize("mode", ["on", "observe"])
def test_policy_and_its_sources_are_read(mode: str) -> None:
    """What the variables say is in the policy, and it is told which fields they set."""
    settings = read_settings(
        {"OPENAI_STREAM_GUARD": mode, "OPENAI_STREAM_GUARD_REPAIR": "off", "OPENAI_STREAM_GUARD_CAPTURE": ""}
    )
    assert settings.mode == mode
    assert settings.policy == Policy(repair="off")
    assert settings.given == {"repair"}


@pytest.mark.parametrize("mode", [{}, {"OPENAI_STREAM_GUARD": "0"}])
def test_nothing_else_is_read_when_off(mode: dict[str, str]) -> None:
    """Switched off, no variable of ours can stop or disturb a program."""
    environ = {**mode, "OPENAI_STREAM_GUARD_MAX_RETRIES": "x", "OPENAI_STREAM_GUARD_RETRIES": "3"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings = read_settings(environ)
    assert settings.policy == Policy()
    assert settings.given is None


def test_unknown_variable_is_told_about() -> None:
    """A misspelt variable is a warning with the nearest name, and its value stays out of it."""
    with pytest.warns(StreamGuardWarning) as caught:
        read_settings({"OPENAI_STREAM_GUARD": "1", "OPENAI_STREAM_GUARD_MAX_RETRY": "secret"})
    assert [str(warning.message) for warning in caught] == [
        "OPENAI_STREAM_GUARD_MAX_RETRY is not a setting of openai-stream-guard; "
        "did you mean 'OPENAI_STREAM_GUARD_MAX_RETRIES'?"
    ]


def test_variables_of_others_are_left_alone() -> None:
    """Only what carries our prefix is ours."""
    environ = {
        "OPENAI_STREAM_GUARD": "1",
        "OPENAI_API_KEY": "k",
        "OPENAI_STREAM_GUARDIAN": "x",
        "MAX_RETRIES": "9",
    }
    assert read_settings(environ).policy == Policy()


def test_environment_is_the_process_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the settings are those of the process."""
    monkeypatch.setenv("OPENAI_STREAM_GUARD", "1")
    monkeypatch.setenv("OPENAI_STREAM_GUARD_DELIVERY", "atomic")
    assert read_settings().policy.delivery == "atomic"


def test_readme_table_is_the_code() -> None:
    """README's settings table says of each field what the code says: default, allowed values, meaning."""
    table = README.read_text(encoding="utf-8").partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == _expected_rows()


def _expected_rows() -> list[str]:
    meanings = _attribute_docstrings(Policy)
    return [
        f"| `{name}` | `{_as_text(field.default)}` | {SETTINGS[name].expected} | {meanings[name]} |"
        for name, field in Policy.__dataclass_fields__.items()
    ]


def _as_text(value: object) -> str:
    """`value` as its variable would spell it."""
    match value:
        case None | ():
            return "none"
        case tuple():
            return ",".join(value)
        case bool():
            return str(value).lower()
        case int() if value and value % (1 << 20) == 0:
            return f"{value >> 20} MiB"
        case _:
            return str(value)


def test_table_defaults_are_what_the_variables_read() -> None:
    """Each default, spelt as README does, is read back as the default."""
    for field in dataclasses.fields(Policy):
        assert SETTINGS[field.name].parse(_as_text(field.default)) == field.default


def _attribute_docstrings(cls: type) -> dict[str, str]:
    """The string below each annotated attribute, on one line."""
    tree = ast.parse(inspect.getsource(policy_module))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    found = {}
    for statement, following in itertools.pairwise(body):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = re.sub(r"\s+", " ", text).strip()
    return found


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"CONTINUATION": "vllm"}, "continuation has no effect, since recovery does not name 'continue'"),
        ({"BACKGROUND_HOSTS": "a"}, "background_hosts has no effect, since background is 'as_requested'"),
        (
            {"BACKGROUND": "always", "RECOVERY": "restart"},
            "background is 'always', which is of no use where recovery does not name 'resume'",
        ),
        ({"RECOVERY": "continue"}, "recovery names 'continue', which has no effect without continuation"),
        ({"BACKOFF_INITIAL": "9"}, "backoff_initial is never waited, since backoff_max is 8 s"),
    ],
)
def test_useless_combinations_are_told_once(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no effect is a warning, the first time; what goes together is none."""
    monkeypatch.setattr(environment, "_warned", set())
    environ = {"OPENAI_STREAM_GUARD": "1"} | {f"OPENAI_STREAM_GUARD_{name}": value for name, value in variables.items()}
    with pytest.warns(StreamGuardWarning) as caught:
        assert read_settings(environ) == read_settings(environ)
    assert [str(warning.message) for warning in caught] == [f"openai-stream-guard: {told}"]
    together = Policy(continuation="vllm", recovery=("continue",), backoff_initial=9.0, backoff_max=9.0)
    assert together.useless_combinations == []

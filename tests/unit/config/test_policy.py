"""The law: every policy that exists is valid, and a bad value is refused in one sentence that names it."""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
from collections.abc import Sequence
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_stream_guard.config.policy import SETTINGS, Policy, PolicyFields, StreamGuardConfigError
from tests.support.any_json import any_json

json_values = any_json("error", "code", "type", "status", "message")


def test_every_field_is_checked() -> None:
    """No field goes without a kind, nor a kind without its field."""
    assert list(SETTINGS) == [field.name for field in dataclasses.fields(Policy)]


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("max_retries", 0, 0),
        ("max_retries", None, None),
        ("backoff_max", 3, 3.0),
        ("recovery", "none", ()),
        ("recovery", (), ()),
        ("recovery", ["replay", "restart"], ("replay", "restart")),
        ("recovery", "Restart, stateful,restart", ("restart", "stateful")),
        ("continuation", "vllm", "vllm"),
        ("continuation", print, print),
        ("lenient_hosts", "LOCALHOST:8000", ("localhost:8000",)),
        ("lenient_hosts", ["[::1]:80", "gpu.internal"], ("[::1]:80", "gpu.internal")),
        ("background_hosts", "GPU.internal:8000", ("gpu.internal:8000",)),
        ("retry_budget", None, None),
        ("retry_budget", 0, 0.0),
    ],
)
def test_allowed_value_is_stored_in_its_plain_form(field: str, value: object, stored: object) -> None:
    """However a value is written, the policy holds one form of it."""
    assert getattr(Policy().replace(**{field: value}), field) == stored


def test_path_is_stored_as_text(tmp_path: Any) -> None:
    """A path object and its text make equal policies."""
    assert Policy(capture=tmp_path) == Policy(capture=str(tmp_path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 2.0),
        ("max_retries", True),
        ("max_retries", "2"),
        ("backoff_initial", -0.1),
        ("backoff_initial", math.nan),
        ("backoff_max", math.inf),
        ("backoff_max", 10**400),
        ("max_elapsed", None),
        ("max_elapsed", False),
        ("recovery", "retry"),
        ("recovery", ("none", "replay")),
        ("recovery", None),
        ("recovery", ("restart", 1)),
        ("recovery", {"restart"}),
        ("continuation", "openai"),
        ("continuation", 1),
        ("delivery", "Live"),
        ("delivery", []),
        ("max_held_bytes", 0),
        ("max_held_bytes", 1.5),
        ("idle_timeout", 0),
        ("first_event_timeout", "5"),
        ("repair", None),
        ("end_rule", "none"),
        ("background", "never"),
        ("background", True),
        ("background_hosts", "https://localhost"),
        ("lenient_hosts", "https://localhost"),
        ("lenient_hosts", ("a b",)),
        ("lenient_hosts", ""),
        ("retry_budget", -1),
        ("max_event_bytes", -5),
        ("items", "plans"),
        ("on_event", "print"),
        ("log_raw", 1),
        ("capture", b"captures"),
        ("capture", ""),
        ("capture", "a\0b"),
    ],
)
def test_bad_value_is_refused_in_one_sentence(field: str, value: object) -> None:
    """A value that is not allowed never makes a policy; the error names the field and what is allowed."""
    with pytest.raises(StreamGuardConfigError) as caught:
        Policy(**{field: value})
    assert str(caught.value).startswith(f"{field} is ")
    assert str(caught.value).endswith(f"; must be {SETTINGS[field].expected}.")


def test_the_removed_repair_says_what_to_use() -> None:
    """Who had set `lenient` reads that it is gone, and what remains."""
    with pytest.raises(StreamGuardConfigError) as caught:
        Policy.from_env({"OPENAI_STREAM_GUARD_REPAIR": "Lenient"})
    assert str(caught.value) == (
        "OPENAI_STREAM_GUARD_REPAIR is 'Lenient' (removed, since it guessed at answer text: "
        "'safe' raises what it cannot repair); must be 'safe' or 'off'."
    )


def test_keyword_arguments_are_typed_as_the_fields_are() -> None:
    """`PolicyFields` has the fields of the dataclass, in its types; tuples may be given as any sequence."""
    fields = {name: Sequence[str] if kind == tuple[str, ...] else kind for name, kind in get_type_hints(Policy).items()}
    assert get_type_hints(PolicyFields) == fields
    assert list(get_type_hints(PolicyFields)) == [field.name for field in dataclasses.fields(Policy)]


@pytest.mark.parametrize("secret", ["sk-proj-0123456789", "Bearer 0123456789", "https://me:0123456789@host"])
def test_refusal_shows_no_credential(secret: str) -> None:
    """A key that someone put into the wrong variable does not reach a log."""
    with pytest.raises(StreamGuardConfigError) as caught:
        Policy().replace(delivery=secret)
    assert "0123456789" not in str(caught.value)


def test_refusal_of_a_foreign_object_shows_its_type_only() -> None:
    """What a stranger's repr would print, or raise, stays out of the message."""

    class Stranger:
        def __repr__(self) -> str:
            raise AssertionError("asked for its repr")

    for value in (Stranger(), (Stranger(),), int("9" * 4000) ** 2):
        with pytest.raises(StreamGuardConfigError, match=r"delivery is <\w+>;"):
            Policy().replace(delivery=value)


@given(st.sampled_from(sorted(SETTINGS)), json_values)
def test_what_is_accepted_is_accepted_again(field: str, value: object) -> None:
    """Any value makes a policy or one `StreamGuardConfigError`, and a policy's own values make it again."""
    try:
        policy = Policy().replace(**{field: value})
    except StreamGuardConfigError:
        return
    assert policy.replace(**{field: getattr(policy, field)}) == policy


def test_replace_leaves_the_original_alone() -> None:
    """A policy is a value: a change is a new one."""
    policy = Policy()
    assert policy.replace(max_retries=5, repair="off").max_retries == 5
    assert policy == Policy()
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.max_retries = 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("max_retry", "Unknown setting 'max_retry'; did you mean 'max_retries'?"),
        ("zzz", f"Unknown setting 'zzz'; must be one of {', '.join(sorted(SETTINGS))}."),
    ],
)
def test_unknown_field_is_refused_with_what_is_known(name: str, said: str) -> None:
    """A misspelt field is an error that says what was probably meant, or what there is."""
    with pytest.raises(StreamGuardConfigError) as caught:
        Policy().replace(**{name: 1})
    assert str(caught.value) == said


def test_policy_and_its_error_pickle() -> None:
    """Both cross a process boundary unchanged."""
    policy = Policy(max_retries=1, recovery=("replay",))
    assert pickle.loads(pickle.dumps(policy)) == policy
    error = pickle.loads(pickle.dumps(StreamGuardConfigError("max_retries is -1.")))
    assert (type(error), str(error)) == (StreamGuardConfigError, "max_retries is -1.")


def _environment(**fields: str) -> dict[str, str]:
    return {f"OPENAI_STREAM_GUARD_{name.upper()}": text for name, text in fields.items()}


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("max_retries", "3", 3),
        ("max_retries", "None", None),
        ("backoff_initial", " 0.25 ", 0.25),
        ("recovery", "none", ()),
        ("recovery", "restart, replay", ("restart", "replay")),
        ("continuation", "PREFILL", "prefill"),
        ("continuation", "builtins:print", print),
        ("delivery", "Atomic", "atomic"),
        ("max_held_bytes", "1048576", 1 << 20),
        ("max_held_bytes", "2 MiB", 2 << 20),
        ("max_event_bytes", "1gib", 1 << 30),
        ("idle_timeout", "none", None),
        ("idle_timeout", "30", 30.0),
        ("lenient_hosts", "localhost:8000,gpu.internal", ("localhost:8000", "gpu.internal")),
        ("lenient_hosts", "none", ()),
        ("background", "Always", "always"),
        ("background_hosts", "a:1,b", ("a:1", "b")),
        ("retry_budget", "none", None),
        ("on_event", "os.path:join", os.path.join),
        ("log_raw", "YES", True),
        ("log_raw", "off", False),
        ("capture", "/var/captures", "/var/captures"),
        ("capture", "none", None),
        ("max_retries", "", None),
        ("repair", "  ", "safe"),
    ],
)
def test_text_is_read(field: str, text: str, value: object) -> None:
    """Every field can be written as text; an empty variable is as good as none."""
    assert getattr(Policy.from_env(_environment(**{field: text})), field) == value


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("max_retries", "two", ""),
        ("max_retries", "2.5", ""),
        ("max_retries", "9" * 5000, ""),
        ("backoff_max", "inf", ""),
        ("backoff_max", "nan", ""),
        ("max_elapsed", "none", ""),
        ("max_held_bytes", "16 MB", ""),
        ("max_held_bytes", "-1", ""),
        ("delivery", "none", ""),
        ("log_raw", "maybe", ""),
        ("on_event", "print", ""),
        ("on_event", "no_such_module:hook", " (importing it raised ModuleNotFoundError)"),
        ("on_event", "os:no_such_hook", " (importing it raised AttributeError)"),
        ("on_event", "not a name:hook", " (importing it raised ValueError)"),
        ("on_event", "os:name", ""),
        ("continuation", "builtins:", ""),
    ],
)
def test_bad_text_names_its_variable(field: str, text: str, reason: str) -> None:
    """A bad variable is an error that names it, its value, why, and what is allowed."""
    with pytest.raises(StreamGuardConfigError) as caught:
        Policy.from_env(_environment(**{field: text}))
    message = str(caught.value)
    assert message.startswith(f"OPENAI_STREAM_GUARD_{field.upper()} is '{text[:70]}")
    assert message.endswith(f"{reason}; must be {SETTINGS[field].expected}.")


def test_failed_import_stays_the_cause() -> None:
    """Who configured a hook that does not import can see why."""
    with pytest.raises(StreamGuardConfigError) as caught:
        Policy.from_env(_environment(on_event="no_such_module:hook"))
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_environment_is_the_process_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from_env` without an argument reads the variables of now, not those of the import."""
    monkeypatch.setenv("OPENAI_STREAM_GUARD_MAX_RETRIES", "7")
    assert Policy.from_env().max_retries == 7

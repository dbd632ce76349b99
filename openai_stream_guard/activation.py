"""Whether streams are guarded, and by which policy: switched for the process, and changed for a block of code.

The SDK is patched once, when openai has been imported, and stays patched: enabling and disabling changes a setting, so
another library's wrapper around the guard's is never removed.

The variable `OPENAI_STREAM_GUARD` is read when this package is imported. Where it is unset then, it is read once more
when a client is first made, since programs load their `.env` file after their imports.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields as fields_of
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import wrapt

from .config.environment import MODE_VARIABLE, Mode, Settings, StreamGuardWarning, read_settings, warn_of_useless
from .config.fields import StreamGuardConfigError
from .config.policy import Policy
from .imports import watch_imports

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .config.policy import PolicyFields

_ERRORS = "openai_stream_guard.errors"
"""Imports openai, whose import in turn asks for this module: what needs both waits until this one is complete."""
_SDK = "openai_stream_guard.sdk"

_settings = Settings("off", Policy(), None)
_scoped: ContextVar[Policy | None] = ContextVar("openai_stream_guard_policy", default=None)
_openai: ModuleType | None = None
"""The openai that was imported last."""
_patched = False
_unguarded: list[str] = []
_variable_is_unset = False
"""`OPENAI_STREAM_GUARD` was unset, nothing has been switched since, and no client has been made."""


def enable(policy: Policy | None = None, **fields: Unpack[PolicyFields]) -> None:
    """Guard every stream requested from now on.

    Args:
        policy: the policy of the process from now on; None keeps the one that is set, by variables or `configure`.
        fields: settings to change in it.

    Raises:
        TypeError: if `policy` is not a `Policy`.
        StreamGuardConfigError: if a field is unknown or has an invalid value.
    """
    _switch("on", policy, fields)


def observe(policy: Policy | None = None, **fields: Unpack[PolicyFields]) -> None:
    """Judge, log and report every stream requested from now on, and change nothing.

    Arguments and exceptions are those of `enable`.
    """
    _switch("observe", policy, fields)


def disable() -> None:
    """Leave streams requested from now on to the SDK alone. Open ones stay guarded."""
    _apply(replace(_settings, mode="off"))


def is_enabled() -> bool:
    """Whether a stream requested now would be guarded or observed."""
    return _settings.mode != "off" and not _unguarded and sys.modules.get("openai") in (None, _openai)


def configure(**fields: Unpack[PolicyFields]) -> Policy:
    """Change fields of the process's policy, and return it.

    Raises:
        StreamGuardConfigError: if a field is unknown or has an invalid value.
    """
    global _settings
    policy = _settings.policy.replace(**fields)
    warn_of_useless(policy, stacklevel=2)
    _settings = replace(_settings, policy=policy)
    return policy


@contextmanager
def guarding(**fields: Unpack[PolicyFields]) -> Iterator[Policy]:
    """Change fields of the policy for the requests made inside the `with` block, in this context only.

    Raises:
        StreamGuardConfigError: if a field is unknown or has an invalid value.
    """
    policy = current_policy().replace(**fields)
    warn_of_useless(policy, stacklevel=4)
    token = _scoped.set(policy)
    try:
        yield policy
    finally:
        _scoped.reset(token)


@contextmanager
def restored() -> Iterator[None]:
    """Undo after the `with` block whatever was switched or learnt about servers inside it."""
    global _settings
    settings = _settings
    try:
        yield
    finally:
        _settings = settings
        if _patched and not _unguarded:
            from .sdk import RUNTIME

            RUNTIME.hosts.forget()


def current_policy() -> Policy:
    """Return the policy that a request made here and now would be guarded by."""
    return _scoped.get() or _settings.policy


def current_mode() -> Mode:
    """Return `off`, `on` or `observe`."""
    return _settings.mode


def unguarded_patch_points() -> list[str]:
    """Return what the installed SDK lacks of what the guard needs; empty where it has all, or is not imported."""
    return list(_unguarded)


def how_items_are_built() -> str:
    """Say whether the items of a stream requested now would be built by plans, and if not, why."""
    if _settings.mode != "on":
        return f"built by the SDK ({'nothing is guarded' if _settings.mode == 'off' else 'streams are only observed'})"
    if current_policy().items == "sdk":
        return "built by the SDK (items is 'sdk')"
    from .sdk import plans_status

    status = plans_status()
    return "built by plans" if status.in_use else f"built by the SDK ({status.reason})"


def start() -> None:
    """Read the environment, and wait for openai to be imported. Called once, by `import openai_stream_guard`.

    Raises:
        StreamGuardConfigError: for a variable with an invalid value; a command exits with 2 and says so instead.
    """
    global _settings, _variable_is_unset
    try:
        _settings = read_settings()
    except StreamGuardConfigError as error:
        if not _is_command():
            raise
        print(f"openai-stream-guard: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    _variable_is_unset = not os.environ.get(MODE_VARIABLE, "").strip()
    wrapt.register_post_import_hook(_on_errors, _ERRORS)
    watch_imports("openai", _on_openai)


def guard_by_default() -> None:
    """Guard, unless the environment says not to: for the doors that only those open who want the guard.

    Processes that this one starts find the variable set. Raises `StreamGuardConfigError` for an invalid value.
    """
    if not os.environ.get(MODE_VARIABLE, "").strip():
        _apply(read_settings(mode="on"))
        os.environ[MODE_VARIABLE] = "1"


def _switch(mode: Literal["on", "observe"], policy: object, fields: PolicyFields) -> None:
    settings = _settings if _settings.given is not None else _without_losing_changes(read_settings(mode=mode))
    if policy is None:
        policy = settings.policy
    elif not isinstance(policy, Policy):
        kind, function = type(policy).__name__, "enable" if mode == "on" else mode
        raise TypeError(f"{function}() takes a Policy, or settings as keyword arguments; not an object of type {kind}")
    policy = policy.replace(**fields)
    warn_of_useless(policy, stacklevel=3)
    _apply(replace(settings, mode=mode, policy=policy))


def _apply(settings: Settings) -> None:
    global _settings, _variable_is_unset
    _settings, _variable_is_unset = settings, False
    if settings.mode != "off" and _ERRORS in sys.modules:  # else it is patched as soon as that is imported
        wrapt.register_post_import_hook(_patch, _ERRORS)


def _is_command() -> bool:
    """Whether this import happens because the command was called: then nobody is there to catch an exception."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return name.startswith("openai-stream-guard") or (name == "-m" and "openai_stream_guard" in sys.orig_argv)


def _on_openai(openai: ModuleType) -> None:
    """Load the error's module, whose hook does the rest when it is complete, though its own import may be under way.

    openai may be removed from `sys.modules` and imported anew. Then its classes are others, and so are the guard's.
    """
    global _openai, _patched
    if openai is _openai:
        return
    if _openai is not None:
        for name in [name for name in sys.modules if name in (_ERRORS, _SDK) or name.startswith(f"{_SDK}.")]:
            del sys.modules[name]
        _patched = False
        _unguarded.clear()
        wrapt.register_post_import_hook(_on_errors, _ERRORS)
    _openai = openai
    try:
        importlib.import_module(_ERRORS)
    except Exception as error:  # an exception here would stop `import openai`
        _unguarded.append(f"an error class ({type(error).__name__}: {error})")
        _warn(openai, f"streams are not guarded, since it lacks {_unguarded[-1]}")


def _on_errors(errors: Any) -> None:
    """Make `from openai import OpenAIStreamParseError` work, guarded or not, and patch the SDK if that is asked for."""
    errors.openai.OpenAIStreamParseError = errors.OpenAIStreamParseError
    if _settings.mode != "off":
        _patch(errors)
    elif _variable_is_unset:
        _wait_for_client(errors)


def _wait_for_client(errors: Any) -> None:
    """Read the variable once more when a client is first made."""
    try:
        base_client = errors.openai._base_client.BaseClient
        original = base_client.__init__
    except AttributeError:
        return

    def on_client(wrapped: Callable[..., None], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _variable_is_unset and os.environ.get(MODE_VARIABLE, "").strip():
            _apply(_without_losing_changes(read_settings()))
        _stop_waiting()
        wrapped(*args, **kwargs)

    def _stop_waiting() -> None:
        global _variable_is_unset
        _variable_is_unset = False
        if vars(base_client)["__init__"] is wrapper:  # else somebody has wrapped it since
            base_client.__init__ = original

    wrapper = wrapt.wrap_function_wrapper(base_client, "__init__", on_client)


def _without_losing_changes(settings: Settings) -> Settings:
    """Return these settings with the fields of the policy that the program has changed by `configure`."""
    now, default = _settings.policy, Policy()
    changed: Any = {
        field.name: getattr(now, field.name)
        for field in fields_of(Policy)
        if getattr(now, field.name) != getattr(default, field.name)
    }
    return replace(settings, policy=settings.policy.replace(**changed))


def _patch(errors: Any) -> None:
    """Patch the SDK, unless it lacks something: then openai works unguarded, and one warning says so."""
    global _patched
    if _patched:
        return
    _patched = True
    try:
        sdk = importlib.import_module(_SDK)  # not the attribute of this package: that may be of an earlier openai
        _unguarded.extend(sdk.missing_patch_points())
        if not _unguarded:
            sdk.patch(_guarding)
    except Exception as error:  # an exception here would stop `import openai`
        _unguarded.append(f"{type(error).__name__}: {error}")
    if _unguarded:
        _warn(errors.openai, f"streams are not guarded, since it lacks {', '.join(_unguarded)}")


def _guarding() -> Any:
    """Return how a request made here and now is guarded; None for not at all."""
    from .sdk.requests import Guarding

    return None if _settings.mode == "off" else Guarding(current_policy(), _settings.mode == "observe")


def _warn(openai: ModuleType, what: str) -> None:
    version = getattr(openai, "__version__", "of unknown version")
    warnings.warn(f"openai-stream-guard does not fit openai {version}: {what}", StreamGuardWarning, stacklevel=2)

"""Whether streams are guarded, and by which policy: on and off, process-wide and for a while.

The seams are wrapped once, when openai has been imported, and stay wrapped: enabling and disabling flips a flag, so
that another library's wrapper around ours is never torn out.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import wrapt

from .config.environment import MODE_VARIABLE, Mode, Settings, StreamGuardWarning, read_settings
from .config.fields import StreamGuardConfigError
from .config.policy import Policy

_ERRORS = "openai_stream_guard.errors"
"""Imports openai, whose import in turn asks for this module: what needs both waits until this one is whole."""

_settings = Settings("off", Policy(), {})
_scoped: ContextVar[Policy | None] = ContextVar("openai_stream_guard_policy", default=None)
_patched = False
_unguarded: list[str] = []


def enable(policy: Policy | None = None) -> None:
    """Guard every stream requested from now on, by `policy` or by the one set before."""
    _set("on", policy or _settings.policy)


def disable() -> None:
    """Leave streams requested from now on to the SDK alone. Open ones stay guarded."""
    _set("off", _settings.policy)


def observe() -> None:
    """Judge, log and report streams requested from now on, and change nothing."""
    _set("observe", _settings.policy)


def is_enabled() -> bool:
    """Whether a stream requested now would be guarded (or observed)."""
    return _settings.mode != "off" and not _unguarded


def configure(**fields: Any) -> Policy:
    """Change fields of the process's policy; return it. Raises `StreamGuardConfigError` for a bad one."""
    policy = _settings.policy.replace(**fields)
    _set(_settings.mode, policy)
    return policy


@contextmanager
def guarding(**fields: Any) -> Iterator[Policy]:
    """Change fields of the policy for the requests made inside the `with` block, in this context only."""
    policy = current_policy().replace(**fields)
    token = _scoped.set(policy)
    try:
        yield policy
    finally:
        _scoped.reset(token)


@contextmanager
def restored() -> Iterator[None]:
    """Whatever is switched or learnt about servers inside the `with` block is forgotten after it."""
    global _settings
    settings = _settings
    try:
        yield
    finally:
        _settings = settings
        if _patched and not _unguarded:
            from .sdk import HOSTS

            HOSTS.forget()


def current_policy() -> Policy:
    """The policy that a request made here and now would be guarded by."""
    return _scoped.get() or _settings.policy


def current_mode() -> Mode:
    """`off`, `on` or `observe`."""
    return _settings.mode


def unguarded_patch_points() -> list[str]:
    """What the installed SDK lacks of what the guard needs; empty where all is well or openai is not imported."""
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


def _set(mode: Mode, policy: Policy) -> None:
    global _settings
    _settings = Settings(mode, policy, _settings.sources)
    if mode != "off":
        wrapt.register_post_import_hook(_patch, _ERRORS)


def start() -> None:
    """Read the environment, and wait for openai to be imported. Called once, by `import openai_stream_guard`.

    Raises:
        StreamGuardConfigError: for a variable with a bad value; as a command, the process exits with 2 and says so.
    """
    global _settings
    try:
        _settings = read_settings()
    except StreamGuardConfigError as error:
        if not _is_command():
            raise
        print(f"openai-stream-guard: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    wrapt.register_post_import_hook(_name_the_error, _ERRORS)
    if _settings.mode != "off":
        wrapt.register_post_import_hook(_patch, _ERRORS)
    wrapt.register_post_import_hook(_load_the_error, "openai")


def guard_by_default() -> None:
    """Guard, unless the environment says not to: for the doors that only those open who want the guard.

    Processes that this one starts find the variable set. Raises `StreamGuardConfigError` for one with a bad value.
    """
    global _settings
    if not os.environ.get(MODE_VARIABLE, "").strip():
        _settings = read_settings({**os.environ, MODE_VARIABLE: "1"})
        _set(_settings.mode, _settings.policy)
        os.environ[MODE_VARIABLE] = "1"


def _is_command() -> bool:
    """Whether this import happens because the command was called: then nobody is there to catch an exception."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return name.startswith("openai-stream-guard") or (name == "-m" and "openai_stream_guard" in sys.orig_argv)


def _load_the_error(openai: Any) -> None:
    """Nothing else to do where it is the error's own module that imports openai: its hooks run when it is whole."""
    try:
        importlib.import_module(_ERRORS)
    except Exception as error:  # an exception here would stop `import openai`
        _unguarded.append(f"an error class ({type(error).__name__}: {error})")
        _warn(openai, f"streams are not guarded, since it lacks {_unguarded[-1]}")


def _name_the_error(errors: Any) -> None:
    """Make `from openai import OpenAIStreamParseError` work, guarded or not."""
    errors.openai.OpenAIStreamParseError = errors.OpenAIStreamParseError


def _patch(errors: Any) -> None:
    """Wrap the seams, unless one is missing: then openai works unguarded, and one warning says so."""
    global _patched
    if _patched:
        return
    _patched = True
    try:
        from . import sdk

        _unguarded.extend(sdk.missing_patch_points())
        if not _unguarded:
            sdk.patch(_how)
    except Exception as error:  # an exception here would stop `import openai`
        _unguarded.append(f"{type(error).__name__}: {error}")
    if _unguarded:
        _warn(errors.openai, f"streams are not guarded, since it lacks {', '.join(_unguarded)}")


def _how() -> Any:
    from .sdk.requests import Guarding

    return None if _settings.mode == "off" else Guarding(current_policy(), _settings.mode == "observe")


def _warn(openai: Any, what: str) -> None:
    version = getattr(openai, "__version__", "of unknown version")
    warnings.warn(f"openai-stream-guard does not fit openai {version}: {what}", StreamGuardWarning, stacklevel=2)

"""What the environment variables ask for: whether to guard streams, and with which policy.

This module only reads; `activation` acts. With the guard off it reads one variable, so that a mistake in another cannot
stop a program that does not use the guard.
Tests hold: every field can be set by its variable, and an unknown variable is a warning.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping
from typing import Literal

from ..records import Record
from .fields import InvalidValue, checked, suggestion
from .policy import ENVIRONMENT_PREFIX, SETTINGS, Policy, read_environment

MODE_VARIABLE = "OPENAI_STREAM_GUARD"

Mode = Literal["off", "on", "observe"]

_warned: set[str] = set()

_MODES: Mapping[str, Mode] = {
    **dict.fromkeys(("1", "true", "on", "yes"), "on"),
    **dict.fromkeys(("", "0", "false", "off", "no"), "off"),
    "observe": "observe",
}


class StreamGuardWarning(UserWarning):
    """The guard is not set up as its user probably expects. Nothing has failed."""


class Settings(Record):
    """The mode and the policy that the environment asks for."""

    mode: Mode
    policy: Policy
    given: Collection[str] | None
    """The fields of the policy that variables set; None with the guard off, when they were not read."""


def read_mode(environ: Mapping[str, str] | None = None) -> Mode:
    """Return what `OPENAI_STREAM_GUARD` asks for; unset and empty mean off. Raises `StreamGuardConfigError`."""
    text = (os.environ if environ is None else environ).get(MODE_VARIABLE, "")
    return checked(_mode, text, MODE_VARIABLE, "1, true, on or yes; observe; or 0, false, off or no")


def read_settings(environ: Mapping[str, str] | None = None, *, mode: Mode | None = None) -> Settings:
    """
    Return the settings that the environment describes; with the guard off, the defaults.

    Args:
        environ: the environment; None for that of the process.
        mode: in place of what `OPENAI_STREAM_GUARD` asks for.

    Raises `StreamGuardConfigError` for an invalid value. An unknown variable is a `StreamGuardWarning`.
    """
    if environ is None:  # not as the default: `help()` would print it
        environ = os.environ
    mode = read_mode(environ) if mode is None else mode
    if mode == "off":
        return Settings(mode, Policy(), None)
    _warn_of_unknown(environ)
    given = read_environment(environ)
    policy = Policy().replace(**given)
    warn_of_useless(policy, stacklevel=3)
    return Settings(mode, policy, frozenset(given))


def warn_of_useless(policy: Policy, *, stacklevel: int) -> None:
    """Warn of settings that have no effect as they are combined, once in a process for each combination."""
    for sentence in policy.useless_combinations:
        if sentence not in _warned:
            _warned.add(sentence)
            warnings.warn(f"openai-stream-guard: {sentence}", StreamGuardWarning, stacklevel=stacklevel + 1)


def _mode(text: str) -> Mode:
    mode = _MODES.get(text.strip().lower())
    if mode is None:
        raise InvalidValue
    return mode


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    known = [ENVIRONMENT_PREFIX + name.upper() for name in SETTINGS]
    for variable in environ:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            message = f"{variable} is not a setting of openai-stream-guard{suggestion(variable, known)}"
            warnings.warn(message, StreamGuardWarning, stacklevel=3)

"""What the environment asks for: whether to guard, and with which policy.

Reads, and never acts: `switch` does. With the guard off it reads one variable, so that a mistake in another
cannot stop a program that does not use it.
The law: every field can be set by its variable, and a variable that sets nothing is told about.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .fields import NotAllowed, checked, suggestion
from .policy import ENVIRONMENT_PREFIX, KINDS, Policy, read_environment

MODE_VARIABLE = "OPENAI_STREAM_GUARD"

Mode = Literal["off", "on", "observe"]
Source = Literal["default", "environment"]

_MODES: Mapping[str, Mode] = {
    **dict.fromkeys(("1", "true", "on", "yes"), "on"),
    **dict.fromkeys(("", "0", "false", "off", "no"), "off"),
    "observe": "observe",
}


class StreamGuardWarning(UserWarning):
    """Something about the guard is not as its user will expect, and nothing has failed."""


@dataclass(frozen=True)
class Settings:
    """What the environment says, and for each field of the policy whether it said so."""

    mode: Mode
    policy: Policy
    sources: Mapping[str, Source]


def read_mode(environ: Mapping[str, str] = os.environ) -> Mode:
    """What `OPENAI_STREAM_GUARD` asks for; unset and empty are off. Raises `StreamGuardConfigError`."""
    text = environ.get(MODE_VARIABLE, "")
    return checked(_mode, text, MODE_VARIABLE, "1, true, on, yes; observe; 0, false, off, no")


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """
    The settings that the environment describes; with the guard off, the defaults.

    Raises `StreamGuardConfigError` for a bad value and warns of a variable that is none of ours.
    """
    mode = read_mode(environ)
    given = {}
    if mode != "off":
        _warn_of_unknown(environ)
        given = read_environment(environ)
    sources: dict[str, Source] = {name: "environment" if name in given else "default" for name in KINDS}
    return Settings(mode, Policy(**given), sources)


def _mode(text: str) -> Mode:
    mode = _MODES.get(text.strip().lower())
    if mode is None:
        raise NotAllowed
    return mode


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    known = [ENVIRONMENT_PREFIX + name.upper() for name in KINDS]
    for variable in environ:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            message = f"{variable} is no setting of openai-stream-guard{suggestion(variable, known)}"
            warnings.warn(message, StreamGuardWarning, stacklevel=3)

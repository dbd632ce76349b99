"""`status`: what is guarded in this process, as the SDK's classes show it, and not as the guard's own flags say."""

from __future__ import annotations

import argparse
import os
from typing import Final

from .. import activation
from ..config.environment import MODE_VARIABLE, Mode, read_settings
from ..config.policy import ENVIRONMENT_PREFIX, SETTINGS

SUMMARY = "show what is guarded, in which SDK, and where each setting comes from"
_PATCHED: Final[dict[Mode, str]] = {"on": "guarded", "observe": "observed", "off": "not guarded"}
"""The state of a patch point that has the guard's wrapper."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `status`: there are none."""


def run(arguments: argparse.Namespace) -> int:
    """Print the status; return 1 if the guard is on, or observes, and does not see every stream."""
    mode = activation.current_mode()
    try:
        import openai

        states = _patch_points(mode)
    except ImportError as error:
        print(f"openai cannot be guarded ({error})")
        states = []
    else:
        print(f"openai {openai.__version__}")
    print(f"mode   {mode}  ({MODE_VARIABLE}={os.environ.get(MODE_VARIABLE, '')!r})")
    if states:
        print("patch points")
    for state, name in states:
        print(f"  {state:<12} {name}")
    print("policy")
    settings = read_settings(os.environ)
    for name in SETTINGS:
        source = ENVIRONMENT_PREFIX + name.upper() if settings.sources[name] == "environment" else "default"
        print(f"  {name:<20} {getattr(settings.policy, name)!r:<36} {source}")
    if mode == "off" or (states and all(state == _PATCHED[mode] for state, _ in states)):
        return 0
    if any(state == "replaced" for state, _ in states):
        print("Other code has replaced the guard's wrappers and may not call them: streams may be NOT guarded.")
    else:
        print("Streams are NOT guarded, though the environment asks for it.")
    return 1


def _patch_points(mode: Mode) -> list[tuple[str, str]]:
    """Return the state and the name of each patch point, and of anything else that this SDK release lacks."""
    from .. import sdk

    missing = sdk.missing_patch_points() if mode == "off" else activation.unguarded_patch_points()
    unpatched = "not guarded" if mode == "off" or missing else "replaced"
    states = []
    for module, owner, method, _ in sdk.PATCH_POINTS:
        name = f"{module}.{owner}.{method}"
        if name not in missing:
            states.append((_PATCHED[mode] if sdk.is_patched(module, owner, method) else unpatched, name))
    return states + [("missing", name) for name in missing]

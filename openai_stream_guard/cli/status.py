"""`status`: what is guarded in this process, as the SDK's classes show it, and not as the guard's own flags say."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from .. import activation
from ..config.environment import MODE_VARIABLE, Mode, read_settings
from ..config.policy import ENVIRONMENT_PREFIX, SETTINGS
from .terminal import printable

SUMMARY = "show what is guarded, in which SDK, and where each setting comes from"
_PATCHED: Final[dict[Mode, str]] = {"on": "guarded", "observe": "observed", "off": "not guarded"}
"""The state of a patch point that has the guard's wrapper."""


@dataclass(frozen=True)
class Status:
    """What the command reports. Its fields are those of the JSON, and may become more."""

    version: str
    """Of openai-stream-guard."""
    openai: str | None
    """The version of openai; None if it cannot be guarded."""
    error: str | None
    """Why openai cannot be guarded."""
    items: str | None
    """How the items of guarded streams are built; None if openai cannot be guarded."""
    mode: Mode
    variable: str | None
    """The value of `OPENAI_STREAM_GUARD`; None if it is not set."""
    patch_points: Mapping[str, str]
    """Name → `guarded`, `observed`, `not guarded`, `replaced` or `missing`."""
    settings: Mapping[str, Mapping[str, str]]
    """Name → `value`, as a user writes it, and `source`: the name of the variable, or `default`."""

    @property
    def problem(self) -> str | None:
        """What is wrong, in one sentence; None if the guard is off, or sees every stream."""
        states = self.patch_points.values()
        if self.mode == "off" or (states and all(state == _PATCHED[self.mode] for state in states)):
            return None
        if "replaced" in states:
            return "Other code has replaced the guard's wrappers and may not call them: streams may be NOT guarded."
        return "Streams are NOT guarded, though the environment asks for it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `status`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the status; return 1 if the guard is on, or observes, and does not see every stream."""
    status = current_status()
    if arguments.json:
        print(json.dumps({**asdict(status), "problem": status.problem}, indent=2))
    else:
        print("\n".join(map(printable, _lines(status))))
    return 0 if status.problem is None else 1


def current_status() -> Status:
    """Return the status of this process."""
    mode = activation.current_mode()
    openai_version, error, items, patch_points = None, None, None, {}
    try:
        import openai

        patch_points = _patch_points(mode)
        openai_version = openai.__version__
        items = activation.how_items_are_built()
    except ImportError as caught:
        error = str(caught)
    settings = read_settings(os.environ)
    return Status(
        version=own_version(),
        openai=openai_version,
        error=error,
        items=items,
        mode=mode,
        variable=os.environ.get(MODE_VARIABLE),
        patch_points=patch_points,
        settings={
            name: {
                "value": as_written(name, getattr(settings.policy, name)),
                "source": ENVIRONMENT_PREFIX + name.upper() if name in (settings.given or ()) else "default",
            }
            for name in SETTINGS
        },
    )


def own_version() -> str:
    """Return the version of this package; `unknown` if it is not installed, but run from its sources."""
    try:
        return importlib.metadata.version("openai-stream-guard")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def as_written(name: str, value: object) -> str:
    """Return the value of a setting as a user writes it into its variable."""
    match value:
        case None | ():
            return "none"
        case bool():
            return "true" if value else "false"
        case int() if name.endswith("_bytes") and value % (1 << 20) == 0:
            return f"{value >> 20} MiB"
        case float():
            return repr(value).removesuffix(".0")
        case tuple():
            return ",".join(value)
        case _ if callable(value):
            module, qualified = getattr(value, "__module__", "?"), getattr(value, "__qualname__", type(value).__name__)
            return f"{module}:{qualified}"
    return str(value)


def _lines(status: Status) -> list[str]:
    variable = f"{MODE_VARIABLE} is not set" if status.variable is None else f"{MODE_VARIABLE}={status.variable}"
    lines = [
        f"openai {status.openai}" if status.error is None else f"openai cannot be guarded ({status.error})",
        f"openai-stream-guard {status.version}",
        f"mode {status.mode} ({variable})",
    ]
    if status.patch_points:
        lines += [
            f"items {status.items}",
            "patch points",
            *(f"  {state:<12} {name}" for name, state in status.patch_points.items()),
        ]
    lines.append("policy")
    lines += [f"  {name:<20} {each['value']:<28} {each['source']}" for name, each in status.settings.items()]
    return lines if status.problem is None else [*lines, status.problem]


def _patch_points(mode: Mode) -> dict[str, str]:
    """Return the state of each patch point, and of anything else that this SDK release lacks."""
    from .. import sdk

    missing = sdk.missing_patch_points() if mode == "off" else activation.unguarded_patch_points()
    unpatched = "not guarded" if mode == "off" or missing else "replaced"
    states = {}
    for module, owner, method, _ in sdk.PATCH_POINTS:
        name = f"{module}.{owner}.{method}"
        if name not in missing:
            states[name] = _PATCHED[mode] if sdk.is_patched(module, owner, method) else unpatched
    return states | dict.fromkeys(missing, "missing")

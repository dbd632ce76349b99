"""`status`: what is guarded here, found by looking at the SDK's classes and not at our own flags."""

from __future__ import annotations

import argparse
import importlib
import os

from ..policy import ENVIRONMENT_PREFIX, KINDS
from ..settings import MODE_VARIABLE, read_settings

SUMMARY = "show what is guarded, in which SDK, and where each setting comes from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace) -> int:
    """Print the status; 1 where streams that should be guarded are not."""
    import openai

    from .. import sdk, switch

    settings = read_settings(os.environ)
    wrapped = [seam for seam in sdk.SEAMS if _is_ours(*seam[:3])]
    missing = sdk.missing_seams()
    print(f"openai {openai.__version__}")
    print(f"mode   {settings.mode}  ({MODE_VARIABLE}={os.environ.get(MODE_VARIABLE, '')!r})")
    print("seams")
    for module, owner, method, _ in sdk.SEAMS:
        state = "guarded" if (module, owner, method) in [seam[:3] for seam in wrapped] else "not guarded"
        print(f"  {state:<12} {module}.{owner}.{method}")
    for name in missing:
        print(f"  missing      {name}")
    print("policy")
    for name in KINDS:
        source = ENVIRONMENT_PREFIX + name.upper() if settings.sources[name] == "environment" else "default"
        print(f"  {name:<20} {getattr(settings.policy, name)!r:<36} {source}")
    if settings.mode != "off" and (missing or len(wrapped) < len(sdk.SEAMS) or not switch.is_enabled()):
        print("Streams are NOT guarded, though the environment asks for it.")
        return 1
    return 0


def _is_ours(module: str, owner: str, method: str) -> bool:
    """Whether our wrapper is among those around this method; others may have been put on top."""
    function = vars(getattr(importlib.import_module(module), owner)).get(method)
    while function is not None:
        wrapper = getattr(function, "_self_wrapper", None)
        if getattr(wrapper, "__module__", None) == "openai_stream_guard.sdk":
            return True
        function = getattr(function, "__wrapped__", None)
    return False

"""Which patchers are played beside the guard, how, and what must come of it: for the tests and `.ci/patchers.py`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai_stream_guard.testing import Server
from openai_stream_guard.testing.server.answers.answer import TEXT

PROGRAM = Path(__file__).with_name("program.py")
FAULT = "truncate_clean"
STRIKES = 8
"""At which frame, of each API after some text."""
ORDERS = ("guard first", "guard last")
CLIENT_KINDS = ("sync", "async")
APIS = ("chat", "stored responses", "responses")


@dataclass(frozen=True)
class Patcher:
    """A package that patches the SDK to trace it."""

    name: str
    modules: tuple[str, ...]
    """By which one sees that it is installed, with what it needs."""
    extra: tuple[str, ...] = ()
    """What has to be installed with it: it does not say so, or allows versions that it does not work with."""
    apis: tuple[str, ...] = APIS
    """What it traces."""
    untold: tuple[str, ...] = ()
    """Of which it does not record the answer, once the guard has recovered it."""
    stops: bool = True
    """Whether it can be told to take its wrappers away, and does."""


PATCHERS = (
    Patcher(
        "opentelemetry-instrumentation-openai-v2",
        modules=("opentelemetry.instrumentation.openai_v2", "opentelemetry.util.genai.instruments", "httpx"),
        extra=("opentelemetry-sdk", "opentelemetry-util-genai>=0.4b0,<1.0b0", "httpx"),
        apis=("chat",),
    ),
    Patcher(
        "opentelemetry-instrumentation-genai-openai",
        modules=("opentelemetry.instrumentation.genai.openai",),
        extra=("opentelemetry-sdk",),
    ),
    Patcher(
        "opentelemetry-instrumentation-openai",
        modules=("opentelemetry.instrumentation.openai",),
        extra=("opentelemetry-sdk",),
        stops=False,
    ),
    Patcher(
        "openinference-instrumentation-openai",
        modules=("openinference.instrumentation.openai",),
        extra=("opentelemetry-sdk",),
    ),
    # It records what the SDK's accumulator makes of the items, and that of openai 3 refuses a response of another id.
    Patcher("logfire", modules=("logfire",), untold=("stored responses",)),
    Patcher("langfuse", modules=("langfuse",), stops=False),
    Patcher("sentry-sdk", modules=("sentry_sdk",), stops=False),
    Patcher("newrelic", modules=("newrelic",), apis=("chat",), stops=False),
)
ROUNDS = {
    "both": (True, True),
    "guard off": (False, True),
    "guard on again": (True, True),
    "tracer off": (True, False),
    "both off": (False, False),
    "tracer off, guard on again": (True, False),
    "both on again": (True, True),
}
"""What is switched, one after the other: whether the guard is on then, and whether the tracer is."""


def play(
    python: str | Path, patcher: Patcher, order: str, client_kind: str, api: str, env: Mapping[str, str]
) -> list[Any]:
    """What each round of the program came to."""
    script = [part for guarded, _ in ROUNDS.values() for part in ((FAULT, None) if guarded else (FAULT,))]
    with Server() as server:
        server.script(*script, after=STRIKES)
        done = subprocess.run(
            [python, PROGRAM, patcher.name, order, client_kind, api],
            env={**env, "SERVER": server.base_url, "OPENAI_STREAM_GUARD": "1"},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def wrong(patcher: Patcher, api: str, rounds: list[Any]) -> list[str]:
    """What is not as it has to be, a sentence each."""
    found = [] if [row["what"] for row in rounds] == list(ROUNDS)[: len(ROUNDS) if patcher.stops else 3] else ["rounds"]
    usual = rounds[1]["begun"]  # with the guard off
    for row in rounds:
        guarded, traced = ROUNDS[row["what"]]
        laws = {
            "the text is whole with the guard, and a part without": (row["text"] == TEXT) is guarded,
            "nothing is raised": row["error"] is None,
            "as many spans begin as without the guard, and none with the tracer off": row["begun"]
            == usual * traced
            > -1,
            "every span has ended": row["ended"] == row["begun"],
            "one span has the answer": not (guarded and traced) or row["told"] == (api not in patcher.untold),
        }
        found += [f"{row['what']}: not so: {law}: {row}" for law, holds in laws.items() if not holds]
    return found if usual else [*found, "nothing was traced"]


def line(patcher: Patcher, version: str, openai: str) -> str:
    """Its row of the table in README.md beside this file, where all is as it has to be."""
    told = [api for api in patcher.apis if api not in patcher.untold]
    switched = "both" if patcher.stops else "the guard"
    cells = (f"`{patcher.name}`", version, openai, _listed(patcher.apis), _listed(told), switched)
    return f"| {' | '.join(cells)} |"


def _listed(apis: Sequence[str]) -> str:
    """APIs in words."""
    names = {"chat": "chat", "stored responses": "Responses", "responses": "Responses with `store=False`"}
    return ", ".join(names[api] for api in apis if api != "responses" or "stored responses" not in apis)

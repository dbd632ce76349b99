"""aimock (npm `@copilotkit/aimock`): a mock of many APIs with faults of its own, and a journal of the requests it got.

    python -m tests.compliance.aimock_journal            compare what happens with README.md
    python -m tests.compliance.aimock_journal --write    put it there

`AIMOCK` names the folder in which `npm install @copilotkit/aimock` was run. Every fault that a fixture may have, with
the SDK alone and guarded, sync and async, on both APIs. The number of requests is that of aimock's journal.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .judging import APIS, CLIENT_KINDS, GUARDS, Endpoint, cell, outcome, quiet, report, stream

PROGRAM = Path("node_modules", "@copilotkit", "aimock", "dist", "cli.js")
ANSWER: Final = "Blue trams climb past the cafés, and every one of them is late by a minute or two."
CALL: Final = {"toolCalls": [{"name": "get_weather", "arguments": '{"city": "Paris", "unit": "celsius"}'}]}
STARTUP: Final = 20.0
"""Seconds that the server may take to start."""

SCENARIOS: Final[Mapping[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    name: (fault, response)
    for name, fault, response in (
        ("nothing breaks", {}, {"content": ANSWER}),
        ("late answer", {"chaos": {"latencyMs": 300}}, {"content": ANSWER}),
        ("slow chunks", {"streamingProfile": {"ttft": 200, "tps": 20}}, {"content": ANSWER}),
        ("`truncateAfterChunks`", {"truncateAfterChunks": 4, "latency": 50}, {"content": ANSWER}),
        ("`disconnectAfterMs`", {"disconnectAfterMs": 180, "latency": 50}, {"content": ANSWER}),
        ("`chaos.disconnectRate`", {"chaos": {"disconnectRate": 1}}, {"content": ANSWER}),
        ("`chaos.malformedRate`", {"chaos": {"malformedRate": 1}}, {"content": ANSWER}),
        ("`chaos.dropRate` (500)", {"chaos": {"dropRate": 1}}, {"content": ANSWER}),
        ("`chaos.rateLimitRate` (429)", {"chaos": {"rateLimitRate": 1}}, {"content": ANSWER}),
        ("tool call", {}, CALL),
        ("tool call, `truncateAfterChunks`", {"truncateAfterChunks": 3, "latency": 50}, CALL),
    )
}
EVERY_TIME = ("`truncateAfterChunks`", "`disconnectAfterMs`", "`chaos.malformedRate`")
_runs = itertools.count()


def fixtures() -> list[dict[str, Any]]:
    """The fixtures of all scenarios: with the fault for the first request, then without it, or with it every time."""
    made = []
    for name, (fault, response) in SCENARIOS.items():
        healthy = {"match": {"userMessage": message(name, "once")}, "response": response, "chunkSize": 8}
        first = {**healthy, "match": {**healthy["match"], "sequenceIndex": 0}, **fault}
        made += [first, healthy] if fault else [healthy]
        if name in EVERY_TIME:
            made.append({**healthy, "match": {"userMessage": message(name, "every time")}, **fault})
    return made


def message(scenario: str, times: str) -> str:
    """The message that selects the fixture, which aimock looks for inside of messages."""
    return f"[{scenario}, {times}]"


@contextmanager
def serving() -> Iterator[str]:
    """Run aimock on a free port, and give its address."""
    program = Path(os.environ["AIMOCK"]) / PROGRAM
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        path, port = Path(folder, "fixtures.json"), free.getsockname()[1]
        path.write_text(json.dumps({"fixtures": fixtures()}), encoding="utf-8")
        free.close()
        command = [
            "node",
            str(program),
            "--port",
            str(port),
            "--fixtures",
            str(path),
            "--log-level",
            "warn",
            "--strict",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                _wait_for(port)
                yield f"http://127.0.0.1:{port}"
            finally:
                server.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + STARTUP
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def ask(api: str, words: str) -> Any:
    """The request for a stream."""
    if api == "chat":
        messages = [{"role": "user", "content": words}]
        return lambda client: client.chat.completions.create(model="gpt-4.1", messages=messages, stream=True)
    return lambda client: client.responses.create(model="gpt-4.1", input=words, stream=True)


def found(url: str, scenario: str, times: str, api: str, client_kind: str, guard: str) -> str:
    """What the consumer got, and after how many requests."""
    _, response = SCENARIOS[scenario]
    test = f"run-{next(_runs)}"
    headers = {"x-test-id": test}
    request = ask(api, message(scenario, times))
    seen = stream(Endpoint(f"{url}/v1"), client_kind, guard, request, default_headers=headers)
    with urllib.request.urlopen(f"{url}/__aimock/journal?testId={test}", timeout=10) as journal:
        requests = len(json.load(journal))
    complete = response["content"] if "content" in response else response["toolCalls"][0]["arguments"]
    return f"{outcome(seen, complete)}, {requests} request{'s' * (requests != 1)}"


def main() -> None:
    quiet()
    rows = []
    with serving() as url:
        runs = [(name, "once") for name in SCENARIOS] + [(name, "every time") for name in EVERY_TIME]
        for scenario, times in runs:
            cells = [
                cell({kind: found(url, scenario, times, api, kind, guard) for kind in CLIENT_KINDS})
                for api in APIS
                for guard in GUARDS
            ]
            rows.append([f"{scenario}, {times}" if SCENARIOS[scenario][0] else scenario, *cells])
    heading = ["aimock does", *(f"{api}, guard {guard}" for api in APIS for guard in GUARDS)]
    report("aimock", heading, rows)


if __name__ == "__main__":
    main()

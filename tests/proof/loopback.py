"""The loopback server in a process of its own, so that what a client's process holds is the client's.

What a request gets stands in its `user`: a word, and where it strikes. Only the first request of a stream is struck;
what the guard sends again is answered in full. Started as a program, it prints its address and lives until its standard
input ends.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from openai_stream_guard.testing import Close, End, Request, Reset, ScriptedResponse, Send, Server, Wait
from tests.benchmark.bodies import reads

MAX = 100_000
"""Requests that one server answers as asked."""
WORDS = 7
"""Deltas in an answer, unless asked otherwise."""
FAULTS = ("truncated", "closed", "reset", "garbled")


def text_of(words: int = WORDS) -> str:
    """What an answer of so many deltas says."""
    return "".join(f" word{number % 50}" for number in range(words))


def perform(request: Request) -> ScriptedResponse:
    """The answer to a request."""
    word, _, detail = str(request.body.get("user", "whole")).partition(" ")
    size = int(detail or 0)
    frames = reads("chat", None, size if word == "long" else WORDS)
    sent = tuple(map(Send, frames[: size or len(frames)]))
    if word == "long":  # all of a long text, and then nothing
        return ScriptedResponse((*map(Send, frames[:size]), Wait()))
    if request.headers.get("x-stainless-retry-count", "0") != "0":
        word = "whole"
    match word:
        case "truncated":
            return ScriptedResponse((*sent, End()))
        case "closed":
            return ScriptedResponse((*sent, Send(frames[size][:40]), Close()))
        case "reset":
            return ScriptedResponse((*sent, Reset()))
        case "garbled":
            return ScriptedResponse((*sent, Send(b'data: {"choices": [{]}\n\n'), End()))
        case "silent":
            return ScriptedResponse((*sent, Wait()))
    return ScriptedResponse((*map(Send, frames), End()))


def allow_open_files() -> int:
    """Let this process have as many open files as it may; how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 16_384 if hard == resource.RLIM_INFINITY else min(hard, 16_384)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return max(soft, most)


@contextmanager
def running() -> Iterator[str]:
    """The base URL of a server that lives as long as the block."""
    program = [sys.executable, "-m", "tests.proof.loopback"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def main() -> None:
    """Serve until standard input ends."""
    allow_open_files()
    with Server() as server:
        server.script(*[perform] * MAX)
        print(server.base_url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

"""What the guard costs: CPU time for an event of a healthy stream, guarded against unguarded.

    python tests/benchmark.py [--events N] [--rounds N]

Each figure is taken in a process of its own, guarded and unguarded in turn, so that a noisy machine troubles both
alike; the table gives medians and their ratio. The bytes come from memory, through the SDK's own client and httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import statistics
import subprocess
import sys
import time

SHAPES = ("sync", "async")
READS = {"event": None, "1400 B": 1400, "64 KiB": 65536, "16 B": 16}


def body(events: int) -> list[bytes]:
    """A chat stream of `events` one-word deltas, an event in each element."""
    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "system_fingerprint": "fp",
    }
    frames = []
    for number in range(events):
        delta = {"content": f" word{number % 50}"}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        frames.append(b"data: %s\n\n" % json.dumps({**head, "choices": [choice]}, separators=(",", ":")).encode())
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    frames.append(b"data: %s\n\n" % json.dumps({**head, "choices": [choice]}).encode())
    return [*frames, b"data: [DONE]\n\n"]


def reads(frames: list[bytes], size: int | None) -> list[bytes]:
    """The same bytes as so many reads."""
    if size is None:
        return frames
    whole = b"".join(frames)
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def measure(shape: str, size: int | None, events: int) -> float:
    """Microseconds of CPU time an event, in this process."""
    import openai

    library = "httpx2" if hasattr(openai._base_client, "httpx2") else "httpx"
    http = importlib.import_module(library)
    parts = reads(body(events), size)
    headers = {"content-type": "text/event-stream"}

    class Parts(http.SyncByteStream, http.AsyncByteStream):
        def __iter__(self):
            return iter(parts)

        async def __aiter__(self):
            for part in parts:
                yield part

    transport = http.MockTransport(lambda request: http.Response(200, headers=headers, stream=Parts()))
    ask = {"model": "m", "messages": [{"role": "user", "content": "?"}], "stream": True}
    if shape == "sync":
        client = openai.OpenAI(api_key="none", http_client=http.Client(transport=transport))

        def once() -> int:
            return sum(1 for _ in client.chat.completions.create(**ask))
    else:
        aclient = openai.AsyncOpenAI(api_key="none", http_client=http.AsyncClient(transport=transport))

        async def consume() -> int:
            return sum([1 async for _ in await aclient.chat.completions.create(**ask)])

        def once() -> int:
            return asyncio.run(consume())

    once()
    best = []
    for _ in range(3):
        started = time.process_time()
        count = once()
        best.append((time.process_time() - started) / count)
    return min(best) * 1e6


def figure(guarded: bool, shape: str, size: int | None, events: int) -> float:
    """The same in a fresh process."""
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import openai_stream_guard as g; {'g.enable()' if guarded else ''}\n"
        f"import benchmark; print(benchmark.measure({shape!r}, {size!r}, {events}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{'stream':<8}{'read':<10}{'unguarded':>12}{'guarded':>12}{'ratio':>8}   (CPU µs an event, medians)")
    for shape in SHAPES:
        for name, size in READS.items():
            plain, guarded = [], []
            for _ in range(arguments.rounds):
                plain.append(figure(False, shape, size, arguments.events))
                guarded.append(figure(True, shape, size, arguments.events))
            before, after = statistics.median(plain), statistics.median(guarded)
            print(f"{shape:<8}{name:<10}{before:>12.1f}{after:>12.1f}{after / before:>8.2f}", flush=True)


if __name__ == "__main__":
    main()

"""Whatever bytes a server sends: the answer or the typed error, never another exception, never super-linear time.

    pip install atheris && python -m tests.proof.fuzz_atheris sse|repair|session [libFuzzer's options]

The targets of `fuzz.py`, led by coverage; `-max_total_time=600` ends it, `-seed=1` repeats it. It stops at the first
exception and writes the input that led to it. atheris has no wheels for all Pythons, so CI runs `fuzz.py` alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> None:
    """Fuzz one target until told to stop."""
    if not arguments or arguments[0] not in ("sse", "repair", "session"):
        sys.exit("usage: python -m tests.proof.fuzz_atheris sse|repair|session [libFuzzer's options]")
    import atheris

    with atheris.instrument_imports(include=["openai_stream_guard"]):
        from .fuzz import TARGETS, corpus
    with tempfile.TemporaryDirectory() as folder:
        for number, body in enumerate(corpus()):
            (Path(folder) / str(number)).write_bytes(bytes([number % 256, 0, 0, 1]) + body)
        atheris.Setup(
            [sys.argv[0], "-timeout=10", "-max_len=60000", *arguments[1:], folder], TARGETS[arguments[0]].function
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])

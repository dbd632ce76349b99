"""Real programs that the tests start: found, run on loopback out of a temporary folder, and stopped by their process.

The law: a program that does not come up, or during whose run something fails, shows its log; none outlives its block.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

WANTED = "REAL_PROGRAMS"
"""Names the programs that must not be missing, between blanks. Where it is not set, no real program is started."""
START = 60.0
"""Seconds a program has until it listens; some load for long on a busy machine."""
STOP = 5.0
"""Seconds it has to end when asked to."""
LOG = 4000
"""How much of a log is shown: its last characters."""


def find(program: str) -> str | None:
    """Where a program is: beside this interpreter, on PATH, or where Debian keeps servers."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"]
    return shutil.which(program, path=os.pathsep.join(places))


def require_real_programs() -> None:
    """Skip a module whose tests start real programs, unless they are asked for."""
    if WANTED not in os.environ:
        reason = f"real proxies and servers take some minutes: nox -f .ci/noxfile.py -s proxies, or set {WANTED}"
        pytest.skip(reason, allow_module_level=True)


def require(there: object, name: str, missing: str) -> None:
    """Skip a test whose program is not there, and say what is `missing`; fail where it has to be there."""
    if not there:
        (pytest.fail if name in os.environ.get(WANTED, "").split() else pytest.skip)(missing)


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A program that listens on a port, with its log in `folder`. It has to stay in the foreground."""

    def __init__(
        self, command: Sequence[str], port: int, folder: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self._command = command
        self._folder = folder
        self._variables = {**os.environ, "HOME": str(folder), **(variables or {})}

    def start(self) -> None:
        """Begin to run; for one that was killed, once more. Raises `RuntimeError` where it does not come up."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
                return
            except OSError:
                time.sleep(0.02)
        ended = self._process.poll()
        how = "does not listen" if ended is None else f"ended with {ended}"
        self.stop()
        raise RuntimeError(f"{self._command[0]} {how}:\n{self.log()}")

    def kill(self) -> None:
        """End it at once, and what it started, as the kernel does when memory is short."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP)

    def stop(self) -> None:
        """Ask it to end; then leave nothing of it."""
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP)
        self.kill()

    def log(self) -> str:
        """The end of what it wrote."""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-LOG:]


@contextmanager
def running(
    command: Sequence[str], port: int, folder: Path, variables: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run a program; see `Program`."""
    program = Program(command, port, folder, variables)
    program.start()
    try:
        yield program
    except BaseException:
        print(f"-- {command[0]} says:\n{program.log()}", file=sys.stderr)
        raise
    finally:
        program.stop()

"""Run a program as it stands, in the environment of its framework, and print one line of JSON about it:
what it printed, how it called its tool, and the exception that ended it, with what caused that.

    python observer.py program.py

Standard library only. It knows nothing of the guard, and lets nobody talk to another machine.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
from collections.abc import Iterator

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def only_loopback(event: str, arguments: tuple[object, ...]) -> None:
    """Stop a framework that calls home."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host is not None and host not in LOOPBACK:
        raise OSError(f"not on this machine: {host}")


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what led to it, the groups among them opened, as a traceback shows them."""
    if error is None:
        return
    yield error
    for inner in getattr(error, "exceptions", ()):
        yield from chain(inner)
    yield from chain(error.__cause__ or (None if error.__suppress_context__ else error.__context__))


def described(error: BaseException) -> dict[str, object]:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    typed = "OpenAIStreamParseError" in kinds
    return {"name": type(error).__name__, "typed": typed, "fault": getattr(error, "fault", None) if typed else None}


def main(program: str) -> None:
    sys.addaudithook(only_loopback)
    sys.path.insert(0, os.path.dirname(program))
    said, error = io.StringIO(), None
    with contextlib.redirect_stdout(said):
        try:
            runpy.run_path(program, run_name="__main__")
        except Exception as raised:
            error = raised
    calls = getattr(sys.modules.get("weather"), "CALLS", [])
    print(json.dumps({"said": said.getvalue(), "calls": calls, "errors": [described(each) for each in chain(error)]}))


if __name__ == "__main__":
    main(sys.argv[1])

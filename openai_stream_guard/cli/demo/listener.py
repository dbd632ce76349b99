"""Streams one chat completion through the real SDK, and says what came of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ...testing import Outcome, Server

if TYPE_CHECKING:
    from openai import OpenAI

READ_TIMEOUT: Final = 0.6  # seconds; short, so that a stall does not hold the demo up
SAYING: Final = frozenset({"content", "refusal", "reasoning_content", "arguments"})


def new_client(server: Server) -> OpenAI:
    """A client of this server that takes no notice of proxies set in the environment."""
    import openai

    http_client = openai.DefaultHttpxClient(trust_env=False, timeout=READ_TIMEOUT)
    return openai.OpenAI(base_url=server.base_url, api_key="none", timeout=READ_TIMEOUT, http_client=http_client)


def listen(client: OpenAI, server: Server, *, patience: float, expected: Exception | None = None) -> Outcome:
    """
    Stream one answer to its end.

    After `patience` seconds the server hangs up, and the outcome is a `hang`. `expected` is what the
    unguarded SDK raised, of whose class the error must be.
    """
    items: list[object] = []
    error: Exception | None = None
    hung_up = threading.Event()

    def hang_up() -> None:
        hung_up.set()
        server.disconnect()

    watch = threading.Timer(patience, hang_up)
    watch.start()
    with _counting_warnings() as warnings:
        try:
            messages: Any = [{"role": "user", "content": "Tell me about the trams."}]
            with client.chat.completions.create(model="demo", messages=messages, stream=True) as stream:
                for item in stream:
                    dumped = item.model_dump(mode="json", warnings=False)
                    items.append(_plain(dumped))
        except Exception as caught:
            error = caught
        finally:
            watch.cancel()
            watch.join()
    return Outcome(
        tuple(items),
        "".join(piece for item in items for piece in _said(item)),
        len(server.requests),
        error,
        expected is None or isinstance(error, type(expected)),
        len(warnings),
        hung_up.is_set(),
    )


def _plain(value: Any) -> Any:
    """The value without what differs from one request to the next: ids and times."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key not in {"id", "created"}}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _said(value: Any) -> Iterator[str]:
    """Every text in a dumped item that a reader would see."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in SAYING and isinstance(inner, str):
                yield inner
            else:
                yield from _said(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _said(inner)


@contextmanager
def _counting_warnings() -> Iterator[list[logging.LogRecord]]:
    """The guard's records at WARNING and above; they are kept from the terminal, where the table stands."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("openai_stream_guard")
    keep, propagate = Keep(logging.WARNING), logger.propagate
    logger.addHandler(keep)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.propagate = propagate
        logger.removeHandler(keep)

"""Streams one answer, a chat completion or a response, through the real SDK and describes the outcome."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from ...testing import Outcome, Server
from ...testing.server.answers import Api

if TYPE_CHECKING:
    from openai import BaseModel, OpenAI

READ_TIMEOUT: Final = 0.6
"""Seconds; short, so that a stall does not delay the demo."""
PROMPT: Final = "Tell me about the trams."
TEXT_FIELDS: Final = frozenset({"content", "refusal", "reasoning_content", "arguments"})
"""Of the deltas of a chat; the text of a response is in the `delta` of its events."""
DIFFERENT: Final = frozenset({"id", "item_id", "call_id", "created", "created_at"})
"""Fields that differ from one request to the next."""


def new_client(server: Server) -> OpenAI:
    """Return a client of this server that ignores the proxies of the environment."""
    import openai

    http_client = openai.DefaultHttpxClient(trust_env=False, timeout=READ_TIMEOUT)
    return openai.OpenAI(base_url=server.base_url, api_key="none", timeout=READ_TIMEOUT, http_client=http_client)


def has_responses() -> bool:
    """Whether this SDK has the Responses API: from 1.66 on."""
    import openai

    return hasattr(openai.OpenAI, "responses")


def listen(
    client: OpenAI, server: Server, *, api: Api | None, max_seconds: float, expected: Exception | None = None
) -> Outcome:
    """Stream one answer to its end.

    Args:
        api: `"responses"`; anything else asks for a chat completion.
        max_seconds: after this time the server disconnects, and the outcome is a `hang`.
        expected: what the unguarded SDK raised; the error must be of its class.
    """
    items: list[object] = []
    error: Exception | None = None
    disconnected = threading.Event()

    def disconnect() -> None:
        disconnected.set()
        server.disconnect()

    timer = threading.Timer(max_seconds, disconnect)
    timer.start()
    with _counting_warnings() as warnings:
        try:
            with _stream(client, api) as stream:
                for item in stream:
                    dumped = item.model_dump(mode="json", warnings=False)
                    items.append(_without_ids(dumped))
        except Exception as caught:
            error = caught
        finally:
            timer.cancel()
            timer.join()
    return Outcome(
        tuple(items),
        "".join(text for item in items for text in _texts(item)),
        len(server.requests),
        error,
        expected is None or isinstance(error, type(expected)),
        len(warnings),
        disconnected.is_set(),
    )


def _stream(client: OpenAI, api: Api | None) -> AbstractContextManager[Iterable[BaseModel]]:
    if api == "responses":
        return client.responses.create(model="demo", input=PROMPT, stream=True)
    return client.chat.completions.create(model="demo", messages=[{"role": "user", "content": PROMPT}], stream=True)


def _without_ids(value: object) -> object:
    """Return the value without what differs from one request to the next: ids and times."""
    if isinstance(value, dict):
        return {key: _without_ids(inner) for key, inner in value.items() if key not in DIFFERENT}
    return [_without_ids(inner) for inner in value] if isinstance(value, list) else value


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a dumped item that a reader would see."""
    if isinstance(value, dict) and str(value.get("type")).startswith("response."):
        # Other events than deltas say the same text again, as a whole.
        if isinstance(value.get("delta"), str):
            yield value["delta"]
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in TEXT_FIELDS and isinstance(inner, str):
                yield inner
            else:
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


@contextmanager
def _counting_warnings() -> Iterator[list[logging.LogRecord]]:
    """Collect the guard's records of level WARNING and above, and keep them off the terminal with the table."""
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("openai_stream_guard")
    collector, propagate = Collector(logging.WARNING), logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield records
    finally:
        logger.propagate = propagate
        logger.removeHandler(collector)

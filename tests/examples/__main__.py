"""Try the chat service without a key: it is served here, beside an API on loopback that cuts every first stream.

python -m tests.examples                            half answers: ask something at http://127.0.0.1:8000
OPENAI_STREAM_GUARD=1 python -m tests.examples      whole ones
"""

from __future__ import annotations

import logging

import uvicorn
from openai import AsyncOpenAI

from openai_stream_guard.testing import Server
from tests.examples.chat_service import create_app

PORT = 8000
MANY = 100
"""Streams whose fate is decided: the first, third, fifth … are cut."""


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)-7s %(message)s")
    with Server() as api:
        api.script(*["truncate_clean", None] * MANY, after=6)
        app = create_app(AsyncOpenAI(base_url=api.base_url, api_key="none"))
        print(f"Ask something at http://127.0.0.1:{PORT}")
        uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")


if __name__ == "__main__":
    main()

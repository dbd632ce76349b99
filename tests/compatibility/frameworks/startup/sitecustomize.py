"""Loaded by every interpreter that has this folder on its path: the way to guard a program without changing it."""

import os

if os.environ.get("OPENAI_STREAM_GUARD"):
    import openai_stream_guard  # noqa: F401 - it starts the guard
